"""Estimates in a process of their own: the same answers, and some even where that process dies."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from energaizer_operator import estimation
from energaizer_operator.aside import Aside
from energaizer_operator.estimation import Estimator, Job, Question, Setting
from energaizer_operator.inputs import ResolvedInputs

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LLAMA = ResolvedInputs(
    task="BatchInference",
    model_name="meta-llama/Llama-3.1-8B",
    precision="BF16",
    input_tokens=512,
    output_tokens=256,
    requests=1000,
    gpus_per_replica=1,
)
QUESTIONS = [
    Question(LLAMA, profile, estimation.digest_of(profile))
    for profile in estimation.catalogue()[:3]
]


@pytest.fixture
def aside() -> Iterator[Aside]:
    made = Aside()
    yield made
    made.close()


def test_its_answers_are_those_of_this_process(aside: Aside) -> None:
    jobs = [Job(one, (Setting(), Setting(None, 200)), NOW) for one in QUESTIONS]
    assert aside.compute(jobs) == estimation.compute(jobs)
    unknown = replace(QUESTIONS[0], inputs=replace(LLAMA, model_name="no-such-model"))
    later = [Job(unknown, (Setting(),), NOW), *jobs]
    assert aside.compute(later) == estimation.compute(later)


def test_a_child_that_dies_costs_no_answer_and_is_replaced(aside: Aside) -> None:
    jobs = [Job(QUESTIONS[0], (Setting(),), NOW)]
    wanted = aside.compute(jobs)
    first = aside._child
    assert first is not None
    first.process.kill()
    first.process.wait()
    assert aside.compute(jobs) == wanted
    assert aside._child is None
    assert aside.compute(jobs) == wanted
    assert aside._child is not None


def test_it_ends_with_who_started_it(aside: Aside) -> None:
    aside.compute([])
    child = aside._child
    assert child is not None
    child.questions.close()
    assert child.process.wait(30) == 0


async def test_an_estimator_asks_it(aside: Aside) -> None:
    estimator = Estimator(deadline_s=30.0, now=lambda: NOW, computing=aside.compute)
    try:
        estimator.warm()
        found = await estimator.answers(QUESTIONS)
    finally:
        estimator.close()
    plain = estimation.compute([Job(one, (Setting(),), NOW) for one in QUESTIONS])
    assert found == plain
