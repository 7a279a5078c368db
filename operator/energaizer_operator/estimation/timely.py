"""Answers in time: from the cache, else from the estimator within a deadline, else by a ceiling.

Admission must not wait for a slow estimate, and a slow one is still worth keeping: it goes on and
fills the cache for the next pod of the same workload. Estimates are made elsewhere (`process`), so
that a review of which the answer is known never waits for the arithmetic of another.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Protocol

from energaizer_operator import translate
from energaizer_operator.estimation import (
    Estimator,
    Key,
    in_order,
    left_of,
    missing_of,
    model_parts,
    now_utc,
)
from energaizer_operator.estimation.wire import Reply
from energaizer_operator.names import Reason
from energaizer_operator.translate import Answer, Question

FIRST_PACE_S, WEIGHT = 0.002, 0.1  # of the running mean of how long an estimate takes


class Elsewhere(Protocol):
    """Where estimates are made."""

    def ask(
        self, questions: Sequence[Question], now: datetime, *, wide: bool
    ) -> asyncio.Future[Reply]:
        """Return what will be the reply to some questions."""


class TimelyEstimator(Estimator):
    """Adds a deadline to the cache, for one event loop."""

    def __init__(
        self,
        elsewhere: Elsewhere,
        capacity: int = 4096,
        deadline_s: float = 0.25,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        """Start with an empty cache.

        Args:
            elsewhere: Makes the estimates.
            capacity: Workloads on one kind of GPU that are remembered.
            deadline_s: Longest wait for an estimate, s.
            now: Returns the time, aware.
        """
        super().__init__(capacity, now)
        self.deadline_s = deadline_s
        self._elsewhere = elsewhere
        self._pending: dict[Key, asyncio.Future[Reply]] = {}
        self._pace_s = FIRST_PACE_S

    def warm(self) -> None:
        """Load what the first question would have to wait for, the estimate itself apart."""
        model_parts()

    async def answers(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """Return one answer per question and setting, by a bound where the deadline passes."""
        waiting = self._start(questions)
        if waiting:
            await asyncio.wait(waiting, timeout=self.deadline_s)
        return [self._collect(question) for question in questions]

    def _start(self, questions: Sequence[Question]) -> "list[asyncio.Future[Reply]]":
        """Begin what is missing, or join who began it already; returns what is to be awaited.

        What would come too late anyway is not begun: a bound at once is of more use to everybody.
        What is begun is one task: to be woken between the estimates of one review would cost about
        as much as one of them.
        """
        awaited: dict[asyncio.Future[Reply], None] = {}
        begun: dict[Key, Question] = {}
        for question in questions:
            missing = left_of(question, self._known(question))
            if self.look is not None:
                self.look(not missing)
            if not missing:
                continue
            key = (question.digest, missing)
            running = self._pending.get(key)
            if running is not None:
                awaited[running] = None
            elif (len(self._pending) + len(begun)) * self._pace_s < self.deadline_s:
                begun[key] = question
        if begun:
            asked = missing_of(begun)
            wide = any(len(one.settings) > translate.FEW for one in asked)
            task = self._elsewhere.ask(asked, self._now(), wide=wide)
            self._pending |= dict.fromkeys(begun, task)
            task.add_done_callback(partial(self._ended, tuple(begun), asked))
            awaited[task] = None
        return list(awaited)

    def _ended(
        self, keys: Sequence[Key], asked: Sequence[Question], task: asyncio.Future[Reply]
    ) -> None:
        """Remember what a task has found, before those who wait for it look."""
        for key in keys:
            self._pending.pop(key, None)
        reply = task.result()
        if reply.answers is not None:
            self._keep(asked, reply.answers, reply.each_s)
            self._pace_s += WEIGHT * (reply.each_s - self._pace_s)

    def _collect(self, question: Question) -> tuple[Answer, ...]:
        known = self._known(question)
        if len(known) < len(question.settings):
            why = f"no estimate within {self.deadline_s * 1000:.0f} ms; the next one finds it ready"
            late = self.bounds(question, Reason.ESTIMATOR_TIMEOUT, why)
            known = {answer.setting: answer for answer in late} | known
        return in_order(question, known)
