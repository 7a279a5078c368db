"""The loop that works a queue off: what it tries again, survives, and lets wait."""

import asyncio

from energaizer_operator.cluster import Unreachable
from energaizer_operator.controller.loop import Loop, Result
from energaizer_operator.metrics import Metrics
from fake_cluster import settle


class Scripted:
    """Fails or succeeds as told."""

    def __init__(self, *script: Exception | Result) -> None:
        self.script = list(script)
        self.done = asyncio.Event()

    async def reconcile(self, _key: str) -> Result:
        step = self.script.pop(0)
        if not self.script:
            self.done.set()
        if isinstance(step, Exception):
            raise step
        return step


async def test_what_is_missing_is_looked_for_again() -> None:
    reconciler = Scripted(Result.PENDING, Result.CHANGED)
    loop: Loop[str] = Loop("test", reconciler, Metrics("1"), lambda: ["a"], 1)
    loop.queue.chance = lambda: 1.0
    task = asyncio.create_task(loop.run(600))
    await asyncio.wait_for(reconciler.done.wait(), 60)
    task.cancel()


async def test_no_failure_ends_the_loop() -> None:
    metrics = Metrics("1")
    reconciler = Scripted(Unreachable("no answer"), ValueError("bug"), Result.CHANGED)
    loop: Loop[str] = Loop("test", reconciler, metrics, lambda: ["a", "b", "c"], 1)
    task = asyncio.create_task(loop.run(600))
    await asyncio.wait_for(reconciler.done.wait(), 60)
    await settle()
    task.cancel()
    page = metrics.page().decode()
    assert 'reconcile_total{controller="test",result="error"} 2.0' in page
    assert 'reconcile_total{controller="test",result="changed"} 1.0' in page
    assert loop.idle


async def test_what_can_wait_stands_back_for_what_cannot_but_not_for_ever() -> None:
    reconciler = Scripted(Result.CHANGED)
    loop: Loop[str] = Loop("test", reconciler, Metrics("1"), lambda: ["a"], 1)
    loop.yields = lambda: True
    task = asyncio.create_task(loop.run(600))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not reconciler.done.is_set()
    loop.yields = lambda: False
    await asyncio.wait_for(reconciler.done.wait(), 30)
    task.cancel()
    endless = Scripted(Result.CHANGED)
    other: Loop[str] = Loop("test", endless, Metrics("1"), lambda: ["a"], 1)
    other.yields = lambda: True
    task = asyncio.create_task(other.run(600))
    await asyncio.wait_for(endless.done.wait(), 30)
    task.cancel()


async def test_loop_says_when_what_was_there_at_the_start_is_looked_at() -> None:
    empty: Loop[str] = Loop("test", Scripted(), Metrics("1"), list, 1)
    reconciler = Scripted(Result.CHANGED, Unreachable("no answer"), Result.CHANGED)
    loop: Loop[str] = Loop("test", reconciler, Metrics("1"), lambda: ["a", "b"], 1)
    loop.queue.chance = lambda: 1.0
    tasks = [asyncio.create_task(one.run(600)) for one in (empty, loop)]
    assert not loop.caught_up.is_set()
    for one in (empty, loop):
        await asyncio.wait_for(one.caught_up.wait(), 30)
    assert len(reconciler.script) == 1, "what failed is looked at again later"
    for task in tasks:
        task.cancel()
