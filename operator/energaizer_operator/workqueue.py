"""Keys to reconcile: each at most once in the queue, one at a time, later again if it failed.

A key says *look at this object*, never what happened to it, so ten events of one object are one
piece of work, and a lost event is made good by the next look.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BACKOFF_LEAST_S = 1.0
BACKOFF_MOST_S = 300.0


def backoff(failures: int, chance: float) -> float:
    """Return the pause after `failures` failures in a row, s: doubling, 80 to 100 % of it.

    Args:
        failures: How often the key failed since it last succeeded, at least 1.
        chance: A number in [0, 1) that spreads keys which failed together.
    """
    full: float = min(BACKOFF_LEAST_S * 2.0 ** min(failures - 1, 16), BACKOFF_MOST_S)
    return full * (1.0 - 0.2 * chance)


@dataclass
class WorkQueue(Generic[K]):
    """A set of keys in order of arrival."""

    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    _waiting: dict[K, float] = field(default_factory=dict)
    """Keys to hand out, and since when they are due, s."""
    _running: set[K] = field(default_factory=set)
    _again: set[K] = field(default_factory=set)
    """Keys that were added while they ran."""
    _failures: dict[K, int] = field(default_factory=dict)
    _timers: dict[K, asyncio.Handle] = field(default_factory=dict)
    _moments: dict[K, float] = field(default_factory=dict)
    """When those fire, in the loop's time: uvloop's do not tell where there is no delay."""
    _ready: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __len__(self) -> int:
        """Return the number of keys that are due and wait for a worker."""
        return len(self._waiting)

    def oldest(self) -> float:
        """Return for how long the oldest due key has waited, s; 0 if none waits."""
        return self.clock() - next(iter(self._waiting.values())) if self._waiting else 0.0

    def add(self, key: K) -> None:
        """Ask for a look at `key` now; on the event loop only."""
        self._moments.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = self.clock()
            self._wake()

    def add_after(self, key: K, delay_s: float) -> None:
        """Ask for a look at `key` in `delay_s` seconds, unless one is due or planned earlier."""
        if key in self._waiting or key in self._again:
            return
        loop = asyncio.get_running_loop()
        moment = loop.time() + delay_s
        planned = self._timers.get(key)
        if planned is not None:
            if self._moments[key] <= moment:
                return
            planned.cancel()
        self._moments[key] = moment
        self._timers[key] = loop.call_later(delay_s, self._due, key)

    async def take(self) -> K:
        """Wait for a due key, mark it as running and return it; then call `done` or `failed`."""
        async with self._ready:
            await self._ready.wait_for(lambda: bool(self._waiting))
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._running.add(key)
            return key

    def done(self, key: K) -> None:
        """Say that the look at `key` succeeded; its next failure waits the shortest pause."""
        self._failures.pop(key, None)
        self._finish(key)

    def failed(self, key: K) -> float:
        """Say that the look at `key` failed; return after how many seconds it comes again."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        pause = backoff(failures, self.chance())
        again = key in self._again
        self._finish(key)
        if not again:
            self.add_after(key, pause)
        return pause

    def _finish(self, key: K) -> None:
        self._running.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _wake(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._ready:
            self._ready.notify()
