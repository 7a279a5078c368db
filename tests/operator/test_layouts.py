"""Kinds that make pods, as their own projects document them: templates, units, GPUs."""

from typing import Any

import pytest

from energaizer_operator import owners

GPU = "nvidia.com/gpu"


def template(gpus: int = 0, **spec: Any) -> dict[str, Any]:
    limits = {GPU: gpus} if gpus else {"cpu": 1}
    return {"spec": {"containers": [{"name": "c", "resources": {"limits": limits}}], **spec}}


def obj(kind: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "x", "namespace": "a"}, "spec": spec}


def jobs(name: str, replicas: int, gpus: int, **spec: Any) -> dict[str, Any]:
    return {
        "name": name,
        "replicas": replicas,
        "template": {"spec": {**spec, "template": template(gpus)}},
    }


def lws(replicas: int, size: int, leader: int | None, worker: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"size": size, "workerTemplate": template(worker)}
    if leader is not None:
        inner["leaderTemplate"] = template(leader)
    return obj("LeaderWorkerSet", replicas=replicas, leaderWorkerTemplate=inner)


def ray(**more: Any) -> dict[str, Any]:
    group = {"replicas": 2, "template": template(4), **more}
    return {"headGroupSpec": {"template": template()}, "workerGroupSpecs": [group]}


@pytest.mark.parametrize(
    ("body", "replicas", "gpus"),
    [
        # one driver without GPUs; 2 Jobs of 4 pods at once
        (
            obj(
                "JobSet",
                replicatedJobs=[
                    jobs("driver", 1, 0),
                    jobs("w", 2, 8, parallelism=4, completions=4),
                ],
            ),
            8,
            8,
        ),
        # pods that differ are one unit: 1 x 4 + 3 x 8
        (obj("JobSet", replicatedJobs=[jobs("a", 1, 4), jobs("b", 3, 8)]), 1, 28),
        # two groups of a leader and three workers
        (lws(2, 4, 8, 8), 2, 32),
        (lws(2, 4, None, 8), 2, 32),
        (lws(3, 2, 0, 4), 3, 4),
        (lws(0, 2, 8, 8), 0, 16),
        (
            obj(
                "PyTorchJob",
                pytorchReplicaSpecs={
                    "Master": {"template": template(8)},
                    "Worker": {"replicas": 3, "template": template(8)},
                },
            ),
            4,
            8,
        ),
        (obj("RayCluster", **ray()), 2, 4),
        (obj("RayCluster", **ray(numOfHosts=2)), 4, 4),
        (obj("RayCluster", **ray(replicas=None, minReplicas=3)), 3, 4),
        (obj("RayJob", rayClusterSpec=ray()), 2, 4),
        (obj("RayService", rayClusterConfig=ray()), 2, 4),
        (
            obj("CronJob", jobTemplate={"spec": {"parallelism": 2, "template": template(1)}}),
            2,
            1,
        ),
        (
            obj(
                "InferenceService",
                predictor={
                    "minReplicas": 2,
                    "model": {
                        "modelFormat": {"name": "huggingface"},
                        "resources": {"limits": {GPU: "1"}},
                    },
                },
            ),
            2,
            1,
        ),
        (obj("LLMInferenceService", replicas=3, template=template(2)["spec"]), 3, 2),
    ],
)
def test_units_and_their_gpus(body: dict[str, Any], replicas: int, gpus: int) -> None:
    found = owners.describe(body)
    assert found is not None
    assert (found.replicas, found.gpus_per_replica) == (replicas, gpus)


def test_the_main_template_is_the_first_with_gpus() -> None:
    found = owners.describe(obj("JobSet", replicatedJobs=[jobs("a", 1, 0), jobs("b", 1, 8)]))
    assert found is not None
    path = "/spec/replicatedJobs/1/template/spec/template/spec"
    assert (found.pod_spec_path, found.resource_name) == (path, GPU)
    assert len(found.pod_specs) == 1
    assert [group.pods for group in found.groups] == [1, 1]


@pytest.mark.parametrize(
    ("strategy", "replicas", "surge"),
    [
        ({}, 4, 1),
        ({}, 1, 1),  # 25 % of one pod, rounded up, as the Deployment controller does
        ({"rollingUpdate": {"maxSurge": 3}}, 4, 3),
        ({"rollingUpdate": {"maxSurge": "50%"}}, 5, 3),
        ({"rollingUpdate": {"maxSurge": "lots"}}, 5, 0),
        ({"type": "Recreate"}, 4, 0),
    ],
)
def test_surge_of_a_rolling_update(strategy: dict[str, Any], replicas: int, surge: int) -> None:
    body = obj("Deployment", replicas=replicas, strategy=strategy, template=template(1))
    found = owners.describe(body)
    assert found is not None
    assert (found.replicas, found.surge) == (replicas, surge)


def test_deadlines_by_kind() -> None:
    bounded = [jobs("a", 1, 8, activeDeadlineSeconds=60), jobs("b", 1, 8, activeDeadlineSeconds=90)]
    found = owners.describe(obj("JobSet", replicatedJobs=bounded))
    assert found is not None
    assert found.deadline_seconds == 90
    found = owners.describe(obj("JobSet", replicatedJobs=[*bounded, jobs("c", 1, 8)]))
    assert found is not None
    assert found.deadline_seconds is None  # one of them may run for ever


CLAIM = {"name": "gpu", "resourceClaimTemplateName": "two"}


@pytest.mark.parametrize(
    ("request_", "gpus"),
    [
        ({"exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}}, {GPU: 2}),
        ({"exactly": {"deviceClassName": "gpu.nvidia.com"}}, {GPU: 1}),
        ({"deviceClassName": "gpu.amd.com", "count": 4}, {"amd.com/gpu": 4}),
        ({"exactly": {"deviceClassName": "rdma.example.com", "count": 2}}, {}),
        (
            {
                "firstAvailable": [
                    {"deviceClassName": "gpu.nvidia.com", "count": 1},
                    {"deviceClassName": "gpu.nvidia.com", "count": 4},
                ]
            },
            {GPU: 4},
        ),
        ({"exactly": {"deviceClassName": "mig.nvidia.com"}}, {"nvidia.com/mig-claim": 1}),
    ],
)
def test_claims_count_as_gpus(request_: dict[str, Any], gpus: dict[str, int]) -> None:
    pods = template(0, resourceClaims=[CLAIM])
    found = owners.describe(obj("Deployment", replicas=3, template=pods))
    assert found is not None
    (claim,) = found.claims
    assert claim == owners.Claim("ResourceClaimTemplate", "two")
    body = {"spec": {"spec": {"devices": {"requests": [{"name": "r", **request_}]}}}}
    counted = found.with_claims({claim: body})
    assert (counted.replicas, counted.gpus) == (3, gpus)


def test_claims_of_every_pod_of_a_group_count() -> None:
    body = lws(2, 4, None, 0)
    body["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["resourceClaims"] = [CLAIM]
    found = owners.describe(body)
    assert found is not None
    devices = {"requests": [{"exactly": {"deviceClassName": "gpu.nvidia.com", "count": 2}}]}
    counted = found.with_claims({found.claims[0]: {"spec": {"spec": {"devices": devices}}}})
    assert (counted.replicas, counted.gpus) == (2, {GPU: 8})


def owned(kind: str, name: str = "x") -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}}


@pytest.mark.parametrize(
    ("above", "workload"),
    [
        (["Job"], 0),
        (["Job", "JobSet", "TrainJob"], 1),
        (["Job", "CronJob"], 0),
        (["ReplicaSet", "Deployment", "InferenceService"], 1),
        (["StatefulSet", "Pod", "StatefulSet", "LeaderWorkerSet"], 3),
        (["RayCluster", "RayJob"], 1),
        (["PyTorchJob"], 0),
        (["DaemonSet"], None),
        ([], None),
    ],
)
def test_the_workload_of_a_pod(above: list[str], workload: int | None) -> None:
    assert owners.root([owned(kind) for kind in above]) == workload
