"""Held Jobs: in which order they are let go, what each needs, and how it is let go."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterable

from energaizer_operator.cluster import Missing, Object, Refused
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.pricing import Priced, Pricing
from energaizer_operator.events import Subject
from energaizer_operator.informer import WorkloadRecord
from energaizer_operator.kinds import CHARGED, PRIORITYCLASSES
from energaizer_operator.names import ANNOTATION_HELD, EventReason

log = logging.getLogger(__name__)

_KEPT_S = 60.0
_HELD = f"/metadata/annotations/{ANNOTATION_HELD.replace('/', '~1')}"


class Holds:
    """Prices held workloads and lets them go."""

    def __init__(self, context: Context, pricing: Pricing) -> None:
        """Remember nothing yet."""
        self._context, self._pricing = context, pricing
        self._priced: dict[tuple[str, str, int], tuple[float, Priced]] = {}
        """By namespace, UID and generation."""
        self._priorities: dict[str, tuple[float, int]] = {}

    async def queue(self, records: Iterable[WorkloadRecord]) -> list[WorkloadRecord]:
        """Return held workloads in their order: by priority, then by age, then by name.

        One that does not fit is passed over, so that joules do not lie idle; at the begin of the
        next window it is older than all that overtook it.
        """
        ranked = [(await self._priority(one), one) for one in records if one.life.held]
        ranked.sort(key=lambda pair: (-pair[0], pair[1].life.created, pair[1].name))
        return [record for _, record in ranked]

    async def price(self, record: WorkloadRecord) -> Priced | None:
        """Return what a held workload would be charged, at most a minute old."""
        key = (record.namespace, record.uid, record.generation)
        kept = self._priced.get(key)
        if kept is not None and time.monotonic() - kept[0] < _KEPT_S:
            return kept[1]
        priced = await self._pricing.of((record.kind, record.namespace, record.name))
        if priced is not None and priced.reference.uid != record.uid:
            priced = None
        if priced is not None and priced.estimate is not None:  # what is missing may come soon
            self._priced[key] = (time.monotonic(), priced)
        return priced

    async def release(self, record: WorkloadRecord, why: str) -> bool:
        """Let a workload go: one patch takes the mark and the suspension away together."""
        operations: list[Object] = [
            {"op": "test", "path": "/metadata/uid", "value": record.uid},
            {"op": "remove", "path": _HELD},
            {"op": "add", "path": "/spec/suspend", "value": False},
        ]
        resource = CHARGED[record.kind]
        try:
            body = await self._context.cluster.patch(
                resource, record.name, record.namespace, operations
            )
        except (Missing, Refused) as error:  # gone, or another has let it go already
            log.info("%s %s not released: %s", record.kind, record.name, error)
            return False
        body.setdefault("apiVersion", resource.api_version)
        body.setdefault("kind", resource.kind)
        log.info("released", extra={"namespace": record.namespace, "workload": record.name})
        await self._context.events.emit(
            Subject.of(body), EventReason.BUDGET_RELEASED, why, action="Release"
        )
        return True

    def forget(self, namespace: str, living: Container[str]) -> None:
        """Drop prices of what a namespace holds no longer."""
        past = [key for key in self._priced if key[0] == namespace and key[1] not in living]
        for key in past:
            del self._priced[key]

    async def _priority(self, record: WorkloadRecord) -> int:
        name = record.life.priority_class
        if not name:
            return 0
        kept = self._priorities.get(name)
        if kept is None or time.monotonic() - kept[0] > _KEPT_S:
            found = await self._context.cluster.find(PRIORITYCLASSES, name)
            kept = (time.monotonic(), int(found["value"]) if found else 0)
            self._priorities[name] = kept
        return kept[1]
