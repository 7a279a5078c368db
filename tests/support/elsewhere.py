"""The estimator's other end: in a thread of the test, where it can be held; or which process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from energaizer_operator.estimation import apart
from energaizer_operator.estimation.process import Line


def children_of(pid: int) -> set[int]:
    """Return the processes that one has started and not yet seen the end of."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


@asynccontextmanager
async def in_thread() -> AsyncIterator[Line]:
    """Run what a process of its own would run, behind the same socket."""
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs:
            apart.serve(theirs)

    thread = threading.Thread(target=serve, name="estimator", daemon=True)
    thread.start()
    _, line = await asyncio.get_running_loop().create_unix_connection(Line, sock=ours)
    try:
        yield line
    finally:
        line.close()
