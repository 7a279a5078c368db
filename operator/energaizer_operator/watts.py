"""Watts as a resource of Kubernetes: how many a node has, and how they are written.

Scheduler, quota and Kueue count amounts that nodes advertise and pods request. We only write both
numbers; who wrote which is decided elsewhere.
"""

from dataclasses import dataclass

MAX_WATTS = 10**9
_SUFFIXES = ((10**9, "G"), (10**6, "M"), (10**3, "k"))


@dataclass(frozen=True)
class Capacity:
    """What a node may draw."""

    watts: int
    problem: str = ""
    """What is wrong with what an administrator stated."""


def capacity(gpus: int, limit_watts: int | None, stated: str | None) -> Capacity | None:
    """Return what the GPUs of a node may draw together; None if nobody can say.

    A broken statement is none of a larger amount: such a node has nothing to give until it is
    mended, for the administrator wanted less than the GPUs' own limits.

    Args:
        gpus: GPUs of the node.
        limit_watts: Power limit of one of them, W; None for a GPU without a profile.
        stated: The administrator's annotation, if there is one.
    """
    if stated is not None:
        good = stated.isascii() and stated.isdigit() and len(stated) <= len(str(MAX_WATTS))
        if good and int(stated) <= MAX_WATTS:
            return Capacity(int(stated))
        shown = stated if len(stated) <= 40 else f"{stated[:39]}…"  # noqa: PLR2004 - one line
        return Capacity(0, f'"{shown}" is no whole number of watts from 0 to {MAX_WATTS}')
    if limit_watts is None or gpus <= 0:
        return None
    return Capacity(gpus * limit_watts)


def quantity(watts: int) -> str:
    """Return an amount as the API server writes it, such as `5600` or `12k`."""
    for factor, suffix in _SUFFIXES:
        if watts and watts % factor == 0:
            return f"{watts // factor}{suffix}"
    return str(watts)


def share(high_watts: int, gpus: int, of_gpus: int) -> int:
    """Return what a pod with `gpus` of a workload's GPUs may draw, rounded up, at least 1."""
    return max(1, -(-high_watts * gpus // max(1, of_gpus)))


def amount(text: object) -> int | None:
    """Return the watts of a quantity in a node's status; None if it is no whole number."""
    written = str(text)
    factor = next((factor for factor, suffix in _SUFFIXES if written.endswith(suffix)), 1)
    digits = written[:-1] if factor > 1 else written
    return int(digits) * factor if digits.isascii() and digits.isdigit() else None
