"""Statuses are written when they say something new, and told as events and series."""

import pytest

import plain
from energaizer_operator import kinds
from energaizer_operator.controller import report, writing
from energaizer_operator.controller.loop import Result
from energaizer_operator.informer import object_record
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from fake_cluster import FakeCluster
from plain import aiworkload


@pytest.fixture
def cluster() -> FakeCluster:
    return plain.opted_in()


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
