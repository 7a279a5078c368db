"""Coefficients of a GPU from a ConfigMap, on a real API server: used, or said to be broken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from energaizer import catalog
from energaizer_operator.estimation import calibration_digest as digest_of
from energaizer_operator.names import CALIBRATION_KEY as KEY
from localcluster import Cluster
from localcluster.operator import NAMESPACE, OperatorProcess
from polling import condition, reason, wait_for

GPU = "h100-sxm5-80gb"
SHIPPED = catalog.coefficients(catalog.gpu(GPU))
HUNGRY = SHIPPED.with_values({"power.idle_w": SHIPPED.values()["power.idle_w"] + 50}).dumps()


@pytest.fixture(scope="module", autouse=True)
def _processes(controller_process: OperatorProcess, webhook_process: OperatorProcess) -> None:
    """Both run."""


@pytest.fixture(autouse=True)
def _restored(installed: Cluster) -> Iterator[None]:
    yield
    patch = json.dumps({"spec": {"calibration": None}})
    installed.kubectl("patch", "gpuprofile", GPU, "--type=merge", "-p", patch)
    installed.kubectl("delete", "configmap", "fit", "-n", NAMESPACE, "--ignore-not-found")


def refer(cluster: Cluster, digest: str) -> None:
    stated = {"configMapRef": {"name": "fit", "namespace": NAMESPACE}, "digest": digest}
    patch = json.dumps({"spec": {"calibration": stated}})
    cluster.kubectl("patch", "gpuprofile", GPU, "--type=merge", "-p", patch)


def told(cluster: Cluster, wanted: str) -> str:
    """Wait until the profile says what became of its calibration, and return the message."""
    body = wait_for(
        cluster, "gpuprofile", GPU, lambda body: reason(body, "CalibrationLoaded") == wanted
    )
    message: str = condition(body, "CalibrationLoaded")["message"]
    return message


def watts(body: dict[str, Any]) -> int:
    """Return the power at 1 GHz, far from the limit, where 50 W of idle are 50 W of power."""
    candidates = body.get("status", {}).get("candidates", ())
    found = (one["powerWatts"] for one in candidates if one["name"] == f"{GPU}-1000mhz")
    return next(found, 0)


def test_estimates_follow_the_config_map(namespace: Any) -> None:
    cluster: Cluster = namespace.cluster
    spec = {
        "task": "Inference",
        "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
        "inference": {"batchSize": 16, "inputTokens": 512, "outputTokens": 256},
        "accelerator": {
            **{"resourceName": "nvidia.com/gpu", "countPerReplica": 1, "replicas": 1},
            **{"allowedProfiles": [GPU], "clockMegahertz": 1000},
        },
    }
    metadata = {"name": "w"}
    kind = {"apiVersion": "energaizer.io/v1alpha1", "kind": "AIWorkload"}
    namespace.apply({**kind, "metadata": metadata, "spec": spec})
    usual = watts(namespace.wait("aiworkload", "w", lambda body: watts(body) > 0))
    refer(cluster, digest_of(HUNGRY))
    assert "does not exist; create it" in told(cluster, "NotFound")
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "fit"}}
    text = json.dumps({**made, "data": {KEY: HUNGRY}})
    cluster.kubectl("apply", "-n", NAMESPACE, "-f", "-", input=text)
    assert digest_of(HUNGRY) in told(cluster, "CalibrationLoaded")
    namespace.wait("aiworkload", "w", lambda body: watts(body) in range(usual + 48, usual + 53))
    refer(cluster, digest_of("what somebody else reviewed"))
    assert "restore the ConfigMap, or review it" in told(cluster, "DigestMismatch")
    namespace.wait("aiworkload", "w", lambda body: watts(body) == usual)
