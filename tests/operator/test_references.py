"""Indexes that follow the watches, held against a plain search over everything."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator import kinds
from energaizer_operator.informer import Store, object_record, workload_record
from energaizer_operator.references import Carriers, References

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
