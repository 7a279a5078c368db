"""What runs without having been judged: charged afterwards, said, and counted until it is."""

from typing import Any

import pytest

import steady_physics
from energaizer_operator import estimation, kinds
from energaizer_operator.controller import charges
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.charges import Charges
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.decision import World
from energaizer_operator.estimation import Estimator
from fake_cluster import FakeCluster, settle
from reviewing import NAMESPACE, budget, deployment, job

KEY = ("Job", NAMESPACE, "train")
SHOWN_S = 450.0


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(charges, "time", made)
    return made


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    steady_physics.install(monkeypatch)
    made = FakeCluster()
    labels = {"energaizer.io/admission": "enabled"}
    made.put(kinds.NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": labels}})
    made.put(kinds.JOBS, job())
    return made


def charging(context: Context, world: World | None = None) -> Charges:
    known = World.of(estimation.catalogue(), in_cluster=["l40s-48gb"]) if world is None else world
    pricing = Pricing(context, Estimator(), lambda: known)
    return Charges(context, Book(context.informer.energyreservations), pricing, 1, SHOWN_S)


def shown(context: Context) -> list[str]:
    lines = context.metrics.page().decode().splitlines()
    return [line for line in lines if line.startswith("energaizer_unbudgeted_pods")]


def reserved(cluster: FakeCluster) -> list[str]:
    return [name for plural, _, name in cluster.objects if plural == "energyreservations"]


def events(cluster: FakeCluster) -> list[Any]:
    return [body["reason"] for key, body in cluster.objects.items() if key[0] == "events"]


async def test_what_nobody_judged_is_charged_said_and_shown_until_the_next_audit(
    cluster: FakeCluster, context: Context, clock: Clock
) -> None:
    cluster.put(*budget("firm", "Deny"))
    await settle()
    charger = charging(context)
    assert await charger.reconcile(KEY) is Result.CHANGED
    assert reserved(cluster) == ["uid-train"]
    assert events(cluster) == ["UnbudgetedPod"]
    assert shown(context) == [f'energaizer_unbudgeted_pods{{namespace="{NAMESPACE}"}} 4.0']
    assert await charger.reconcile(KEY) is Result.UNCHANGED, "the next audit finds it charged"
    clock.now += 2 * SHOWN_S
    assert shown(context) == []


async def test_what_cannot_be_charged_stays_until_it_is_gone(
    cluster: FakeCluster, context: Context, clock: Clock
) -> None:
    cluster.put(*budget("firm", "Deny"))
    await settle()
    charger = charging(context, World.of([]))
    for _ in range(3):
        assert await charger.reconcile(KEY) is Result.PENDING
        assert len(shown(context)) == 1
        clock.now += SHOWN_S / 2
    cluster.remove(kinds.JOBS, "train", NAMESPACE)
    assert await charger.reconcile(KEY) is Result.UNCHANGED
    clock.now += 2 * SHOWN_S
    assert shown(context) == []


async def test_who_only_warns_charges_in_silence(cluster: FakeCluster, context: Context) -> None:
    cluster.put(*budget("soft", "Warn"))
    cluster.put(kinds.DEPLOYMENTS, deployment(2))
    await settle()
    charger = charging(context)
    assert await charger.reconcile(KEY) is Result.CHANGED
    assert await charger.reconcile(("Deployment", NAMESPACE, "chat")) is Result.CHANGED
    assert sorted(reserved(cluster)) == ["uid-chat", "uid-train"]
    assert events(cluster) == shown(context) == []


async def test_an_object_without_gpus_is_nobody_s_business(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(*budget("firm", "Deny"))
    cluster.put(kinds.JOBS, job(gpus=0))
    await settle()
    await charging(context).reconcile(KEY)
    assert reserved(cluster) == events(cluster) == shown(context) == []
