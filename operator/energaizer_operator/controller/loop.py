"""The loop around every reconciler: take a key, look, count, try again later if it failed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from energaizer_operator.cluster import Cluster, ClusterError
from energaizer_operator.events import Events
from energaizer_operator.informer import Informer
from energaizer_operator.metrics import Metrics, QueueState
from energaizer_operator.references import Carriers, References
from energaizer_operator.workqueue import WorkQueue

STAND_BACK_S = 1.0
_GLANCE_S = 0.05

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


class Result(StrEnum):
    """What a look at an object led to."""

    CHANGED = "changed"
    UNCHANGED = "unchanged"
    GONE = "gone"
    PENDING = "pending"
    """Done, but something that nobody watches was missing: look again, ever more seldom."""
    ERROR = "error"


@dataclass(frozen=True)
class Context:
    """What reconcilers share."""

    cluster: Cluster
    informer: Informer
    events: Events
    metrics: Metrics
    references: References
    carriers: Carriers

    @classmethod
    def of(cls, cluster: Cluster, informer: Informer, events: Events, metrics: Metrics) -> Context:
        """Return a context with its indexes."""
        references, carriers = References(informer.aiworkloads), Carriers(informer.workloads)
        return cls(cluster, informer, events, metrics, references, carriers)


class Reconciler(Protocol[K_contra]):
    """Brings one object to the state it should have; safe to repeat at any time."""

    async def reconcile(self, key: K_contra) -> Result:
        """Look at the object of `key` and do what is missing."""
        ...


@dataclass
class Loop(Generic[K]):
    """One kind: its queue, its reconciler, its workers."""

    name: str
    reconciler: Reconciler[K]
    metrics: Metrics
    known: Callable[[], Iterable[K]]
    """All keys, for a look at everything now and then."""
    workers: int
    queue: WorkQueue[K] = field(default_factory=WorkQueue)
    yields: Callable[[], bool] = lambda: False
    """Whether other work is so urgent that a look waits for it, STAND_BACK_S at most."""
    stopping: bool = False
    """Set at the end of the process: no look begins any more."""
    caught_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once what was there at the start has been looked at."""
    _left: int = 1
    """Looks until then."""
    _busy: int = 0

    def __post_init__(self) -> None:
        """Export the state of the queue."""
        self.metrics.queue(self.name, lambda: QueueState(len(self.queue), self.queue.oldest()))

    @property
    def idle(self) -> bool:
        """Whether no look is under way."""
        return self._busy == 0

    def add_all(self) -> None:
        """Ask for a look at every object."""
        for key in self.known():
            self.queue.add(key)

    async def run(self, resync_s: float) -> None:
        """Work for ever, and look at everything every `resync_s` seconds."""
        async with asyncio.TaskGroup() as group:
            for number in range(self.workers):
                group.create_task(self._work(), name=f"{self.name} worker {number}")
            group.create_task(self._resync(resync_s), name=f"{self.name} resync")

    async def _resync(self, period_s: float) -> None:
        self.add_all()
        self._left = len(self.queue)
        self._count(0)
        while True:
            await asyncio.sleep(period_s)
            self.add_all()

    async def _work(self) -> None:
        while True:
            key = await self.queue.take()
            await self._stand_back()
            if self.stopping:
                return
            self._busy += 1
            try:
                await self._look(key)
            finally:
                self._busy -= 1
                self._count(1)

    def _count(self, looks: int) -> None:
        """Count down the looks of the start: keys come in order, what was there first is first."""
        self._left -= looks
        if self._left <= 0 and not self.caught_up.is_set():
            self.caught_up.set()
            log.info("%s: caught up", self.name)

    async def _stand_back(self) -> None:
        last = time.monotonic() + STAND_BACK_S
        while self.yields() and not self.stopping and time.monotonic() < last:
            await asyncio.sleep(_GLANCE_S)

    async def _look(self, key: K) -> None:
        """Reconcile one key; no failure of one object ever ends the loop."""
        started = time.perf_counter()
        try:
            result = await self.reconciler.reconcile(key)
        except ClusterError as error:
            pause = self.queue.failed(key)
            log.warning("%s %s: %s; again in %.0f s", self.name, _shown(key), error, pause)
            result = Result.ERROR
        except Exception:
            pause = self.queue.failed(key)
            log.exception("%s %s: unexpected; again in %.0f s", self.name, _shown(key), pause)
            result = Result.ERROR
        else:
            if result is Result.PENDING:
                self.queue.failed(key)
            else:
                self.queue.done(key)
        self.metrics.reconcile(self.name, result, time.perf_counter() - started)


def _shown(key: Hashable) -> str:
    parts = key if isinstance(key, tuple) else (key,)
    return "/".join(str(part) for part in parts if part)
