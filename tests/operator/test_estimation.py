import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import FrameType

import pytest

from annotated import LLAMA
from elsewhere import in_thread
from energaizer_operator import estimation, translate
from energaizer_operator.estimation import Answer, Estimator, Question, Setting
from energaizer_operator.estimation.timely import TimelyEstimator
from energaizer_operator.names import Reason

H100 = next(p for p in estimation.catalogue() if p.metadata.name == "h100-sxm5-80gb")
QUESTION = Question(LLAMA, H100, estimation.digest_of(H100))


@pytest.fixture
def estimator() -> Estimator:
    return Estimator(capacity=8)


@pytest.fixture
async def timely() -> AsyncIterator[TimelyEstimator]:
    async with in_thread() as line:
        yield TimelyEstimator(line, capacity=8, deadline_s=0.05)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Setting, ...]]:
    """Record what reaches the bridge, and answer with a bound at once."""
    seen: list[tuple[Setting, ...]] = []

    def answers(asked: Sequence[Question], now: datetime) -> list[tuple[Answer, ...]]:
        seen.extend(one.settings for one in asked)
        summaries = [translate.bound(one.inputs, one.profile, now) for one in asked]
        return [
            tuple(Answer(setting, summary) for setting in one.settings)
            for one, summary in zip(asked, summaries, strict=True)
        ]

    monkeypatch.setattr(translate, "answers", answers)
    return seen


def test_the_second_question_is_answered_from_memory(
    estimator: Estimator, asked: list[tuple[Setting, ...]]
) -> None:
    first = estimator.answer(QUESTION)
    assert estimator.answer(QUESTION) == first
    assert asked == [(Setting(),)]


def test_only_new_settings_are_computed(
    estimator: Estimator, asked: list[tuple[Setting, ...]]
) -> None:
    estimator.answer(QUESTION)
    wider = replace(QUESTION, settings=(Setting(1200), Setting(), Setting(1410)))
    assert [answer.setting for answer in estimator.answer(wider)] == list(wider.settings)
    assert asked[1] == (Setting(1200), Setting(1410))


def test_inputs_profile_and_configuration_tell_questions_apart() -> None:
    others = [
        replace(QUESTION, inputs=replace(LLAMA, batch_size=17)),
        replace(QUESTION, profile_digest="sha256:other"),
        replace(QUESTION, config="{}"),
        replace(QUESTION, profile_digest=estimation.digest_of(H100, "{}")),
        replace(QUESTION, config='{"a": "\ud800"}'),
    ]
    digests = {question.digest for question in (QUESTION, *others)}
    assert len(digests) == 6
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in digests)
    assert replace(QUESTION, settings=(Setting(1200),)).digest == QUESTION.digest


def test_the_oldest_is_forgotten(estimator: Estimator, asked: list[tuple[Setting, ...]]) -> None:
    for size in range(1, 10):
        estimator.answer(replace(QUESTION, inputs=replace(LLAMA, batch_size=size)))
    estimator.answer(replace(QUESTION, inputs=replace(LLAMA, batch_size=9)))
    assert len(asked) == 9
    estimator.answer(replace(QUESTION, inputs=replace(LLAMA, batch_size=1)))
    assert len(asked) == 10


async def test_questions_together_are_answered_in_order(timely: TimelyEstimator) -> None:
    timely.deadline_s = 60.0
    small = replace(QUESTION, inputs=replace(LLAMA, requests=1))
    big, little = await timely.answers([QUESTION, small])
    assert big[0].summary.energy_joules > little[0].summary.energy_joules
    assert big[0].reason is Reason.ESTIMATED
    assert timely.answer(QUESTION) == big


@dataclass
class Held:
    """Estimates that wait until they are let go; one of a model named `broken` then fails."""

    begun: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    batches: list[int] = field(default_factory=list)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Hold every batch of estimates until it is opened, and record how many questions it has."""
    made, real = Held(), translate.answers

    def answers(asked: Sequence[Question], now: datetime) -> list[tuple[Answer, ...]]:
        made.batches.append(len(asked))
        made.begun.set()
        made.opened.wait(60)
        if any(one.inputs.model_name == "broken" for one in asked):
            raise KeyError("broken")
        return real(asked, now)

    monkeypatch.setattr(translate, "answers", answers)
    yield made
    made.opened.set()


async def test_a_late_estimate_is_bounded_now_and_there_the_next_time(
    timely: TimelyEstimator, held: Held
) -> None:
    late = (await timely.answers([QUESTION]))[0][0]
    assert not held.opened.is_set(), "it did not wait for the estimate"
    assert late.reason is Reason.ESTIMATOR_TIMEOUT
    assert late.summary.method == "TDPBound"
    assert late.summary.energy_joules == 700 * 3600
    held.opened.set()
    timely.deadline_s = 60.0
    honest = (await timely.answers([QUESTION]))[0][0]
    assert honest.reason is Reason.ESTIMATED
    assert held.batches == [1]


async def test_many_who_ask_the_same_wait_for_one_estimate(
    timely: TimelyEstimator, held: Held
) -> None:
    timely.deadline_s = 60.0
    waiting = [asyncio.create_task(timely.answers([QUESTION])) for _ in range(50)]
    await asyncio.sleep(0.02)
    held.opened.set()
    found = await asyncio.gather(*waiting)
    assert held.batches == [1]
    assert {answers[0][0].reason for answers in found} == {Reason.ESTIMATED}


async def test_what_waits_is_estimated_at_once_and_as_each_alone(
    timely: TimelyEstimator, held: Held
) -> None:
    timely.deadline_s = 60.0
    names = ("meta-llama/Llama-3.1-8B", "nobody", "Qwen/Qwen3-30B-A3B", "resnet50")
    questions = [
        replace(QUESTION, inputs=replace(LLAMA, model_name=name, input_tokens=tokens))
        for tokens in (1, 300)
        for name in names
    ]
    first = asyncio.create_task(timely.answers([QUESTION]))
    await asyncio.to_thread(held.begun.wait)
    waiting = [asyncio.create_task(timely.answers([question])) for question in questions]
    await asyncio.sleep(0)
    held.opened.set()
    found = [answers[0] for answers in await asyncio.gather(*waiting)]
    await first
    assert len(held.batches) == 2
    apart = Estimator(now=lambda: found[0][0].summary.estimate_time or estimation.now_utc())
    assert [timeless(one) for one in found] == [timeless(apart.answer(q)) for q in questions]


def timeless(answers: tuple[Answer, ...]) -> list[Answer]:
    """Return answers without the second in which they were found."""
    return [
        replace(one, summary=one.summary.model_copy(update={"estimate_time": None}))
        for one in answers
    ]


async def test_what_nobody_foresaw_stays_with_the_review_that_caused_it(
    timely: TimelyEstimator, held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    timely.deadline_s = 60.0
    first = asyncio.create_task(timely.answers([QUESTION]))
    await asyncio.to_thread(held.begun.wait)
    wanted = [replace(LLAMA, model_name="broken"), replace(LLAMA, requests=2)]
    waiting = [
        asyncio.create_task(timely.answers([replace(QUESTION, inputs=one)])) for one in wanted
    ]
    await asyncio.sleep(0)
    held.opened.set()
    ((broken,),), ((sound,),) = await asyncio.gather(*waiting)
    await first
    assert held.batches == [1, 2, 1, 1]
    assert broken.reason is Reason.ESTIMATOR_TIMEOUT
    assert sound.reason is Reason.ESTIMATED
    assert not timely._pending
    (told,) = caplog.records
    assert told.exc_info is not None
    assert isinstance(told.exc_info[1], KeyError)


async def test_nobody_waits_for_the_sweeps_of_others(timely: TimelyEstimator, held: Held) -> None:
    timely.deadline_s = 60.0
    questions = [replace(QUESTION, inputs=replace(LLAMA, requests=n)) for n in range(1, 13)]
    questions[3] = replace(questions[3], settings=(Setting(), Setting(1200), Setting(1410)))
    waiting = [asyncio.create_task(timely.answers([questions[0]]))]
    await asyncio.to_thread(held.begun.wait)
    waiting += [asyncio.create_task(timely.answers([one])) for one in questions[1:]]
    await asyncio.sleep(0)
    held.opened.set()
    await asyncio.gather(*waiting)
    assert held.batches == [1, 2, 1, 8]


async def test_an_estimator_that_is_far_behind_gets_no_more_work(
    timely: TimelyEstimator, held: Held
) -> None:
    timely._pace_s = timely.deadline_s / 2.5
    questions = [replace(QUESTION, inputs=replace(LLAMA, batch_size=n)) for n in range(1, 10)]
    answers = await timely.answers(questions)
    assert {found[0].reason for found in answers} == {Reason.ESTIMATOR_TIMEOUT}
    assert len(timely._pending) <= 3
    held.opened.set()


def test_what_is_computed_is_observed(estimator: Estimator) -> None:
    seen: list[tuple[str, str, str]] = []
    estimator.observe = lambda method, result, task, _: seen.append((method, result, task))
    estimator.answer(QUESTION)
    estimator.answer(QUESTION)
    estimator.answer(replace(QUESTION, inputs=replace(LLAMA, model_name="nobody")))
    assert [entry[1:] for entry in seen] == [
        ("Estimated", "BatchInference"),
        ("UnknownModel", "BatchInference"),
    ]


def test_a_bound_holds_for_every_setting(estimator: Estimator) -> None:
    asked = replace(QUESTION, settings=(Setting(), Setting(1200)))
    found = estimator.bounds(asked, Reason.NO_PROFILE, "who knows")
    assert [answer.setting for answer in found] == list(asked.settings)
    assert {answer.summary.method for answer in found} == {"TDPBound"}
    assert {answer.message for answer in found} == {"who knows"}


def test_all_kinds_of_gpu_together_are_answered_as_each_alone() -> None:
    settings = (Setting(), Setting(900), Setting(1200), Setting(None, 300))
    wanted = [
        Question(LLAMA, profile, estimation.digest_of(profile), settings)
        for profile in estimation.catalogue()
    ]

    def now() -> datetime:
        return datetime(2026, 11, 28, tzinfo=UTC)

    together, apart = Estimator(now=now), Estimator(now=now)
    assert together.answer_all(wanted) == [apart.answer(question) for question in wanted]


def test_refusals_leave_nothing_that_only_a_collection_would_free() -> None:
    """Admission collects garbage seldom: an error that keeps its frames keeps a batch's arrays."""
    small = next(p for p in estimation.catalogue() if p.metadata.name == "l4-24gb")
    refused = replace(LLAMA, model_name="meta-llama/Llama-3.1-70B", input_tokens=4000)
    apart = Estimator()
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        for tokens in range(10):
            inputs = (
                replace(LLAMA, input_tokens=700 + tokens),
                replace(refused, requests=tokens + 1),
            )
            asked = [
                Question(one, board, estimation.digest_of(board))
                for one in inputs
                for board in (small, H100)
            ]
            reasons = {answers[0].reason for answers in apart.answer_all(asked)}
            assert Reason.INFEASIBLE_MEMORY in reasons
        gc.collect()
        kept = [one for one in gc.garbage if isinstance(one, BaseException | FrameType)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert not kept
