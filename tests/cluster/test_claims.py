"""Claims of devices (DRA): the real scheduler gives the first GPU of our order that is free."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from localcluster import Cluster

# The namespace fixture and its class come from conftest.py of this folder.
Namespace = Any

DRIVER = "gpu.nvidia.com"
DEVICES = {"h100-0": ("NVIDIA H100 80GB HBM3", 2), "l40s-0": ("NVIDIA L40S", 2)}
PROFILES = {"h100-0": "h100-sxm5-80gb", "l40s-0": "l40s-48gb"}
INFERENCE = {"batchSize": 16, "inputTokens": 512, "outputTokens": 256, "requests": 100_000}
WORKLOAD = {
    "apiVersion": "energaizer.io/v1alpha1",
    "kind": "AIWorkload",
    "metadata": {"name": "chat"},
    "spec": {
        "task": "BatchInference",
        "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
        "inference": INFERENCE,
        "accelerator": {"countPerReplica": 1, "allowedProfiles": list(PROFILES.values())},
        "placement": {"mode": "DeviceClaim"},
    },
}


@pytest.fixture(scope="module")
def devices(installed: Cluster) -> Iterator[Cluster]:
    """A driver's devices on two nodes, as it would publish them."""
    selector = {"cel": {"expression": f"device.driver == '{DRIVER}'"}}
    objects: list[dict[str, Any]] = [
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": DRIVER},
            "spec": {"selectors": [selector]},
        }
    ]
    for node, (product, count) in DEVICES.items():
        attributes = {"productName": {"string": product}, "type": {"string": "gpu"}}
        found = [{"name": f"gpu-{number}", "attributes": attributes} for number in range(count)]
        pool = {"name": node, "generation": 1, "resourceSliceCount": 1}
        objects.append(
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceSlice",
                "metadata": {"name": f"claims-{node}"},
                "spec": {"driver": DRIVER, "nodeName": node, "pool": pool, "devices": found},
            }
        )
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    installed.kubectl("apply", "-f", "-", input=text)
    yield installed
    installed.kubectl("delete", "-f", "-", "--wait=false", input=text)


def pod(name: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "example.com/main:1",
        "resources": {"claims": [{"name": "gpu"}]},
    }
    claims = [{"name": "gpu", "resourceClaimTemplateName": "chat-gpu"}]
    spec = {"restartPolicy": "Never", "containers": [container], "resourceClaims": claims}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


@pytest.mark.usefixtures("webhook_process", "controller_process", "devices")
def test_the_scheduler_gives_the_cheapest_gpu_that_is_free(namespace: Namespace) -> None:
    namespace.apply(WORKLOAD)
    body = namespace.wait(
        "aiworkload",
        "chat",
        lambda one: (
            one["status"]["placement"]["applied"]
            and len(one["status"]["placement"]["preferredProfiles"]) == len(PROFILES)
        ),
    )
    order = body["status"]["placement"]["preferredProfiles"]
    assert sorted(order) == sorted(PROFILES.values())

    def chosen(template: dict[str, Any]) -> bool:
        request = template["spec"]["spec"]["devices"]["requests"][0]
        return [choice["name"] for choice in request["firstAvailable"]] == order

    namespace.wait("resourceclaimtemplate", "chat-gpu", chosen)

    names = [f"p-{number}" for number in range(4)]
    for name in names:  # one after the other, so that each finds what the one before left
        namespace.apply(pod(name))
        namespace.wait("pod", name, lambda one: one["spec"].get("nodeName"))
    nodes = [namespace.get("pod", name)["spec"]["nodeName"] for name in names]
    assert [PROFILES[node] for node in nodes] == [order[0], order[0], order[1], order[1]]
    results = [
        one["status"]["allocation"]["devices"]["results"][0]["request"]
        for one in namespace.items("resourceclaims")
    ]
    assert sorted(results) == sorted(2 * [f"gpu/{profile}" for profile in order])


def test_the_plugin_prints_what_the_controller_writes(devices: Cluster) -> None:
    manifest = {**WORKLOAD, "metadata": {"name": "chat", "namespace": "default"}}
    done = subprocess.run(
        [sys.executable, "-m", "energaizer_operator.kubectl", "claim", "-f", "-"],
        input=yaml.safe_dump(manifest),
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = devices.kubectl("apply", "--dry-run=server", "-f", "-", input=done.stdout).stdout
    assert "resourceclaimtemplate.resource.k8s.io/chat-gpu" in said
