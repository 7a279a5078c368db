"""The controller against a real API server, as a process under its own account."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from localcluster import Cluster, NodePool
from localcluster.operator import OperatorProcess
from polling import condition, holds, until

LLAMA = {
    "task": "Inference",
    "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
    "inference": {"batchSize": 16, "inputTokens": 1024, "outputTokens": 256, "requests": 1000},
    "accelerator": {"resourceName": "nvidia.com/gpu", "countPerReplica": 1, "replicas": 1},
}


def aiworkload(name: str, spec: dict[str, Any] = LLAMA, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": name, **metadata},
        "spec": spec,
    }


def job(name: str, gpus: int = 1, **annotations: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "example.com/main:1",
        "resources": {"limits": {"nvidia.com/gpu": gpus}},
    }
    keys = {f"energaizer.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "annotations": keys},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


ready = holds()


@pytest.fixture(scope="module", autouse=True)
def _processes(controller_process: OperatorProcess, webhook_process: OperatorProcess) -> None:
    """Both run: AIWorkloads are refused while the webhook is away."""


@pytest.fixture
def unknown_gpu(installed: Cluster) -> Iterator[str]:
    pool = NodePool.model_validate(
        {
            "name": "unknown",
            "count": 1,
            "labels": {"nvidia.com/gpu.product": "NVIDIA-Z900", "nvidia.com/gpu.count": "4"},
            "capacity": {"cpu": "8", "memory": "64Gi", "pods": "10", "nvidia.com/gpu": "4"},
        }
    )
    installed.apply_nodes([pool])
    yield "unknown-0"
    installed.kubectl("delete", "node", "unknown-0")


def test_columns_conditions_events_and_metrics(
    namespace: Any, controller_process: OperatorProcess
) -> None:
    namespace.apply(aiworkload("llama"))
    body = namespace.wait("aiworkload", "llama", ready)
    estimate = body["status"]["estimate"]
    assert estimate["powerLowWatts"] <= estimate["powerWatts"] <= estimate["powerHighWatts"]
    assert estimate["energyLowJoules"] <= estimate["energyJoules"] <= estimate["energyHighJoules"]
    table = namespace.cluster.kubectl("get", "aiworkloads", "-n", namespace.name).stdout
    header, row = table.strip().splitlines()
    assert header.split() == [
        *["NAME", "TASK", "MODEL", "GPU", "GPUS", "POWER", "ENERGY", "BUDGET", "READY", "AGE"]
    ]
    assert estimate["energyHuman"] in row
    assert estimate["profile"] in row
    types = {one["type"]: one["status"] for one in body["status"]["conditions"]}
    assert types["InputsResolved"] == types["Estimated"] == "True"
    describe = ("describe", "aiworkload", "llama", "-n", namespace.name)
    until(lambda: "EstimateReady" in namespace.cluster.kubectl(*describe).stdout, "an event tells")
    labels = f'gpu_profile="{estimate["profile"]}",namespace="{namespace.name}",workload="llama"'
    for name, key in (("energy_joules", "energyJoules"), ("power_watts", "powerWatts")):
        series = f"energaizer_workload_predicted_{name}"
        told = until(lambda series=series: controller_process.series(series)[labels], series)  # type: ignore[misc]
        assert told == estimate[key]


def test_unchanged_object_is_not_written_again(namespace: Any) -> None:
    namespace.apply(aiworkload("still"))
    first = namespace.wait("aiworkload", "still", ready)
    namespace.apply(aiworkload("still", labels={"touched": "yes"}))
    touched = namespace.get("aiworkload", "still")["metadata"]["resourceVersion"]
    time.sleep(4)
    last = namespace.get("aiworkload", "still")
    assert last["metadata"]["resourceVersion"] == touched
    assert last["status"] == first["status"]


def test_status_follows_the_spec(namespace: Any) -> None:
    namespace.apply(aiworkload("grows"))
    before = namespace.wait("aiworkload", "grows", ready)["status"]["estimate"]["energyJoules"]
    more = {**LLAMA, "inference": {**LLAMA["inference"], "requests": 2000}}  # type: ignore[dict-item]
    namespace.apply(aiworkload("grows", more))
    after = namespace.wait(
        "aiworkload", "grows", lambda body: body["status"].get("observedGeneration") == 2
    )["status"]["estimate"]["energyJoules"]
    assert after == pytest.approx(2 * before, rel=0.05)


def test_series_vanish_with_the_object(namespace: Any, controller_process: OperatorProcess) -> None:
    namespace.apply(aiworkload("brief"))
    namespace.wait("aiworkload", "brief", ready)
    label = f'namespace="{namespace.name}",workload="brief"'
    until(lambda: label in controller_process.metrics(), "it has series")
    namespace.cluster.kubectl("delete", "aiworkload", "brief", "-n", namespace.name)
    until(lambda: label not in controller_process.metrics(), "its series are gone")


def test_every_gpu_workload_gets_an_aiworkload(namespace: Any) -> None:
    namespace.apply(
        job("train", gpus=8, model="meta-llama/Llama-3.1-8B", task="Inference", batch_size="8")
    )
    body = namespace.wait("aiworkload", "job-train", lambda body: body["status"]["modelName"])
    owner = body["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["name"]) == ("Job", "train")
    assert "blockOwnerDeletion" not in owner
    assert body["spec"] == {
        "workloadRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "train"}
    }
    assert body["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "energaizer-controller"
    assert body["status"]["modelName"] == "meta-llama/Llama-3.1-8B"
    namespace.cluster.kubectl("delete", "job", "train", "-n", namespace.name)
    until(lambda: not namespace.get("aiworkload", "job-train"), "it is collected with its Job")


def test_invalid_annotation_is_shown_and_bounded(namespace: Any) -> None:
    namespace.apply(job("typo", model="meta-llama/Llama-3.1-8B", task="Inference", batch_size="8k"))
    body = namespace.wait("aiworkload", "job-typo", lambda body: condition(body, "InputsResolved"))
    resolved = condition(body, "InputsResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", "InvalidAnnotation")
    assert "batch-size" in resolved["message"]
    assert body["status"]["estimate"]["method"] == "TDPBound"
    assert condition(body, "Estimated")["reason"] == "TDPBoundUsed"


def test_missing_workload_is_named(namespace: Any) -> None:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "nowhere"}
    namespace.apply(aiworkload("lost", {**LLAMA, "workloadRef": reference}))
    body = namespace.wait("aiworkload", "lost", lambda body: condition(body, "InputsResolved"))
    resolved = condition(body, "InputsResolved")
    assert (resolved["status"], resolved["reason"]) == ("False", "WorkloadNotFound")
    assert "Job nowhere does not exist" in resolved["message"]


def test_profiles_count_their_nodes(installed: Cluster) -> None:
    def counted() -> tuple[int, int]:
        items = json.loads(installed.kubectl("get", "gpuprofiles", "-o", "json").stdout)["items"]
        found = [one.get("status", {}) for one in items]
        return sum(one.get("nodes", 0) for one in found), sum(one.get("gpus", 0) for one in found)

    until(lambda: counted() == (12, 96), lambda: f"12 nodes with 96 GPUs: {counted()}")


def test_unprofiled_gpu_node_is_reported(
    unknown_gpu: str, installed: Cluster, controller_process: OperatorProcess
) -> None:
    unprofiled = "energaizer_unprofiled_gpu_nodes"
    until(lambda: controller_process.series(unprofiled)[""] == 1, "it is counted")
    events = ("get", "events", "-A", "-o", "json")
    until(
        lambda: re.search(r'"reason": "UnprofiledGPU"', installed.kubectl(*events).stdout),
        "an event tells",
    )
    described = installed.kubectl("describe", "node", unknown_gpu).stdout
    assert "no GPUProfile matches this node" in described


def test_policy_counts_its_namespaces(namespace: Any, installed: Cluster) -> None:
    policy = {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "EnergyPolicy",
        "metadata": {"name": namespace.name},
        "spec": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace.name}},
            "limits": {"maxEnergyJoules": 3600000000},
        },
    }
    namespace.apply(policy)
    namespace.wait(
        "energypolicy",
        namespace.name,
        lambda body: ready(body) and body["status"]["matchedNamespaces"] == 1,
    )
    installed.kubectl("delete", "energypolicy", namespace.name)
