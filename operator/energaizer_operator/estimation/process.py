"""The estimator in a process of its own, from outside: started, asked, and started anew.

Arithmetic in a thread holds the interpreter, so that every review beside it waits; and what hangs
or takes all memory there takes admission along. Here it ends alone, and a new one is started.
"""

import asyncio
import contextlib
import logging
import socket
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import cast

from energaizer_operator.estimation.wire import READY, Asked, Frames, Reply, Task, framed
from energaizer_operator.translate import Question

PROFILES = 256  # that the other end remembers
LOOK_EVERY_S, HANG_S = 1.0, 30.0  # a sweep of many clocks, caps and boards takes well under one
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
WELL_S = 60.0  # after which an end is no longer one of a row

log = logging.getLogger(__name__)


class Line(asyncio.Protocol):
    """The way to one such process: tasks go out, replies come back in any order."""

    def __init__(self, ready: asyncio.Event | None = None) -> None:
        """Start with nothing asked; `ready` is set when the other end has loaded what it needs."""
        self._ready = ready
        self._transport: asyncio.WriteTransport | None = None
        self._frames, self._told = Frames(), set[str]()
        self._number = READY.number
        self._asked: dict[int, tuple[asyncio.Future[Reply], float]] = {}

    @property
    def since(self) -> float | None:
        """When the oldest task was asked that has no reply, by the monotonic clock, s."""
        return next((began for _, began in self._asked.values()), None)

    def ask(
        self, questions: Sequence[Question], now: datetime, *, wide: bool
    ) -> asyncio.Future[Reply]:
        """Return what will be the reply to some questions; it holds none if the process ends.

        Args:
            questions: At least one.
            now: Time of the estimates.
            wide: Whether they take so long that others are not to wait for them.
        """
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._number += 1
        if self._transport is None:
            future.set_result(Reply(self._number, None, 0.0))
            return future
        named = {one.profile_digest: (one.profile, one.calibration) for one in questions}
        anew = len(self._told | named.keys()) > PROFILES
        if anew:
            self._told.clear()
        profiles = {digest: named[digest] for digest in named.keys() - self._told}
        self._told |= profiles.keys()
        asked = [
            Asked(one.inputs, one.profile_digest, one.settings, one.config) for one in questions
        ]
        self._asked[self._number] = (future, time.monotonic())
        self._transport.write(framed(Task(self._number, asked, now, wide, profiles, anew)))
        return future

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Know the way."""
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand replies to who waits for them."""
        for reply in self._frames.split(data):
            if reply != READY:
                self._asked.pop(reply.number)[0].set_result(reply)
            elif self._ready is not None:
                self._ready.set()

    def connection_lost(self, _: Exception | None) -> None:
        """Tell everybody that no reply will come."""
        self._transport = None
        for number, (future, _began) in self._asked.items():
            future.set_result(Reply(number, None, 0.0))
        self._asked.clear()

    def close(self) -> None:
        """Hang up, which ends the process."""
        if self._transport is not None:
            self._transport.close()


class EstimatorProcess:
    """Keeps one such process running."""

    def __init__(self, log_format: str, log_level: str) -> None:
        """Start nothing yet.

        Args:
            log_format: `text` or `json`, for its own lines.
            log_level: From which it writes them.
        """
        self.ended: Callable[[], None] | None = None
        """Called at each end."""
        self._form = (log_format, log_level)
        self._line = Line()
        self._ready = asyncio.Event()

    async def ready(self) -> None:
        """Wait until the first process has loaded what it needs."""
        await self._ready.wait()

    def ask(
        self, questions: Sequence[Question], now: datetime, *, wide: bool
    ) -> asyncio.Future[Reply]:
        """Return what will be the reply to some questions (`Line.ask`)."""
        return self._line.ask(questions, now, wide=wide)

    async def run(self) -> None:
        """Start the process, and start it anew whenever it ends."""
        pause_s = FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            try:
                why = await self._live()
            except OSError as error:
                why = f"cannot start: {error}"
            if self.ended is not None:
                self.ended()
            if time.monotonic() - began > WELL_S:
                pause_s = FIRST_PAUSE_S
            log.error("the estimator's process %s; a new one starts in %.1f s", why, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _live(self) -> str:
        """Run one process to its end; say how it ended."""
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, line = await loop.create_unix_connection(lambda: Line(self._ready), sock=ours)
        try:
            with theirs:
                process = await self._start(theirs)
            self._line = line
            try:
                return await _watch(process, line)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        finally:
            line.close()

    async def _start(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        number = theirs.fileno()
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"{__package__}.apart", str(number), *self._form),
            pass_fds=(number,),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # so that a terminal's Ctrl-C leaves it to us
        )


async def _watch(process: asyncio.subprocess.Process, line: Line) -> str:
    """Wait for the end of a process; say what it was, or that it hangs."""
    end = asyncio.ensure_future(process.wait())
    try:
        while not end.done():
            await asyncio.wait([end], timeout=LOOK_EVERY_S)
            if line.since is not None and time.monotonic() - line.since > HANG_S:
                return f"hung for {HANG_S:.0f} s over one question"
        return f"ended with {end.result()}"
    finally:
        end.cancel()
