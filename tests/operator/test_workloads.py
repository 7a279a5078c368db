"""GPU workloads that nobody described: each gets one AIWorkload, and stray pods are found."""

from typing import Any

import pytest

import plain
from energaizer_operator import kinds
from energaizer_operator.controller.describing import describing
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.strays import Strays
from energaizer_operator.controller.workloads import Workloads, audit, needs_one, undescribed
from energaizer_operator.owners import describe
from fake_cluster import FakeCluster, settle
from plain import aiworkload, job, reference

LABEL = "energaizer.io/workload"


@pytest.fixture
def cluster() -> FakeCluster:
    return plain.opted_in()


async def test_gpu_workload_gets_one_aiworkload(cluster: FakeCluster, context: Context) -> None:
    cluster.put(kinds.JOBS, job())
    workloads = Workloads(context, "1.2.3")
    assert await workloads.reconcile(("Job", "team-a", "train")) is Result.CHANGED
    made = cluster.objects["aiworkloads", "team-a", "job-train"]
    assert made["spec"] == {"workloadRef": reference()}
    assert made["metadata"]["ownerReferences"] == [{**reference(), "uid": "uid-train"}]
    assert made["metadata"]["labels"]["app.kubernetes.io/version"] == "1.2.3"
    await settle()
    assert await workloads.reconcile(("Job", "team-a", "train")) is Result.UNCHANGED


async def test_label_names_the_aiworkload(cluster: FakeCluster, context: Context) -> None:
    cluster.put(kinds.JOBS, job(labels={LABEL: "mine"}))
    await Workloads(context, "1").reconcile(("Job", "team-a", "train"))
    assert ("aiworkloads", "team-a", "mine") in cluster.objects


async def test_workload_that_somebody_described_is_left_alone(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(kinds.JOBS, job())
    cluster.put(kinds.AIWORKLOADS, aiworkload("by-hand", {"workloadRef": reference()}))
    await settle()
    result = await Workloads(context, "1").reconcile(("Job", "team-a", "train"))
    assert (result, cluster.writes) == (Result.UNCHANGED, [])


async def test_namespace_that_did_not_opt_in_is_never_touched(
    cluster: FakeCluster, context: Context
) -> None:
    body = job()
    body["metadata"]["namespace"] = "plain"
    cluster.put(kinds.JOBS, body)
    assert await Workloads(context, "1").reconcile(("Job", "plain", "train")) is Result.UNCHANGED
    assert [key async for key in audit(context, Strays(context))] == []


@pytest.mark.parametrize(
    ("body", "needed"),
    [
        (job(), True),
        (job(gpus=0), False),
        ({**job(), "status": {"conditions": [{"type": "Complete", "status": "True"}]}}, False),
        (job(ownerReferences=[{"controller": True, "kind": "CronJob", "name": "n"}]), True),
        (job(ownerReferences=[{"controller": True, "kind": "JobSet", "name": "s"}]), False),
    ],
)
def test_who_needs_an_aiworkload(body: dict[str, Any], needed: bool) -> None:
    described = describe(body)
    assert described is not None
    assert needs_one(described, body) is needed


def test_labelled_workload_that_ended_still_gets_what_its_label_promises() -> None:
    body = {**job(labels={LABEL: "job-train"}), "status": {"phase": "Succeeded"}}
    described = describe(body)
    assert described is not None
    assert needs_one(described, body)


async def test_audit_finds_what_has_no_label(cluster: FakeCluster, context: Context) -> None:
    cluster.put(kinds.JOBS, job("a"))
    cluster.put(kinds.JOBS, job("b", labels={LABEL: "x"}))
    cluster.put(kinds.AIWORKLOADS, aiworkload("x", {}))
    cluster.put(kinds.JOBS, job("c", gpus=0))
    await settle()
    found = [key async for key in audit(context, Strays(context))]
    assert found == [("Job", "team-a", "a")]


def pod(name: str, owner: tuple[str, str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    body = {**job(name, 2, **metadata), "apiVersion": "v1", "kind": "Pod"}
    body["spec"] = body["spec"]["template"]["spec"]
    if owner is not None:
        body["metadata"]["ownerReferences"] = [above(*owner)]
    return body


def above(version: str, kind: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "name": name,
        "uid": f"uid-{name}",
        "controller": True,
    }


async def look(context: Context, strays: Strays) -> None:
    async for _ in audit(context, strays):
        pass


async def test_pods_that_admission_never_saw_count_for_their_workload(
    cluster: FakeCluster, context: Context
) -> None:
    set_, strays = ("apps/v1", "ReplicaSet", "chat-1"), Strays(context)
    of_deployment = [above("apps/v1", "Deployment", "chat")]
    cluster.put(kinds.DEPLOYMENTS, {**job("chat"), "kind": "Deployment", "apiVersion": "apps/v1"})
    body = {**job("chat-1", ownerReferences=of_deployment), "kind": "ReplicaSet"}
    cluster.put(kinds.REPLICASETS, {**body, "apiVersion": "apps/v1"})
    cluster.put(kinds.PODS, pod("chat-1-a", set_))
    cluster.put(kinds.PODS, pod("chat-1-b", set_, labels={LABEL: "deployment-chat"}))
    cluster.put(kinds.PODS, pod("of-ray", ("ray.io/v1", "Unknown", "r")))
    cluster.put(kinds.PODS, pod("alone"))
    cluster.put(kinds.PODS, {**pod("over"), "status": {"phase": "Succeeded"}})
    cluster.put(kinds.PODS, {**pod("elsewhere"), "metadata": {"name": "x", "namespace": "plain"}})
    await settle()
    assert context.informer.pods is not None
    heard: list[str] = []
    context.informer.pods.subscribe(lambda key, _: heard.append(key[1]))
    await look(context, strays)
    found = {one.name: (one.workload, one.gpus) for one in context.informer.pods}
    assert found == {
        "chat-1-a": ("deployment-chat", 2),
        "chat-1-b": ("deployment-chat", 2),
        "of-ray": ("unknown-r", 2),
        "alone": ("pod-alone", 2),
    }
    heard.clear()
    await look(context, strays)
    assert heard == [], "the same pods are no news"
    cluster.put(kinds.PODS, {**pod("alone"), "status": {"phase": "Succeeded"}})
    cluster.remove(kinds.PODS, "of-ray", "team-a")
    await look(context, strays)
    assert heard == ["of-ray"] or sorted(heard) == ["alone", "of-ray"]
    assert {one.name for one in context.informer.pods} == {"chat-1-a", "chat-1-b", "alone"}


async def test_an_aiworkload_that_names_the_owner_has_its_stray_pods(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(kinds.JOBS, job())
    cluster.put(kinds.AIWORKLOADS, aiworkload("mine", {"workloadRef": reference()}))
    cluster.put(kinds.PODS, pod("train-0", ("batch/v1", "Job", "train")))
    await settle()
    await look(context, Strays(context))
    assert [one.workload for one in context.informer.pods or ()] == ["mine"]


async def test_label_without_an_aiworkload_is_found_by_the_next_leader(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(kinds.JOBS, job("a", labels={LABEL: "here"}))
    cluster.put(kinds.JOBS, job("b", labels={LABEL: "gone"}))
    cluster.put(kinds.AIWORKLOADS, aiworkload("here", {}))
    await settle()
    assert undescribed(context.informer) == [("Job", "team-a", "b")]


def test_what_we_create_never_blocks_a_deletion() -> None:
    described = describe(job())
    assert described is not None
    owner = describing(described, "job-train", "1")["metadata"]["ownerReferences"][0]
    assert owner.keys() == {"apiVersion", "kind", "name", "uid"}
