"""Estimates in a process of their own, so that admission answers while they are computed.

Python runs one thread at a time: an estimate in a thread holds up every review beside it. The child
does nothing but estimate. It reads questions from its standard input and ends when that ends, so
that none outlives the process that started it, however that ended.
"""

import contextlib
import gc
import logging
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, NamedTuple

from energaizer_operator import estimation
from energaizer_operator.estimation import Answer, Job
from energaizer_operator.resources.gpuprofile import GPUProfile

MAX_PROFILES = 1024  # kinds of GPU that the child keeps

log = logging.getLogger(__name__)


class _Child(NamedTuple):
    process: subprocess.Popen[bytes]
    questions: IO[bytes]
    answers: IO[bytes]


class Aside:
    """A child that estimates; to be asked from one thread."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._child: _Child | None = None

    def compute(self, jobs: Sequence[Job]) -> list[tuple[Answer, ...]]:
        """Return the answers to some jobs; where the child fails they are computed here."""
        try:
            child = self._child = self._child or _start()
            pickle.dump(list(jobs), child.questions, pickle.HIGHEST_PROTOCOL)
            child.questions.flush()
            found: list[tuple[Answer, ...]] = pickle.load(child.answers)  # noqa: S301 - our child
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            log.warning("the process that estimates ended (%s); another one follows", error)
            self.close()
            return estimation.compute(jobs)
        return found

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.process.kill()
            with contextlib.suppress(OSError), child.process:  # what it did not read any more
                pass


def _start() -> _Child:
    command = [sys.executable, "-m", __name__]
    made = subprocess.Popen(  # noqa: S603 - this very module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    if made.stdin is None or made.stdout is None:
        raise OSError("no pipes to the process that estimates")
    return _Child(made, made.stdin, made.stdout)


def main() -> None:
    """Answer until there is nobody any more to answer to."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: whoever started us stops in order
    estimation.warm()
    gc.freeze()  # what is loaded stays: collections need not walk over it, a fifth of the time
    known: dict[str, GPUProfile] = {}
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may be written between the answers
    while True:
        try:
            jobs: list[Job] = pickle.load(questions)  # noqa: S301 - from whoever started us
        except EOFError:
            return
        if len(known) > MAX_PROFILES:
            known.clear()
        pickle.dump(
            estimation.compute([_shared(job, known) for job in jobs]),
            answers,
            pickle.HIGHEST_PROTOCOL,
        )
        answers.flush()


def _shared(job: Job, known: dict[str, GPUProfile]) -> Job:
    """Return a job with the profile as it came first: what was derived from it is remembered."""
    question = job.question
    profile = known.setdefault(question.profile_digest, question.profile)
    return job._replace(question=replace(question, profile=profile))


if __name__ == "__main__":
    main()
