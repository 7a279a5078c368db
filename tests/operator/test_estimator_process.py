"""The estimator in a process of its own: the same answers, and what if it ends or hangs."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from annotated import LLAMA
from elsewhere import children_of, in_thread
from energaizer_operator import estimation
from energaizer_operator.estimation import Estimator, Question, Setting, process
from energaizer_operator.estimation.process import EstimatorProcess
from energaizer_operator.estimation.timely import TimelyEstimator
from energaizer_operator.estimation.wire import Frames, Reply, Task, framed
from energaizer_operator.names import Reason

NOW = datetime(2026, 11, 29, tzinfo=UTC)
PATIENCE_S = 90.0


def now() -> datetime:
    return NOW


def question(requests: int = 1000, settings: tuple[Setting, ...] = (Setting(),)) -> Question:
    profile = next(p for p in estimation.catalogue() if p.metadata.name == "h100-sxm5-80gb")
    inputs = replace(LLAMA, requests=requests)
    return Question(inputs, profile, estimation.digest_of(profile), settings)


@asynccontextmanager
async def running() -> AsyncIterator[tuple[EstimatorProcess, TimelyEstimator]]:
    there = EstimatorProcess("text", "warning")
    keeping = asyncio.create_task(there.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await there.ready()
        yield there, TimelyEstimator(there, deadline_s=PATIENCE_S, now=now)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


def children() -> set[int]:
    """Return the processes that this one has started and that have not ended."""
    me = os.getpid()
    return {number for number in children_of(me) if _alive(number, me)}


def _alive(number: int, parent: int) -> bool:
    try:
        state, above = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[:2]
    except OSError:
        return False
    return state != "Z" and int(above) == parent


async def gone(numbers: set[int]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while numbers & children():
            await asyncio.sleep(0.02)


async def test_it_answers_as_the_estimator_itself_does_and_ends_with_us() -> None:
    before = children()
    asked = [
        question(),
        replace(question(), inputs=replace(LLAMA, model_name="nobody")),
        question(7, (Setting(), Setting(1200), Setting(None, 500), Setting(1410))),
    ]
    async with running() as (_, timely):
        started = children() - before
        assert len(started) == 1
        assert await timely.answers(asked) == Estimator(now=now).answer_all(asked)
    await gone(started)


async def test_when_it_is_killed_everybody_gets_a_bound_and_a_new_one_starts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = children()
    async with running() as (_, timely):
        (first,) = children() - before
        os.kill(first, signal.SIGSTOP)  # so that the question is open when it ends
        waiting = asyncio.create_task(timely.answers([question()]))
        await asyncio.sleep(0.05)
        os.kill(first, signal.SIGKILL)
        ((bounded,),) = await waiting
        assert bounded.reason is Reason.ESTIMATOR_TIMEOUT
        assert bounded.summary.method == "TDPBound"
        async with asyncio.timeout(PATIENCE_S):
            while (await timely.answers([question()]))[0][0].reason is not Reason.ESTIMATED:
                await asyncio.sleep(0.05)
        assert children() - before != {first}
    assert any("ended with -9" in record.getMessage() for record in caplog.records)


async def test_one_that_hangs_is_ended_and_a_new_one_starts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(process, "HANG_S", 0.2)
    monkeypatch.setattr(process, "LOOK_EVERY_S", 0.05)
    before = children()
    async with running() as (_, timely):
        (first,) = children() - before
        os.kill(first, signal.SIGSTOP)
        timely.deadline_s = 0.01
        ((bounded,),) = await timely.answers([question()])
        assert bounded.reason is Reason.ESTIMATOR_TIMEOUT
        await gone({first})
        monkeypatch.setattr(process, "HANG_S", PATIENCE_S)
        timely.deadline_s = PATIENCE_S
        async with asyncio.timeout(PATIENCE_S):
            while (await timely.answers([question()]))[0][0].reason is not Reason.ESTIMATED:
                await asyncio.sleep(0.05)
    assert any("hung" in record.getMessage() for record in caplog.records)


async def test_what_is_told_of_profiles_is_told_once_and_anew_when_it_is_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process, "PROFILES", 2)
    profiles = estimation.catalogue()[:4]
    asked = [Question(LLAMA, one, estimation.digest_of(one)) for one in profiles]
    sizes = []

    def measured(message: Task | Reply) -> bytes:
        sizes.append(len(data := framed(message)))
        return data

    monkeypatch.setattr(process, "framed", measured)
    async with in_thread() as line:
        for one in (*asked[:2], *asked[:2], asked[2], asked[0]):
            reply = await line.ask([one], NOW, wide=False)
            assert reply.answers == Estimator(now=now).answer_all([one])
    assert max(sizes[2:4]) < min(sizes[:2]) / 2, "they were known"
    assert min(sizes[4:]) > 2 * max(sizes[2:4]), "the first was forgotten for the third"


def test_messages_are_whole_however_they_arrive() -> None:
    replies = [Reply(number, None, number / 7) for number in range(1, 6)]
    data = b"".join(framed(reply) for reply in replies)
    for size in (1, 2, 3, 5, 64, len(data)):
        frames = Frames()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [one for piece in pieces for one in frames.split(piece)] == replies
