"""The way up from an object to its root, through what controls it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from energaizer_operator.owners.description import Owner, controller_of

_DEPTH_MOST = 5
"""A CronJob's Job's pod has two; more than this is a circle or no workload of anybody's."""


async def above(
    owner: Owner | None, read: Callable[[Owner], Awaitable[dict[str, Any] | None]]
) -> AsyncIterator[dict[str, Any]]:
    """Yield the controllers above an object, its own first, as far as they can be read.

    Args:
        owner: What controls the object; None if nothing does.
        read: Returns the object that a reference names, or None. One of the same name that was
            made anew is not the owner.
    """
    for _ in range(_DEPTH_MOST):
        body = None if owner is None else await read(owner)
        if owner is None or body is None or body["metadata"].get("uid", "") != owner.uid:
            return
        yield body
        owner = controller_of(body)
