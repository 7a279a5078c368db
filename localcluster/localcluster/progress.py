"""Shows how far a build is: one line that rewrites itself, or in a log a line now and then."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

PLAIN_EVERY_S = 15.0
"""Seconds between two lines in a log, where a line cannot be rewritten."""

REDRAW_EVERY_S = 0.1
"""Seconds between two drawings on a terminal."""

_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-_~]*(/[A-Za-z0-9.\-_~]+)*")


def is_package(line: str) -> bool:
    """Say whether a line of `go build -v` names a package that is being compiled."""
    return _PACKAGE.fullmatch(line) is not None


def clock(seconds: float) -> str:
    """Return a duration as people read it: `9 s`, `4 min 05 s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


@dataclass
class Progress:
    """Counts the packages that a build compiles and says so.

    Args:
        total: Packages that the build will compile; 0 when only links are left to do.
        target: What is built, for the head of the line.
        out: Where the lines go.
        now: A clock in seconds that never runs backwards.
    """

    total: int
    target: str
    out: TextIO
    now: Callable[[], float] = time.monotonic
    done: int = 0
    _began: float = field(init=False)
    _shown: float = field(init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._began = self._shown = self.now()

    def compiled(self) -> None:
        """Count one more package; a build that names more than it promised raises the total."""
        self.done += 1
        self.total = max(self.total, self.done)

    def text(self, width: int = 24) -> str:
        """Return the line: bar, share, packages, time."""
        share = self.done / self.total if self.total else 1.0
        filled = int(share * width)
        bar = "#" * filled + "." * (width - filled)
        phase = "linking" if self.done >= self.total else f"{self.done}/{self.total} packages"
        return f"{self.target} [{bar}] {int(share * 100):3d} %  {phase}  {self.elapsed}"

    @property
    def elapsed(self) -> str:
        """Time since the start."""
        return clock(self.now() - self._began)

    def tick(self) -> None:
        """Show the line if the last one is old enough."""
        terminal = self.out.isatty()
        if self.now() - self._shown < (REDRAW_EVERY_S if terminal else PLAIN_EVERY_S):
            return
        self._shown = self.now()
        self.out.write(f"\r\x1b[2K{self.text()}" if terminal else f"{self.text()}\n")
        self.out.flush()

    def close(self) -> None:
        """Wipe the line of a terminal, so that the next message starts on a clean one."""
        if self.out.isatty():
            self.out.write("\r\x1b[2K")
            self.out.flush()
