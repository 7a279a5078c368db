"""Kueue as a local process on an instance, installed from the manifests of its own module.

Its Deployment becomes a process under the same account; its Service gets a loopback address, which
the process binds, so that its webhooks are reached as in any cluster. Only two things differ: the
Service has a port that needs no root, and the visibility API is left out, since the aggregation
layer would need certificates of its own.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import yaml

from localcluster import network, processes
from localcluster.build import Built, build
from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError
from localcluster.operator import READY_TIMEOUT_S, OperatorProcess

NAMESPACE = "kueue-system"
SERVICE = "kueue-webhook-service"
SECRET = "kueue-webhook-server-cert"  # noqa: S105, the name of an object
ACCOUNT = "kueue-controller-manager"
PORT = 9443
"""Of its webhook; the manifests' 443 would need root."""

_LEFT_OUT = ("APIService", "Deployment", "ConfigMap")
_POLL_S = 0.05


def crds(name: str) -> str:
    """Return a folder of CustomResourceDefinitions, for `kubectl apply -f`.

    Args:
        name: `jobset`, `lws`, `ray`, `trainer` or `training-operator`.
    """
    return str(build("kueue", sys.stderr).home / "crds" / name)


def start(
    cluster: Cluster, *, frameworks: Sequence[str] = ("batch/job",), leashed: bool = True
) -> OperatorProcess:
    """Install Kueue, start its controller and return once it serves.

    Args:
        cluster: Where.
        frameworks: The kinds that it queues, as its configuration names them; the CRDs of others
            than Jobs have to be there.
        leashed: Whether it dies with this process.
    """
    built = build("kueue", sys.stderr)
    _install(cluster, built)
    address = cluster.kubectl(
        "get", "service", SERVICE, "-n", NAMESPACE, "-o", "jsonpath={.spec.clusterIP}"
    ).stdout.strip()
    (probe_port,) = network.free_ports(1)
    folder = cluster.directory / "kueue"
    (folder / "certificates").mkdir(parents=True, exist_ok=True)
    settings = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{probe_port}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": address, "port": PORT, "certDir": str(folder / "certificates")},
        "leaderElection": {"leaderElect": False},
        "clientConnection": {"qps": 500, "burst": 1000},
        "integrations": {"frameworks": list(frameworks)},
        "featureGates": {"VisibilityOnDemand": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    account = cluster.service_account_kubeconfig(NAMESPACE, ACCOUNT)
    child = processes.spawn(
        "kueue",
        [
            str(built.program("kueue")),
            f"--config={folder / 'config.yaml'}",
            f"--kubeconfig={account}",
            "--zap-log-level=2",
        ],
        cluster.directory,
        leashed=leashed,
    )
    process = OperatorProcess("kueue", child, cluster.directory / "kueue.log", probe_port, 0)
    _bring_certificate(cluster, process)
    process.wait_ready()
    return process


def _install(cluster: Cluster, built: Built) -> None:
    """Apply its kinds, accounts and webhooks."""
    rendered = cluster.kubectl("kustomize", str(built.home / "config" / "default")).stdout
    objects = list(_adapted(yaml.load_all(rendered, Loader=yaml.CSafeLoader)))
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    apply = ("apply", "--server-side", "--force-conflicts", "-f", "-")
    cluster.kubectl(*apply, input=text)
    cluster.wait_for_kinds(*(one["metadata"]["name"] for one in objects if _is_kind(one)))


def _adapted(manifests: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is to be applied: without what a process replaces, the Service on our port."""
    for manifest in manifests:
        if manifest["kind"] in _LEFT_OUT:
            continue
        if manifest["metadata"]["name"] == SERVICE:
            manifest["spec"]["ports"] = [{"port": PORT, "targetPort": PORT}]
        for called in _called(manifest):
            called["service"]["port"] = PORT
        yield manifest


def _called(manifest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield each `clientConfig` of a manifest."""
    yield from (webhook["clientConfig"] for webhook in manifest.get("webhooks") or ())
    conversion = manifest.get("spec", {}).get("conversion") if _is_kind(manifest) else None
    if conversion is not None and "webhook" in conversion:
        yield conversion["webhook"]["clientConfig"]


def _is_kind(manifest: dict[str, Any]) -> bool:
    return bool(manifest["kind"] == "CustomResourceDefinition")


def _bring_certificate(cluster: Cluster, process: OperatorProcess) -> None:
    """Copy the certificate that Kueue makes from its Secret to its folder, as a kubelet would."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        found = cluster.kubectl("get", "secret", SECRET, "-n", NAMESPACE, "-o", "json").stdout
        data = json.loads(found).get("data") or {}
        if "tls.crt" in data:
            break
        if not process.running or time.monotonic() > deadline:
            raise LocalClusterError(f"kueue made no certificate:\n{process.tail()}")
        time.sleep(_POLL_S)
    for name, content in data.items():
        path = cluster.directory / "kueue" / "certificates" / name
        path.write_bytes(base64.b64decode(content))
