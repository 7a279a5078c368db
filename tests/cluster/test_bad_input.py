"""Bad input on a real API server: a condition that says what to do, an event, a safe bound."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from localcluster import Cluster, NodePool
from localcluster.operator import OperatorProcess
from polling import condition, read, until

Object = dict[str, Any]
INFERENCE = {"batchSize": 16, "inputTokens": 512, "outputTokens": 256}
LLAMA = {
    "task": "Inference",
    "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
    "inference": INFERENCE,
    "accelerator": {"resourceName": "nvidia.com/gpu", "countPerReplica": 1, "replicas": 1},
}


@pytest.fixture(scope="module", autouse=True)
def _processes(controller_process: OperatorProcess, webhook_process: OperatorProcess) -> None:
    """Both run."""


def aiworkload(name: str, spec: Object) -> Object:
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": name},
        "spec": spec,
    }


def job(name: str, gpus: int = 1) -> Object:
    limits = {"nvidia.com/gpu": gpus}
    container = {"name": "c", "image": "example.com/c:1", "resources": {"limits": limits}}
    spec = {"restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"suspend": True, "template": {"spec": spec}},
    }


@pytest.fixture
def failing(namespace: Any, controller_process: OperatorProcess) -> Callable[..., Object]:
    """Wait for an input that fails, and check that condition, event, metric and bound say so."""

    def check(name: str, reason: str, words: str, *, bound: bool = True) -> Object:
        body = _failing(namespace, name, reason, words, bound=bound)
        labels = f'condition="Ready",namespace="{namespace.name}",workload="{name}"'

        def told() -> bool:
            return controller_process.series("energaizer_workload_condition").get(labels) == 0

        until(told, f"no series {labels}")
        return body

    return check


def _failing(namespace: Any, name: str, reason: str, words: str, *, bound: bool = True) -> Object:
    """Return an AIWorkload once InputsResolved fails for a reason, and check that all say so.

    `bound`: whether what is wrong leaves nothing but a bound to estimate with.
    """

    def right(body: Object) -> bool:
        said = condition(body, "InputsResolved")
        return said.get("reason") == reason and words in said["message"]

    body: Object = namespace.wait("aiworkload", name, right)
    said = condition(body, "InputsResolved")
    assert said["status"] == "False"
    assert condition(body, "Ready")["reason"] == reason
    estimate = body["status"]["estimate"]
    assert (estimate["method"] == "TDPBound") is bound
    assert estimate["energyJoules"] > 0
    described(namespace.cluster, "aiworkload", name, "EstimateFailed", namespace.name)
    return body


def described(cluster: Cluster, kind: str, name: str, words: str, namespace: str = "") -> None:
    """Wait until `kubectl describe` shows words: events come after statuses."""
    describe = ("describe", kind, name, *(("-n", namespace) if namespace else ()))
    until(
        lambda: words in cluster.kubectl(*describe).stdout,
        lambda: f"{words} of {cluster.kubectl(*describe).stdout}",
    )


def test_two_aiworkloads_for_one_workload(namespace: Any, failing: Callable[..., Object]) -> None:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "shared"}
    namespace.apply(job("shared"))
    namespace.apply(aiworkload("first", {**LLAMA, "workloadRef": reference}))
    namespace.wait("aiworkload", "first", lambda body: condition(body, "Ready"))
    time.sleep(1.1)  # age is in whole seconds
    said = namespace.apply(aiworkload("second", {**LLAMA, "workloadRef": reference}))
    assert "described by AIWorkload first already" in said
    failing("second", "DuplicateWorkload", "delete one of them", bound=False)
    first = namespace.get("aiworkload", "first")
    assert condition(first, "InputsResolved")["status"] == "True"
    namespace.cluster.kubectl("delete", "aiworkload", "first", "-n", namespace.name)
    namespace.wait(  # not only when all are looked at again, every ten minutes
        "aiworkload",
        "second",
        lambda body: condition(body, "InputsResolved").get("status") == "True",
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"config.json": "{broken"}, "not JSON"),
        ({"config.json": "[]"}, "no JSON object"),
        ({"other": "{}"}, "has no key config.json"),
        (None, "does not exist"),
    ],
)
def test_a_config_map_that_is_no_configuration(
    namespace: Any, failing: Callable[..., Object], data: dict[str, str] | None, words: str
) -> None:
    grant = (
        *("create", "rolebinding", "energaizer-model-configs", "-n", namespace.name),
        *("--clusterrole=energaizer-model-configs",),
        "--serviceaccount=energaizer-system:energaizer-controller",
    )
    namespace.cluster.kubectl(*grant)
    account = "--as=system:serviceaccount:energaizer-system:energaizer-controller"
    may = ("auth", "can-i", "get", "configmaps", "-n", namespace.name, account)
    until(lambda: namespace.cluster.kubectl(*may, check=False).returncode == 0, "it may read them")
    if data is not None:
        namespace.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data}
        )
    model = {
        "name": "mine",
        "precision": "BF16",
        "source": "HuggingFaceConfig",
        "configMapRef": {"name": "m"},
    }
    namespace.apply(aiworkload("configured", {**LLAMA, "model": model}))
    failing("configured", "InvalidConfigMap", words)


def test_an_annotation_that_is_no_number(namespace: Any, failing: Callable[..., Object]) -> None:
    typo = job("typo")
    typo["metadata"]["annotations"] = {
        "energaizer.io/task": "Inference",
        "energaizer.io/model": "meta-llama/Llama-3.1-8B",
        "energaizer.io/batch-size": "8k",
    }
    namespace.apply(typo)
    failing("job-typo", "InvalidAnnotation", 'batch-size is "8k"; it must be a whole number')


def test_a_reference_to_nothing(namespace: Any, failing: Callable[..., Object]) -> None:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "nowhere"}
    namespace.apply(aiworkload("lost", {**LLAMA, "workloadRef": reference}))
    failing("lost", "WorkloadNotFound", "Job nowhere does not exist", bound=False)


def test_no_gpu_is_no_workload(namespace: Any, failing: Callable[..., Object]) -> None:
    namespace.apply(job("none", gpus=0))
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "none"}
    spec = {key: part for key, part in LLAMA.items() if key != "accelerator"}
    namespace.apply(aiworkload("nothing", {**spec, "workloadRef": reference}))
    body = failing("nothing", "MissingInputs", "accelerator.countPerReplica is missing")
    assert "a GPU limit on a container" in condition(body, "InputsResolved")["message"]
    assert not namespace.get("aiworkload", "job-none")


@pytest.fixture
def node(installed: Cluster) -> Iterator[Callable[[str, dict[str, str]], str]]:
    made: list[str] = []

    def make(name: str, labels: dict[str, str]) -> str:
        capacity = {"cpu": "8", "memory": "64Gi", "pods": "10", "nvidia.com/gpu": "4"}
        pool = {"name": name, "count": 1, "labels": labels, "capacity": capacity}
        installed.apply_nodes([NodePool.model_validate(pool)])
        made.append(f"{name}-0")
        return f"{name}-0"

    yield make
    for name in made:
        installed.kubectl("delete", "node", name)


def profile(cluster: Cluster, name: str) -> Object:
    return read(cluster, "gpuprofile", name)


def test_labels_that_contradict_each_other(
    node: Callable[[str, dict[str, str]], str],
    installed: Cluster,
    controller_process: OperatorProcess,
) -> None:
    labels = {
        "nvidia.com/gpu.product": "NVIDIA-L40S",
        "cloud.google.com/gke-accelerator": "nvidia-h100-80gb",
        "nvidia.com/gpu.count": "4",
    }
    before = profile(installed, "h100-sxm5-80gb")["status"].get("gpus", 0)
    name = node("confused", labels)

    def matched(of: str) -> Object:
        return condition(profile(installed, of), "Matched")

    for one in ("l40s-48gb", "h100-sxm5-80gb"):
        until(lambda one=one: name in matched(one)["message"], f"{one} tells of {name}")  # type: ignore[misc]
        assert matched(one)["reason"] == "Conflict"
    conflicting = "energaizer_conflicting_gpu_nodes"
    until(lambda: controller_process.series(conflicting)[""] >= 1, "not counted")
    described(installed, "node", name, "ConflictingGPU")
    described(installed, "node", name, "mend the labels")

    def counted() -> bool:
        return bool(profile(installed, "h100-sxm5-80gb")["status"]["gpus"] == before + 4)

    until(counted, "counted as the GPU of the higher TDP")


def test_a_gpu_node_without_labels(
    namespace: Any,
    node: Callable[[str, dict[str, str]], str],
    installed: Cluster,
    controller_process: OperatorProcess,
) -> None:
    """The node gets an event and counts; what lands on it is bounded, and nothing else is."""
    name = node("bare", {"bad-input": "bare"})
    unprofiled = "energaizer_unprofiled_gpu_nodes"
    until(lambda: controller_process.series(unprofiled)[""] >= 1, "not noticed")
    described(installed, "node", name, "UnprofiledGPU")
    described(installed, "node", name, "no GPU label")

    namespace.apply(aiworkload("other", LLAMA))
    blind = job("blind")
    inputs = {"task": "Inference", "model": "meta-llama/Llama-3.1-8B", "precision": "BF16"}
    inputs |= {"batch-size": "16", "input-tokens": "512", "output-tokens": "256"}
    blind["metadata"]["annotations"] = {f"energaizer.io/{key}": inputs[key] for key in inputs}
    del blind["spec"]["suspend"]
    pod = blind["spec"]["template"]
    pod["metadata"] = {"annotations": {"pod-complete.stage.kwok.x-k8s.io/delay": "1h"}}
    pod["spec"]["nodeSelector"] = {"bad-input": "bare"}
    namespace.apply(blind)

    def estimated(body: Object) -> Object:
        return condition(body, "Estimated")

    body = namespace.wait(
        "aiworkload", "job-blind", lambda body: estimated(body).get("reason") == "NoProfile"
    )
    assert f"runs on node {name}, whose GPU no GPUProfile matches" in estimated(body)["message"]
    assert "label the node" in estimated(body)["message"]
    assert condition(body, "Ready")["status"] == "False"
    profiles = json.loads(installed.kubectl("get", "gpuprofiles", "-o", "json").stdout)["items"]
    nvidia = (one["spec"] for one in profiles if one["spec"]["vendor"] == "NVIDIA")
    estimate = body["status"]["estimate"]
    assert estimate["method"] == "TDPBound"
    assert estimate["powerWatts"] == max(one["thermalDesignPowerWatts"] for one in nvidia)
    labels = f'condition="Ready",namespace="{namespace.name}",workload="job-blind"'
    series = controller_process.series
    until(lambda: series("energaizer_workload_condition").get(labels) == 0, "no series")
    described(installed, "aiworkload", "job-blind", "EstimateFailed", namespace.name)
    other = namespace.wait("aiworkload", "other", estimated)
    assert estimated(other)["status"] == "True", "no other workload is affected"

    installed.kubectl("label", "node", name, "nvidia.com/gpu.product=NVIDIA-L40S")
    namespace.wait("aiworkload", "job-blind", lambda body: estimated(body)["status"] == "True")


def test_a_profile_that_is_deleted_while_in_use(
    namespace: Any, installed: Cluster, controller_process: OperatorProcess
) -> None:
    paper = {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "GPUProfile",
        "metadata": {"name": "paper-gpu"},
        "spec": {
            "vendor": "NVIDIA",
            "productNames": ["Paper-1"],
            "resourceNames": ["nvidia.com/gpu"],
            "thermalDesignPowerWatts": 500,
            "memoryBytes": 100000000000,
            "memoryBandwidthBytesPerSecond": 3000000000000,
            "computeUnits": 100,
            "peakGigaflops": {"bf16": 800000},
            "supportedClocksMegahertz": [1200, 1500],
        },
    }
    namespace.apply(paper)
    chosen = {**LLAMA["accelerator"], "allowedProfiles": ["paper-gpu"]}  # type: ignore[dict-item]
    namespace.apply(aiworkload("on-paper", {**LLAMA, "accelerator": chosen}))
    try:
        body = namespace.wait(
            "aiworkload",
            "on-paper",
            lambda body: body.get("status", {}).get("estimate", {}).get("profile") == "paper-gpu",
        )
        honest = body["status"]["estimate"]
    finally:
        installed.kubectl("delete", "gpuprofile", "paper-gpu")
    body = namespace.wait(
        "aiworkload",
        "on-paper",
        lambda body: condition(body, "Estimated").get("reason") == "NoProfile",
    )
    said = condition(body, "Estimated")
    assert said["status"] == condition(body, "Ready")["status"] == "False"
    assert "no GPUProfile matches" in said["message"]
    bound = body["status"]["estimate"]
    assert bound["method"] == "TDPBound"
    assert bound["powerWatts"] >= honest["powerWatts"]
    labels = f'condition="Ready",namespace="{namespace.name}",workload="on-paper"'
    series = controller_process.series
    until(lambda: series("energaizer_workload_condition").get(labels) == 0, "no series")
    described(installed, "aiworkload", "on-paper", "EstimateFailed", namespace.name)
    body = namespace.wait(
        "aiworkload",
        "on-paper",
        lambda body: condition(body, "Estimated").get("reason") == "NoProfile",
    )
    said = condition(body, "Estimated")
    assert said["status"] == "False"
    assert "add one, or mend" in said["message"]
    assert body["status"]["estimate"]["method"] == "TDPBound"
