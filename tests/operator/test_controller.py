"""Reconcilers against an API server in memory; kopf and real estimates are tested elsewhere."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from energaizer_operator import kinds, names
from energaizer_operator.cluster import Refused
from energaizer_operator.controller import report, writing
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.describing import describing
from energaizer_operator.controller.energybudget import UNSETTLED_S, EnergyBudgets
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.controller.sources import gather
from energaizer_operator.controller.strays import Strays
from energaizer_operator.controller.survey import counted, gpu_capacity, survey
from energaizer_operator.controller.workloads import Workloads, audit, needs_one, undescribed
from energaizer_operator.decision import World
from energaizer_operator.estimation import Estimator
from energaizer_operator.identity import Identification
from energaizer_operator.informer import object_record
from energaizer_operator.names import Reason
from energaizer_operator.owners import describe
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from energaizer_operator.settings import Settings
from fake_cluster import FakeCluster, settle

LABEL = "energaizer.io/workload"


def job(name: str = "train", gpus: int = 8, **metadata: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus} if gpus else {}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "team-a", "uid": f"uid-{name}", **metadata},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def aiworkload(
    name: str, spec: dict[str, Any], created: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": name, "namespace": "team-a", "creationTimestamp": created},
        "spec": spec,
    }


def reference(name: str = "train", kind: str = "Job") -> dict[str, str]:
    version = "batch/v1" if kind in ("Job", "CronJob") else "example.com/v1"
    return {"apiVersion": version, "kind": kind, "name": name}


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    labels = {"energaizer.io/admission": "enabled"}
    made.put(kinds.NAMESPACES, {"metadata": {"name": "team-a", "labels": labels}})
    made.put(kinds.NAMESPACES, {"metadata": {"name": "plain"}})
    return made


# --- Workloads without an AIWorkload -----------------------------------------------------------


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


# --- What describes a workload -------------------------------------------------------------------


async def read(context: Context, body: dict[str, Any]) -> Any:
    return await gather(context, AIWorkload.model_validate(body), object_record(body))


async def test_workload_that_the_watch_brought_is_not_read_again(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(kinds.JOBS, {**job(labels={LABEL: "mine"}), "status": {"active": 1}})
    await settle()
    cluster.fail = Refused("nobody may ask now", 403)
    for spec in ({}, {"workloadRef": reference()}):
        found = await read(context, aiworkload("mine", spec))
        assert (found.problem, found.described.name) == (None, "train")
        assert found.described.gpus == {"nvidia.com/gpu": 8}


async def test_annotations_of_all_owners_count(cluster: FakeCluster, context: Context) -> None:
    owner = {"controller": True, **reference("nightly", "CronJob"), "uid": "u"}
    cluster.put(kinds.JOBS, job(ownerReferences=[owner], annotations={"a": "job"}))
    nightly = {"name": "nightly", "namespace": "team-a", "annotations": {"a": "cron"}, "uid": "u"}
    cluster.put(kinds.CRONJOBS, {"metadata": nightly})
    found = await read(context, aiworkload("w", {"workloadRef": reference()}))
    assert found.described.annotations == {"a": "job"}
    assert found.owner_annotations == ({"a": "cron"},)
    cluster.put(kinds.CRONJOBS, {"metadata": nightly | {"uid": "made anew"}})
    found = await read(context, aiworkload("w", {"workloadRef": reference()}))
    assert found.owner_annotations == (), "another one of that name"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"workloadRef": reference("nowhere")}, "Job nowhere does not exist"),
        ({"workloadRef": reference("x", "Widget")}, "Widget x: kind not known"),
    ],
)
async def test_missing_workload_is_named(
    context: Context, spec: dict[str, Any], message: str
) -> None:
    reason, said = (await read(context, aiworkload("w", spec))).problem
    assert reason is Reason.WORKLOAD_NOT_FOUND
    assert message in said


async def test_second_description_of_a_workload_is_refused(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(kinds.JOBS, job())
    first = aiworkload("first", {"workloadRef": reference()})
    second = aiworkload("second", {"workloadRef": reference()}, "2026-01-02T00:00:00Z")
    cluster.put(kinds.AIWORKLOADS, first)
    cluster.put(kinds.AIWORKLOADS, second)
    await settle()
    assert (await read(context, first)).problem is None
    reason, said = (await read(context, second)).problem
    assert reason is Reason.DUPLICATE_WORKLOAD
    assert "AIWorkload first" in said


async def test_workload_is_found_by_its_label(cluster: FakeCluster, context: Context) -> None:
    cluster.put(kinds.JOBS, job(labels={LABEL: "w"}))
    await settle()
    found = await read(context, aiworkload("w", {}))
    assert (found.described.kind, found.described.name) == ("Job", "train")


async def test_config_map(cluster: FakeCluster, context: Context) -> None:
    model = {"source": "HuggingFaceConfig", "configMapRef": {"name": "m"}}
    body = aiworkload("w", {"model": model})
    reason, said = (await read(context, body)).problem
    assert (reason, said) == (Reason.INVALID_CONFIG_MAP, "ConfigMap team-a/m does not exist")
    metadata = {"name": "m", "namespace": "team-a"}
    cluster.put(kinds.CONFIGMAPS, {"metadata": metadata, "data": {"other": "{}"}})
    assert "no key config.json" in (await read(context, body)).problem[1]
    cluster.put(kinds.CONFIGMAPS, {"metadata": metadata, "data": {"config.json": "{}"}})
    found = await read(context, body)
    assert (found.config, found.problem) == ("{}", None)
    cluster.fail = Refused("forbidden", 403)
    assert "bind ClusterRole energaizer-model-configs" in (await read(context, body)).problem[1]


# --- Nodes ---------------------------------------------------------------------------------------


def test_survey_counts_by_label_else_by_capacity() -> None:
    term = (("nvidia.com/gpu.product", "H100"),)
    identified = {
        "a": Identification(profile="h100", gpus=8, gpu_node=True, terms=term),
        "b": Identification(profile="h100", gpus=None, gpu_node=True, terms=term),
        "c": Identification(profile="h100", gpus=8, gpu_node=True, conflict=("a100", "h100")),
        "d": Identification(gpu_node=True),
        "e": Identification(),
        "f": Identification(),
    }
    counts = counted(identified, {"b": 4, "e": 0, "f": 2})
    found = survey(identified, counts, {"a", "d"})
    assert {name: one.power_nodes for name, one in found.census.items()} == {"h100": 1, "a100": 0}
    h100 = found.census["h100"]
    assert (h100.nodes, h100.gpus, h100.conflicts) == (3, 20, ("c",))
    assert [(one.key, one.value, one.nodes) for one in h100.terms] == [(*term[0], 2)]
    assert found.census["a100"].conflicts == ("c",)
    assert found.unprofiled == ("d", "f")
    assert found.in_cluster == {"h100"}


def test_capacity_counts_whole_gpus() -> None:
    capacity = {"cpu": "8", "nvidia.com/gpu": "4", "nvidia.com/mig-1g.5gb": "7", "amd.com/gpu": "2"}
    assert gpu_capacity({"status": {"capacity": capacity}}) == 6


# --- Writing and reporting -----------------------------------------------------------------------


def test_statuses_that_differ_in_times_only_are_the_same() -> None:
    first = {"estimate": {"energyJoules": 1, "estimateTime": "a"}, "candidates": []}
    assert writing.same(first, {"estimate": {"energyJoules": 1, "estimateTime": "b"}})
    assert not writing.same(first, {"estimate": {"energyJoules": 2, "estimateTime": "a"}})
    assert not writing.same({}, {"estimate": {"energyJoules": 0}})


async def test_status_is_written_once(cluster: FakeCluster) -> None:
    body = cluster.put(kinds.AIWORKLOADS, aiworkload("w", {}))
    wanted = AIWorkloadStatus(task="Training")
    args = (cluster, kinds.AIWORKLOADS)
    assert await writing.write_status(*args, object_record(body), wanted) is Result.CHANGED  # type: ignore[arg-type]
    written = await cluster.get(kinds.AIWORKLOADS, "w", "team-a")
    assert await writing.write_status(*args, object_record(written), wanted) is Result.UNCHANGED  # type: ignore[arg-type]
    cluster.remove(kinds.AIWORKLOADS, "w", "team-a")
    assert await writing.write_status(*args, object_record(body), wanted) is Result.GONE  # type: ignore[arg-type]


def test_unknown_condition_and_missing_estimate_have_no_series() -> None:
    time = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": "Ready", "status": "True", "reason": "Ready"},
        {"type": "BudgetReserved", "status": "Unknown", "reason": "Pending"},
        {"type": "Estimated", "status": "False", "reason": "NoProfile"},
    ]
    common = {"lastTransitionTime": time, "message": "m"}
    status = AIWorkloadStatus.model_validate(
        {"task": "Training", "conditions": [one | common for one in conditions]}
    )
    series = report.series(status)
    assert (series.energy_j, series.conditions) == (None, {"Ready": True})
    failed = report.failure(status)
    assert failed is not None
    assert failed.reason == "NoProfile"


async def test_a_workload_has_ended_once_all_that_nobody_controls_has(
    cluster: FakeCluster, context: Context
) -> None:
    labels = {LABEL: "w"}
    ends = ("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z")
    for name, end in zip(("first", "second"), ends, strict=True):
        body = job(name, labels=labels)
        cluster.put(kinds.JOBS, body)
        await settle()
        assert context.carriers.ended("team-a", "w") is None
        done = {"type": "Complete", "status": "True", "lastTransitionTime": end}
        cluster.put(kinds.JOBS, {**body, "status": {"conditions": [done]}})
        await settle()
        assert context.carriers.ended("team-a", "w") == datetime.fromisoformat(end).timestamp()
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "first",
        "uid": "u",
        "controller": True,
    }
    pod = {
        "metadata": {
            "name": "p",
            "namespace": "team-a",
            "labels": labels,
            "ownerReferences": [owner],
        },
        "spec": {"containers": []},
        "status": {"phase": "Running"},
    }
    cluster.put(kinds.PODS, pod)
    await settle()
    assert context.carriers.ended("team-a", "w") is not None, "its Job has ended, so will it"
    evicted = {"phase": "Failed", "startTime": "2026-01-01T03:00:00Z"}
    alone = {"name": "alone", "namespace": "team-a", "labels": labels}
    cluster.put(kinds.PODS, {**pod, "metadata": alone, "status": evicted})
    await settle()
    assert context.carriers.ended("team-a", "w") == datetime(2026, 1, 1, 3, tzinfo=UTC).timestamp()


async def test_series_of_a_budget_go_with_it(cluster: FakeCluster, context: Context) -> None:
    spec = {"limitJoules": 1000, "window": {"period": "Month"}, "action": "Warn"}
    for name in ("daily", "monthly"):
        metadata = {"name": name, "namespace": "team-a"}
        cluster.put(kinds.ENERGYBUDGETS, {"metadata": metadata, "spec": spec})
    await settle()
    book = Book(context.informer.energyreservations)
    await book.load(context.cluster)
    estimator = Estimator(1)
    pricing = Pricing(context, estimator, lambda: World.of(()))
    budgets = EnergyBudgets(context, book, pricing, Settings(kubeconfig=Path("x")), 1)
    records = context.metrics.budgets.records
    await budgets.reconcile("team-a")
    assert set(records) == {("team-a", "daily"), ("team-a", "monthly")}
    for left in ({("team-a", "monthly")}, set()):
        name = "monthly" if not left else "daily"
        cluster.remove(kinds.ENERGYBUDGETS, name, "team-a")
        await settle()
        await budgets.reconcile("team-a")
        assert set(records) == left
    assert not context.metrics.budgets.held_oldest
    estimator.close()


async def test_held_job_without_a_price_is_looked_at_again(
    cluster: FakeCluster, context: Context
) -> None:
    spec = {"limitJoules": 1000, "window": {"period": "Month"}, "action": "Hold"}
    metadata = {"name": "monthly", "namespace": "team-a"}
    cluster.put(kinds.ENERGYBUDGETS, {"metadata": metadata, "spec": spec})
    held = job(labels={LABEL: "job-train"})
    held["metadata"]["annotations"] = {names.ANNOTATION_HELD: "budget"}
    held["spec"]["suspend"] = True
    cluster.put(kinds.JOBS, held)
    await settle()
    book = Book(context.informer.energyreservations)
    await book.load(context.cluster)
    estimator = Estimator(1)
    pricing = Pricing(context, estimator, lambda: World.of(()))  # no GPUProfile is there yet
    budgets = EnergyBudgets(context, book, pricing, Settings(kubeconfig=Path("x")), 1)
    asked: list[float] = []
    budgets.again = lambda _namespace, delay_s: asked.append(delay_s)
    await budgets.reconcile("team-a")
    assert UNSETTLED_S in asked
    estimator.close()
