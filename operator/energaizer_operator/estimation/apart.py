"""The estimator in a process of its own, from inside: questions in, answers out.

`process` starts it, with a socket to speak through. What waits there is estimated at once, which
costs less for each. It ends when the socket is closed, hence with who started it.
"""

import contextlib
import logging
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Literal, cast

from energaizer_operator import garbage, logs, translate
from energaizer_operator.estimation.wire import READY, Frames, Reply, Task, framed
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.translate import Question

TOGETHER = 8  # tasks whose estimates are made at once, if so many wait
CHUNK = 1 << 20

log = logging.getLogger(__name__)


def main() -> None:
    """Serve the process that started this one, as long as it lives."""
    number, form, level = sys.argv[1:]
    for sent_to_all in (signal.SIGINT, signal.SIGTERM):  # our parent drains first, and needs us
        signal.signal(sent_to_all, signal.SIG_IGN)
    logs.set_up(cast(Literal["text", "json"], form), level)
    with socket.socket(fileno=int(number)) as there:
        translate.warm()
        garbage.keep_what_is_loaded()
        tidier = garbage.Tidier()
        there.sendall(framed(READY))
        serve(there, tidier.tidy)


def serve(there: socket.socket, between: Callable[[bool], None] = lambda _: None) -> None:
    """Answer what comes through a socket until that is closed.

    Args:
        there: Leads to who asks.
        between: Called between batches, told whether nobody asks.
    """
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # who asked is gone
        _serve(there, between)


def _serve(there: socket.socket, between: Callable[[bool], None]) -> None:
    frames, waiting = Frames(), deque[Task]()
    known: dict[str, tuple[GPUProfile, str | None]] = {}
    while True:
        data = _receive(there, 0.0 if waiting else garbage.IDLE_S)
        while data:
            waiting.extend(frames.split(data))
            data = _receive(there, 0.0)
        if data == b"":
            return
        between(not waiting)
        if waiting:
            tasks = batch(waiting)
            replies = work([(task, _spelled_out(task, known)) for task in tasks])
            there.sendall(b"".join(framed(reply) for reply in replies))


def batch(waiting: deque[Task]) -> list[Task]:
    """Take off what is to be estimated at once: so many tasks at most, and a wide one alone."""
    taken = [waiting.popleft()]
    while waiting and len(taken) < TOGETHER and not (taken[0].wide or waiting[0].wide):
        taken.append(waiting.popleft())
    return taken


def work(tasks: Sequence[tuple[Task, list[Question]]]) -> list[Reply]:
    """Answer some tasks, each given with its questions.

    What goes wrong with all at once is tried again one by one, so that it stays with its own.
    """
    started = time.perf_counter()
    asked = [question for _, questions in tasks for question in questions]
    last, _ = tasks[-1]
    try:
        found = iter(translate.answers(asked, last.now))
    except Exception:
        if len(tasks) > 1:
            return [reply for one in tasks for reply in work([one])]
        log.exception("an estimate failed: nobody foresaw why")
        return [Reply(last.number, None, 0.0)]
    each_s = (time.perf_counter() - started) / len(asked)
    return [Reply(task.number, list(islice(found, len(own))), each_s) for task, own in tasks]


def _spelled_out(task: Task, known: dict[str, tuple[GPUProfile, str | None]]) -> list[Question]:
    """Return the questions of a task, and remember the profiles that it brings."""
    if task.anew:
        known.clear()
    known.update(task.profiles)
    return [
        Question(one.inputs, profile, one.profile, one.settings, one.config, calibration)
        for one in task.asked
        for profile, calibration in (known[one.profile],)
    ]


def _receive(there: socket.socket, within_s: float) -> bytes | None:
    """Return what has arrived, nothing where the socket is closed, None where none came in time."""
    there.settimeout(within_s)
    try:
        return there.recv(CHUNK)
    except (TimeoutError, BlockingIOError):
        return None
    finally:
        there.settimeout(None)


if __name__ == "__main__":
    main()
