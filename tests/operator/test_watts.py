"""Watts as a resource: what nodes advertise and pods request."""

from typing import Any

import jsonpatch
import pytest

from energaizer_operator import kinds, watts
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.power import Power
from energaizer_operator.events import Events
from energaizer_operator.informer import Informer, MetadataRecord
from energaizer_operator.metrics import Metrics
from energaizer_operator.webhook import power
from energaizer_operator.webhook.review import Patch
from fake_cluster import FakeCluster

WATTS = "energaizer.io/watts"
STATED = "energaizer.io/power-capacity-watts"


@pytest.mark.parametrize(
    ("gpus", "limit", "stated", "expected"),
    [
        (8, 700, None, 5600),
        (8, 700, "2000", 2000),
        (8, 700, "0", 0),
        (8, 700, "9000", 9000),  # whoever knows the node may also raise it
        (8, None, "3000", 3000),
        (8, None, None, None),
        (0, 700, None, None),
    ],
)
def test_a_node_has_what_its_gpus_may_draw_or_what_is_stated(
    gpus: int, limit: int | None, stated: str | None, expected: int | None
) -> None:
    found = watts.capacity(gpus, limit, stated)
    assert (None if found is None else found.watts) == expected
    assert found is None or not found.problem


@pytest.mark.parametrize("stated", ["", "2kW", "-1", "1.5", "²", "1" * 11, "1000000001"])
def test_a_broken_statement_is_never_a_larger_amount(stated: str) -> None:
    found = watts.capacity(8, 700, stated)
    assert found is not None
    assert (found.watts, "no whole number of watts" in found.problem) == (0, True)


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0"), (5600, "5600"), (12000, "12k"), (2_000_000, "2M"), (1, "1")]
)
def test_amounts_are_written_as_the_api_server_writes_them(amount: int, text: str) -> None:
    assert watts.quantity(amount) == text
    assert watts.amount(text) == amount


def test_shares_are_rounded_up() -> None:
    shares = ((700, 1, 1), (701, 1, 2), (1, 1, 8), (0, 1, 1), (800, 4, 16))
    assert [watts.share(*one) for one in shares] == [700, 351, 1, 1, 200]


def forged() -> dict[str, Any]:
    return {"requests": {WATTS: "1"}, "limits": {WATTS: "1", "nvidia.com/gpu": "1"}}


def pod_spec(**more: Any) -> dict[str, Any]:
    helper = {"name": "helper", "resources": {"limits": {"cpu": "1"}}}
    worker = {"name": "worker", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return {"containers": [helper, worker], **more}


def written(spec: dict[str, Any], amount: int | None) -> dict[str, Any]:
    obj = {"spec": spec}
    patch = Patch(obj)
    power.write(patch, ("spec",), spec, amount)
    stored: dict[str, Any] = jsonpatch.apply_patch(obj, list(patch.operations))["spec"]
    again = Patch({"spec": stored})
    power.write(again, ("spec",), stored, amount)
    assert again.operations == []
    return stored


def amounts(spec: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        for kind in ("requests", "limits"):
            if WATTS in container.get("resources", {}).get(kind, {}):
                found.setdefault(container["name"], []).append(container["resources"][kind][WATTS])
    return found


def test_the_first_gpu_container_bears_the_watts_of_the_pod() -> None:
    assert amounts(written(pod_spec(), 612)) == {"worker": ["612", "612"]}


def test_watts_that_a_user_wrote_are_replaced_wherever_they_are() -> None:
    spec = pod_spec(initContainers=[{"name": "first", "resources": forged()}])
    spec["containers"].append({"name": "last", "resources": forged()})
    assert amounts(written(spec, 2000)) == {"worker": ["2k", "2k"]}


def test_a_pod_whose_gpu_belongs_to_a_sidecar_counts_too() -> None:
    sidecar = {"name": "s", "restartPolicy": "Always", "resources": {"limits": {"amd.com/gpu": 1}}}
    spec = {"initContainers": [sidecar], "containers": [{"name": "main"}]}
    assert amounts(written(spec, 9)) == {"main": ["9", "9"]}


def test_without_watts_none_are_left() -> None:
    spec = pod_spec()
    spec["containers"][1]["resources"] = forged()
    assert amounts(written(spec, None)) == {}
    assert written(spec, None)["containers"][1]["resources"]["limits"] == {"nvidia.com/gpu": "1"}


# --- Nodes ---------------------------------------------------------------------------------------


def context(cluster: FakeCluster) -> Context:
    events = Events(cluster, component="c", instance="i", interval_s=60)  # type: ignore[arg-type]
    return Context.of(cluster, Informer(), events, Metrics("1"))  # type: ignore[arg-type]


def node(cluster: FakeCluster, name: str, **annotations: str) -> MetadataRecord:
    metadata = {"name": name, "annotations": annotations}
    body = cluster.put(kinds.NODES, {"metadata": metadata, "status": {"capacity": {"cpu": "8"}}})
    return MetadataRecord(name, {}, annotations, body["metadata"]["uid"])


async def test_nodes_are_written_once_and_taken_back() -> None:
    cluster = FakeCluster()
    nodes = {"a": node(cluster, "a"), "b": node(cluster, "b", **{STATED: "2000"})}
    gpus = {"a": (8, 700), "b": (8, 700)}
    on = Power(context(cluster), enabled=True)
    assert await on.advertise(nodes, gpus) == (frozenset("ab"), True)
    capacities = [cluster.objects["nodes", "", name]["status"]["capacity"] for name in "ab"]
    assert capacities == [{WATTS: "5600"}, {WATTS: "2k"}]
    before = len(cluster.writes)
    assert await on.advertise(nodes, gpus) == (frozenset("ab"), True)
    assert len(cluster.writes) == before

    off = Power(context(cluster), enabled=False)
    for name in "ab":
        off.read(cluster.objects["nodes", "", name])
    assert await off.advertise(nodes, gpus) == (frozenset(), True)
    assert all(WATTS not in str(cluster.objects["nodes", "", name]["status"]) for name in "ab")
