"""What people write for a model -> its name: ids, `hf://` addresses, local paths, images."""

import re
from collections.abc import Mapping

from energaizer_operator.runtimes.records import NO_LITERAL

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,126}(/[A-Za-z0-9][\w.-]{0,125})?", re.ASCII)
_REVISION = re.compile(r"[\w./-]{1,128}", re.ASCII)
_PLACEHOLDER = re.compile(
    r"[<>{}$`\s]|\b(your|my)[-_ ]?(org|model|repo|hf)"
    r"|change[-_]?me|replace[-_]?(me|with)|\bx{3,}\b",
    re.IGNORECASE,
)
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)", re.ASCII)
_HUB = ("hf://", "https://huggingface.co/", "http://huggingface.co/", "https://hf.co/")


def last_parts(names: Mapping[str, str]) -> dict[str, str]:
    """Return last part of each name -> what it means, ambiguous ones left out."""
    meanings: dict[str, set[str]] = {}
    for spoken, name in names.items():
        meanings.setdefault(_last(spoken).casefold(), set()).add(name)
    return {part: min(found) for part, found in meanings.items() if len(found) == 1}


def hidden(text: str) -> bool:
    """Return whether a text is no literal: a placeholder, or what only the cluster knows."""
    return NO_LITERAL in text or _PLACEHOLDER.search(text) is not None


def model_name(text: str, known: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return name and revision of a model; no name where the text does not tell it for sure.

    Args:
        text: An id of the Hub, an address, or a path inside the container.
        known: Last part of a name, in lower case -> name (`last_parts`).
    """
    if hidden(text):
        return None, None
    for prefix in _HUB:
        if text.startswith(prefix):
            name, _, revision = text.removeprefix(prefix).rstrip("/").partition(":")
            fine = _ID.fullmatch(name) and (not revision or _REVISION.fullmatch(revision))
            return (name, revision or None) if fine else (None, None)
    if cached := _CACHED.search(text):
        return f"{cached.group(1)}/{cached.group(2)}", None
    if _ID.fullmatch(text):
        return text, None
    return known.get(_last(text).casefold()), None


def vendor_name(text: str, known: Mapping[str, str]) -> str:
    """Return the name of a model that a vendor calls by its own organisation.

    NIM writes `llama3-8b-instruct` and `mixtral-8x7b-instruct-v01` for what the Hub calls
    `Meta-Llama-3-8B-Instruct` and `Mixtral-8x7B-Instruct-v0.1`.
    """
    last = _last(text).casefold()
    dotted = re.sub(r"-v0(\d)$", r"-v0.\1", last)
    for spelling in (last, dotted, re.sub(r"^llama3-", "meta-llama-3-", last)):
        if spelling in known:
            return known[spelling]
    return text


def tagged_name(text: str, known: Mapping[str, str]) -> str | None:
    """Return the model of Ollama's `llama3.1:8b`; None where its name and size tell none for sure.

    A tag without a size, or with more than a size, may be another model tomorrow.
    """
    name, _, tag = _last(text).casefold().partition(":")
    if not re.fullmatch(r"\d+(\.\d+)?b", tag, re.ASCII):
        return None
    spaced = re.sub(r"^(llama|gemma|phi)(?=\d)", r"\1-", name)
    return known.get(f"{name}-{tag}") or known.get(f"{spaced}-{tag}")


def _last(text: str) -> str:
    return text.rstrip("/").rpartition("/")[2]
