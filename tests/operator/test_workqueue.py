import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from energaizer_operator.workqueue import WorkQueue, backoff


async def test_ten_events_of_one_object_are_one_piece_of_work() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(10):
        queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    assert [await queue.take(), await queue.take()] == ["a", "b"]


async def test_key_that_changes_while_it_runs_runs_again_and_never_beside_itself() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.take()
    queue.add("a")
    assert len(queue) == 0
    queue.done(key)
    assert len(queue) == 1
    assert await queue.take() == "a"


def test_pause_doubles_from_one_second_to_five_minutes() -> None:
    assert [backoff(n, 0.0) for n in (1, 2, 3, 9, 10, 50)] == [1, 2, 4, 256, 300, 300]
    assert backoff(1, 1.0) == pytest.approx(0.8)


async def test_failed_key_comes_back_later_and_success_resets_the_pause() -> None:
    queue: WorkQueue[str] = WorkQueue(chance=lambda: 0.0)
    queue.add("a")
    assert queue.failed(await queue.take()) == 1.0
    assert len(queue) == 0
    queue.add("a")  # an event beats the pause
    assert queue.failed(await queue.take()) == 2.0
    queue.add("a")
    queue.done(await queue.take())
    queue.add("a")
    assert queue.failed(await queue.take()) == 1.0


async def test_failed_key_that_changed_meanwhile_is_due_at_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    key = await queue.take()
    queue.add("a")
    queue.failed(key)
    assert len(queue) == 1


async def test_planned_key_becomes_due_and_the_earlier_plan_wins() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60.0)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60.0)
    assert await asyncio.wait_for(queue.take(), 60) == "a"


async def test_age_of_the_oldest_key() -> None:
    now = [10.0]
    queue: WorkQueue[str] = WorkQueue(clock=lambda: now[0])
    assert queue.oldest() == 0.0
    queue.add("a")
    now[0] = 12.0
    queue.add("b")
    now[0] = 15.0
    assert queue.oldest() == 5.0
    await queue.take()
    assert queue.oldest() == 3.0


@pytest.mark.parametrize("loops", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_key_planned_for_now_may_be_planned_again(loops: Callable[[], Any]) -> None:
    async def plan() -> str:
        queue: WorkQueue[str] = WorkQueue()
        for delay_s in (0.0, 5.0, 0.0):
            queue.add_after("a", delay_s)
        return await asyncio.wait_for(queue.take(), 60)

    with asyncio.Runner(loop_factory=loops) as runner:
        assert runner.run(plan()) == "a"
