"""Starts the components in order and waits until each does its work, or says why one does not."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from localcluster import credentials, processes
from localcluster.api import Api
from localcluster.components import AUDIT_POLICY, Plan, command
from localcluster.errors import LocalClusterError, PortTakenError

TIMEOUT_S = 120.0
"""Patience with one step; each takes a second or two on an idle machine."""

POLL_S = 0.05
TAIL_LINES = 15


class Launch:
    """The start of one instance.

    Args:
        plan: Folder, programs, ports and range.
        leashed: Whether the components die with this process.
        say: Takes a line of progress.
    """

    def __init__(self, plan: Plan, *, leashed: bool, say: Callable[[str], None]) -> None:
        """Take the wishes; nothing runs before `run`."""
        self.plan = plan
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._leashed = leashed
        self._say = say
        self._began = time.monotonic()

    def run(self, context: str) -> None:
        """Write credentials and start everything, the API server first.

        Args:
            context: Name of the context in the kubeconfigs.
        """
        created = credentials.create(self.plan.folder, self.plan.services)
        for user, token in created.tokens.items():
            credentials.write_kubeconfig(
                self.plan.kubeconfig(user),
                context=context,
                server=self.plan.server,
                authority=created.authority,
                token=token,
            )
        (self.plan.folder / "audit-policy.yaml").write_text(AUDIT_POLICY)
        api = Api.of(self.plan.kubeconfig("admin"))
        self._spawn("etcd", "kube-apiserver")
        self.wait("the API server", api.ready)
        self._say(f"API server ready at {self.plan.server} ({self.elapsed})")
        self._spawn("kube-controller-manager", "kube-scheduler", "kwok")

    def wait(self, what: str, done: Callable[[], bool]) -> None:
        """Wait until `done`, watching every component.

        Args:
            what: What is waited for, for the message of a failure.
            done: Says whether it is there.
        """
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            finished = done()
            self.check()
            if finished:
                return
            if time.monotonic() > deadline:
                logs = "\n".join(self._tail(name) for name in self.children)
                raise LocalClusterError(
                    f"{self.plan.folder}: {what} not ready after {TIMEOUT_S:.0f} s, though "
                    f"every component runs; the ends of their logs:\n{logs}"
                )
            time.sleep(POLL_S)

    def check(self) -> None:
        """Raise if a component has died."""
        for name, child in self.children.items():
            code = child.poll()
            if code is None:
                continue
            tail = self._tail(name)
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            message = f"{self.plan.folder}: {name} {how}; the end of its log:\n{tail}"
            raise (PortTakenError if "address already in use" in tail else LocalClusterError)(
                message
            )

    @property
    def elapsed(self) -> str:
        """Time since the start."""
        return f"{time.monotonic() - self._began:.1f} s"

    def _spawn(self, *names: str) -> None:
        """Start components."""
        for name in names:
            self.children[name] = processes.spawn(
                name, command(name, self.plan), self.plan.folder, leashed=self._leashed
            )

    def _tail(self, name: str) -> str:
        """Return the end of a component's log, each line after its name."""
        return "\n".join(f"  {name}: {line}" for line in self.plan.log(name, TAIL_LINES))
