"""Installs energaizer on an instance and runs its processes there, for the demo and the tests.

The processes are what a cluster would run: separate, each under its own account's rights, the
webhook behind the address of its Service. They carry the folder of the instance like every other
component, so stopping the instance stops them too.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from localcluster import network, processes
from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError

ROOT = Path(__file__).parents[2]
"""The repository."""

NAMESPACE = "energaizer-system"
SERVICE = "energaizer-webhook"
SERVICE_PORT = 9443
READY_TIMEOUT_S = 120.0
_POLL_S = 0.05


@dataclass
class OperatorProcess:
    """A running controller or webhook."""

    component: str
    child: subprocess.Popen[bytes]
    log: Path
    probe_port: int
    metrics_port: int

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.child.poll() is None

    def check(self) -> None:
        """Raise, with the end of its log, if it has ended."""
        if not self.running:
            raise LocalClusterError(
                f"{self.component} ended with code {self.child.returncode}:\n{self.tail()}"
            )

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return once it is ready; raise, with the end of its log, if it ends or is late."""
        deadline = time.monotonic() + timeout_s
        why = ""
        while time.monotonic() < deadline:
            self.check()
            status, why = self.get(self.probe_port, "/readyz")
            if status == 200:  # noqa: PLR2004 (HTTP)
                return
            time.sleep(_POLL_S)
        raise LocalClusterError(
            f"{self.component} not ready after {timeout_s:.0f} s: {why.strip()}\n{self.tail()}"
        )

    def wait_leading(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return once this controller leads; another's lease may have to run out first."""
        self.wait_ready(timeout_s)
        deadline = time.monotonic() + timeout_s
        while not self.series("energaizer_leader").get(""):
            if time.monotonic() > deadline:
                raise LocalClusterError(
                    f"{self.component} does not lead after {timeout_s:.0f} s\n{self.tail()}"
                )
            time.sleep(_POLL_S)

    def metrics(self) -> str:
        """Return the metrics page."""
        status, text = self.get(self.metrics_port, "/metrics")
        if status != 200:  # noqa: PLR2004 (HTTP)
            raise LocalClusterError(f"{self.component}: no metrics page: {text}")
        return text

    def series(self, name: str) -> dict[str, float]:
        """Return the samples of one metric: their labels as written, and their values."""
        pattern = re.compile(rf"^{re.escape(name)}(?:\{{(.*)\}})? (\S+)$", re.MULTILINE)
        return {labels: float(value) for labels, value in pattern.findall(self.metrics())}

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def terminate(self, timeout_s: float = 60.0) -> int:
        """Ask it to end and return its exit code."""
        self.child.terminate()
        return self.child.wait(timeout_s)

    def kill(self) -> None:
        """End it as a crash would."""
        self.child.kill()
        self.child.wait(10)

    @classmethod
    def get(cls, port: int, path: str) -> tuple[int, str]:
        """Return status and text of one of its pages; 0 if it does not listen."""
        return cls.page(f"http://127.0.0.1:{port}{path}")

    @staticmethod
    def page(url: str) -> tuple[int, str]:
        """Return status and text of a page of any process of ours; 0 if it does not listen."""
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (our own URL)
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)


def install(cluster: Cluster) -> None:
    """Apply our kinds, accounts, webhooks and GPU profiles, as a user would."""
    apply = ("apply", "--server-side", "--force-conflicts")
    cluster.kubectl(*apply, "-k", str(ROOT / "charts/kustomize/base"))
    cluster.wait_for_kinds(
        *(f"{path.stem}.energaizer.io" for path in sorted((ROOT / "crds").glob("*s.yaml")))
    )
    cluster.kubectl(*apply, "-k", str(ROOT / "charts/kustomize/profiles"))


def start_replicas(cluster: Cluster, webhooks: int) -> OperatorProcess:
    """Install us, start a controller and several webhooks; return the controller once all serve."""
    install(cluster)
    leader = start_controller(cluster)
    for one in [start_webhook(cluster, number) for number in range(webhooks)]:
        one.wait_ready()
    leader.wait_leading()
    return leader


def start_controller(
    cluster: Cluster, number: int = 0, *, leashed: bool = True, **settings: object
) -> OperatorProcess:
    """Start one replica of the controller.

    Args:
        cluster: Where; `install` has run there.
        number: Tells replicas apart.
        leashed: Whether it dies with this process.
        settings: Further settings of the operator, by field.
    """
    return _start(cluster, "controller", number, leashed, dict(settings))


def start_webhook(
    cluster: Cluster, number: int = 0, *, leashed: bool = True, **settings: object
) -> OperatorProcess:
    """Start one replica of the webhook at the address of its Service.

    Args:
        cluster: Where; `install` has run there.
        number: Tells replicas apart; connections are spread over all of them.
        leashed: Whether it dies with this process.
        settings: Further settings of the operator, by field.
    """
    address = cluster.kubectl(
        "get", "service", SERVICE, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"
    ).stdout.strip()
    where: dict[str, object] = {
        "webhook_address": address,
        "webhook_port": SERVICE_PORT,
        "webhook_share_port": True,
    }
    return _start(cluster, "webhook", number, leashed, where | settings)


def _start(
    cluster: Cluster, role: str, number: int, leashed: bool, settings: dict[str, object]
) -> OperatorProcess:
    component = f"energaizer-{role}-{number}"
    probe_port, metrics_port = network.free_ports(2)
    account = cluster.service_account_kubeconfig(NAMESPACE, f"energaizer-{role}")
    chosen = {
        "kubeconfig": account,
        "namespace": NAMESPACE,
        "probe_address": "127.0.0.1",
        "probe_port": probe_port,
        "metrics_port": metrics_port,
        **settings,
    }
    environment = {
        f"ENERGAIZER_OPERATOR_{key.upper()}": str(value) for key, value in chosen.items()
    }
    child = processes.spawn(
        component,
        [sys.executable, "-m", "energaizer_operator", role],
        cluster.directory,
        leashed=leashed,
        environment=environment,
    )
    log = cluster.directory / f"{component}.log"
    return OperatorProcess(component, child, log, probe_port, metrics_port)
