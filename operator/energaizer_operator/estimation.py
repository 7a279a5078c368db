"""Answers in time: from a cache, else from the estimator within a deadline, else by a ceiling.

Admission must not wait for a slow estimate, and a slow one is still worth keeping: it goes on in
its thread and fills the cache for the next pod of the same workload. What has queued up while the
thread was busy is estimated at once, which costs less for each. What never comes out of here
is an exception or a silent zero: a missing estimate is a TDP bound that says why.
"""

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache

from energaizer_operator import runtimes, translate
from energaizer_operator.names import Reason
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.translate import (
    Answer,
    CalibrationError,
    EstimateError,
    Question,
    Setting,
)

__all__ = [
    "VERSION",
    "Answer",
    "CalibrationError",
    "EstimateError",
    "Estimator",
    "Measurement",
    "Question",
    "Recalibration",
    "Setting",
    "calibration_digest",
    "canonical",
    "catalogue",
    "check_calibration",
    "digest_of",
    "model_parts",
    "recalibrate",
    "report",
]

PLAIN = translate.PLAIN
FIRST_PACE_S, WEIGHT = 0.002, 0.1  # of the running mean of how long an estimate takes
TOGETHER = 8  # reviews whose estimates are made at once, if so many wait
Measurement = translate.calibrations.Measurement
Recalibration = translate.calibrations.Recalibration
log = logging.getLogger(__name__)
catalogue = translate.catalogue
canonical = translate.canonical
report = translate.report
published_precision = translate.published_precision
check_calibration = translate.calibrations.check
recalibrate = translate.calibrations.recalibrate
VERSION = translate.VERSION

Observe = Callable[[str, str, str, float], None]
"""Method, result, task and seconds of one estimate that was computed."""
Look = Callable[[bool], None]
"""Whether a look into the cache was a hit."""
_Key = tuple[str, tuple[Setting, ...]]
"""Digest of a question, and the settings of it that are missing."""


@lru_cache(maxsize=1)
def model_parts() -> Mapping[str, str]:
    """Return the last part of each known model's name -> the name (`runtimes.last_parts`)."""
    return runtimes.last_parts(translate.model_names())


def digest_of(profile: GPUProfile, calibration: str | None = None) -> str:
    """Return the digest of what a profile and its calibration say, but for its status."""
    text = f"{profile.metadata.name} {profile.spec.model_dump_json()} {calibration or ''}"
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def calibration_digest(text: str) -> str:
    """Return the digest of coefficients, as `spec.calibration.digest` states it."""
    return f"sha256:{hashlib.sha256(text.encode(errors='replace')).hexdigest()}"


def now_utc() -> datetime:
    """Return the time, aware."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(eq=False)
class _Task:
    """What one caller waits for."""

    wanted: Mapping[_Key, Question]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None] = field(init=False)

    def __post_init__(self) -> None:
        self.done = self.loop.create_future()

    @property
    def wide(self) -> bool:
        """Return whether it holds sweeps, which take too long for others to wait."""
        return any(len(settings) > translate.FEW for _, settings in self.wanted)


class Estimator:
    """Cache, thread and deadline around `translate`."""

    def __init__(
        self,
        capacity: int = 4096,
        deadline_s: float = 0.25,
        threads: int = 1,
        now: Callable[[], datetime] = now_utc,
    ) -> None:
        """Start with an empty cache.

        Args:
            capacity: Workloads on one kind of GPU that are remembered.
            deadline_s: Longest wait for an estimate, s.
            threads: Estimates that are computed at the same time.
            now: Returns the time, aware.
        """
        self.deadline_s = deadline_s
        self.observe: Observe | None = None
        self.look: Look | None = None
        self._capacity, self._now = capacity, now
        self._cache: OrderedDict[str, dict[Setting, Answer]] = OrderedDict()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="estimator")
        self._queue: deque[_Task] = deque()
        self._pending: dict[_Key, asyncio.Future[None]] = {}
        self._pace_s = FIRST_PACE_S / threads

    def warm(self) -> None:
        """Load what the first estimate would have to wait for."""
        translate.warm()

    def close(self) -> None:
        """Let the running estimates end and drop those that wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._queue.clear()

    def found(self, questions: int) -> None:
        """Count questions that somebody answered from what was asked here before."""
        if self.look is not None:
            for _ in range(questions):
                self.look(True)

    def answer(self, question: Question) -> tuple[Answer, ...]:
        """Return one answer per setting, however long it takes."""
        (found,) = self.answer_all([question])
        return found

    def answer_all(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """Return one answer per question and setting, however long it takes."""
        known = [self._known(question) for question in questions]
        wanted = {
            (question.digest, left): question
            for question, found in zip(questions, known, strict=True)
            if (left := _left(question, found))
        }
        fresh = self._compute(wanted)
        return [
            _in_order(question, found | fresh.get(question.digest, {}))
            for question, found in zip(questions, known, strict=True)
        ]

    def bounds(self, question: Question, reason: Reason, message: str) -> tuple[Answer, ...]:
        """Return the TDP bound for every setting, and why there is nothing better."""
        summary = translate.bound(question.inputs, question.profile, self._now())
        return tuple(Answer(setting, summary, reason, message) for setting in question.settings)

    async def answers(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """Return one answer per question and setting, by a bound where the deadline passes."""
        waiting = self._start(questions)
        if waiting:
            await asyncio.wait(waiting, timeout=self.deadline_s)
        return [self._collect(question) for question in questions]

    def _start(self, questions: Sequence[Question]) -> "list[asyncio.Future[None]]":
        """Begin what is missing, or join who began it already; returns what is to be awaited.

        What would come too late anyway is not begun: a bound at once is of more use to everybody.
        What is begun is one task of the thread: to wake the caller between the estimates of one
        review would cost about as much as one of them.
        """
        awaited: dict[asyncio.Future[None], None] = {}
        begun: dict[_Key, Question] = {}
        for question in questions:
            missing = self._missing(question)
            if self.look is not None:
                self.look(not missing)
            if not missing:
                continue
            key = (question.digest, missing)
            running = self._pending.get(key)
            if running is not None:
                awaited[running] = None
            elif not self._missing(question):
                continue  # it ended while we looked, and the cache has it
            elif (len(self._pending) + len(begun)) * self._pace_s < self.deadline_s:
                begun[key] = question
        if begun:
            task = _Task(begun, asyncio.get_running_loop())
            self._pending |= dict.fromkeys(begun, task.done)
            self._queue.append(task)
            self._pool.submit(self._work)
            awaited[task.done] = None
        return list(awaited)

    def _missing(self, question: Question) -> tuple[Setting, ...]:
        return _left(question, self._known(question))

    def _collect(self, question: Question) -> tuple[Answer, ...]:
        known = self._known(question)
        if len(known) < len(question.settings):
            why = f"no estimate within {self.deadline_s * 1000:.0f} ms; the next one finds it ready"
            late = self.bounds(question, Reason.ESTIMATOR_TIMEOUT, why)
            known = {answer.setting: answer for answer in late} | known
        return _in_order(question, known)

    def _known(self, question: Question) -> dict[Setting, Answer]:
        digest, settings = question.digest, question.settings
        with self._lock:
            found = self._cache.get(digest)
            if found is None:
                return {}
            self._cache.move_to_end(digest)
            return {setting: found[setting] for setting in settings if setting in found}

    def _work(self) -> None:
        """Do what waits, up to so many tasks at once; called once for each task that was queued."""
        tasks: list[_Task] = []
        with contextlib.suppress(IndexError):  # nothing is left
            while len(tasks) < TOGETHER and not (tasks and self._queue[0].wide):
                tasks.append(self._queue.popleft())
                if tasks[-1].wide:
                    break
        if not tasks:
            return
        self._do(tasks)
        for loop in {task.loop for task in tasks}:
            own = [task for task in tasks if task.loop is loop]
            with contextlib.suppress(RuntimeError):  # it has ended, and nobody waits
                loop.call_soon_threadsafe(self._ended, own)

    def _do(self, tasks: Sequence[_Task]) -> None:
        """Compute what some tasks want.

        What goes wrong with all at once is tried again one by one, so that it stays with its own.
        """
        started = time.perf_counter()
        wanted = {key: question for task in tasks for key, question in task.wanted.items()}
        try:
            self._compute(wanted)
        except Exception:
            if len(tasks) == 1:  # who waits is given a bound, so that nobody else would tell
                log.exception("an estimate failed: nobody foresaw why")
            else:
                for task in tasks:
                    self._do([task])
            return
        each = (time.perf_counter() - started) / len(wanted)
        self._pace_s += WEIGHT * (each - self._pace_s)

    def _ended(self, tasks: Sequence[_Task]) -> None:
        """Tell who waits, in their loop."""
        for task in tasks:
            for key in task.wanted:
                self._pending.pop(key, None)
            task.done.set_result(None)

    def _compute(self, wanted: Mapping[_Key, Question]) -> dict[str, dict[Setting, Answer]]:
        """Return the answers to what is missing of some questions, and remember them."""
        if not wanted:
            return {}
        started = time.perf_counter()
        asked = [
            question if settings == question.settings else replace(question, settings=settings)
            for (_, settings), question in wanted.items()
        ]
        computed = translate.answers(asked, self._now())
        fresh: dict[str, dict[Setting, Answer]] = {}
        for (digest, _), answers in zip(wanted, computed, strict=True):
            fresh.setdefault(digest, {}).update((answer.setting, answer) for answer in answers)
        with self._lock:
            for digest, answers_of in fresh.items():
                self._cache.setdefault(digest, {}).update(answers_of)
                self._cache.move_to_end(digest)
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        seconds = (time.perf_counter() - started) / len(wanted)
        if self.observe is not None:
            for question, answers in zip(asked, computed, strict=True):
                task, first = question.inputs.task or "Unknown", answers[0]
                self.observe(first.summary.method, str(first.reason), task, seconds)
        return fresh


def _left(question: Question, known: Mapping[Setting, Answer]) -> tuple[Setting, ...]:
    return tuple(setting for setting in question.settings if setting not in known)


def _in_order(question: Question, known: Mapping[Setting, Answer]) -> tuple[Answer, ...]:
    return tuple(known[setting] for setting in question.settings)
