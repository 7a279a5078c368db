"""What people write for a model -> its name: ids, `hf://` addresses, local paths, images."""

import re
from collections.abc import Mapping

from energaizer_operator.runtimes.records import NO_LITERAL

_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,126}(/[A-Za-z0-9][\w.-]{0,125})?", re.ASCII)
_REVISION = re.compile(r"[\w./-]{1,128}", re.ASCII)
_PLACEHOLDER = re.compile(
    r"[<>{}$`\s]|\byour[-_/]|\b(your|my)[-_ ]?(org|model|repo|hf)"
    r"|change[-_]?me|replace[-_]?(me|with)|placeholder|\bx{3,}\b"
    r"|^(path|org|organi[sz]ation|user(name)?|namespace|owner|vendor)/"
    r"|^(hf[-_]|huggingface[-_])?model[-_]?(name|id|path|repo)$",
    re.IGNORECASE,
)
_SHOUTED = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_FOLDERS = frozenset(
    {"model", "models", "weights", "data", "mnt", "checkpoint", "checkpoints", "ckpt", "output"}
    | {"outputs", "workspace", "app", "home", "root", "cache", "tmp", "local", "pretrained"}
)
"""First parts of relative paths that look like an organisation of the Hub."""
_CACHED = re.compile(r"models--([\w.-]+?)--([\w.-]+)", re.ASCII)
_HUB = ("hf://", "https://huggingface.co/", "http://huggingface.co/", "https://hf.co/")
_FILE_OF_HUB = re.compile(r"/(?:resolve|blob|tree)/([\w.-]+)(?:/.*)?", re.ASCII)


def last_parts(names: Mapping[str, str]) -> dict[str, str]:
    """Return last part of each name, in lower case -> its full id; ambiguous ones left out.

    Args:
        names: Every name and alias of the known models -> the name that it stands for.
    """
    meanings: dict[str, dict[str, str]] = {}
    for spoken, name in names.items():
        found = meanings.setdefault(_last(spoken).casefold(), {})
        found[spoken], found[name] = name, name
    known = {}
    for part, found in meanings.items():
        if len(set(found.values())) == 1:
            ids = [one for one in found if _last(one).casefold() == part and "/" in one]
            owner = next(iter(found.values())).partition("/")[0]
            known[part] = min(
                ids or list(found.values()), key=lambda one: (one.partition("/")[0] != owner, one)
            )
    return known


def hidden(text: str) -> bool:
    """Return whether a text is no literal: a placeholder, or what only the cluster knows."""
    shouted = _SHOUTED.fullmatch(text) is not None
    return NO_LITERAL in text or shouted or _PLACEHOLDER.search(text) is not None


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
            address = _FILE_OF_HUB.sub(r":\1", text.removeprefix(prefix).rstrip("/"))
            name, _, revision = address.partition(":")
            fine = _ID.fullmatch(name) and (not revision or _REVISION.fullmatch(revision))
            return (name, revision or None) if fine else (None, None)
    if cached := _CACHED.search(text):
        return f"{cached.group(1)}/{cached.group(2)}", None
    if _ID.fullmatch(text) and text.partition("/")[0].casefold() not in _FOLDERS:
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


_USUAL_SIZES = {
    "llama2": "7b", "llama3": "8b", "llama3.1": "8b", "llama3.2": "3b", "llama3.3": "70b",
    "mistral": "7b", "mixtral": "8x7b", "gemma": "7b", "gemma2": "9b", "gemma3": "4b",
    "qwen2": "7b", "qwen2.5": "7b", "codellama": "7b", "tinyllama": "1.1b", "phi4": "14b",
}  # fmt: skip
"""Ollama's names -> size that its table of models gives for the name alone, of closed families."""
_TAG = re.compile(r"((?:\d+x)?\d+(?:\.\d+)?b)(-(?:instruct|chat|it|text))?(-[\w.]+)?", re.ASCII)


def tagged_name(text: str, known: Mapping[str, str]) -> str | None:
    """Return the model of Ollama's `llama3.1:8b`; None where its name and size tell none for sure.

    A tag that holds more than size, kind and quantisation may be another model.
    """
    name, _, tag = _last(text).casefold().partition(":")
    usual = _USUAL_SIZES.get(name, "") if tag in ("", "latest") else tag
    said = _TAG.fullmatch(usual)
    if said is None:
        return None
    spaced = re.sub(r"^(llama|gemma|phi)-?(?=\d)", r"\1-", name)
    sizes = [f"{said[1]}{said[2] or ''}", said[1]]
    spellings = [f"{one}-{size}" for size in sizes for one in (name, spaced)]
    if _USUAL_SIZES.get(name) == said[1]:
        spellings.append(spaced)  # of one size, which its name may leave out: `phi-4`
    return next((known[one] for one in spellings if one in known), None)


def _last(text: str) -> str:
    return text.rstrip("/").rpartition("/")[2]
