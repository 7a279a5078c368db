"""Every kind of workload on a real API server: what it is made of, what it is priced as.

The controllers of JobSet, LeaderWorkerSet, Ray and Kubeflow cannot be had here: their kinds are
installed, and the tests create what those controllers would, with the owners they would set.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from energaizer_operator import names
from localcluster import Cluster
from localcluster.operator import OperatorProcess
from polling import until

Namespace = Any
Object = dict[str, Any]
INPUTS = {
    names.ANNOTATION_TASK: "Inference",
    names.ANNOTATION_MODEL: "meta-llama/Llama-3.1-8B",
    names.ANNOTATION_PRECISION: "BF16",
    names.ANNOTATION_BATCH_SIZE: "16",
    names.ANNOTATION_INPUT_TOKENS: "512",
    names.ANNOTATION_OUTPUT_TOKENS: "256",
}


@pytest.fixture(scope="module", autouse=True)
def _processes(
    foreign_kinds: None, controller_process: OperatorProcess, webhook_process: OperatorProcess
) -> None:
    """Both run, after the kinds are there."""


def template(gpus: int = 1, restart: str = "Never", app: str = "") -> Object:
    limits = {"nvidia.com/gpu": gpus} if gpus else {"cpu": "1"}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    spec = {"containers": [container], "restartPolicy": restart}
    return {"metadata": {"labels": {"app": app}} if app else {}, "spec": spec}


def thing(version: str, kind: str, name: str, spec: Object, owner: Object | None = None) -> Object:
    metadata: Object = {"name": name, "annotations": dict(INPUTS)}
    if owner is not None:
        metadata["annotations"] = {}
        metadata["ownerReferences"] = [
            {
                "apiVersion": owner["apiVersion"],
                "kind": owner["kind"],
                "name": owner["metadata"]["name"],
                "uid": owner["metadata"]["uid"],
                "controller": True,
            }
        ]
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def priced(namespace: Namespace, name: str, gpus: int) -> Object:
    """Return the AIWorkload once it has an honest estimate for so many GPUs."""

    def right(body: Object) -> bool:
        estimate = body.get("status", {}).get("estimate") or {}
        return estimate.get("gpuCount") == gpus and estimate["method"] != "TDPBound"

    found: Object = namespace.wait("aiworkload", name, right)
    assert "Llama-3.1-8B" in found["status"]["modelName"]
    return found


def source(body: Object, name: str) -> str:
    """Return where an input came from."""
    found = {one["name"]: one["source"] for one in body["status"]["resolvedInputs"]}
    return str(found[name])


def pods(namespace: Namespace, label: str, count: int) -> list[Object]:
    def all_made() -> list[Object]:
        found: list[Object] = namespace.items("pods", f"{names.LABEL_WORKLOAD}={label}")
        return found if len(found) == count else []

    return until(all_made, lambda: f"{count} pods of {label}: {namespace.items('pods')}")


def shares(found: list[Object]) -> tuple[int, int]:
    """Return the sum of the pods' shares of energy, and the total that all of them state."""
    marks = [pod["metadata"]["annotations"] for pod in found]
    (total,) = {int(mark[names.ANNOTATION_WORKLOAD_ENERGY]) for mark in marks}
    return sum(int(mark[names.ANNOTATION_ENERGY]) for mark in marks), total


def test_job_set_is_one_workload_with_all_its_jobs(namespace: Namespace) -> None:
    jobs = [
        {"name": "driver", "template": {"spec": {"template": template(0)}}},
        {
            "name": "worker",
            "replicas": 2,
            "template": {"spec": {"parallelism": 2, "completions": 2, "template": template(4)}},
        },
    ]
    namespace.apply(thing("jobset.x-k8s.io/v1alpha2", "JobSet", "js", {"replicatedJobs": jobs}))
    made = namespace.get("jobset", "js")
    assert made["metadata"]["labels"][names.LABEL_WORKLOAD] == "jobset-js"
    for index in range(2):
        spec = {"parallelism": 2, "completions": 2, "template": template(4)}
        namespace.apply(thing("batch/v1", "Job", f"js-worker-{index}", spec, made))
    body = priced(namespace, "jobset-js", 16)
    summed, total = shares(pods(namespace, "jobset-js", 4))
    assert total <= summed < total + 4
    assert total == body["status"]["estimate"]["energyJoules"]
    assert not namespace.get("aiworkload", "job-js-worker-0")


def test_leader_worker_set_scales_by_groups(namespace: Namespace) -> None:
    spec = {
        "replicas": 2,
        "leaderWorkerTemplate": {
            "size": 3,
            "leaderTemplate": template(2, "Always", "leader"),
            "workerTemplate": template(2, "Always", "worker"),
        },
    }
    namespace.apply(thing("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "lws", spec))
    made = namespace.get("leaderworkerset", "lws")
    leaders = {
        "replicas": 2,
        "serviceName": "lws",
        "selector": {"matchLabels": {"app": "leader"}},
        "template": template(2, "Always", "leader"),
    }
    namespace.apply(thing("apps/v1", "StatefulSet", "lws", leaders, made))
    body = priced(namespace, "leaderworkerset-lws", 12)
    assert body["status"]["estimate"]["replicas"] == 2
    leader = pods(namespace, "leaderworkerset-lws", 2)[0]
    workers = {**leaders, "selector": {"matchLabels": {"app": "worker"}}}
    workers["template"] = template(2, "Always", "worker")
    leader |= {"apiVersion": "v1", "kind": "Pod"}
    namespace.apply(thing("apps/v1", "StatefulSet", "lws-0", workers, leader))
    found = pods(namespace, "leaderworkerset-lws", 4)
    summed, total = shares(found)
    assert total == body["status"]["estimate"]["energyJoules"]
    assert summed == pytest.approx(total * 8 / 12, abs=4)
    scale = '{"spec": {"replicas": 3}}'
    flags = ("--type=merge", "-p", scale, "-n", namespace.name)
    namespace.cluster.kubectl("patch", "leaderworkerset", "lws", *flags)
    priced(namespace, "leaderworkerset-lws", 18)


def owned_pods(namespace: Namespace, owner: Object, count: int, gpus: int) -> list[Object]:
    body = template(gpus)
    made = [
        thing("v1", "Pod", f"{owner['metadata']['name']}-{n}", body["spec"], owner)
        for n in range(count)
    ]
    namespace.apply(*made)
    return made


def test_pytorch_job(namespace: Namespace) -> None:
    roles = {
        "Master": {"replicas": 1, "template": template(8)},
        "Worker": {"replicas": 3, "template": template(8)},
    }
    namespace.apply(thing("kubeflow.org/v1", "PyTorchJob", "pt", {"pytorchReplicaSpecs": roles}))
    body = priced(namespace, "pytorchjob-pt", 32)
    owned_pods(namespace, namespace.get("pytorchjob", "pt"), 4, 8)
    summed, total = shares(pods(namespace, "pytorchjob-pt", 4))
    assert total <= summed < total + 4
    assert total == body["status"]["estimate"]["energyJoules"]


def test_train_job_is_described_by_its_job_set(namespace: Namespace) -> None:
    spec = {"runtimeRef": {"name": "torch-distributed"}, "trainer": {"numNodes": 2}}
    namespace.apply(thing("trainer.kubeflow.org/v1alpha1", "TrainJob", "tj", spec))
    jobs = [
        {
            "name": "node",
            "template": {"spec": {"parallelism": 2, "completions": 2, "template": template(8)}},
        }
    ]
    owner = namespace.get("trainjob", "tj")
    made = thing("jobset.x-k8s.io/v1alpha2", "JobSet", "tj", {"replicatedJobs": jobs}, owner)
    namespace.apply(made)
    body = priced(namespace, "jobset-tj", 16)  # its inputs are annotations of the TrainJob
    assert source(body, "model.name") == "OwnerAnnotations"


def ray(workers: int) -> Object:
    group = {
        "groupName": "gpu",
        "replicas": workers,
        "minReplicas": 0,
        "maxReplicas": 8,
        "rayStartParams": {},
        "template": template(4, "Always"),
    }
    head = {"rayStartParams": {}, "template": template(0, "Always")}
    return {"headGroupSpec": head, "workerGroupSpecs": [group]}


def test_ray_job_and_the_cluster_that_it_makes(namespace: Namespace) -> None:
    spec = {"entrypoint": "python batch.py", "rayClusterSpec": ray(2)}
    namespace.apply(thing("ray.io/v1", "RayJob", "rj", spec))
    priced(namespace, "rayjob-rj", 8)
    owner = namespace.get("rayjob", "rj")
    namespace.apply(thing("ray.io/v1", "RayCluster", "rj-raycluster", ray(2), owner))
    owned_pods(namespace, namespace.get("raycluster", "rj-raycluster"), 2, 4)
    summed, total = shares(pods(namespace, "rayjob-rj", 2))
    assert total <= summed < total + 2
    assert not namespace.get("aiworkload", "raycluster-rj-raycluster")


def test_ray_service_names_its_model_in_its_configuration(namespace: Namespace) -> None:
    config = """
applications:
  - name: llm
    args:
      llm_configs:
        - model_loading_config: {model_id: chat, model_source: meta-llama/Llama-3.1-8B}
          engine_kwargs: {tensor_parallel_size: 4, dtype: bfloat16}
"""
    body = thing(
        "ray.io/v1", "RayService", "rs", {"serveConfigV2": config, "rayClusterConfig": ray(1)}
    )
    for key in (names.ANNOTATION_MODEL, names.ANNOTATION_PRECISION, names.ANNOTATION_TASK):
        del body["metadata"]["annotations"][key]
    namespace.apply(body)
    found = priced(namespace, "rayservice-rs", 4)
    assert source(found, "model.name") == "RuntimeArguments"


def test_what_kserve_makes(namespace: Namespace) -> None:
    """KServe's module cannot be had: this is the Deployment that it makes of a model's address."""
    pod = template(1, "Always", "kserve")
    pod["spec"]["containers"][0] |= {
        "name": "kserve-container",
        "image": "kserve/huggingfaceserver:v0.15.0-gpu",
        "args": ["--model_name=llama", "--model_dir=/mnt/models", "--dtype=bfloat16"],
    }
    fetch = {"name": "storage-initializer", "image": "kserve/storage-initializer:v0.15.0"}
    fetch["args"] = ["hf://meta-llama/Llama-3.1-8B", "/mnt/models"]  # type: ignore[assignment]
    pod["spec"]["initContainers"] = [fetch]
    spec = {"selector": {"matchLabels": {"app": "kserve"}}, "template": pod}
    body = thing("apps/v1", "Deployment", "llama-predictor", spec)
    for key in (names.ANNOTATION_MODEL, names.ANNOTATION_PRECISION, names.ANNOTATION_TASK):
        del body["metadata"]["annotations"][key]
    namespace.apply(body)
    priced(namespace, "deployment-llama-predictor", 1)


def test_a_cron_job_prices_each_run(namespace: Namespace) -> None:
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template(2)}}}
    namespace.apply(thing("batch/v1", "CronJob", "nightly", spec))
    run = ("create", "job", "run", "--from=cronjob/nightly", "-n", namespace.name)
    namespace.cluster.kubectl(*run)
    found = priced(namespace, "job-run", 2)
    assert source(found, "model.name") == "OwnerAnnotations"


def test_an_aiworkload_of_a_cron_job_describes_its_runs(namespace: Namespace) -> None:
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template(2)}}}
    reference = {"apiVersion": "batch/v1", "kind": "CronJob", "name": "weekly"}
    namespace.apply(thing(names.API_VERSION, "AIWorkload", "mine", {"workloadRef": reference}))
    namespace.apply(thing("batch/v1", "CronJob", "weekly", spec))
    priced(namespace, "mine", 2)
    run = ("create", "job", "run", "--from=cronjob/weekly", "-n", namespace.name)
    namespace.cluster.kubectl(*run)
    assert len(pods(namespace, "mine", 1)) == 1
    time.sleep(1)
    assert not namespace.get("aiworkload", "job-run")


def test_pods_of_an_unknown_controller_are_a_group(namespace: Namespace) -> None:
    """A DaemonSet here: whatever makes pods, they are counted by their label."""
    spec = {"selector": {"matchLabels": {"app": "ds"}}, "template": template(1, "Always", "ds")}
    spec["template"]["metadata"]["annotations"] = dict(INPUTS)
    spec["template"]["spec"]["nodeSelector"] = {"nvidia.com/gpu.product": "NVIDIA-L40S"}
    namespace.apply(thing("apps/v1", "DaemonSet", "agent", spec))
    nodes = namespace.cluster.kubectl(
        "get", "nodes", "-l", "nvidia.com/gpu.product=NVIDIA-L40S", "-o", "name"
    )
    count = len(nodes.stdout.split())
    assert count >= 2
    body = priced(namespace, "daemonset-agent", count)
    assert body["spec"] == {}
    assert body["metadata"]["ownerReferences"][0]["kind"] == "DaemonSet"


def test_a_lone_replica_set_and_a_bare_pod(namespace: Namespace) -> None:
    spec = {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "rs"}},
        "template": template(1, "Always", "rs"),
    }
    namespace.apply(thing("apps/v1", "ReplicaSet", "alone", spec))
    namespace.apply(thing("v1", "Pod", "bare", template(2)["spec"]))
    assert priced(namespace, "replicaset-alone", 2)["spec"]["workloadRef"]["kind"] == "ReplicaSet"
    priced(namespace, "pod-bare", 2)


def test_gpus_that_are_claimed(namespace: Namespace) -> None:
    devices = {
        "requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}}]
    }
    claim = thing(
        "resource.k8s.io/v1", "ResourceClaimTemplate", "two", {"spec": {"devices": devices}}
    )
    pod = template(0, "Always", "dra")
    pod["spec"]["resourceClaims"] = [{"name": "gpu", "resourceClaimTemplateName": "two"}]
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "dra"}}, "template": pod}
    namespace.apply(claim)
    namespace.apply(thing("apps/v1", "Deployment", "dra", spec))
    priced(namespace, "deployment-dra", 4)
    assert len(pods(namespace, "deployment-dra", 2)) == 2


@pytest.fixture
def refuse_power(installed: Cluster, namespace: Namespace) -> Iterator[Callable[[int, int], None]]:
    """Set an EnergyPolicy that refuses more than so many watts at once, and so many replicas."""
    name = f"power-{namespace.name}"

    def make(watts: int, refused_replicas: int) -> None:
        selector = {"matchLabels": {names.LABEL_NAMESPACE_NAME: namespace.name}}
        limits = {"maxPowerWatts": watts}
        spec = {"action": "Deny", "namespaceSelector": selector, "limits": limits}
        namespace.apply(thing(names.API_VERSION, "EnergyPolicy", name, spec))
        namespace.wait_refused(served("Deployment", "heard", refused_replicas))

    yield make
    installed.kubectl("delete", "energypolicy", name, "--ignore-not-found")


def served(kind: str, name: str, replicas: int) -> Object:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": template(1, "Always", name),
    }
    return thing("apps/v1", kind, name, spec)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_a_scale_request_is_judged(
    namespace: Namespace, refuse_power: Callable[[int, int], None], kind: str
) -> None:
    namespace.apply(served(kind, "s", 2))
    body = priced(namespace, f"{kind.lower()}-s", 2)
    watts = body["status"]["estimate"]["powerHighWatts"]
    refuse_power(4 * watts, 50)
    cluster: Cluster = namespace.cluster
    scale = ("scale", f"{kind.lower()}/s", "-n", namespace.name)
    cluster.kubectl(*scale, "--replicas=3")
    priced(namespace, f"{kind.lower()}-s", 3)
    said = cluster.kubectl(*scale, "--replicas=50", check=False)
    assert said.returncode != 0
    assert f"energy policy power-{namespace.name}: needs" in said.stderr
    refuse_power(1, 2)
    cluster.kubectl(*scale, "--replicas=1")  # who is over a limit may shrink
    priced(namespace, f"{kind.lower()}-s", 1)
