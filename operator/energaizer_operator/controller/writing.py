"""Writing a status: by server-side apply, and only if it says something new."""

from __future__ import annotations

from typing import Any

from energaizer_operator.cluster import Cluster, Missing, Object
from energaizer_operator.controller.loop import Result
from energaizer_operator.informer import ObjectRecord
from energaizer_operator.kinds import ApiResource
from energaizer_operator.schema import Base

_TIMES = ("estimateTime", "lastTransitionTime", "lastSampleTime")


async def write_status(
    cluster: Cluster, resource: ApiResource, record: ObjectRecord, wanted: Base
) -> Result:
    """Apply `wanted` as the status of an object, unless it differs from the present in time only.

    The present one is what our own watch last saw. If that is stale we write once too often, which
    the API server recognises as no change.
    """
    body = wanted.to_dict()
    if same(record.body.get("status") or {}, body):
        return Result.UNCHANGED
    try:
        await cluster.apply_status(resource, record.name, record.namespace or None, body)
    except Missing:
        return Result.GONE
    return Result.CHANGED


def same(present: Object, wanted: Object) -> bool:
    """Say whether two statuses agree in all but times; empty and absent are alike."""
    return bool(_timeless(present) == _timeless(wanted))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: _timeless(part) for key, part in value.items() if key not in _TIMES}
        return {key: part for key, part in kept.items() if part not in (None, [], {}, "")}
    if isinstance(value, list | tuple):
        return [_timeless(part) for part in value]
    return value
