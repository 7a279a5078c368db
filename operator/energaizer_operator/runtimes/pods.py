"""Pod -> the container that computes -> the server that it starts -> what that states."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from energaizer_operator import owners
from energaizer_operator.runtimes import downloads, kubelet, serveconfig, shell, trainers
from energaizer_operator.runtimes.arguments import names_model, split, understand
from energaizer_operator.runtimes.models import model_name, vendor_name
from energaizer_operator.runtimes.records import NO_LITERAL, Call, Input, Reading, Runtime, common
from energaizer_operator.runtimes.tables import (
    LLAMA_CPP,
    LLAMA_CPP_PYTHON,
    NIM,
    OLLAMA,
    RUNTIMES,
    VLLM,
)
from energaizer_operator.runtimes.weights import gguf, ollama
from energaizer_operator.shapes import at, items

Json = Mapping[str, Any]
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh"})
_WRAPPERS = frozenset(
    {"exec", "nohup", "env", "tini", "dumb-init", "time", "uv", "poetry", "conda", "numactl"}
    | {"taskset", "timeout", "nsys", "setsid", "stdbuf", "nice", "sudo", "gosu", "mpirun"}
    | {"mpiexec", "trtllm-llmapi-launch", "opentelemetry-instrument", "ray"}
)
"""Programs that start the one that their arguments name."""
_ASIDE = ("router", "proxy", "exporter", "metrics", "benchmark")
_IMAGES = tuple((mark, one) for one in RUNTIMES for mark in one.images)
_OTHER_COMMANDS = ("bench", "chat", "complete", "collect-env", "run-batch", "launch")
"""Of vLLM: none of them serves."""
_DEEPEST = 3
_WRAPPED_MOST = 24
_CONTAINERS_MOST = 16
_TEMPLATES_MOST = 16


def of_workload(described: owners.Description, known: Mapping[str, str]) -> Reading:
    """Return what the pods of a workload state together, or Ray's own fields beside them.

    Leaders start a server and workers join it, so most say nothing; those that speak must agree.

    Args:
        described: The workload.
        known: Last part of a model's name, in lower case -> name (`last_parts`).
    """
    if described.serve_config:
        return serveconfig.read(described.serve_config, known)
    if described.entrypoint:
        return _submitted(described.entrypoint, known)
    world = described.gpus_per_replica * described.replicas
    found = [read(one, known, world) for one in described.pod_specs[:_TEMPLATES_MOST]]
    together = common(found, "differs between the pods of the workload")
    source = downloads.initialized(group.pod_spec for group in described.groups)
    return together if source is None else _initialized(together, source, known)


def _submitted(entrypoint: str, known: Mapping[str, str]) -> Reading:
    """Return what the command of a RayJob states; its environment and its GPUs are Ray's matter."""
    found = [
        _of_call(call, {}, known, 0)
        for command in shell.commands(kubelet.clean(entrypoint), {NO_LITERAL: ""})
        for call in _started(command.words, command.variables, 0)
    ]
    return common(found, "differs between the servers that one job starts")


def _initialized(reading: Reading, source: str, known: Mapping[str, str]) -> Reading:
    """Return a training's reading with the model that an initializer fetches for it."""
    if Input.MODEL in reading.values:
        return reading
    values, unknown = dict(reading.values), dict(reading.unknown)
    name, revision = model_name(source, known)
    if name is None:
        unknown[Input.MODEL] = "is fetched from an address that names no model for sure"
        return replace(reading, unknown=unknown)
    unknown.pop(Input.MODEL, None)
    values |= {Input.MODEL: name, Input.TASK: values.get(Input.TASK, "FineTuning")}
    if revision is not None:
        values[Input.REVISION] = revision
    return replace(reading, values=values, unknown=unknown)


def read(pod_spec: Json, known: Mapping[str, str], world: int = 0) -> Reading:
    """Return what a pod states in command, arguments and environment of its GPU container.

    Args:
        pod_spec: Spec of the pod, of any shape.
        known: Last part of a model's name, in lower case -> name (`last_parts`).
        world: GPUs of all pods of its workload; 0: unknown.
    """
    containers = items(pod_spec.get("containers"))
    computing = [one for one in containers if owners.gpus_of(one)]
    computing = computing or [one for one in containers if at(one, "resources").get("claims")]
    if not computing and len(containers) == 1:
        computing = containers
    found = [_container(one, pod_spec, known, world) for one in computing[:_CONTAINERS_MOST]]
    return common(found, "differs between the containers that ask for GPUs")


def _container(container: Json, pod_spec: Json, known: Mapping[str, str], world: int) -> Reading:
    found: list[Reading] = []
    places = downloads.places(pod_spec)
    for call in _calls(container, pod_spec):
        if call.runtime is NIM:
            found.append(_nim(container, call, known))
        else:
            found.append(_of_call(call, places, known, world))
    if not found:
        return _stored(container, places.get(downloads.MOUNTED), known)
    return common(found, "differs between the servers that one container starts")


def _of_call(
    call: Call, places: Mapping[str, str], known: Mapping[str, str], world: int
) -> Reading:
    """Return what one call of a server or trainer states."""
    if call.runtime is OLLAMA:
        return ollama(call, known)
    told = _mounted(call, places)
    if call.runtime in (LLAMA_CPP, LLAMA_CPP_PYTHON):
        return gguf(told, known)
    if call.runtime in RUNTIMES:
        return understand(told, known)
    return trainers.trained(replace(told, world=world), known)


def _stored(container: Json, source: str | None, known: Mapping[str, str]) -> Reading:
    """Return the model that KServe puts beside a server that we do not know."""
    name, revision = model_name(source, known) if source else (None, None)
    if name is None:
        return Reading()
    values: dict[str, str] = {Input.TASK: "Inference", Input.MODEL: name}
    if revision is not None:
        values[Input.REVISION] = revision
    shared = sum(owners.gpus_of(container).values()) > 1
    why = "is the choice of a server that is not known"
    return Reading(values, {Input.TENSOR: why} if shared else {})


def _calls(container: Json, pod_spec: Json) -> Iterator[Call]:
    """Yield the servers that a container starts."""
    if "ollama" in _repository(container.get("image"))[-1:]:
        yield from _pulled(container, pod_spec)
        return
    variables = kubelet.environment(container)
    command = kubelet.words(container, "command", variables)
    arguments = split(kubelet.words(container, "args", variables))
    gpus = sum(owners.gpus_of(container).values())
    if container.get("envFrom"):
        # What a server reads from its environment may be there too, unseen.
        unseen = {name for one in RUNTIMES for name in one.variables}
        variables = {NO_LITERAL: "", **dict.fromkeys(unseen, NO_LITERAL)} | variables
    named = list(_started((*command, *arguments), variables, gpus))
    if named:
        yield from named
        return
    runtime = None if command else _runtime_of(container.get("image"))
    if runtime is VLLM and arguments[:1] == ("serve",):
        arguments = arguments[1:]
    if runtime is VLLM and arguments and arguments[0] in _OTHER_COMMANDS:
        return
    first = arguments[0] if arguments else "-"
    if runtime is not None and (first.startswith(("-", NO_LITERAL)) or runtime.positional):
        yield Call(runtime, arguments, variables, gpus)


def _started(
    words: tuple[str, ...], variables: Mapping[str, str], gpus: int, depth: int = 0
) -> Iterator[Call]:
    """Yield the servers that some words start, by themselves or through a shell."""
    while words and ("=" in words[0] and not words[0].startswith("-")):
        name, _, value = words[0].partition("=")
        variables, words = {**variables, name: value}, words[1:]
    if not words or depth > _DEEPEST:
        return
    if _base(words[0]) in _WRAPPERS:
        for index in range(1, min(len(words), _WRAPPED_MOST)):
            found = list(_started(words[index:], variables, gpus, depth + 1))
            if found:
                yield from found
                return
        return
    if _base(words[0]) in _SHELLS:
        script, given = _script(words[1:])
        for command in shell.commands(script, variables, gpus, given):
            yield from _started(command.words, command.variables, gpus, depth + 1)
        return
    yield from _matching(words, variables, gpus)


def _matching(words: tuple[str, ...], variables: Mapping[str, str], gpus: int) -> Iterator[Call]:
    """Yield the server that a command starts, if it is one of a known runtime; else the trainer."""
    whole = words
    if _base(words[0]).startswith("python"):
        words = words[1:]
        while words and words[0].startswith("-") and words[0] != "-m":
            words = words[1:]
    else:
        words = (_base(words[0]), *words[1:])
    for runtime in RUNTIMES:
        for start in runtime.commands:
            if words[: len(start)] == start:
                yield Call(runtime, words[len(start) :], variables, gpus)
                return
    trains = trainers.started(whole, variables, gpus)
    if trains is not None:
        yield trains


def _pulled(container: Json, pod_spec: Json) -> Iterator[Call]:
    """Yield what Ollama is told to load: by its own command or hook, or by a companion."""
    gpus = sum(owners.gpus_of(container).values())
    hook = at(container, "lifecycle", "postStart", "exec")
    companions = [
        one
        for section in ("containers", "initContainers")
        for one in items(pod_spec.get(section))[:_CONTAINERS_MOST]
    ]
    for one in [*companions, {**hook, "env": container.get("env")}]:
        variables = kubelet.environment(one)
        words = (
            *kubelet.words(one, "command", variables),
            *kubelet.words(one, "args", variables),
        )
        for call in _started(words, variables, gpus):
            if call.runtime is OLLAMA:
                yield call


def _script(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """Return the text that a shell is given by `-c`, and what follows; else nothing."""
    wanted = False
    rest = iter(words)
    for word in rest:
        if not word.startswith(("-", "+")):
            return (word, tuple(rest)) if wanted else ("", ())
        wanted = wanted or (not word.startswith("--") and "c" in word)
        if word.endswith("o") and not word.startswith("--"):
            next(rest, None)
    return "", ()


def _runtime_of(image: Any) -> Runtime | None:
    parts = _repository(image)
    if not parts or any(word in parts[-1] for word in _ASIDE):
        return None
    if "nim" in parts[:-2]:
        return NIM
    for mark, runtime in _IMAGES:
        if mark in parts[-1]:
            return runtime
    return VLLM if "vllm" in parts[:-1] and parts[-1] == "serve" else None


def _repository(image: Any) -> list[str]:
    """Return the components of an image's repository, without tag and digest."""
    if not isinstance(image, str) or len(image) > kubelet.MAX_TEXT:
        return []
    parts = image.casefold().partition("@")[0].split("/")
    parts[-1] = parts[-1].partition(":")[0]
    return parts


def _nim(container: Json, call: Call, known: Mapping[str, str]) -> Reading:
    """A NIM is named after its model, but for those that take any."""
    reading = understand(call, known)
    parts = _repository(container.get("image"))
    name = re.sub(r"-pb\d\dh\d$", "", "/".join(parts[-2:]))  # a production branch
    if Input.MODEL in {**reading.values, **reading.unknown} or "llm-nim" in name:
        return reading
    return replace(reading, values={**reading.values, Input.MODEL: vendor_name(name, known)})


def _mounted(call: Call, places: Mapping[str, str]) -> Call:
    """Return the call with what was fetched beforehand instead of where that was put."""
    words = list(call.words)
    for index, word in enumerate(words):
        flag, equals, value = word.rpartition("=")
        source = places.get(value.rstrip("/")) or _within(value, places)
        if source is not None:
            words[index] = f"{flag}{equals}{source}"
    source = places.get(downloads.MOUNTED)
    ways = (name for name, one in call.runtime.flags.items() if one is Input.MODEL)
    way = next(ways, None)
    if way is not None and source is not None and not names_model(call):
        words.append(f"{way}={source}")
    return replace(call, words=tuple(words))


def _within(path: str, places: Mapping[str, str]) -> str | None:
    """Return what was fetched into a folder under its own name, if a path is that."""
    return next(
        (
            source
            for folder, source in places.items()
            if path.rstrip("/") in (f"{folder}/{source}", f"{folder}/{source.rpartition('/')[2]}")
        ),
        None,
    )


def _base(word: str) -> str:
    return word.rpartition("/")[2]
