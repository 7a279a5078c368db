"""Answers in time: from a cache, else from the estimator within a deadline, else by a ceiling.

Admission must not wait for a slow estimate, and a slow one is still worth keeping: it goes on in
its thread and fills the cache for the next pod of the same workload. What never comes out of here
is an exception or a silent zero: a missing estimate is a TDP bound that says why.
"""

import asyncio
import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from typing import Any

from energaizer_operator import runtimes, translate
from energaizer_operator.inputs import ResolvedInputs, inputs_digest
from energaizer_operator.names import Reason
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.translate import Answer, CalibrationError, EstimateError, Setting

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

PLAIN = (Setting(),)
FIRST_PACE_S, WEIGHT = 0.002, 0.1  # of the running mean of how long an estimate takes
Measurement = translate.calibrations.Measurement
Recalibration = translate.calibrations.Recalibration
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


@dataclass(frozen=True)
class Question:
    """One workload on one kind of GPU, at some clocks and caps."""

    inputs: ResolvedInputs
    profile: GPUProfile
    profile_digest: str
    """Of the profile's name, spec and calibration (`digest_of`)."""
    settings: tuple[Setting, ...] = PLAIN
    config: str | None = None
    """Content of `config.json`, where the inputs refer to one."""
    calibration: str | None = None
    """Coefficients of the GPU, where the cluster holds its own."""

    @cached_property
    def digest(self) -> str:
        """Return `sha256:<hex>` of everything that the answer depends on but the settings."""
        profile = self.profile_digest
        if self.config is not None:
            profile += hashlib.sha256(self.config.encode(errors="replace")).hexdigest()
        return inputs_digest(self.inputs, profile, VERSION)


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
        self._pending: dict[_Key, Future[Any]] = {}
        self._pace_s = FIRST_PACE_S / threads

    def warm(self) -> None:
        """Load what the first estimate would have to wait for."""
        translate.warm()

    def close(self) -> None:
        """Let the running estimate end and drop those that wait."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def found(self, questions: int) -> None:
        """Count questions that somebody answered from what was asked here before."""
        if self.look is not None:
            for _ in range(questions):
                self.look(True)

    def answer(self, question: Question) -> tuple[Answer, ...]:
        """Return one answer per setting, however long it takes."""
        known = self._known(question.digest, question.settings)
        missing = tuple(setting for setting in question.settings if setting not in known)
        if missing:
            known |= self._compute(question, question.digest, missing)
        return tuple(known[setting] for setting in question.settings)

    def answer_all(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """Return one answer per question and setting, however long it takes."""
        _load_together([question for question in questions if self._missing(question)])
        return [self.answer(question) for question in questions]

    def bounds(self, question: Question, reason: Reason, message: str) -> tuple[Answer, ...]:
        """Return the TDP bound for every setting, and why there is nothing better."""
        summary = translate.bound(question.inputs, question.profile, self._now())
        return tuple(Answer(setting, summary, reason, message) for setting in question.settings)

    async def answers(self, questions: Sequence[Question]) -> list[tuple[Answer, ...]]:
        """Return one answer per question and setting, by a bound where the deadline passes."""
        waiting = self._start(questions)
        if waiting:
            wrapped = [asyncio.wrap_future(future) for future in waiting]
            await asyncio.wait(wrapped, timeout=self.deadline_s)
        return [self._collect(question, question.digest) for question in questions]

    def _start(self, questions: Sequence[Question]) -> "list[Future[Any]]":
        """Begin what is missing, or join who began it already; returns what is to be awaited.

        What would come too late anyway is not begun: a bound at once is of more use to everybody.
        What is begun is one task of the thread: to wake the caller between the estimates of one
        review would cost about as much as one of them.
        """
        awaited: dict[Future[Any], None] = {}
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
            task = self._pool.submit(self._compute_all, begun)
            self._pending |= dict.fromkeys(begun, task)
            task.add_done_callback(lambda _: self._ended(begun))
            awaited[task] = None
        return list(awaited)

    def _missing(self, question: Question) -> tuple[Setting, ...]:
        known = self._known(question.digest, question.settings)
        return tuple(setting for setting in question.settings if setting not in known)

    def _ended(self, keys: Iterable[_Key]) -> None:
        for key in keys:
            self._pending.pop(key, None)

    def _collect(self, question: Question, digest: str) -> tuple[Answer, ...]:
        known = self._known(digest, question.settings)
        if len(known) < len(question.settings):
            why = f"no estimate within {self.deadline_s * 1000:.0f} ms; the next one finds it ready"
            late = self.bounds(question, Reason.ESTIMATOR_TIMEOUT, why)
            known = {answer.setting: answer for answer in late} | known
        return tuple(known[setting] for setting in question.settings)

    def _known(self, digest: str, settings: Sequence[Setting]) -> dict[Setting, Answer]:
        with self._lock:
            found = self._cache.get(digest)
            if found is None:
                return {}
            self._cache.move_to_end(digest)
            return {setting: found[setting] for setting in settings if setting in found}

    def _compute_all(self, wanted: Mapping[_Key, Question]) -> None:
        started = time.perf_counter()
        _load_together(list(wanted.values()))
        for (digest, settings), question in wanted.items():
            self._compute(question, digest, settings)
        each = (time.perf_counter() - started) / len(wanted)
        self._pace_s += WEIGHT * (each - self._pace_s)

    def _compute(
        self, question: Question, digest: str, settings: tuple[Setting, ...]
    ) -> dict[Setting, Answer]:
        started = time.perf_counter()
        computed = translate.answers(
            question.inputs,
            question.profile,
            settings,
            question.config,
            self._now(),
            question.calibration,
        )
        fresh = {answer.setting: answer for answer in computed}
        with self._lock:
            self._cache.setdefault(digest, {}).update(fresh)
            self._cache.move_to_end(digest)
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        seconds = time.perf_counter() - started
        if self.observe is not None:
            task, first = question.inputs.task or "Unknown", computed[0]
            self.observe(first.summary.method, str(first.reason), task, seconds)
        return fresh


def _load_together(questions: Sequence[Question]) -> None:
    """Prepare the estimates of a workload on all kinds of GPU that are asked about at once."""
    by_workload: dict[tuple[int, str | None], list[Question]] = {}
    for question in questions:
        by_workload.setdefault((id(question.inputs), question.config), []).append(question)
    for asked in by_workload.values():
        translate.load_together(
            asked[0].inputs,
            [question.profile for question in asked],
            asked[0].config,
            [question.calibration for question in asked],
            clocks=any(len(question.settings) > translate.FEW for question in asked),
        )
