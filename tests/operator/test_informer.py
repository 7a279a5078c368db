import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from energaizer_operator import informer, kinds
from energaizer_operator.cluster import Unreachable
from energaizer_operator.controller.labelling import stated
from energaizer_operator.informer import (
    Informer,
    Key,
    MetadataRecord,
    Store,
    metadata_record,
    object_record,
    workload_record,
)
from energaizer_operator.names import LABEL_GPU_PROFILE as LABEL
from fake_cluster import FakeCluster, settle


@contextlib.asynccontextmanager
async def running(store: Store[MetadataRecord], cluster: FakeCluster) -> AsyncIterator[None]:
    task = asyncio.create_task(store.run(cluster))  # type: ignore[arg-type]
    try:
        await asyncio.wait_for(store.wait(), 60)
        yield
    finally:
        task.cancel()


def node(name: str, **labels: str) -> dict[str, object]:
    return {"metadata": {"name": name, "labels": labels}}


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def store() -> Store[MetadataRecord]:
    return Store(kinds.NODES, metadata_record, metadata_only=True)


async def test_all_pages_are_listed_then_changes_followed(
    cluster: FakeCluster, store: Store[MetadataRecord]
) -> None:
    for name in "abcde":
        cluster.put(kinds.NODES, node(name))
    assert not store.synced
    async with running(store, cluster):
        assert [record.name for record in store] == list("abcde")
        assert store.last_event > 0
        cluster.put(kinds.NODES, node("f", zone="z"))
        cluster.remove(kinds.NODES, "a")
        await settle()
        assert [record.name for record in store] == list("bcdef")
        assert store.get("f") == MetadataRecord("f", {"zone": "z"}, uid="uid-f")


async def test_listener_hears_what_the_projection_sees_and_the_last_of_what_went(
    cluster: FakeCluster, store: Store[MetadataRecord]
) -> None:
    heard: list[tuple[Key, dict[str, str]]] = []
    cluster.put(kinds.NODES, node("a"))
    async with running(store, cluster):
        store.subscribe(lambda key, record: heard.append((key, record.labels)))
        cluster.put(kinds.NODES, node("a", zone="z"))
        cluster.put(kinds.NODES, {**node("a", zone="z"), "status": {"new": True}})
        cluster.remove(kinds.NODES, "a")
        await settle()
    assert heard == [(("", "a"), {"zone": "z"}), (("", "a"), {"zone": "z"})]


async def test_expired_watch_lists_again_and_notices_what_vanished(
    cluster: FakeCluster, store: Store[MetadataRecord]
) -> None:
    gone: list[Key] = []
    cluster.put(kinds.NODES, node("a"))
    cluster.put(kinds.NODES, node("b"))
    async with running(store, cluster):
        await settle()
        store.subscribe(lambda key, _: gone.append(key))
        cluster.objects.pop(("nodes", "", "a"))  # no watch ever tells of it
        cluster.version += 10
        cluster.expire_before = cluster.version
        cluster.interrupt()
        await settle()
        assert store.keys() == [("", "b")]
        assert gone == [("", "a")]


async def test_what_was_made_anew_between_two_lists_is_gone_before_it_comes(
    cluster: FakeCluster, store: Store[MetadataRecord]
) -> None:
    heard: list[tuple[str, bool]] = []
    cluster.put(kinds.NODES, node("a"))
    async with running(store, cluster):
        await settle()
        store.subscribe(lambda _, record: heard.append((record.uid, store.get("a") is None)))
        cluster.objects.pop(("nodes", "", "a"))  # no watch ever tells of it
        cluster.put(kinds.NODES, {"metadata": {"name": "a", "labels": {}, "uid": "uid-second"}})
        cluster.version += 10
        cluster.expire_before = cluster.version
        cluster.interrupt()
        await settle()
    assert heard == [("uid-a", True), ("uid-second", False)]


async def test_a_watch_that_breaks_goes_on_where_it_broke(
    cluster: FakeCluster, store: Store[MetadataRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what was deleted meanwhile would come back for a moment, and count as live."""
    monkeypatch.setattr(informer, "_RETRY_LEAST_S", 0.0)
    heard: list[str] = []
    cluster.put(kinds.NODES, node("a"))
    async with running(store, cluster):
        store.subscribe(lambda _, record: heard.append(record.name))
        cluster.put(kinds.NODES, node("b"))
        cluster.remove(kinds.NODES, "b")
        await settle()
        cluster.fail = Unreachable("broken pipe")
        cluster.interrupt()
        await settle()
        cluster.fail = None
        cluster.put(kinds.NODES, node("c"))
        await settle()
    assert heard == ["b", "b", "c"]


async def test_what_is_adopted_stays_until_it_is_let_go_or_watched(
    cluster: FakeCluster, store: Store[MetadataRecord]
) -> None:
    store.labels = "chosen"
    async with running(store, cluster):
        stray = cluster.put(kinds.NODES, node("stray"))
        other = cluster.put(kinds.NODES, node("other"))
        store.adopt([stray, other])
        assert [record.name for record in store] == ["other", "stray"]
        cluster.version += 10
        cluster.expire_before = cluster.version
        cluster.interrupt()
        await settle()
        assert len(store) == 2, "a list of what is selected does not tell of it"
        cluster.put(kinds.NODES, node("stray", chosen="yes"))
        await settle()
        store.adopt([])
        assert [record.name for record in store] == ["stray"], "the watch brings it now"


def test_records_are_small() -> None:
    pod = {
        "kind": "Pod",
        "metadata": {
            "name": "p",
            "namespace": "n",
            "uid": "u",
            "managedFields": [{"large": "x" * 5000}],
            "labels": {"energaizer.io/workload": "w"},
            "annotations": {"energaizer.io/model": "m", "other": "x" * 5000},
            "ownerReferences": [{"controller": True, "uid": "o"}],
        },
        "spec": {"nodeName": "h100-0", "containers": ["x" * 5000]},
        "status": {"phase": "Running"},
    }
    record = workload_record(pod)
    assert (record.workload, record.controlled, record.node) == ("w", True, "h100-0")
    assert record.annotations == (("energaizer.io/model", "m"),)
    assert len(repr(record)) < 2000
    ours = object_record(
        {"apiVersion": "v", "kind": "K", "metadata": {"name": "a", "managedFields": []}}
    )
    assert ours.body["metadata"] == {"name": "a"}


def managed(manager: str) -> dict[str, object]:
    return {
        "manager": manager,
        "fieldsV1": {"f:metadata": {"f:labels": {f"f:{LABEL}": {}}}},
    }


@pytest.mark.parametrize(
    ("managers", "ours"),
    [
        (["energaizer-controller"], True),
        (["kubectl-label"], False),
        (["energaizer-controller", "kubectl-label"], False),
        ([], False),
    ],
)
def test_a_record_tells_whether_a_node_s_label_is_ours(managers: list[str], ours: bool) -> None:
    entries: list[dict[str, object]] = [managed(one) for one in managers]
    metadata = {"name": "n", "labels": {LABEL: "l4-24gb"}, "managedFields": entries}
    record = metadata_record({"metadata": metadata})
    assert record.labelled is ours
    plain = {} if ours else {LABEL: "l4-24gb"}
    assert stated(record) == plain
    assert not metadata_record({"metadata": {**metadata, "labels": {}}}).labelled


def test_webhook_follows_our_kinds_and_namespaces_only() -> None:
    assert [store.resource.plural for store in Informer.for_webhook().stores] == [
        "aiworkloads",
        "gpuprofiles",
        "energypolicies",
        "energybudgets",
        "energyreservations",
        "namespaces",
    ]
