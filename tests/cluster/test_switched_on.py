"""What only a switch brings: our label on nodes, and the estimate as annotations of workloads."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from annotated import BATCH
from energaizer_operator import marks, names
from localcluster import Cluster, NodePool, operator
from localcluster.operator import ROOT, OperatorProcess

Object = dict[str, Any]
ROLES = ("node-labels", "annotate-owners")
LABEL = names.LABEL_GPU_PROFILE
PRODUCT = names.LABEL_NVIDIA_PRODUCT


def wait(check: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, f"after 60 s still not so: {what}"
        time.sleep(0.2)


def read(cluster: Cluster, *what: str) -> Object:
    found: Object = json.loads(cluster.kubectl("get", *what, "-o", "json").stdout)
    return found


def labels(cluster: Cluster) -> dict[str, str]:
    """Return our label of each node that carries it."""
    nodes = read(cluster, "nodes", "-l", LABEL)["items"]
    return {one["metadata"]["name"]: one["metadata"]["labels"][LABEL] for one in nodes}


@pytest.fixture(scope="module")
def switched_on(installed: Cluster, webhook_process: OperatorProcess) -> Iterator[Cluster]:
    """A controller with both switches on, and one node that somebody labelled by hand."""
    assert webhook_process.running
    for role in ROLES:
        installed.kubectl("apply", "--server-side", "-k", str(ROOT / f"charts/kustomize/{role}"))
    pool = {
        "name": "by-hand",
        "count": 1,
        "labels": {LABEL: "a10-24gb", PRODUCT: "NVIDIA-A10"},
        "capacity": {"cpu": "8", "memory": "64Gi", "pods": "10", "nvidia.com/gpu": "1"},
    }
    installed.apply_nodes([NodePool.model_validate(pool)])
    controller = operator.start_controller(installed, node_labels=True, annotate_owners=True)
    try:
        controller.wait_leading()
        yield installed
    finally:
        controller.terminate()
        last = operator.start_controller(installed)  # takes its labels back
        try:
            last.wait_leading()
            wait(lambda: labels(installed) == {"by-hand-0": "a10-24gb"}, "labels are taken back")
        finally:
            last.terminate()
            installed.kubectl("delete", "node", "by-hand-0")
            for role in ROLES:
                installed.kubectl("delete", "-k", str(ROOT / f"charts/kustomize/{role}"))


def test_nodes_get_one_dialect_that_follows_what_their_other_labels_say(
    switched_on: Cluster,
) -> None:
    def right() -> bool:
        found = labels(switched_on)
        return found.get("h100-0") == "h100-sxm5-80gb" and found.get("mi300x-1") == "mi300x-192gb"

    profiles = {one["metadata"]["name"] for one in read(switched_on, "gpuprofiles")["items"]}
    wait(right, f"labels of {labels(switched_on)} from {sorted(profiles)}")
    assert set(labels(switched_on).values()) <= profiles
    assert "system-0" not in labels(switched_on)
    assert labels(switched_on)["by-hand-0"] == "a10-24gb"

    def spoken() -> set[str]:
        terms = read(switched_on, "gpuprofile", "h100-sxm5-80gb")["status"]["observedTerms"]
        return {one["key"] for one in terms}

    wait(lambda: {LABEL, PRODUCT} <= spoken(), "placement may use it")
    mine = ("label", "node", "l40s-1", "--overwrite")
    try:
        switched_on.kubectl(*mine, f"{PRODUCT}=NVIDIA-A10")
        wait(lambda: labels(switched_on)["l40s-1"] == "a10-24gb", "our label is no evidence")
    finally:
        switched_on.kubectl(*mine, f"{PRODUCT}=NVIDIA-L40S")
    wait(lambda: labels(switched_on)["l40s-1"] == "l40s-48gb", "and back")


@pytest.mark.usefixtures("switched_on")
def test_a_workload_carries_its_estimate_and_its_pods_stay(namespace: Any) -> None:
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    template = {"metadata": {"labels": {"app": "chat"}}, "spec": {"containers": [container]}}
    inputs = {**BATCH, names.ANNOTATION_TASK: "Inference"}
    inputs.pop(names.ANNOTATION_REQUESTS, None)
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", "annotations": inputs},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "chat"}},
            "template": template,
        },
    }
    namespace.apply(deployment)

    def told(body: Object) -> bool:
        return set(marks.WORKLOAD_KEYS) <= body["metadata"].get("annotations", {}).keys()

    body = namespace.wait("deployment", "chat", told, 60)
    workload = namespace.get("aiworkload", "deployment-chat")
    estimate = workload["status"]["estimate"]
    amounts = ("powerWatts", "energyJoules", "energyHighJoules", "durationSeconds")
    expected = {
        key: str(estimate[field]) for key, field in zip(marks.WORKLOAD_KEYS, amounts, strict=True)
    }
    found = body["metadata"]["annotations"]
    assert {key: found[key] for key in expected} == expected
    assert len(namespace.items("replicasets")) == 1, "its pods are not rolled"
    assert not set(expected) & body["spec"]["template"]["metadata"].get("annotations", {}).keys()
    namespace.cluster.kubectl("annotate", "deployment", "chat", "-n", namespace.name, "note=x")
    namespace.wait("deployment", "chat", told)
