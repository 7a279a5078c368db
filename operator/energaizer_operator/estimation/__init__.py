"""Answers: from a cache, else from the estimator, else by a ceiling.

`timely` adds a deadline, for admission. What never comes out of here is an exception or a silent
zero: a missing estimate is a TDP bound that says why.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
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
Key = tuple[str, tuple[Setting, ...]]
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


class Estimator:
    """A cache around `translate`, which any number of threads may ask."""

    def __init__(self, capacity: int = 4096, now: Callable[[], datetime] = now_utc) -> None:
        """Start with an empty cache.

        Args:
            capacity: Workloads on one kind of GPU that are remembered.
            now: Returns the time, aware.
        """
        self.observe: Observe | None = None
        self.look: Look | None = None
        self._capacity, self._now = capacity, now
        self._cache: OrderedDict[str, dict[Setting, Answer]] = OrderedDict()
        self._lock = threading.Lock()

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
            if (left := left_of(question, found))
        }
        fresh = self._compute(wanted)
        return [
            in_order(question, found | fresh.get(question.digest, {}))
            for question, found in zip(questions, known, strict=True)
        ]

    def bounds(self, question: Question, reason: Reason, message: str) -> tuple[Answer, ...]:
        """Return the TDP bound for every setting, and why there is nothing better."""
        summary = translate.bound(question.inputs, question.profile, self._now())
        return tuple(Answer(setting, summary, reason, message) for setting in question.settings)

    def _known(self, question: Question) -> dict[Setting, Answer]:
        digest, settings = question.digest, question.settings
        with self._lock:
            found = self._cache.get(digest)
            if found is None:
                return {}
            self._cache.move_to_end(digest)
            return {setting: found[setting] for setting in settings if setting in found}

    def _compute(self, wanted: Mapping[Key, Question]) -> dict[str, dict[Setting, Answer]]:
        """Return the answers to what is missing of some questions, and remember them."""
        if not wanted:
            return {}
        started = time.perf_counter()
        asked = missing_of(wanted)
        computed = translate.answers(asked, self._now())
        return self._keep(asked, computed, (time.perf_counter() - started) / len(asked))

    def _keep(
        self, asked: Sequence[Question], computed: Sequence[tuple[Answer, ...]], each_s: float
    ) -> dict[str, dict[Setting, Answer]]:
        """Remember answers and return them; each took so many seconds."""
        fresh: dict[str, dict[Setting, Answer]] = {}
        for question, answers in zip(asked, computed, strict=True):
            own = fresh.setdefault(question.digest, {})
            own.update((answer.setting, answer) for answer in answers)
        with self._lock:
            for digest, answers_of in fresh.items():
                self._cache.setdefault(digest, {}).update(answers_of)
                self._cache.move_to_end(digest)
            while len(self._cache) > self._capacity:
                self._cache.popitem(last=False)
        if self.observe is not None:
            for question, answers in zip(asked, computed, strict=True):
                task, first = question.inputs.task or "Unknown", answers[0]
                self.observe(first.summary.method, str(first.reason), task, each_s)
        return fresh


def missing_of(wanted: Mapping[Key, Question]) -> list[Question]:
    """Return questions that ask for what is missing alone."""
    return [
        question if settings == question.settings else replace(question, settings=settings)
        for (_, settings), question in wanted.items()
    ]


def left_of(question: Question, known: Mapping[Setting, Answer]) -> tuple[Setting, ...]:
    """Return the settings of a question that have no answer yet."""
    return tuple(setting for setting in question.settings if setting not in known)


def in_order(question: Question, known: Mapping[Setting, Answer]) -> tuple[Answer, ...]:
    """Return the answers to a question, in the order of its settings."""
    return tuple(known[setting] for setting in question.settings)
