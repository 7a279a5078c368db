"""Following one reservation against an API server in memory: charged on time, and no oftener."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, ClassVar

import pytest

from energaizer_operator import kinds, owners
from energaizer_operator.cluster import Refused
from energaizer_operator.controller import energyreservation, reserving
from energaizer_operator.controller.binding import Binding
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.energyreservation import EnergyReservations
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.population import Population
from energaizer_operator.controller.pricing import Priced, Pricing
from energaizer_operator.controller.survey import Survey
from energaizer_operator.names import FINALIZER_RESERVATION, LABEL_WORKLOAD
from energaizer_operator.resources.energyreservation import ChargedObject, EnergyReservationSpec
from energaizer_operator.schema import EstimateSummary
from fake_cluster import FakeCluster, settle

KEY = ("team-a", "uid-train")
MOMENT = timedelta(seconds=2)
LABELS = {LABEL_WORKLOAD: "job-train"}


def pod(name: str, phase: str) -> dict[str, Any]:
    owner = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": "train",
        "uid": "uid-train",
        "controller": True,
    }
    metadata = {
        "name": name,
        "namespace": "team-a",
        "labels": LABELS,
        "ownerReferences": [owner],
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    status = {"phase": phase, "startTime": "2026-01-01T00:00:00Z"}
    return {"metadata": metadata, "spec": {"containers": []}, "status": status}


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    metadata = {"name": "train", "namespace": "team-a", "labels": LABELS}
    made.put(kinds.JOBS, {"metadata": metadata, "spec": {"template": {"spec": {}}}})
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": "train", "uid": "uid-train"}
    spec = {
        "workloadRef": reference,
        "aiWorkloadName": "job-train",
        "budgetNames": ["monthly"],
        "energyJoules": 1000,
        "powerWatts": 400,
        "reservedTime": "2026-01-01T00:00:00Z",
        "method": "Calibrated",
    }
    metadata = {"name": "uid-train", "namespace": "team-a"}
    made.put(kinds.ENERGYRESERVATIONS, {"metadata": metadata, "spec": spec})
    return made


async def follower(context: Context, charge_s: float) -> EnergyReservations:
    book = Book(context.informer.energyreservations)
    await book.load(context.cluster)
    return EnergyReservations(context, book, Population(context.informer), charge_s)


async def test_what_is_reserved_already_needs_no_right_to_read_it(
    cluster: FakeCluster, context: Context
) -> None:
    """An administrator who releases a Job creates its reservation before we do."""
    cluster.get = unreadable  # type: ignore[method-assign]
    book = Book(context.informer.energyreservations)
    (body,) = (one for key, one in cluster.objects.items() if key[0] == "energyreservations")
    spec = EnergyReservationSpec.model_validate(body["spec"])
    await reserving.reserve(context, book, "team-a", spec, token=1)
    assert cluster.writes == []


async def unreadable(*_: object) -> dict[str, Any]:
    raise Refused("may not get energyreservations", 403)


class Clock(datetime):
    """The time, and what a test lets pass."""

    passed: ClassVar = timedelta()

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + cls.passed


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(Clock, "passed", timedelta())
    monkeypatch.setattr(energyreservation, "datetime", Clock)
    return Clock


async def test_our_own_write_is_no_reason_to_write_again(
    cluster: FakeCluster, context: Context, clock: type[Clock]
) -> None:
    cluster.put(kinds.PODS, pod("train-0", "Running"))
    await settle()
    reservations = await follower(context, 60.0)
    asked: list[float] = []
    reservations.again = lambda _key, delay_s: asked.append(delay_s)
    assert await reservations.reconcile(KEY) is Result.CHANGED
    clock.passed += MOMENT  # seconds went by that are not charged yet
    assert await reservations.reconcile(KEY) is Result.UNCHANGED
    assert len(cluster.writes) == 1
    assert asked[0] == 60.0
    assert 0.0 < asked[1] < 60.0, "the rest of the time"


async def test_news_of_a_pod_is_charged_at_once(
    cluster: FakeCluster, context: Context, clock: type[Clock]
) -> None:
    cluster.put(kinds.PODS, pod("train-0", "Running"))
    await settle()
    reservations = await follower(context, 60.0)
    await reservations.reconcile(KEY)
    cluster.put(kinds.PODS, pod("train-1", "Running"))
    await settle()
    assert await reservations.reconcile(KEY) is Result.CHANGED
    clock.passed += MOMENT
    before = cluster.objects["energyreservations", *KEY]["status"]["consumedJoules"]
    cluster.remove(kinds.PODS, "train-0", "team-a")
    await settle()
    assert await reservations.reconcile(KEY) is Result.CHANGED
    after = cluster.objects["energyreservations", *KEY]["status"]["consumedJoules"]
    assert after >= before + 2 * 400  # who vanished is charged up to now, as is who stays


async def test_time_alone_is_charged_when_it_is_due(
    cluster: FakeCluster, context: Context, clock: type[Clock]
) -> None:
    cluster.put(kinds.PODS, pod("train-0", "Running"))
    await settle()
    reservations = await follower(context, 1.0)
    await reservations.reconcile(KEY)
    clock.passed += MOMENT
    assert await reservations.reconcile(KEY) is Result.CHANGED
    assert len(cluster.writes) == 2


def ended(name: str, start: str, end: str) -> dict[str, Any]:
    made = pod(name, "Succeeded")
    container = {"name": "main", "state": {"terminated": {"finishedAt": end}}}
    made["status"] |= {"startTime": start, "containerStatuses": [container]}
    return made


@pytest.mark.parametrize(
    ("coverage", "settled"),
    [
        (95, 150_000 + 60 * 400),  # seen until 12:05, then a minute of the predicted power
        (89, 6 * 60 * 400),  # too little was seen: the predicted power all along
    ],
)
async def test_what_ends_is_settled_to_what_was_measured_and_to_what_no_sensor_saw(
    cluster: FakeCluster, context: Context, coverage: int, settled: int
) -> None:
    """Sensors are read every five minutes, and a Job ends whenever it does."""
    measured = {
        "energyJoules": 150_000,
        "powerWatts": 500,
        "source": "DCGM",
        "coveragePercent": coverage,
        "lastSampleTime": "2026-01-01T12:05:00Z",
    }
    metadata = {"name": "job-train", "namespace": "team-a"}
    status = {"measured": measured}
    cluster.put(kinds.AIWORKLOADS, {"metadata": metadata, "spec": {}, "status": status})
    cluster.put(kinds.PODS, ended("train-0", "2026-01-01T12:00:00Z", "2026-01-01T12:06:00Z"))
    done = {"conditions": [{"type": "Complete", "status": "True"}]}
    job = cluster.objects["jobs", "team-a", "train"]
    cluster.put(kinds.JOBS, {**job, "status": done})
    await settle()
    await (await follower(context, 60.0)).reconcile(KEY)
    found = cluster.objects["energyreservations", *KEY]["status"]
    assert found["settledJoules"] == settled
    assert found["consumedJoules"] == 6 * 60 * 400


class Prices(Pricing):
    """What a Job of two GPUs takes, by the GPU; counts how often it is asked."""

    joules: ClassVar = {"l4-24gb": 300, "l40s-48gb": 700, "h100-sxm5-80gb": 1000}

    def __init__(self) -> None:
        self.asked: list[Collection[str]] = []

    async def of(
        self, key: tuple[str, str, str], on: Collection[str] = (), unknown: Sequence[str] = ()
    ) -> Priced:
        self.asked.append(on)
        profile = max(self.joules if unknown else on, key=lambda name: self.joules[name])
        joules = self.joules[profile]
        template = {"spec": pod("x", "")["spec"] | {"containers": [GPU]}}
        body = {"kind": key[0], "metadata": {"name": key[2], "uid": KEY[1]}}
        described = owners.describe(body | {"spec": {"parallelism": 2, "template": template}})
        assert described is not None
        estimate = EstimateSummary(
            **{"profile": profile, "gpu_count": 2, "replicas": 2, "method": "Calibrated"},
            **{"power_watts": 1, "power_low_watts": 1, "power_high_watts": 1},
            **{"energy_joules": joules, "energy_low_joules": 1, "energy_high_joules": joules},
            duration_seconds=10,
            estimate_time=datetime(2026, 1, 1, tzinfo=UTC),
        )
        reference = ChargedObject(api_version="batch/v1", kind="Job", name="train", uid=KEY[1])
        return Priced(body, described, reference, {}, estimate)


GPU = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
NODES = {"a": "l4-24gb", "b": "l4-24gb", "c": "l40s-48gb"}


async def test_what_has_landed_is_priced_by_the_gpus_of_its_nodes(
    cluster: FakeCluster, context: Context
) -> None:
    prices = Prices()
    book = Book(context.informer.energyreservations)
    await book.load(context.cluster)
    survey = Survey(profiles=NODES, unprofiled=("bare",))
    binding = Binding(prices, lambda: survey)
    reservations = EnergyReservations(context, book, Population(context.informer), 60.0, binding)
    stored = cluster.objects["energyreservations", *KEY]
    stored["spec"] |= {"replicas": 2, "profile": "h100-sxm5-80gb"}

    async def reserved(*nodes: str) -> tuple[int, str]:
        for index, node in enumerate(nodes):
            body = pod(f"train-{index}", "Running" if node else "Pending")
            body["spec"] = {"containers": [GPU], "nodeName": node}
            cluster.put(kinds.PODS, body)
        await settle()
        await reservations.reconcile(KEY)
        spec = cluster.objects["energyreservations", *KEY]["spec"]
        return spec["energyJoules"], spec["profile"]

    job = cluster.objects["jobs", "team-a", "train"]
    job["spec"] |= {"parallelism": 2, "template": {"spec": {"containers": [GPU]}}}
    cluster.put(kinds.JOBS, job)
    await book.load(context.cluster)
    assert await reserved("a") == (1000, "h100-sxm5-80gb")  # the other may land anywhere
    assert await reserved("a", "") == (1000, "h100-sxm5-80gb")
    assert not prices.asked
    assert await reserved("a", "b") == (300, "l4-24gb")
    assert await reserved("a", "b") == (300, "l4-24gb")
    assert await reserved("a", "c") == (700, "l40s-48gb")  # the dearer of two
    assert await reserved("a", "elsewhere") == (700, "l40s-48gb")
    assert len(prices.asked) == 2
    # A GPU that nobody described is bounded by the hungriest, until somebody describes it.
    assert await reserved("a", "bare") == (1000, "h100-sxm5-80gb")
    survey = Survey(profiles={**NODES, "bare": "l40s-48gb"})
    assert await reserved("a", "bare") == (700, "l40s-48gb")
    assert len(prices.asked) == 4


async def test_only_our_own_finalizer_goes(
    cluster: FakeCluster, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled = {"settledTime": "2026-01-01T01:00:00Z", "settledJoules": 1}
    made = cluster.objects["energyreservations", *KEY]
    metadata = {**made["metadata"], "finalizers": ["example.com/keep", FINALIZER_RESERVATION]}
    cluster.put(kinds.ENERGYRESERVATIONS, {**made, "metadata": metadata, "status": settled})
    await settle()
    deleted: list[str] = []

    async def delete(_resource: object, name: str, _namespace: str | None = None) -> None:
        deleted.append(name)  # the API server only marks what still has a finalizer

    monkeypatch.setattr(cluster, "delete", delete, raising=False)
    reservations = await follower(context, 60.0)
    assert await reservations.reconcile(KEY) is Result.CHANGED
    left = cluster.objects["energyreservations", *KEY]["metadata"]["finalizers"]
    assert (left, deleted) == (["example.com/keep"], ["uid-train"])
