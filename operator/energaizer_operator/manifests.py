"""Manifests as people keep them: YAML or JSON, several in one file, with a place for each error."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

MAX_TEXT = 16 * 2**20


class ManifestError(ValueError):
    """A file is no manifest; the message names file, document and what to mend."""


@dataclass(frozen=True)
class Manifest:
    """One object, and where it stands."""

    source: str
    """File name, or `standard input`."""
    number: int
    """Which document of the file, from 1."""
    object: dict[str, Any]

    @property
    def kind(self) -> str:
        """Its kind, such as `Job`."""
        return str(self.object["kind"])

    @property
    def api_version(self) -> str:
        """Its group and version, such as `batch/v1`."""
        return str(self.object["apiVersion"])

    @property
    def name(self) -> str:
        """Its name, or a generated one's prefix, or nothing."""
        metadata = self.object["metadata"]
        return str(metadata.get("name") or metadata.get("generateName") or "")

    @property
    def namespace(self) -> str:
        """Its namespace; manifests that name none mean `default`."""
        return str(self.object["metadata"].get("namespace") or "default")

    @property
    def place(self) -> str:
        """Where to look, such as `jobs.yaml, document 2 (Job train)`."""
        return f"{self.source}, document {self.number} ({self.kind} {self.name or 'without name'})"


class _Loader(yaml.CSafeLoader):
    """YAML as kubectl reads it: a date stays text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def load(text: str, source: str) -> tuple[Manifest, ...]:
    """Return the objects of a file, those within a `List` one by one, empty documents left out.

    Raises:
        ManifestError: The text is no YAML, or a document is no Kubernetes object.
    """
    if len(text) > MAX_TEXT:
        raise ManifestError(f"{source}: larger than {MAX_TEXT // 2**20} MiB; split it")
    found: list[Manifest] = []
    for number, document in enumerate(_documents(text, source), start=1):
        if document is not None:
            found += [Manifest(source, number, item) for item in _items(document, source, number)]
    if not found:
        raise ManifestError(f"{source}: holds no manifest")
    return tuple(found)


def _documents(text: str, source: str) -> Iterator[Any]:
    try:
        yield from yaml.load_all(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ManifestError(f"{source}: {line}not YAML: {problem}") from None
    except (RecursionError, ValueError) as error:
        raise ManifestError(f"{source}: not YAML that can be read: {error}") from None


def _items(document: Any, source: str, number: int) -> Iterator[dict[str, Any]]:
    where = f"{source}, document {number}"
    if not isinstance(document, dict):
        raise ManifestError(f"{where}: is {_a(document)}, not an object with apiVersion and kind")
    for key in ("apiVersion", "kind"):
        if not isinstance(document.get(key), str) or not document[key]:
            raise ManifestError(f"{where}: has no {key}; every manifest names one")
    items = document.get("items")
    if document["kind"].endswith("List") and isinstance(items, list):
        for item in items:
            yield from _items(item, source, number)
        return
    metadata = document.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise ManifestError(f"{where}: metadata is {_a(metadata)}, not a map")
    _check_strings(metadata, where)
    yield document


def _check_strings(metadata: dict[str, Any], where: str) -> None:
    """Raise where the API server would: labels and annotations are text, even if they look else."""
    for part in ("labels", "annotations"):
        values = metadata.get(part)
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ManifestError(f"{where}: metadata.{part} is {_a(values)}, not a map")
        for key, value in values.items():
            if not isinstance(value, str):
                raise ManifestError(
                    f'{where}: metadata.{part}["{key}"] is {_a(value)}; write it in quotes: '
                    f'"{str(value).lower() if isinstance(value, bool) else value}"'
                )


def _a(value: object) -> str:
    names = {dict: "a map", list: "a list", str: "text", bool: "a truth value", type(None): "empty"}
    return names.get(type(value), "a number")


def tidy(document: dict[str, Any]) -> dict[str, Any]:
    """Return an object as a person would write it: kind on top, no status, nothing empty."""
    name = document["metadata"]["name"]
    spec = {key: value for key, value in document["spec"].items() if value not in ([], {}, None)}
    head = {"apiVersion": document["apiVersion"], "kind": document["kind"]}
    return {**head, "metadata": {"name": name}, "spec": spec}


def dump(documents: Sequence[dict[str, Any]]) -> str:
    """Return objects as the documents of one YAML file."""
    text = yaml.safe_dump_all(documents, sort_keys=False, width=100, default_flow_style=None)
    return text.rstrip()
