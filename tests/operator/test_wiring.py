"""Which changes lead to a look at an AIWorkload, and which are none of its business."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from energaizer_operator import kinds
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.survey import Survey
from energaizer_operator.controller.wiring import Wiring
from energaizer_operator.events import Events
from energaizer_operator.informer import Informer, object_record, packed_record
from energaizer_operator.metrics import Metrics
from energaizer_operator.settings import Settings
from fake_cluster import FakeCluster, settle

KEY = ("team-a", "mine")
MINE: dict[str, Any] = {
    "metadata": {"name": "mine", "namespace": "team-a", "generation": 1},
    "spec": {},
}

PROFILE: dict[str, Any] = {
    "metadata": {"name": "h100", "uid": "uid-h100", "generation": 1},
    "spec": {"vendor": "NVIDIA", "productNames": ["H100"], "thermalDesignPowerWatts": 700},
}


@pytest.fixture
async def wiring() -> AsyncIterator[Wiring]:
    cluster, informer = FakeCluster(), Informer()
    cluster.put(kinds.AIWORKLOADS, MINE)
    cluster.put(kinds.GPUPROFILES, PROFILE)
    watching = asyncio.create_task(informer.run(cluster))  # type: ignore[arg-type]
    await asyncio.wait_for(informer.wait(), 60)
    events = Events(cluster, component="c", instance="i", interval_s=60)  # type: ignore[arg-type]
    context = Context.of(cluster, informer, events, Metrics("1"))  # type: ignore[arg-type]
    yield Wiring(context, Settings(), "1")
    watching.cancel()


def cluster_of(wiring: Wiring) -> FakeCluster:
    return wiring._context.cluster  # type: ignore[return-value]


async def heard(wiring: Wiring, version: str) -> None:
    """Wait until the watch brought a version."""
    store = wiring._context.informer.aiworkloads
    async with asyncio.timeout(60):
        while (record := store.get("mine", "team-a")) is None or record.version != version:
            await asyncio.sleep(0)


async def test_status_that_we_wrote_leads_to_no_second_look(wiring: Wiring) -> None:
    cluster = cluster_of(wiring)
    assert await wiring.aiworkloads.reconciler.reconcile(KEY) is Result.CHANGED
    written = await cluster.get(kinds.AIWORKLOADS, "mine", "team-a")
    await heard(wiring, written["metadata"]["resourceVersion"])
    assert len(wiring.aiworkloads.queue) == 0
    changed = cluster.put(kinds.AIWORKLOADS, {**written, "status": {"task": "Training"}})
    await heard(wiring, changed["metadata"]["resourceVersion"])
    assert len(wiring.aiworkloads.queue) == 1


async def test_aiworkload_that_goes_is_looked_at_though_we_wrote_it_last(wiring: Wiring) -> None:
    await wiring.aiworkloads.reconciler.reconcile(KEY)
    cluster_of(wiring).remove(kinds.AIWORKLOADS, "mine", "team-a")
    async with asyncio.timeout(60):
        while not len(wiring.aiworkloads.queue):
            await asyncio.sleep(0)


async def test_kopf_tells_nothing_that_our_own_watch_brought(wiring: Wiring) -> None:
    add = wiring.own_kinds()[kinds.AIWORKLOADS]
    add(KEY, "1")
    assert len(wiring.aiworkloads.queue) == 0
    add(KEY, "2")
    assert len(wiring.aiworkloads.queue) == 1


async def test_status_of_a_profile_leads_to_no_new_estimates(wiring: Wiring) -> None:
    planned = wiring.aiworkloads.queue._timers
    record = object_record({**PROFILE, "status": {"nodes": 1}})
    wiring._profile_changed(("", "h100"), record)
    assert list(planned) == []
    changed = {**PROFILE, "metadata": {**PROFILE["metadata"], "generation": 2}}
    wiring._profile_changed(("", "h100"), object_record(changed))
    assert list(planned) == [KEY]


async def test_more_nodes_of_known_gpus_lead_to_no_new_estimates(wiring: Wiring) -> None:
    nodes, planned = wiring.nodes.reconciler, wiring.aiworkloads.queue._timers
    nodes.current = Survey(profiles={"node-1": "h100"})  # type: ignore[attr-defined]
    wiring._survey_changed()
    assert list(planned) == [KEY]
    planned.pop(KEY).cancel()
    nodes.current = Survey(profiles={"node-1": "h100", "node-2": "h100"})  # type: ignore[attr-defined]
    wiring._survey_changed()
    assert list(planned) == []
    nodes.current = Survey(profiles={"node-1": "h100", "node-2": "l4"})  # type: ignore[attr-defined]
    wiring._survey_changed()
    assert list(planned) == [KEY]


def test_packed_object_is_the_object_in_fewer_bytes() -> None:
    body = {"apiVersion": "v1", "kind": "K", **MINE, "status": {"candidates": [{"rank": 1}] * 32}}
    record = packed_record(body)
    assert record.body == body
    assert isinstance(record.whole, bytes)
    assert record == packed_record(body)


async def test_what_cannot_be_read_concerns_itself_alone(wiring: Wiring) -> None:
    """Else a GPUProfile of another version would end the leader at its first look at nodes."""
    cluster = cluster_of(wiring)
    broken = {"vendor": "NVIDIA", "fromTheFuture": True}
    cluster.put(kinds.GPUPROFILES, {"metadata": {"name": "odd"}, "spec": broken})
    cluster.put(kinds.ENERGYPOLICIES, {"metadata": {"name": "odd"}, "spec": broken})
    await settle()
    assert await wiring.nodes.reconciler.reconcile("all nodes") is not Result.ERROR
    world = wiring._estimates.world()
    assert (set(world.profiles), world.policies) == ({"h100"}, ())
    assert await wiring.aiworkloads.reconciler.reconcile(KEY) is Result.CHANGED
