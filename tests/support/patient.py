"""Admission that takes its time: tests say what is decided, benchmarks how soon.

As shipped, a review that is late on a busy machine ends in a bound, or lets work pass unjudged.
That is right in a cluster, and tested with a clock in hand; here it would be chance.
"""

from __future__ import annotations

import json
from typing import Any

from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess
from polling import until

CALLER_WAITS_S = 30
"""The most that an API server grants."""
DEADLINES = {
    "validation_deadline_s": 20,
    "mutation_deadline_s": 20,
    "estimate_deadline_s": 15,
    "owner_deadline_s": 10,
}
_REHEARSALS = "rehearsals"


def install(cluster: Cluster) -> None:
    """Install the operator, let the API server wait long for reviews, and make room to try them."""
    operator.install(cluster)
    for kind in ("validatingwebhookconfiguration", "mutatingwebhookconfiguration"):
        hooks = json.loads(cluster.kubectl("get", kind, "energaizer", "-o", "json").stdout)
        longer = [
            {"op": "replace", "path": f"/webhooks/{at}/timeoutSeconds", "value": CALLER_WAITS_S}
            for at, _ in enumerate(hooks["webhooks"])
        ]
        cluster.kubectl("patch", kind, "energaizer", "--type=json", "-p", json.dumps(longer))
    make_namespace(cluster, _REHEARSALS, "strict")


def start_webhook(cluster: Cluster, number: int = 0, **settings: Any) -> OperatorProcess:
    """Start one replica; `wait_reached` says when it serves."""
    return operator.start_webhook(cluster, number, **{**DEADLINES, **settings})


def wait_reached(cluster: Cluster, *replicas: OperatorProcess) -> None:
    """Return once replicas are ready and the API server knows whom to trust.

    It learns that by a watch of its own, and before asks nobody.
    """
    for one in replicas:
        one.wait_ready()
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "asked-", "namespace": _REHEARSALS},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    create = ("create", "--dry-run=server", "-f", "-")
    said = ""

    def judged() -> bool:
        nonlocal said
        done = cluster.kubectl(*create, input=json.dumps(pod), check=False)
        said = done.stderr
        return done.returncode == 0

    until(judged, lambda: f"the API server reaches the webhooks: {said}")


def make_namespace(cluster: Cluster, name: str, admission: str = "") -> None:
    """Make a namespace that has its label from its first moment, and the account that pods need."""
    labels = {"energaizer.io/admission": admission} if admission else {}
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": labels},
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(body))
    account = ("get", "serviceaccount", "default", "-n", name)
    until(
        lambda: cluster.kubectl(*account, check=False).returncode == 0,
        f"the default account of {name}",
    )
