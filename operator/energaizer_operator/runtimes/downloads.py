"""Models that are fetched before the server starts: which folder or file holds what.

KServe's storage initializer, `huggingface-cli download` and its younger name `hf download`,
`snapshot_download` of Python, `git clone`, `curl` and `wget` from the Hub, in an init container or
in the server's own script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from energaizer_operator.runtimes import kubelet, shell
from energaizer_operator.runtimes.records import NO_LITERAL
from energaizer_operator.shapes import items

Json = Mapping[str, Any]
MOUNTED = "/mnt/models"
"""Where KServe puts a model."""
_COMMANDS: Mapping[tuple[str, ...], tuple[tuple[str, ...], str, bool]] = {
    ("huggingface-cli", "download"): (("--local-dir",), "", True),
    ("hf", "download"): (("--local-dir",), "", True),
    ("modelscope", "download"): (("--local_dir",), "--model", True),
    ("aibrix_download",): (("--local-dir",), "--model-uri", True),
    ("git", "clone"): ((), "", False),
    ("git", "lfs", "clone"): ((), "", False),
    ("curl",): (("-o", "--output", "-Lo", "-fLo", "-fsSLo", "-sLo"), "", False),
    ("wget",): (("-O", "--output-document", "-qO"), "", False),
}
"""Command -> flags of where to, flag of what, and whether the rest names a model of the Hub."""
_HUB = ("https://huggingface.co/", "https://hf.co/")
_SWITCHES = ("--quiet", "--force-download", "--resume-download")
_INITIALIZER = "model-initializer"
_MARKS = ("download", "git", "curl", "wget")
_SNAPSHOT = re.compile(r"snapshot_download\(([^()]{1,1000})\)")
_NAMED = re.compile(r"(repo_id|local_dir)\s*=\s*['\"]([^'\"]{1,253})['\"]")
_FIRST = re.compile(r"\s*['\"]([^'\"]{1,253})['\"]")
_CONTAINERS_MOST = 16


def places(pod_spec: Json) -> dict[str, str]:
    """Return folder -> id or address of the model that a pod fetches into it.

    A folder into which several are fetched is none: nobody can tell them apart.
    """
    found: dict[str, set[str]] = {}
    for section in ("initContainers", "containers"):
        for container in items(pod_spec.get(section))[:_CONTAINERS_MOST]:
            for folder, source in _fetched(container):
                found.setdefault(folder.rstrip("/"), set()).add(source)
    return {folder: min(sources) for folder, sources in found.items() if len(sources) == 1}


def initialized(pod_specs: Iterable[Json]) -> str | None:
    """Return what the one model initializer among the pods of a training fetches; None if none."""
    found = {
        kubelet.environment(container).get("STORAGE_URI", NO_LITERAL)
        for pod_spec in pod_specs
        for section in ("initContainers", "containers")
        for container in items(pod_spec.get(section))[:_CONTAINERS_MOST]
        if container.get("name") == _INITIALIZER
    }
    return found.pop() if len(found) == 1 else None


def _fetched(container: Json) -> Iterator[tuple[str, str]]:
    variables = kubelet.environment(container)
    command = kubelet.words(container, "command", variables)
    arguments = kubelet.words(container, "args", variables)
    if container.get("name") == "storage-initializer" and arguments[1:2]:
        yield arguments[1], arguments[0]
    words = (*command, *arguments)
    if not words:
        return
    yield from _downloaded(words)
    for word in words[1:]:
        if not word.startswith("-") and any(mark in word for mark in _MARKS):
            for one in shell.commands(word, variables):
                yield from _downloaded(one.words)
            yield from _by_python(word)


def _by_python(text: str) -> Iterator[tuple[str, str]]:
    """Yield folder and model of each `snapshot_download` whose arguments are literal."""
    for call in _SNAPSHOT.finditer(text):
        named = dict(_NAMED.findall(call.group(1)))
        first = _FIRST.match(call.group(1))
        model = named.get("repo_id") or (first.group(1) if first else "")
        if model and named.get("local_dir"):
            yield named["local_dir"], model


def _downloaded(words: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield folder or file, and model or address, of one command that downloads."""
    for start, (into, source, plain) in _COMMANDS.items():
        if words[: len(start)] == start:
            place, model = _parted(words[len(start) :], into, source, plain)
            if place and model and (plain or model.startswith(_HUB)):
                yield place, model


def _parted(
    words: tuple[str, ...], into: tuple[str, ...], source: str, plain: bool
) -> tuple[str, str]:
    """Return where a download goes and what it is, as far as its words say."""
    free: list[str] = []
    named = {}
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag in (*into, source):
            named[flag] = value if equals else next(rest, "")
        elif not word.startswith("-"):
            free.append(word)
        elif plain and word.startswith("--") and not equals and flag not in _SWITCHES:
            next(rest, None)
    place = next((named[flag] for flag in into if flag in named), "")
    if not into:  # git clone ADDRESS FOLDER
        place = free[1] if len(free) > 1 else ""
    if not plain:
        free = [word for word in free if word.startswith(_HUB)]
    return place, named.get(source) or (free[0] if free else "")
