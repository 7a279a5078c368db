"""The command line of each component of the control plane, and what each flag is for."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from localcluster.build import Built
from localcluster.places import STAGES
from localcluster.pools import KWOK_ANNOTATION

START_ORDER = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")

STOP_ORDER = (START_ORDER[2:], START_ORDER[1:2], START_ORDER[:1])

AUDIT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, userGroups: ["system:serviceaccounts:kube-system"]}
- {level: Metadata, userGroups: ["system:serviceaccounts"]}
- {level: None}
"""
"""Every call of a service account that is not Kubernetes' own: what to grant it, read from use."""


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1."""

    api: int
    etcd: int
    etcd_peer: int


@dataclass(frozen=True)
class Plan:
    """All that the command lines depend on."""

    folder: Path
    built: Built
    ports: Ports
    services: IPv4Network

    @property
    def server(self) -> str:
        """URL of the API server."""
        return f"https://127.0.0.1:{self.ports.api}"

    def kubeconfig(self, user: str) -> Path:
        """Return the kubeconfig of a component or of the admin."""
        return self.folder / f"{user}.kubeconfig"

    def log(self, component: str, lines: int = 0) -> list[str]:
        """Return the last lines of a component's log, all if 0; none if it never started."""
        path = self.folder / f"{component}.log"
        return path.read_text(errors="replace").splitlines()[-lines:] if path.exists() else []


def command(component: str, plan: Plan) -> list[str]:
    """Return program and arguments of one component."""
    flags = {
        "etcd": _etcd,
        "kube-apiserver": _apiserver,
        "kube-controller-manager": _controller_manager,
        "kube-scheduler": _scheduler,
        "kwok": _kwok,
    }[component](plan)
    return [str(plan.built.program(component)), *flags]


def _etcd(plan: Plan) -> list[str]:
    client = f"http://127.0.0.1:{plan.ports.etcd}"
    peer = f"http://127.0.0.1:{plan.ports.etcd_peer}"
    return [
        f"--data-dir={plan.folder / 'etcd'}",
        "--unsafe-no-fsync",  # the data need not outlive the machine
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--log-level=warn",
    ]


def _apiserver(plan: Plan) -> list[str]:
    pki = plan.folder / "pki"
    return [
        f"--etcd-servers=http://127.0.0.1:{plan.ports.etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={plan.ports.api}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--token-auth-file={pki / 'tokens.csv'}",
        "--authorization-mode=Node,RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'accounts.pub'}",
        f"--service-account-signing-key-file={pki / 'accounts.key'}",
        f"--service-cluster-ip-range={plan.services}",
        "--endpoint-reconciler-type=none",  # a loopback address is no valid endpoint
        f"--audit-policy-file={plan.folder / 'audit-policy.yaml'}",
        f"--audit-log-path={plan.folder / 'audit.log'}",
        "--allow-privileged=true",
        "--profiling=false",
        "--shutdown-delay-duration=0s",
    ]


def _controller_manager(plan: Plan) -> list[str]:
    pki = plan.folder / "pki"
    return [
        f"--kubeconfig={plan.kubeconfig('kube-controller-manager')}",
        "--leader-elect=false",
        "--secure-port=0",  # one port less to choose; the process itself says whether it lives
        "--use-service-account-credentials",
        f"--service-account-private-key-file={pki / 'accounts.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        "--kube-api-qps=500",  # the default of 20 spends 4 s of the start on waiting
        "--kube-api-burst=1000",
        "--allocate-node-cidrs=false",
        "--profiling=false",
    ]


def _scheduler(plan: Plan) -> list[str]:
    return [
        f"--kubeconfig={plan.kubeconfig('kube-scheduler')}",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--leader-elect=false",
        "--secure-port=0",
        "--profiling=false",
    ]


def _kwok(plan: Plan) -> list[str]:
    return [
        f"--kubeconfig={plan.kubeconfig('kwok')}",
        *(f"--config={stage}" for stage in (*plan.built.files("stages"), *STAGES.glob("*.yaml"))),
        f"--manage-nodes-with-annotation-selector={KWOK_ANNOTATION}=fake",
        "--node-port=0",  # no kubelet server
        "--node-lease-duration-seconds=40",
    ]
