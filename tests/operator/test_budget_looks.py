"""Budgets of one namespace after the other, against an API server in memory."""

from typing import Any

import pytest

import steady_physics
from energaizer_operator import estimation, kinds
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.energybudget import EnergyBudgets
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.decision import World
from energaizer_operator.estimation import Estimator
from energaizer_operator.names import ANNOTATION_HELD, HELD_BY_BUDGET, LABEL_WORKLOAD
from energaizer_operator.settings import Settings
from fake_cluster import FakeCluster, settle
from reviewing import budget, job

NAMESPACES = ("team-a", "team-b")


def held_job(namespace: str) -> dict[str, Any]:
    made = job("train", suspend=True)
    made["metadata"] |= {
        "namespace": namespace,
        "uid": f"uid-of-{namespace}",
        "labels": {LABEL_WORKLOAD: "job-train"},
        "annotations": {**made["metadata"]["annotations"], ANNOTATION_HELD: HELD_BY_BUDGET},
    }
    return made


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    steady_physics.install(monkeypatch)
    made = FakeCluster()
    for namespace in NAMESPACES:
        labels = {"energaizer.io/admission": "enabled"}
        made.put(kinds.NAMESPACES, {"metadata": {"name": namespace, "labels": labels}})
        resource, body = budget("monthly", "Hold")
        made.put(resource, {**body, "metadata": {**body["metadata"], "namespace": namespace}})
        made.put(kinds.JOBS, held_job(namespace))
    return made


@pytest.fixture
def budgets(context: Context) -> EnergyBudgets:
    world = World.of(estimation.catalogue(), in_cluster=["l40s-48gb"])
    pricing = Pricing(context, Estimator(), lambda: world)
    book = Book(context.informer.energyreservations)
    return EnergyBudgets(context, book, pricing, Settings(), token=1)


async def test_looks_at_one_namespace_leave_what_another_was_promised(
    cluster: FakeCluster, budgets: EnergyBudgets
) -> None:
    """One look promises, the next one books and lets go, whatever comes between the two."""
    for _ in range(2):
        for namespace in NAMESPACES:
            await budgets.reconcile(namespace)
            await settle()
    for namespace in NAMESPACES:
        released = cluster.objects["jobs", namespace, "train"]
        assert released["spec"]["suspend"] is False, namespace
        assert ANNOTATION_HELD not in released["metadata"]["annotations"]
        assert ("energyreservations", namespace, f"uid-of-{namespace}") in cluster.objects
