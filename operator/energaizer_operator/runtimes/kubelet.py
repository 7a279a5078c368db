"""Environment and `$(VAR)` of a container, as the kubelet expands them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from energaizer_operator.runtimes.records import NO_LITERAL
from energaizer_operator.shapes import items

MAX_TEXT = 2**16
MAX_WORDS = 2048
_REFERENCE = re.compile(r"\$(?:\$|\(([^()$\s]{1,253})\))")


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of a container; what no literal states is NO_LITERAL."""
    found: dict[str, str] = {}
    for entry in items(container.get("env"))[:MAX_WORDS]:
        name, value = entry.get("name"), entry.get("value")
        if not isinstance(name, str):
            continue
        if entry.get("valueFrom") is not None or not isinstance(value, str | None):
            found[name] = NO_LITERAL
        else:
            found[name] = expand(clean(value or ""), found)
    return found


def words(container: Mapping[str, Any], key: str, variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the words of `command` or `args`, expanded."""
    entries = container.get(key)
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        return ()
    texts = (entry if isinstance(entry, str) else NO_LITERAL for entry in entries[:MAX_WORDS])
    return tuple(expand(clean(text), variables) for text in texts)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Return a text with `$(VAR)` replaced; `$$` is `$`; what is unknown stays as it is."""

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        return "$" if name is None else variables.get(name, match.group(0))

    return _REFERENCE.sub(replace, text)[:MAX_TEXT] if "$" in text else text


def clean(text: str) -> str:
    """Return a text of bearable length; one that is longer cannot be known."""
    return text.replace(NO_LITERAL, " ") if len(text) <= MAX_TEXT else NO_LITERAL
