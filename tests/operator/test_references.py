"""Indexes that follow the watches, held against a plain search over everything."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import plain
from energaizer_operator import kinds
from energaizer_operator.controller.loop import Context
from energaizer_operator.informer import Store, object_record, workload_record
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.references import Carriers, References
from fake_cluster import FakeCluster, settle

CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["", "x", "y"]),
        st.integers(0, 2),
        st.booleans(),
    ),
    max_size=20,
)


def aiworkload(name: str, target: str, created: int, version: int) -> dict[str, Any]:
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": target}
    return {
        "metadata": {
            "name": name,
            "namespace": "n",
            "resourceVersion": str(version),
            "creationTimestamp": f"2026-01-0{created + 1}T00:00:00Z",
        },
        "spec": {"workloadRef": reference} if target else {},
    }


@given(CHANGES)
def test_references_are_what_a_search_finds(
    changes: list[tuple[str, str, int, bool]],
) -> None:
    store = Store(kinds.AIWORKLOADS, object_record)
    index = References(store)
    known: dict[str, tuple[str, int]] = {}
    for version, (name, target, created, gone) in enumerate(changes):
        store.offer("DELETED" if gone else "MODIFIED", aiworkload(name, target, created, version))
        if gone:
            known.pop(name, None)
        else:
            known[name] = (target, created)
        for sought in ("x", "y"):
            oldest = sorted((age, one) for one, (to, age) in known.items() if to == sought)
            assert index.names("n", "Job", sought) == tuple(one for _, one in oldest)
    assert References(store).names("n", "Job", "x") == index.names("n", "Job", "x")


def pod(name: str, label: str, version: int) -> dict[str, Any]:
    labels = {"energaizer.io/workload": label} if label else {}
    metadata = {"name": name, "namespace": "n", "uid": name, "labels": labels}
    return {"kind": "Pod", "metadata": {**metadata, "resourceVersion": str(version)}, "spec": {}}


@given(CHANGES)
def test_carriers_are_what_a_search_finds(changes: list[tuple[str, str, int, bool]]) -> None:
    store = Store(kinds.PODS, workload_record)
    index = Carriers([store])
    known: dict[str, str] = {}
    for version, (name, label, _, gone) in enumerate(changes):
        store.offer("DELETED" if gone else "MODIFIED", pod(name, label, version))
        known.pop(name, None)
        if not gone:
            known[name] = label or f"pod-{name}"
        for sought in ("x", "y"):
            expected = sorted(one for one, said in known.items() if said == sought)
            assert [record.name for record in index.of("n", sought)] == expected


@pytest.fixture
def cluster() -> FakeCluster:
    return plain.opted_in()


async def test_a_workload_has_ended_once_all_that_nobody_controls_has(
    cluster: FakeCluster, context: Context
) -> None:
    labels = {LABEL_WORKLOAD: "w"}
    ends = ("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z")
    for name, end in zip(("first", "second"), ends, strict=True):
        body = plain.job(name, labels=labels)
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
