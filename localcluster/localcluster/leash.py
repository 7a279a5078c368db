"""Runs a program that the kernel kills as soon as the process that started it dies.

Run as a script between owner and program, `leash.py OWNER_PID PROGRAM ARGUMENT...`, because
`preexec_fn` is unsafe where threads run. The link is to the thread that starts the program, so
that must be one that lives as long as the owner.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become the program.

    Args:
        arguments: The process id of the owner, then the program and its arguments.
    """
    owner, program = int(arguments[0]), arguments[1:]
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != owner:  # it died before the call above
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
