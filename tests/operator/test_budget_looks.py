"""Looks at the budgets of a namespace, one after the other, with an API server in memory."""

from typing import Any

import pytest

import plain
import reviewing
import steady_physics
from energaizer_operator import estimation, kinds
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.energybudget import UNSETTLED_S, EnergyBudgets
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.decision import World
from energaizer_operator.estimation import Estimator
from energaizer_operator.names import ANNOTATION_HELD, HELD_BY_BUDGET, LABEL_WORKLOAD
from energaizer_operator.settings import Settings
from fake_cluster import FakeCluster, settle

A, B = "team-a", "team-b"


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    steady_physics.install(monkeypatch)
    return plain.opted_in()


@pytest.fixture
def estimator() -> Estimator:
    return Estimator(16)


def looking(context: Context, estimator: Estimator, *gpus: str) -> EnergyBudgets:
    """Return what looks at budgets, in a world with some GPUs."""
    world = World.of(estimation.catalogue() if gpus else (), in_cluster=gpus)
    pricing = Pricing(context, estimator, lambda: world)
    return EnergyBudgets(
        context, Book(context.informer.energyreservations), pricing, Settings(), token=1
    )


def put_budget(cluster: FakeCluster, name: str, action: str, namespace: str = A) -> None:
    resource, body = reviewing.budget(name, action)
    cluster.put(resource, {**body, "metadata": {**body["metadata"], "namespace": namespace}})


def put_held(cluster: FakeCluster, namespace: str = A) -> None:
    made: dict[str, Any] = reviewing.job("train", suspend=True)
    made["metadata"] |= {
        "namespace": namespace,
        "uid": f"uid-of-{namespace}",
        "labels": {LABEL_WORKLOAD: "job-train"},
        "annotations": {**made["metadata"]["annotations"], ANNOTATION_HELD: HELD_BY_BUDGET},
    }
    cluster.put(kinds.JOBS, made)


async def test_looks_at_one_namespace_leave_what_another_was_promised(
    cluster: FakeCluster, context: Context, estimator: Estimator
) -> None:
    """One look promises, the next one books and lets go, whatever comes between the two."""
    for namespace in (A, B):
        put_budget(cluster, "monthly", "Hold", namespace)
        put_held(cluster, namespace)
    await settle()
    budgets = looking(context, estimator, "l40s-48gb")
    for _ in range(2):
        for namespace in (A, B):
            await budgets.reconcile(namespace)
            await settle()
    for namespace in (A, B):
        released = cluster.objects["jobs", namespace, "train"]
        assert released["spec"]["suspend"] is False, namespace
        assert ANNOTATION_HELD not in released["metadata"]["annotations"]
        assert ("energyreservations", namespace, f"uid-of-{namespace}") in cluster.objects


async def test_a_held_job_without_a_price_is_looked_at_again(
    cluster: FakeCluster, context: Context, estimator: Estimator
) -> None:
    put_budget(cluster, "monthly", "Hold")
    put_held(cluster)
    await settle()
    budgets = looking(context, estimator)  # no GPUProfile is there yet
    asked: list[float] = []
    budgets.again = lambda _namespace, delay_s: asked.append(delay_s)
    await budgets.reconcile(A)
    assert UNSETTLED_S in asked


async def test_series_of_a_budget_go_with_it(
    cluster: FakeCluster, context: Context, estimator: Estimator
) -> None:
    for name in ("daily", "monthly"):
        put_budget(cluster, name, "Warn")
    await settle()
    budgets = looking(context, estimator)
    records = context.metrics.budgets.records
    await budgets.reconcile(A)
    assert set(records) == {(A, "daily"), (A, "monthly")}
    for gone, left in (("daily", {(A, "monthly")}), ("monthly", set())):
        cluster.remove(kinds.ENERGYBUDGETS, gone, A)
        await settle()
        await budgets.reconcile(A)
        assert set(records) == left
    assert not context.metrics.budgets.held_oldest
