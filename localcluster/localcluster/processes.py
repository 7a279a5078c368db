"""Starts, finds and stops the processes of an instance.

The process table is the only record of what runs: each component carries the folder of its
instance in its environment, so nothing is forgotten by a crash and no reused id is ever killed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FOLDER = "ENERGAIZER_LOCALCLUSTER"
"""Environment variable of a component: the folder of its instance."""

COMPONENT = "ENERGAIZER_LOCALCLUSTER_COMPONENT"
"""Environment variable of a component: its name."""

_LEASH = Path(__file__).with_name("leash.py")
_PROC = Path("/proc")
_children: list[tuple[Path, subprocess.Popen[bytes]]] = []
"""What this process started, by the folder of its instance, until it is collected."""


@dataclass(frozen=True)
class Running:
    """A live component."""

    pid: int
    component: str
    folder: Path


def spawn(
    component: str,
    command: Sequence[str],
    folder: Path,
    *,
    leashed: bool,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a component in a session of its own, its output in `<component>.log`.

    Args:
        component: Its name.
        command: Program and arguments.
        folder: The folder of the instance, which is also its HOME and working directory.
        leashed: Whether it dies with this process; otherwise it outlives it.
        environment: Further variables.
    """
    if leashed:
        command = [sys.executable, "-I", "-S", str(_LEASH), str(os.getpid()), *command]
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR", "TZ") if name in os.environ}
    with (folder / f"{component}.log").open("ab") as log:
        child = subprocess.Popen(
            list(command),
            cwd=folder,
            env={**kept, "HOME": str(folder), FOLDER: str(folder), COMPONENT: component}
            | (environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children.append((folder, child))
    return child


def reap(folder: Path) -> None:
    """Collect the children of this process that ran in a folder, once `stop` has ended them."""
    for one in [one for one in _children if one[0] == folder]:
        one[1].wait(timeout=60)
        _children.remove(one)


def running(folder: Path | None = None) -> tuple[Running, ...]:
    """Return the live components of one instance, or of all."""
    found = (_inspect(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
    return tuple(one for one in found if one is not None and folder in (None, one.folder))


def stop(targets: Iterable[Running], grace_s: float) -> None:
    """Ask processes to end, wait, and kill those that are left.

    Args:
        targets: Components that `running` returned.
        grace_s: Seconds between asking and killing; 0 kills at once.
    """
    handles: dict[int, Running] = {}
    for target in targets:
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(target.pid)
            if _inspect(target.pid) == target:  # still the same process, now held by the handle
                handles[handle] = target
            else:
                os.close(handle)
    try:
        left = set(handles)
        if grace_s > 0:
            left = _signal_and_wait(left, signal.SIGTERM, grace_s)
        _signal_and_wait(left, signal.SIGKILL, 10.0)
    finally:
        for handle in handles:
            os.close(handle)


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; with the id it names one for ever."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *fields = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(fields[18])


def command_lines() -> list[str]:
    """Return the command line of every process of this machine, of all users."""
    lines = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                lines.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return lines


def _inspect(pid: int) -> Running | None:
    """Return the component that a process is, or None for every other process."""
    try:
        content = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:  # gone, or another user's
        return None
    if FOLDER.encode() not in content:
        return None
    pairs = dict(part.partition("=")[::2] for part in content.decode(errors="replace").split("\0"))
    if FOLDER not in pairs or COMPONENT not in pairs:
        return None
    return Running(pid, pairs[COMPONENT], Path(pairs[FOLDER]))


def _signal_and_wait(handles: set[int], number: signal.Signals, wait_s: float) -> set[int]:
    """Signal processes by their handles and return those that still live after `wait_s`."""
    for handle in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)
    deadline = time.monotonic() + wait_s
    left = set(handles)
    while left and (remaining := deadline - time.monotonic()) > 0:
        left -= set(select.select(list(left), [], [], remaining)[0])
    return left
