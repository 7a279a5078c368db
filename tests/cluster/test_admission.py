"""Admission on a real API server, which reaches the webhook by its Service."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import patient
from energaizer_operator import names
from localcluster import Cluster
from localcluster.operator import OperatorProcess
from polling import until

# The namespace fixture and its class come from conftest.py of this folder.
Namespace = Any

INPUTS = {
    names.ANNOTATION_TASK: "BatchInference",
    names.ANNOTATION_MODEL: "meta-llama/Llama-3.1-8B",
    names.ANNOTATION_PRECISION: "BF16",
    names.ANNOTATION_BATCH_SIZE: "16",
    names.ANNOTATION_INPUT_TOKENS: "512",
    names.ANNOTATION_OUTPUT_TOKENS: "256",
    names.ANNOTATION_REQUESTS: "100000",
}
PODS = 4
pytestmark = pytest.mark.usefixtures("serving")


def pod_template(gpus: int = 1, **spec: Any) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": gpus} if gpus else {"cpu": "1"}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    return {"spec": {"containers": [container], **spec}}


def job(name: str, gpus: int = 1, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "annotations": INPUTS if annotations is None else annotations},
        "spec": {
            "parallelism": PODS,
            "completions": PODS,
            "template": pod_template(gpus, restartPolicy="Never"),
        },
    }


def deployment(name: str, replicas: int) -> dict[str, Any]:
    template = pod_template()
    template["metadata"] = {"labels": {"app": name}}
    inputs = {key: value for key, value in INPUTS.items() if key != names.ANNOTATION_REQUESTS}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "annotations": {**inputs, names.ANNOTATION_TASK: "Inference"},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
        },
    }


def preferred(pod: dict[str, Any]) -> list[dict[str, Any]]:
    affinity = pod["spec"].get("affinity", {}).get("nodeAffinity", {})
    found: list[dict[str, Any]] = affinity.get(
        "preferredDuringSchedulingIgnoredDuringExecution", []
    )
    return found


@pytest.fixture(scope="module")
def serving(
    webhook_process: OperatorProcess,
    controller_process: OperatorProcess,
    installed: Cluster,
    new_namespace: Callable[[], Namespace],
) -> Iterator[OperatorProcess]:
    """Admission, once it knows which GPUs the nodes have.

    Profiles claim an error of 1 %, so that any difference of GPUs is honest.
    """
    assert controller_process.running
    claim_error(installed, 10)
    place = new_namespace()
    kinds = len(profiles_with_nodes(installed))

    def all_compared() -> bool:
        said = place.rehearse(pod("compared")).stdout
        return bool(said) and len(preferred(json.loads(said))) >= kinds - 1

    until(all_compared, "admission prefers GPUs of every profile but those that differ in nothing")
    yield webhook_process
    claim_error(installed, None)
    installed.kubectl("delete", "namespace", place.name, "--wait=false")


def profiles_with_nodes(cluster: Cluster) -> list[str]:
    profiles = json.loads(cluster.kubectl("get", "gpuprofiles", "-o", "json").stdout)["items"]
    return [one["metadata"]["name"] for one in profiles if one.get("status", {}).get("nodes")]


def pod(name: str) -> dict[str, Any]:
    body = pod_template(restartPolicy="Never")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": INPUTS},
        **body,
    }


def claim_error(cluster: Cluster, permille: int | None) -> None:
    patch = json.dumps({"spec": {"calibration": {"energyErrorPermille": permille}}})
    for profile in cluster.kubectl("get", "gpuprofiles", "-o", "name").stdout.split():
        cluster.kubectl("patch", profile, "--type=merge", "-p", patch)


@pytest.fixture
def policy(installed: Cluster, namespace: Namespace) -> Iterator[Callable[..., None]]:
    """Make an EnergyPolicy for the namespace of the test."""
    name = f"policy-{namespace.name}"

    def make(action: str, **limits: Any) -> None:
        selector = {"matchLabels": {names.LABEL_NAMESPACE_NAME: namespace.name}}
        body = {
            "apiVersion": names.API_VERSION,
            "kind": "EnergyPolicy",
            "metadata": {"name": name},
            "spec": {"action": action, "namespaceSelector": selector, "limits": limits},
        }
        installed.kubectl("apply", "-f", "-", input=json.dumps(body))
        until(
            lambda: name in namespace.rehearse(job("told-of-the-policy")).stderr,
            f"admission knows {name}",
        )

    yield make
    installed.kubectl("delete", "energypolicy", name, "--ignore-not-found")


def pods_of(namespace: Namespace, name: str, count: int = PODS) -> list[dict[str, Any]]:
    def made() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = namespace.items("pods", f"{names.LABEL_WORKLOAD}={name}")
        return found if len(found) >= count else []

    return until(made, lambda: f"{count} pods: {namespace.items('pods')}")


def test_pods_of_an_annotated_job_carry_their_prediction(namespace: Namespace) -> None:
    namespace.apply(job("summarise"))
    made = namespace.get("job", "summarise")
    assert made["metadata"]["labels"][names.LABEL_WORKLOAD] == "job-summarise"
    assert names.LABEL_WORKLOAD not in made["spec"]["template"]["metadata"]["labels"]

    pods = pods_of(namespace, "job-summarise")
    marks = [pod["metadata"]["annotations"] for pod in pods]
    assert len({json.dumps(mark, sort_keys=True) for mark in marks}) == 1
    share, whole = (
        int(marks[0][key]) for key in (names.ANNOTATION_ENERGY, names.ANNOTATION_WORKLOAD_ENERGY)
    )
    assert whole <= PODS * share < whole + PODS
    assert int(marks[0][names.ANNOTATION_ENERGY_HIGH]) >= share
    assert int(marks[0][names.ANNOTATION_POWER]) > 50
    assert int(marks[0][names.ANNOTATION_DURATION]) > 60
    assert marks[0][names.ANNOTATION_METHOD] in ("Calibrated", "Analytical", "Extrapolated")

    digest = marks[0][names.ANNOTATION_DIGEST]
    workload = namespace.wait(
        "aiworkload", "job-summarise", lambda body: body["status"]["inputsDigest"] == digest
    )
    estimate = workload["status"]["estimate"]
    assert estimate["energyJoules"] == whole
    assert estimate["profile"] == marks[0][names.ANNOTATION_GPU_PROFILE]
    for pod in pods:
        weights = [term["weight"] for term in preferred(pod)]
        assert weights == sorted(weights, reverse=True)
        assert len(weights) >= 2


def test_pods_of_a_trusted_controller_are_not_judged_twice(
    serving: OperatorProcess, namespace: Namespace
) -> None:
    """The API server does not even ask, unless somebody else says to be that controller's pod."""

    def asked(webhook: str) -> float:
        series = serving.series("energaizer_admission_requests_total")
        return sum(value for labels, value in series.items() if f'webhook="{webhook}"' in labels)

    judged, marked = asked("pod"), asked("pod-mutate")
    namespace.apply(job("twice"))
    (pod, *_) = pods_of(namespace, "job-twice")
    assert (asked("pod"), asked("pod-mutate")) == (judged, marked + PODS)
    metadata = {"name": "claimed", "ownerReferences": pod["metadata"]["ownerReferences"]}
    namespace.apply({**pod, "metadata": metadata, "status": {}})
    assert asked("pod") == judged + 1


def test_a_deployment_is_judged_with_all_its_replicas(namespace: Namespace) -> None:
    namespace.apply(deployment("chat", 2))
    pods = pods_of(namespace, "deployment-chat", 2)
    marks = pods[0]["metadata"]["annotations"]
    assert int(marks[names.ANNOTATION_DURATION]) == 3600
    assert int(marks[names.ANNOTATION_WORKLOAD_ENERGY]) > int(marks[names.ANNOTATION_ENERGY])


def test_a_job_over_the_limit_is_refused_and_told_why(
    namespace: Namespace, policy: Callable[..., None]
) -> None:
    policy("Deny", maxEnergyJoules=1000)
    said = namespace.refuse(job("greedy"))
    assert f"energy policy policy-{namespace.name}: needs" in said
    assert "the limit is 1 kJ" in said
    assert "90 % interval" in said
    assert namespace.get("job", "greedy") == {}


def test_a_warning_lets_in_and_says_so(namespace: Namespace, policy: Callable[..., None]) -> None:
    policy("Warn", maxPowerWatts=1)
    said = namespace.apply(job("warned"))
    assert "Warning: energy policy" in said
    assert "job.batch/warned created" in said


def test_dry_runs_are_judged_and_write_nothing(
    namespace: Namespace, policy: Callable[..., None]
) -> None:
    admitted = namespace.rehearse(job("rehearsal"))
    labels = json.loads(admitted.stdout)["metadata"]["labels"]
    assert labels[names.LABEL_WORKLOAD] == "job-rehearsal"
    policy("Deny", maxEnergyJoules=1000)
    assert "energy policy" in namespace.rehearse(job("rehearsal")).stderr
    assert namespace.items("jobs") == []


def test_allowed_profiles_become_a_demand(namespace: Namespace) -> None:
    workload = {
        "apiVersion": names.API_VERSION,
        "kind": "AIWorkload",
        "metadata": {"name": "choosy"},
        "spec": {
            "workloadRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "choosy"},
            "accelerator": {"allowedProfiles": ["l40s-48gb"]},
        },
    }
    namespace.apply(workload)
    until(lambda: workload_of(namespace, job("choosy")) == "choosy", "admission knows AIWorkload")
    namespace.apply(job("choosy"))
    for pod in pods_of(namespace, "choosy"):
        affinity = pod["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert "NVIDIA-L40S" in json.dumps(terms)
        assert pod["metadata"]["annotations"][names.ANNOTATION_GPU_PROFILE] == "l40s-48gb"
    placed = [pod["spec"].get("nodeName", "") for pod in pods_of(namespace, "choosy")]
    assert all(node.startswith("l40s") for node in placed if node)


def workload_of(namespace: Namespace, body: dict[str, Any]) -> str:
    """Return the workload that admission takes an object for, in a dry run; nothing if none."""
    labels = json.loads(namespace.rehearse(body).stdout)["metadata"].get("labels", {})
    return str(labels.get(names.LABEL_WORKLOAD, ""))


def test_an_aiworkload_over_its_own_limit_is_refused(namespace: Namespace) -> None:
    inference = {"batchSize": 16, "inputTokens": 512, "outputTokens": 256, "requests": 100000}
    workload = {
        "apiVersion": names.API_VERSION,
        "kind": "AIWorkload",
        "metadata": {"name": "modest"},
        "spec": {
            "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
            "inference": inference,
            "accelerator": {"countPerReplica": 1},
            "limits": {"maxEnergyJoules": 10},
        },
    }
    said = namespace.refuse(workload)
    assert f"limits of AIWorkload {namespace.name}/modest: needs" in said


def test_who_is_over_a_limit_may_shrink(namespace: Namespace, policy: Callable[..., None]) -> None:
    namespace.apply(deployment("large", 3))
    policy("Deny", maxPowerWatts=100)
    assert "energy policy" in namespace.refuse(deployment("large", 4))
    assert "configured" in namespace.apply(deployment("large", 2))


def test_other_namespaces_and_pods_without_gpus_are_left_alone(
    namespace: Namespace, policy: Callable[..., None]
) -> None:
    policy("Deny", maxEnergyJoules=1)
    namespace.apply(job("plain", gpus=0))
    assert names.LABEL_WORKLOAD not in namespace.get("job", "plain")["metadata"].get("labels", {})
    cluster: Cluster = namespace.cluster
    cluster.kubectl("label", "namespace", namespace.name, "energaizer.io/admission-")
    until(lambda: not workload_of(namespace, job("unseen")), "the API server has heard of it")
    namespace.apply(job("unseen"))
    assert names.LABEL_WORKLOAD not in namespace.get("job", "unseen")["metadata"].get("labels", {})


def scheduled(namespace: Namespace, job: str, count: int = PODS) -> list[dict[str, Any]]:
    """Return the pods of a Job once all of them have a node."""

    def placed() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = namespace.items("pods", f"batch.kubernetes.io/job-name={job}")
        there = len(found) >= count and all(pod["spec"].get("nodeName") for pod in found)
        return found if there else []

    return until(placed, lambda: f"{job} is scheduled: {namespace.items('pods')}")


def most_preferred(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the one demand on node labels that stands for the GPU that a pod prefers most."""
    best = max(preferred(pod), key=lambda one: int(one["weight"]))
    (expression,) = best["preference"]["matchExpressions"]
    found: dict[str, Any] = expression
    return found


def holders(cluster: Cluster, nodes: set[str]) -> list[str]:
    """Return the pods that hold something of some nodes."""
    pods = json.loads(cluster.kubectl("get", "pods", "-A", "-o", "json").stdout)["items"]
    return [
        pod["metadata"]["name"]
        for pod in pods
        if pod["spec"].get("nodeName") in nodes
        and pod["status"]["phase"] not in ("Succeeded", "Failed")
    ]


def test_pods_fill_the_preferred_gpus_and_the_rest_spill_over(namespace: Namespace) -> None:
    cluster: Cluster = namespace.cluster
    best = most_preferred(json.loads(namespace.rehearse(pod("probe")).stdout))
    selector = f"{best['key']} in ({','.join(best['values'])})"
    said = cluster.kubectl("get", "nodes", "-l", selector, "-o", "json").stdout
    room = {
        node["metadata"]["name"]: int(node["status"]["allocatable"]["nvidia.com/gpu"])
        for node in json.loads(said)["items"]
    }
    until(  # pods of tests before are on their way out
        lambda: not holders(cluster, set(room)),
        lambda: f"{holders(cluster, set(room))} no longer hold the preferred GPUs",
    )

    rest = 4
    count = sum(room.values()) + rest
    body = job("crowd")
    body["spec"] |= {"parallelism": count, "completions": count}
    # They run until they are looked at: one that ended would make room for the next.
    delay = {"pod-complete.stage.kwok.x-k8s.io/delay": "1h"}
    body["spec"]["template"]["metadata"] = {"annotations": delay}
    namespace.apply(body)
    pods = scheduled(namespace, "crowd", count)
    where = [pod["spec"]["nodeName"] for pod in pods]
    cluster.kubectl("delete", "job", "crowd", "-n", namespace.name, "--wait=false")
    assert all(most_preferred(pod) == best for pod in pods)
    assert {name: where.count(name) for name in room} == room
    assert sum(name not in room for name in where) == rest


def test_a_dead_webhook_stops_nobody_but_our_own_kind_and_keeps_its_certificate(
    serving: OperatorProcess, namespace: Namespace
) -> None:
    cluster: Cluster = namespace.cluster
    enroll = ("label", "namespace", namespace.name)
    secret = ("get", "secret", "-n", "energaizer-system", "energaizer-webhook-certificate")
    before = cluster.kubectl(*secret, "-o", "jsonpath={.data}").stdout
    assert serving.terminate() == 0
    try:
        assert "created" in namespace.apply(job("unjudged"))
        for pod in scheduled(namespace, "unjudged"):  # by the scheduler alone
            assert not preferred(pod)
            assert names.ANNOTATION_ENERGY not in pod["metadata"].get("annotations", {})
        cluster.kubectl(*enroll, "energaizer.io/admission=strict", "--overwrite")
        namespace.wait_refused(job("strict"))
        assert "failed calling webhook" in namespace.refuse(job("strict"))
        assert "created" in namespace.apply(job("plain", gpus=0))
        workload = {
            "apiVersion": names.API_VERSION,
            "kind": "AIWorkload",
            "metadata": {"name": "unjudged"},
            "spec": {},
        }
        assert "failed calling webhook" in namespace.refuse(workload)
    finally:
        vars(serving).update(vars(patient.start_webhook(cluster)))  # for the tests to come
        patient.wait_reached(cluster, serving)
    assert "created" in namespace.apply(workload)
    assert "created" in namespace.apply(job("strict"))
    assert namespace.get("job", "strict")["metadata"]["labels"][names.LABEL_WORKLOAD]
    assert cluster.kubectl(*secret, "-o", "jsonpath={.data}").stdout == before
