"""Models that are fetched before the server starts: which folder holds what.

KServe's storage initializer, `huggingface-cli download` and its younger name `hf download`, in an
init container or in the server's own script.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from energaizer_operator.runtimes import kubelet, shell

Json = Mapping[str, Any]
MOUNTED = "/mnt/models"
"""Where KServe puts a model."""
_COMMANDS = (("huggingface-cli", "download"), ("hf", "download"))
_CONTAINERS_MOST = 16


def places(pod_spec: Json) -> dict[str, str]:
    """Return folder -> id or address of the model that a pod fetches into it.

    A folder into which several are fetched is none: nobody can tell them apart.
    """
    found: dict[str, set[str]] = {}
    for section in ("initContainers", "containers"):
        for container in kubelet.items(pod_spec.get(section))[:_CONTAINERS_MOST]:
            for folder, source in _fetched(container):
                found.setdefault(folder.rstrip("/"), set()).add(source)
    return {folder: min(sources) for folder, sources in found.items() if len(sources) == 1}


def _fetched(container: Json) -> Iterator[tuple[str, str]]:
    variables = kubelet.environment(container)
    command = kubelet.words(container, "command", variables)
    arguments = kubelet.words(container, "args", variables)
    if container.get("name") == "storage-initializer" and arguments[1:2]:
        yield arguments[1], arguments[0]
    words = (*command, *arguments)
    for index, word in enumerate(words):
        if " " in word and "download" in word and not word.startswith("-"):
            for one in shell.commands(word, variables):
                yield from _downloaded(one.words)
        elif index == 0:
            yield from _downloaded(words)


def _downloaded(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield folder and model of one download command."""
    if words[:2] not in _COMMANDS:
        return
    folder, model = "", ""
    rest = iter(words[2:])
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag == "--local-dir":
            folder = value if equals else next(rest, "")
        elif not word.startswith("-") and not model:
            model = word
        elif word.startswith("--") and not equals and flag not in ("--quiet", "--force-download"):
            next(rest, None)
    if folder and model:
        yield folder, model
