"""Kueue's AdmissionChecks: our verdict at the moment when a workload has its quota.

Kueue suspends, queues and assigns a flavor; by then the GPU is known exactly, and we say whether
the workload may start. Where Kueue is not installed nothing runs here but a question now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from energaizer_operator.cluster import ClusterError, Missing
from energaizer_operator.controller import verdicts
from energaizer_operator.controller.loop import Context, Loop, Result
from energaizer_operator.controller.queued import Queued, Queues, problem_of
from energaizer_operator.decision import World
from energaizer_operator.estimation import Estimator
from energaizer_operator.informer import Key, ObjectRecord, Store
from energaizer_operator.kinds import ADMISSIONCHECKS
from energaizer_operator.names import KUEUE_CONTROLLER
from energaizer_operator.queueing import is_ours

log = logging.getLogger(__name__)

_ASK_S = 10.0
"""How often to ask whether Kueue has come."""


class Kueue:
    """Follows AdmissionChecks that name us and the Workloads that wait for one."""

    def __init__(
        self,
        context: Context,
        estimator: Estimator,
        world: Callable[[], World],
        *,
        enabled: bool,
        retry_s: int,
    ) -> None:
        """Judge by what `world` returns; what has to wait is asked about after `retry_s`."""
        self._context, self._enabled = context, enabled
        self._queues = queues = Queues()
        self.loops: tuple[Loop[Any], ...] = (
            Loop(
                "admissioncheck",
                Checks(context, queues.checks),
                context.metrics,
                queues.checks.keys,
                1,
            ),
            Loop(
                "queued",
                Queued(context, queues, estimator, world, retry_s),
                context.metrics,
                queues.queued.keys,
                2,
            ),
        )
        queues.checks.subscribe(lambda key, _: self._check_changed(key))
        queues.queued.subscribe(lambda key, _: self.loops[1].queue.add(key))
        context.informer.energypolicies.subscribe(lambda *_: self.loops[0].add_all())

    async def run(self, resync_s: float) -> None:
        """Work for ever, once Kueue is there."""
        if not self._enabled:
            return
        while not await self._served():
            await asyncio.sleep(_ASK_S)
        log.info("Kueue is here: answering its AdmissionChecks for %s", KUEUE_CONTROLLER)
        async with asyncio.TaskGroup() as group:
            queues = self._queues
            for store in (queues.checks, queues.flavors, queues.queued):
                group.create_task(store.run(self._context.cluster), name=store.resource.plural)
            await queues.checks.wait()
            await queues.flavors.wait()
            for loop in self.loops:
                group.create_task(loop.run(resync_s), name=loop.name)

    def _check_changed(self, key: Key) -> None:
        self.loops[0].queue.add(key)
        self.loops[1].add_all()

    async def _served(self) -> bool:
        """Say whether there are AdmissionChecks, and we may read them."""
        try:
            async for _ in self._context.cluster.pages(ADMISSIONCHECKS):
                return True
        except Missing:
            pass
        except ClusterError as error:
            log.warning("whether Kueue is here: %s", error)
        return False


class Checks:
    """Says of each AdmissionCheck of ours whether we answer it."""

    def __init__(self, context: Context, checks: Store[ObjectRecord]) -> None:
        """Share what reconcilers share."""
        self._context, self._checks = context, checks

    async def reconcile(self, key: Key) -> Result:
        """Write the condition `Active`."""
        record = self._checks.get(key[1])
        if record is None:
            return Result.GONE
        if not is_ours(record.body):
            return Result.UNCHANGED
        problem = problem_of(record, self._context)
        wanted = verdicts.active(record.body, problem, datetime.now(UTC))
        if wanted is None:
            return Result.UNCHANGED
        await self._context.cluster.apply_status(ADMISSIONCHECKS, record.name, None, wanted)
        return Result.CHANGED
