"""Pod -> the container that computes -> the server that it starts -> what that states."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from energaizer_operator import owners
from energaizer_operator.runtimes import downloads, kubelet, serveconfig, shell
from energaizer_operator.runtimes.arguments import understand
from energaizer_operator.runtimes.models import vendor_name
from energaizer_operator.runtimes.records import NO_LITERAL, Call, Input, Reading, Runtime
from energaizer_operator.runtimes.tables import KSERVE, LLAMA_CPP, NIM, OLLAMA, RUNTIMES, VLLM
from energaizer_operator.runtimes.weights import gguf, ollama

Json = Mapping[str, Any]
_SHELLS = frozenset({"sh", "bash", "ash", "dash", "zsh"})
_WRAPPERS = frozenset({"exec", "nohup", "env", "tini", "dumb-init", "time", "uv", "run"})
_ASIDE = ("router", "proxy", "exporter", "metrics", "benchmark")
_DEEPEST = 3
_TEMPLATES_MOST = 16


def of_workload(pod_specs: Sequence[Json], serve_config: str, known: Mapping[str, str]) -> Reading:
    """Return what the pods of a workload state together, or its `serveConfigV2`.

    Leaders start a server and workers join it, so most say nothing; those that speak must agree.

    Args:
        pod_specs: One of each template.
        serve_config: Of a RayService; empty for others.
        known: Last part of a model's name, in lower case -> name (`last_parts`).
    """
    if serve_config:
        return serveconfig.read(serve_config, known)
    found: list[Reading] = []
    for pod_spec in pod_specs[:_TEMPLATES_MOST]:
        reading = read(pod_spec, known)
        if (reading.values or reading.unknown) and reading not in found:
            found.append(reading)
    if len(found) > 1:
        why = "differs between the pods of the workload"
        return Reading(unknown={Input.MODEL: why, Input.TENSOR: why})
    return found[0] if found else Reading()


def read(pod_spec: Json, known: Mapping[str, str]) -> Reading:
    """Return what a pod states in command, arguments and environment of its GPU container.

    Args:
        pod_spec: Spec of the pod, of any shape.
        known: Last part of a model's name, in lower case -> name (`last_parts`).
    """
    containers = kubelet.items(pod_spec.get("containers"))
    computing = [one for one in containers if owners.gpus_of(one)]
    if not computing and len(containers) == 1:
        computing = containers  # its GPU is a claim
    readings = [_container(one, pod_spec, known) for one in computing[:16]]
    if not readings:
        return Reading()
    if any(reading != readings[0] for reading in readings):
        why = "differs between the containers that ask for GPUs"
        return Reading(unknown={Input.MODEL: why, Input.TENSOR: why})
    return readings[0]


def _container(container: Json, pod_spec: Json, known: Mapping[str, str]) -> Reading:
    found: list[Reading] = []
    places = downloads.places(pod_spec)
    for call in _calls(container):
        if call.runtime is NIM:
            reading = _nim(container, call, known)
        elif call.runtime is LLAMA_CPP:
            reading = gguf(call, known)
        elif call.runtime is OLLAMA:
            reading = ollama(call, known)
        else:
            reading = understand(_mounted(call, places), known)
        if reading not in found:
            found.append(reading)
    if len(found) > 1:
        why = "differs between the servers that one container starts"
        return Reading(unknown={Input.MODEL: why, Input.TENSOR: why})
    return found[0] if found else Reading()


def _calls(container: Json) -> Iterator[Call]:
    """Yield the servers that a container starts."""
    variables = kubelet.environment(container)
    command = kubelet.words(container, "command", variables)
    arguments = kubelet.words(container, "args", variables)
    gpus = sum(owners.gpus_of(container).values())
    if container.get("envFrom"):
        # What a server reads from its environment may be there too, unseen.
        unseen = {name for one in RUNTIMES for name in one.variables}
        variables = dict.fromkeys(unseen, NO_LITERAL) | variables
    named = list(_started((*command, *arguments), variables, gpus))
    if named:
        yield from named
        return
    runtime = None if command else _runtime_of(container.get("image"))
    first = arguments[0] if arguments else "-"
    if runtime is not None and (first.startswith(("-", NO_LITERAL)) or runtime.positional):
        yield Call(runtime, arguments, variables, gpus)


def _started(
    words: tuple[str, ...], variables: Mapping[str, str], gpus: int, depth: int = 0
) -> Iterator[Call]:
    """Yield the servers that some words start, by themselves or through a shell."""
    while words and (
        _base(words[0]) in _WRAPPERS
        or (depth and words[0].startswith("-"))
        or ("=" in words[0] and not words[0].startswith("-"))
    ):
        name, assigned, value = words[0].partition("=")
        if assigned:
            variables = {**variables, name: value}
        words, depth = words[1:], max(depth, 1)
    if not words:
        return
    if _base(words[0]) in _SHELLS:
        script = _script(words[1:])
        for command in shell.commands(script, variables) if depth < _DEEPEST and script else ():
            yield from _started(command.words, command.variables, gpus, depth + 1)
        return
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


def _script(words: tuple[str, ...]) -> str | None:
    """Return the text that a shell is given by `-c`; None where it runs a file."""
    wanted = False
    rest = iter(words)
    for word in rest:
        if not word.startswith(("-", "+")):
            return word if wanted else None
        wanted = wanted or (not word.startswith("--") and "c" in word)
        if word.endswith("o") and not word.startswith("--"):
            next(rest, None)
    return None


def _runtime_of(image: Any) -> Runtime | None:
    parts = _repository(image)
    if not parts or any(word in parts[-1] for word in _ASIDE):
        return None
    if "nim" in parts[:-2]:
        return NIM
    for runtime in RUNTIMES:
        if any(mark in parts[-1] for mark in runtime.images):
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
    name = "/".join(parts[-2:])
    if Input.MODEL in {**reading.values, **reading.unknown} or "llm-nim" in name:
        return reading
    return Reading({**reading.values, Input.MODEL: vendor_name(name, known)}, reading.unknown)


def _mounted(call: Call, places: Mapping[str, str]) -> Call:
    """Return the call with what was fetched beforehand instead of where that was put."""
    words = list(call.words)
    for index, word in enumerate(words):
        flag, equals, value = word.rpartition("=")
        source = places.get(value.rstrip("/"))
        if source is not None:
            words[index] = f"{flag}{equals}{source}"
    source = places.get(downloads.MOUNTED)
    named = any("model" in word and "name" not in word for word in words)
    if call.runtime is KSERVE and source is not None and not named:
        words.append(f"--model-dir={source}")
    return Call(call.runtime, tuple(words), call.environment, call.gpus)


def _base(word: str) -> str:
    return word.rpartition("/")[2]
