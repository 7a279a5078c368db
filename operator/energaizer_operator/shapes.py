"""Reading plain objects whose shape nobody checked: what is not understood counts as absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
_MAPS, _LISTS = (dict, Mapping), (list, Sequence)  # what JSON has first: an abstract class is slow


def mapping(value: object) -> Json:
    """Return a map, or an empty one."""
    if value is None:  # most are absent, which an abstract class takes long to tell
        return {}
    return value if isinstance(value, _MAPS) else {}


def items(value: object) -> list[Json]:
    """Return the maps of a list."""
    if value is None or not isinstance(value, _LISTS) or isinstance(value, str | bytes):
        return []
    return [entry for entry in value if isinstance(entry, _MAPS)]


def text(value: object) -> str:
    """Return a text, or an empty one."""
    return value if isinstance(value, str) else ""


def texts(value: object) -> dict[str, str]:
    """Return the texts of a map."""
    return {
        key: entry
        for key, entry in mapping(value).items()
        if isinstance(key, str) and isinstance(entry, str)
    }


def count(value: object) -> int | None:
    """Return a whole number from 0; None if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def at(obj: object, *path: str) -> Json:
    """Return the map at a path of maps, or an empty one."""
    for part in path:
        obj = mapping(obj).get(part)
    return mapping(obj)
