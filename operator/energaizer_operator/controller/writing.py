"""Writing a status: by server-side apply, and only if it says something new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from energaizer_operator.cluster import Cluster, Missing, Object
from energaizer_operator.controller.loop import Result
from energaizer_operator.informer import ObjectRecord
from energaizer_operator.kinds import ApiResource
from energaizer_operator.schema import Base

_TIMES = ("estimateTime", "lastTransitionTime", "lastSampleTime")


async def write_status(
    cluster: Cluster,
    resource: ApiResource,
    record: ObjectRecord,
    wanted: Base,
    wrote: Callable[[Object], object] = lambda _answer: None,
) -> Result:
    """Apply `wanted` as the status of an object, unless it differs from the present in time only.

    The present one is what our own watch last saw. If that is stale we write once too often, which
    the API server recognises as no change. The metadata after a write are handed to `wrote`.
    """
    body = wanted.to_dict()
    if same(record.body.get("status") or {}, body):
        return Result.UNCHANGED
    try:
        wrote(
            await cluster.apply_status(
                resource, record.name, record.namespace or None, body, metadata_only=True
            )
        )
    except Missing:
        return Result.GONE
    return Result.CHANGED


def same(present: Any, wanted: Any) -> bool:
    """Say whether two statuses agree in all but times; empty and absent are alike."""
    if present == wanted:
        return True
    left, right = ({} if value in (None, "", []) else value for value in (present, wanted))
    if isinstance(left, dict) and isinstance(right, dict):
        names = (left.keys() | right.keys()).difference(_TIMES)
        return all(same(left.get(name), right.get(name)) for name in names)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)
