"""Nodes of every dialect of labels at once: what profiles, events and metrics say of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from localcluster import Cluster, NodePool
from localcluster.operator import OperatorProcess
from polling import condition, until

GFD = "nvidia.com/gpu."
A100_40GB, MI300X = "a100-sxm4-40gb", "mi300x-192gb"

# Name of a node: its labels, what its device plugin advertises, and the profile that is meant.
NODES: dict[str, tuple[dict[str, str], dict[str, str], str | None]] = {
    "gfd": (
        {
            f"{GFD}present": "true",
            f"{GFD}product": "NVIDIA-L40S",
            f"{GFD}count": "4",
            f"{GFD}replicas": "1",
            f"{GFD}sharing-strategy": "none",
        },
        {"nvidia.com/gpu": "4"},
        "l40s-48gb",
    ),
    "gfd-mig": (  # strategy single: GFD counts slices, 14 on two boards
        {
            f"{GFD}product": "NVIDIA-A100-SXM4-40GB-MIG-1g.5gb",
            f"{GFD}count": "14",
            "nvidia.com/mig.strategy": "single",
        },
        {"nvidia.com/gpu": "14"},
        A100_40GB,
    ),
    "gfd-shared": (
        {
            f"{GFD}product": "NVIDIA-A30-SHARED",
            f"{GFD}count": "2",
            f"{GFD}replicas": "4",
            f"{GFD}sharing-strategy": "time-slicing",
        },
        {"nvidia.com/gpu": "8"},
        "a30-24gb",
    ),
    "amd-new": (
        {
            "amd.com/gpu.device-id": "74a1",
            "amd.com/gpu.family": "AI",
            "amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM",
            "amd.com/gpu.vram": "192G",
        },
        {"amd.com/gpu": "8"},
        MI300X,
    ),
    "amd-old": (
        {
            "beta.amd.com/gpu.device-id": "740f",
            "beta.amd.com/gpu.device-id.740f": "4",
            "beta.amd.com/gpu.family.AI": "4",
        },
        {"amd.com/gpu": "4"},
        "mi210-64gb",
    ),
    "intel": (
        {"gpu.intel.com/product": "Max_1550", "gpu.intel.com/device.count": "2"},
        {"gpu.intel.com/xe": "2"},
        None,  # nobody estimates it yet
    ),
    "gke": (
        {
            "cloud.google.com/gke-accelerator": "nvidia-l4",
            "cloud.google.com/gke-accelerator-count": "2",
        },
        {"nvidia.com/gpu": "2"},
        "l4-24gb",
    ),
    "karpenter": (
        {
            "karpenter.k8s.aws/instance-gpu-name": "t4",
            "karpenter.k8s.aws/instance-gpu-manufacturer": "nvidia",
            "karpenter.k8s.aws/instance-gpu-count": "4",
            "karpenter.k8s.aws/instance-gpu-memory": "16384",
        },
        {"nvidia.com/gpu": "4"},
        "t4-16gb",
    ),
    "eks": (
        {
            "eks.amazonaws.com/instance-gpu-name": "v100",
            "eks.amazonaws.com/instance-gpu-count": "8",
            "eks.amazonaws.com/instance-gpu-memory": "32768",
        },
        {"nvidia.com/gpu": "8"},
        "v100-sxm2-32gb",
    ),
    "coreweave": (
        {"gpu.nvidia.com/class": "A40", "gpu.nvidia.com/count": "8"},
        {"nvidia.com/gpu": "8"},
        "a40-48gb",
    ),
    "azure": (
        {
            "kubernetes.azure.com/accelerator": "nvidia",
            "node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4",
        },
        {"nvidia.com/gpu": "1"},
        "a100-pcie-80gb",
    ),
    "bare": ({}, {"nvidia.com/gpu": "2"}, None),
}
GPUS = {
    "l40s-48gb": 4,
    A100_40GB: 2,
    "a30-24gb": 2,
    MI300X: 8,
    "mi210-64gb": 4,
    "l4-24gb": 2,
    "t4-16gb": 4,
    "v100-sxm2-32gb": 8,
    "a40-48gb": 8,
    "a100-pcie-80gb": 1,
}
LIAR = "dialect-contradicting"


def pool(name: str, labels: dict[str, str], gpus: dict[str, str]) -> NodePool:
    capacity = {"cpu": "8", "memory": "64Gi", "pods": "10", **gpus}
    return NodePool(name=name, count=1, labels=labels, capacity=capacity)


@pytest.fixture(scope="module", autouse=True)
def before(
    installed: Cluster, controller_process: OperatorProcess
) -> Iterator[dict[str, tuple[int, int]]]:
    """What profiles count without our nodes, which are there from now on."""
    assert controller_process.running
    counted: dict[str, tuple[int, int]] = until(lambda: census(installed))
    installed.apply_nodes(
        [pool(f"dialect-{name}", labels, gpus) for name, (labels, gpus, _) in NODES.items()]
    )
    yield counted
    installed.kubectl("delete", "node", *(f"dialect-{name}-0" for name in NODES))


def profiles(cluster: Cluster) -> dict[str, dict[str, Any]]:
    found = json.loads(cluster.kubectl("get", "gpuprofiles", "-o", "json").stdout)["items"]
    return {item["metadata"]["name"]: item for item in found}


def census(cluster: Cluster) -> dict[str, tuple[int, int]]:
    """Return nodes and GPUs by profile; nothing before every profile has a status."""
    found = {name: item.get("status", {}) for name, item in profiles(cluster).items()}
    if not all("conditions" in status for status in found.values()):
        return {}
    return {name: (one.get("nodes", 0), one.get("gpus", 0)) for name, one in found.items()}


def test_every_dialect_is_counted(installed: Cluster, before: dict[str, tuple[int, int]]) -> None:
    expected = {
        name: (nodes + (name in GPUS), gpus + GPUS.get(name, 0))
        for name, (nodes, gpus) in before.items()
    }
    until(lambda: census(installed) == expected, lambda: (census(installed), expected))
    meant = {profile for _, _, profile in NODES.values() if profile}
    for name, item in profiles(installed).items():
        if name in meant:
            assert condition(item, "Matched")["status"] == "True"
            assert item["status"]["observedTerms"]


def test_unknown_gpus_are_visible(installed: Cluster, controller_process: OperatorProcess) -> None:
    until(lambda: controller_process.series("energaizer_unprofiled_gpu_nodes")[""] == 2)

    def told() -> set[str]:
        events = json.loads(installed.kubectl("get", "events", "-A", "-o", "json").stdout)["items"]
        return {
            event["involvedObject"]["name"]
            for event in events
            if event["reason"] == "UnprofiledGPU"
        }

    until(lambda: {"dialect-intel-0", "dialect-bare-0"} <= told())
    assert "dialect-gfd-0" not in told()


def test_contradicting_labels_are_a_conflict(installed: Cluster) -> None:
    labels = {f"{GFD}product": "NVIDIA-L4", "cloud.google.com/gke-accelerator": "nvidia-tesla-t4"}
    installed.apply_nodes([pool(LIAR, labels, {"nvidia.com/gpu": "1"})])

    def conflicts() -> set[str]:
        return {
            name
            for name, item in profiles(installed).items()
            if condition(item, "Matched").get("reason") == "Conflict"
        }

    try:
        until(lambda: conflicts() == {"l4-24gb", "t4-16gb"})
        found = profiles(installed)
        message = condition(found["l4-24gb"], "Matched")["message"]
        assert f"{LIAR}-0" in message
        more = found["l4-24gb"]["spec"]["thermalDesignPowerWatts"]
        assert more > found["t4-16gb"]["spec"]["thermalDesignPowerWatts"]
        assert found["l4-24gb"]["status"]["nodes"] == 2  # the higher power is taken
        assert condition(found["t4-16gb"], "Ready")["status"] == "False"
    finally:
        installed.kubectl("delete", "node", f"{LIAR}-0")
    until(lambda: not conflicts())


def resource_slice(node: str, product: str, boards: int) -> dict[str, Any]:
    """Return what NVIDIA's driver of devices publishes for one node."""
    text = {"type": "gpu", "brand": "Nvidia", "architecture": "Ada", "productName": product}
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-gpu.nvidia.com"},
        "spec": {
            "driver": "gpu.nvidia.com",
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [
                {
                    "name": f"gpu-{number}",
                    "attributes": {
                        **{key: {"string": value} for key, value in text.items()},
                        "uuid": {"string": f"GPU-{node}-{number}"},
                    },
                    "capacity": {"memory": {"value": "23034Mi"}},
                }
                for number in range(boards)
            ],
        },
    }


def test_devices_of_a_driver_count_where_labels_say_nothing(
    installed: Cluster, before: dict[str, tuple[int, int]]
) -> None:
    installed.apply_nodes([pool("slices", {}, {}), pool("lying", NODES["gke"][0], {})])
    items = [
        resource_slice("slices-0", "NVIDIA A10", 4),
        resource_slice("lying-0", "NVIDIA A10", 2),
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    nodes, gpus = before["a10-24gb"]
    try:
        installed.kubectl("apply", "-f", "-", input=text)
        # The node with both is taken for the A10, whose power is the higher, and counted by labels.
        until(lambda: census(installed).get("a10-24gb") == (nodes + 2, gpus + 6))
        until(
            lambda: "lying-0" in condition(profiles(installed)["l4-24gb"], "Matched")["message"],
            "the conflict names its node",
        )
        assert condition(profiles(installed)["l4-24gb"], "Matched")["reason"] == "Conflict"
        names = (item["metadata"]["name"] for item in items)
        installed.kubectl("delete", "resourceslice", *names)
        until(lambda: census(installed).get("a10-24gb") == (nodes, gpus))
    finally:
        installed.kubectl("delete", "node", "slices-0", "lying-0")
