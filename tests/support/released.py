"""A control plane whose `local` node runs the pods of a release of our chart, for tests of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import patient
from localcluster import Cluster
from localcluster.helm import helm
from localcluster.kubelet import LocalNode
from localcluster.operator import ROOT, OperatorProcess
from localcluster.pools import NodePool
from patient import make_namespace
from polling import holds, wait_for

CHART = ROOT / "charts/energaizer"
RELEASE, NAMESPACE, FULL = "watt", "gpu-energy", "watt-energaizer"
ON_THE_LOCAL_NODE = [
    option
    for component in ("controller", "webhook")
    for option in ("--set", rf"{component}.nodeSelector.kubernetes\.io/hostname=local")
] + ["--set", ",".join(f"settings.{key}={seconds}" for key, seconds in patient.DEADLINES.items())]
GPUS = NodePool(
    name="h100",
    labels={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    capacity={"cpu": "64", "memory": "1Ti", "pods": "110", "nvidia.com/gpu": "8"},
)
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "probe-", "namespace": "team-a"},
    "spec": {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "main",
                "image": "example.com/main:1",
                "resources": {"limits": {"nvidia.com/gpu": 1}},
            }
        ],
    },
}
"""A pod that is judged: it asks for a GPU in a namespace that is `strict`."""

UID = "6f1de2ab-0000-4000-8000-000000000001"
_EXPIRY = 'energaizer_certificate_expiry_timestamp_seconds{cert="leaf"} '


@dataclass
class World:
    """A cluster with a node for our pods."""

    cluster: Cluster
    node: LocalNode
    chart: Path
    """Our chart, but for the time that the API server waits for a review (see `patient`)."""

    def helm(self, *arguments: str, namespace: str = NAMESPACE) -> str:
        """Run helm in the release's namespace and return what it printed."""
        done = helm(self.cluster, *arguments, "-n", namespace)
        return done.stdout + done.stderr

    def get(self, *arguments: str) -> dict[str, Any]:
        """Return what kubectl gets."""
        found: dict[str, Any] = json.loads(
            self.cluster.kubectl("get", *arguments, "-o", "json").stdout
        )
        return found

    def wait_ready(self, name: str) -> dict[str, Any]:
        """Return an AIWorkload of team-a once it is Ready."""
        return wait_for(self.cluster, "aiworkload", name, holds("Ready"), "team-a")

    def ask(self) -> str:
        """Ask for a GPU pod in a dry run; return why not, or nothing."""
        create = ("create", "--dry-run=server", "-f", "-")
        done = self.cluster.kubectl(*create, input=json.dumps(POD), check=False)
        return "" if done.returncode == 0 else done.stderr

    def webhook_pages(self, page: str) -> set[tuple[int, str]]:
        """Return status and text of a page, such as `8081/readyz`, of every webhook pod."""
        select = ("-n", NAMESPACE, "-l", "app.kubernetes.io/component=webhook")
        pods = self.get("pods", *select)["items"]
        return {OperatorProcess.page(f"http://{pod['status']['podIP']}:{page}") for pod in pods}

    def leaf_expiries(self) -> set[float]:
        """Return when each webhook pod says that its leaf expires, s since 1970."""
        return {
            float(line.removeprefix(_EXPIRY))
            for _, text in self.webhook_pages("8443/metrics")
            for line in text.splitlines()
            if line.startswith(_EXPIRY)
        }


@contextmanager
def fresh_world() -> Iterator[World]:
    """A control plane with nothing of ours: a namespace for the release, a strict one for work."""
    with Cluster(pools=[GPUS]) as cluster, LocalNode(cluster) as node:
        make_namespace(cluster, NAMESPACE)
        make_namespace(cluster, "team-a", "strict")
        restricted = "pod-security.kubernetes.io/enforce=restricted"
        cluster.kubectl("label", "namespace", NAMESPACE, restricted)
        yield World(cluster, node, _copy_chart(cluster.directory / "chart"))


def _copy_chart(folder: Path) -> Path:
    shutil.copytree(CHART, folder)
    hooks = folder / "files/base/webhooks.yaml"
    waits = f"timeoutSeconds: {patient.CALLER_WAITS_S}"
    hooks.write_text(re.sub(r"timeoutSeconds: \d+", waits, hooks.read_text()))
    return folder


def reserve(cluster: Cluster, namespace: str) -> None:
    """Leave a reservation as a controller leaves it that is gone: with its finalizer."""
    chosen = {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": UID}
    body = {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "EnergyReservation",
        "metadata": {
            "name": UID,
            "namespace": namespace,
            "finalizers": ["energaizer.io/reservation-release"],
        },
        "spec": {
            "workloadRef": chosen,
            "energyJoules": 1000,
            "powerWatts": 10,
            "reservedTime": "2026-11-24T12:00:00Z",
        },
    }
    cluster.kubectl("apply", "--validate=false", "-f", "-", input=json.dumps(body))
