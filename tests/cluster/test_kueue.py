"""The real Kueue: it asks us by an AdmissionCheck, and queues and borrows by watts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import patient
from annotated import BATCH
from localcluster import Cluster, build, kueue, operator
from localcluster.operator import ROOT
from localcluster.places import DEFAULT_POOLS
from localcluster.pools import load_pools
from polling import holds, until

GROUP = "kueue.x-k8s.io"
VERSION = f"{GROUP}/v1beta2"
WATTS = "energaizer.io/watts"
PRODUCTS = {"h100": "NVIDIA-H100-80GB-HBM3", "l40s": "NVIDIA-L40S"}
PLENTY = {"nvidia.com/gpu": 4, WATTS: 100_000}  # a queue must cover what its Jobs request
RETRY_S = 3
INPUTS = BATCH | {"energaizer.io/requests": "100000"}


@pytest.fixture(scope="module")
def queueing() -> Iterator[Cluster]:
    """A control plane with Kueue, and with power as a resource."""
    build()
    pools = [pool for pool in load_pools(DEFAULT_POOLS) if pool.name in PRODUCTS]
    with Cluster(pools=pools) as cluster:
        patient.install(cluster)
        for extra in ("power", "kueue"):
            cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "charts/kustomize" / extra))
        settings = {"power_resource": True, "kueue": True, "kueue_retry_s": RETRY_S}
        controller = operator.start_controller(cluster, **settings)
        webhook = patient.start_webhook(cluster, power_resource=True, kueue=True)
        queues = kueue.start(cluster)
        patient.wait_reached(cluster, webhook)
        controller.wait_leading()
        anything = {"apiVersion": VERSION, "kind": "ResourceFlavor", "metadata": {"name": "any"}}
        text = json.dumps(anything)
        until(  # the API server learns whom to trust in Kueue's place by a watch of its own
            lambda: cluster.kubectl("apply", "-f", "-", input=text, check=False).returncode == 0,
            "the API server reaches Kueue's webhooks",
        )
        apply(cluster, *(flavor(name, product) for name, product in PRODUCTS.items()))
        until(lambda: power_nodes(cluster) == {3, 2})
        yield cluster
        for process in (queues, controller, webhook):
            process.terminate()


def read(cluster: Cluster, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cluster.kubectl("get", *arguments, "-o", "json").stdout)
    return found


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("apply", "-f", "-", input=text)


def power_nodes(cluster: Cluster) -> set[int]:
    profiles = read(cluster, "gpuprofiles")["items"]
    return {one.get("status", {}).get("powerNodes", 0) for one in profiles} - {0}


def flavor(name: str, product: str) -> dict[str, Any]:
    labels = {"nvidia.com/gpu.product": product}
    metadata = {"name": name}
    spec = {"nodeLabels": labels}
    return {"apiVersion": VERSION, "kind": "ResourceFlavor", "metadata": metadata, "spec": spec}


def queue(
    cluster: Cluster, name: str, quota: dict[str, int], flavor: str = "any", **spec: Any
) -> None:
    """Make a namespace with a LocalQueue, and its ClusterQueue."""
    resources = [{"name": key, "nominalQuota": amount} for key, amount in quota.items()]
    group = {"coveredResources": list(quota), "flavors": [{"name": flavor, "resources": resources}]}
    label = {"energaizer.io/admission": "enabled"}
    apply(
        cluster,
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": label}},
        {
            "apiVersion": VERSION,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {"namespaceSelector": {}, "resourceGroups": [group], **spec},
        },
        {
            "apiVersion": VERSION,
            "kind": "LocalQueue",
            "metadata": {"name": "queue", "namespace": name},
            "spec": {"clusterQueue": name},
        },
    )
    until(lambda: active(read(cluster, "clusterqueue", name)))


def check(cluster: Cluster, name: str, policy: str | None = None) -> dict[str, Any]:
    """Make an AdmissionCheck of ours, and return how a ClusterQueue names it."""
    spec: dict[str, Any] = {"controllerName": "energaizer.io/energy"}
    if policy:
        reference = {"apiGroup": "energaizer.io", "kind": "EnergyPolicy", "name": policy}
        spec["parameters"] = reference
    metadata = {"name": name}
    apply(
        cluster,
        {"apiVersion": VERSION, "kind": "AdmissionCheck", "metadata": metadata, "spec": spec},
    )
    return {"admissionChecksStrategy": {"admissionChecks": [{"name": name}]}}


active = holds("Active")


def limit(cluster: Cluster, namespace: str, joules: int) -> None:
    """Set the budget of a namespace, which holds, and wait until the leader has seen it."""
    window = {"type": "Calendar", "period": "Month"}
    budget = {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "EnergyBudget",
        "metadata": {"name": "month", "namespace": namespace},
        "spec": {"limitJoules": joules, "window": window, "action": "Hold"},
    }
    apply(cluster, budget)

    def seen() -> bool:
        body = read(cluster, "energybudget", "month", "-n", namespace)
        observed = body.get("status", {}).get("observedGeneration")
        return bool(observed == body["metadata"]["generation"])

    until(seen)


def wait_held(cluster: Cluster, namespace: str) -> None:
    """Return once admission has heard that a budget holds what is in no queue."""
    made = job(namespace, "held")
    del made["metadata"]["labels"]
    made["spec"]["suspend"] = False
    create = ("create", "--dry-run=server", "-o", "json", "-f", "-")
    until(
        lambda: "energaizer.io/held" in cluster.kubectl(*create, input=json.dumps(made)).stdout,
        f"the budget of {namespace} holds",
    )


def job(namespace: str, name: str, queue: str = "queue") -> dict[str, Any]:
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    delay = {"pod-complete.stage.kwok.x-k8s.io/delay": "10m"}
    metadata = {
        "name": name,
        "namespace": namespace,
        "labels": {f"{GROUP}/queue-name": queue},
        "annotations": dict(INPUTS),
    }
    template = {
        "metadata": {"annotations": delay},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    spec = {"suspend": True, "template": template}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def verdict(cluster: Cluster, namespace: str, name: str) -> dict[str, Any]:
    """Return the state of the check of a Job's Workload, once it is no longer pending."""

    def found() -> dict[str, Any] | None:
        for body in read(cluster, "workloads.kueue.x-k8s.io", "-n", namespace)["items"]:
            if body["metadata"]["ownerReferences"][0]["name"] == name:
                states: list[dict[str, Any]] = body.get("status", {}).get("admissionChecks", [])
                return next((one for one in states if one["state"] != "Pending"), None)
        return None

    answered: dict[str, Any] = until(found)
    return answered


def running(cluster: Cluster, namespace: str) -> set[str]:
    jobs = read(cluster, "jobs", "-n", namespace)["items"]
    return {one["metadata"]["name"] for one in jobs if not one["spec"].get("suspend")}


def test_what_fits_is_ready_with_the_flavor_s_gpu(queueing: Cluster) -> None:
    strategy = check(queueing, "energy")
    until(lambda: active(read(queueing, "admissioncheck", "energy")))
    queue(queueing, "ready", PLENTY, "l40s", **strategy)
    apply(queueing, job("ready", "fits"))
    answered = verdict(queueing, "ready", "fits")
    assert answered["state"] == "Ready"
    assert "1 x l40s-48gb" in answered["message"]
    marks = answered["podSetUpdates"][0]["annotations"]
    assert marks["energaizer.io/gpu-profile"] == "l40s-48gb"
    until(lambda: running(queueing, "ready") == {"fits"})
    template = read(queueing, "job", "fits", "-n", "ready")["spec"]["template"]
    assert template["metadata"]["annotations"]["energaizer.io/gpu-profile"] == "l40s-48gb"


def test_placement_mode_kueue_selects_the_cheapest_gpu(queueing: Cluster) -> None:
    queue(queueing, "places", PLENTY, **check(queueing, "energy"))
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "chosen"}
    workload = {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": "chosen", "namespace": "places"},
        "spec": {"workloadRef": reference, "placement": {"mode": "Kueue"}},
    }
    apply(queueing, workload, job("places", "chosen"))
    answered = verdict(queueing, "places", "chosen")
    update = answered["podSetUpdates"][0]
    profile = update["annotations"]["energaizer.io/gpu-profile"]
    product = {"l40s-48gb": "NVIDIA-L40S", "h100-sxm5-80gb": "NVIDIA-H100-80GB-HBM3"}[profile]
    assert update["nodeSelector"] == {"nvidia.com/gpu.product": product}
    until(lambda: running(queueing, "places") == {"chosen"})
    spec = read(queueing, "job", "chosen", "-n", "places")["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == update["nodeSelector"]


def test_what_a_policy_forbids_is_rejected_and_never_starts(queueing: Cluster) -> None:
    strategy = check(queueing, "guarded", policy="tight")
    until(lambda: read(queueing, "admissioncheck", "guarded").get("status", {}).get("conditions"))
    condition = read(queueing, "admissioncheck", "guarded")["status"]["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("False", "BadParameters")
    assert "EnergyPolicy tight does not exist" in condition["message"]
    selector = {"matchLabels": {"no-namespace": "has-this"}}  # the check alone applies it
    spec = {"action": "Deny", "limits": {"maxPowerWatts": 10}, "namespaceSelector": selector}
    apply(
        queueing,
        {
            "apiVersion": "energaizer.io/v1alpha1",
            "kind": "EnergyPolicy",
            "metadata": {"name": "tight"},
            "spec": spec,
        },
    )
    until(lambda: active(read(queueing, "admissioncheck", "guarded")))
    queue(queueing, "rejects", PLENTY, "h100", **strategy)
    apply(queueing, job("rejects", "hungry"))
    answered = verdict(queueing, "rejects", "hungry")
    assert answered["state"] == "Rejected"
    assert "energy policy tight" in answered["message"]
    time.sleep(1)
    assert running(queueing, "rejects") == set()


def test_what_a_budget_holds_is_tried_again_and_admitted_once_there_is_room(
    queueing: Cluster,
) -> None:
    queue(queueing, "retries", PLENTY, "h100", **check(queueing, "energy"))
    limit(queueing, "retries", 1000)
    wait_held(queueing, "retries")
    made = job("retries", "waits")
    made["spec"]["suspend"] = False
    apply(queueing, made)
    assert not marked(queueing, "retries", "waits"), "it waits in Kueue, which asks us"

    answered = verdict(queueing, "retries", "waits")
    assert (answered["state"], answered["requeueAfterSeconds"]) == ("Retry", RETRY_S)
    assert "energy budget retries/month" in answered["message"]
    time.sleep(1)
    assert running(queueing, "retries") == set()

    limit(queueing, "retries", 10**12)
    until(lambda: running(queueing, "retries") == {"waits"})
    assert verdict(queueing, "retries", "waits")["state"] == "Ready"
    uid = read(queueing, "job", "waits", "-n", "retries")["metadata"]["uid"]

    def reserved() -> bool:
        found = read(queueing, "energyreservations", "-n", "retries")["items"]
        return [one["metadata"]["name"] for one in found] == [uid]

    until(reserved)  # what Kueue let go is charged


def test_a_label_of_kueue_lifts_no_hold_where_its_queue_does_not_ask_us(queueing: Cluster) -> None:
    """Neither a queue without our check nor one that is not there; Kueue and we both let it go."""
    queue(queueing, "unasked", PLENTY, "h100")
    limit(queueing, "unasked", 1000)
    wait_held(queueing, "unasked")
    for name in ("queue", "nowhere"):
        made = job("unasked", name, queue=name)
        made["spec"]["suspend"] = False
        apply(queueing, made)
    held = [marked(queueing, "unasked", name) for name in ("queue", "nowhere")]
    assert held == [True, True]

    def admitted() -> bool:
        return any(
            holds("Admitted")(one)
            for one in read(queueing, "workloads.kueue.x-k8s.io", "-n", "unasked")["items"]
            if one["metadata"]["ownerReferences"][0]["name"] == "queue"
        )

    until(admitted)
    assert running(queueing, "unasked") == set(), "Kueue has let it go, its budget has not"
    limit(queueing, "unasked", 10**15)
    until(lambda: running(queueing, "unasked") >= {"queue"})
    assert not marked(queueing, "unasked", "queue")


def marked(cluster: Cluster, namespace: str, name: str) -> bool:
    """Say whether a Job carries our mark of being held; it is then suspended."""
    body = read(cluster, "job", name, "-n", namespace)
    held = "energaizer.io/held" in body["metadata"]["annotations"]
    assert body["spec"].get("suspend") or not held
    return held


def test_kueue_queues_and_borrows_by_watts(queueing: Cluster) -> None:
    """Two queues of a cohort have room for two Jobs each; one of them runs three by borrowing."""
    queue(queueing, "measure", PLENTY, "h100")
    each = watts(queueing, "measure")
    quota = {"nvidia.com/gpu": 8, WATTS: 2 * each - (-each // 2)}  # room for 2.5
    queue(queueing, "alone", quota, "h100")
    apply(queueing, *(job("alone", f"j{n}") for n in range(3)))
    until(lambda: len(running(queueing, "alone")) == 2)
    time.sleep(1)
    done = running(queueing, "alone")
    assert len(done) == 2
    queueing.kubectl("delete", "job", "-n", "alone", min(done))
    until(lambda: len(running(queueing, "alone")) == 2)  # the third took its place

    for name in ("lends", "borrows"):
        queue(queueing, name, quota, "h100", cohortName="power")
    apply(queueing, *(job("borrows", f"j{n}") for n in range(6)))
    until(lambda: len(running(queueing, "borrows")) == 5)
    time.sleep(1)
    assert len(running(queueing, "borrows")) == 5  # floor((2.5 + 2.5) w / w) of the cohort


def watts(cluster: Cluster, namespace: str) -> int:
    """Return the watts that our webhook writes on a Job's template, as Kueue sees them."""
    apply(cluster, job(namespace, "one"))
    body = read(cluster, "job", "one", "-n", namespace)
    container = body["spec"]["template"]["spec"]["containers"][0]
    cluster.kubectl("delete", "job", "one", "-n", namespace)
    return int(container["resources"]["limits"][WATTS])
