import asyncio
from typing import Any

import pytest

import reviewing
from energaizer_operator import kinds
from energaizer_operator.cluster import Unreachable
from energaizer_operator.owners import Owner
from energaizer_operator.webhook.lineage import KEPT_S, Lineage
from fake_cluster import FakeCluster

NAMESPACE = reviewing.NAMESPACE


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Counting(FakeCluster):
    """Counts reads, and answers each a moment later."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.delay_s = 0.0

    async def find(self, *arguments: Any, **named: Any) -> Any:
        self.reads += 1
        await asyncio.sleep(self.delay_s)
        return await super().find(*arguments, **named)


@pytest.fixture
def cluster() -> Counting:
    made = Counting()
    made.put(kinds.JOBS, reviewing.job())
    return made


def owner(uid: str = "uid-train") -> Owner:
    return Owner("batch/v1", "Job", "train", uid)


def lineage(cluster: Counting, deadline_s: float = 10.0, **more: Any) -> Lineage:
    return Lineage(cluster, deadline_s, **more)  # type: ignore[arg-type]


async def test_a_crowd_of_pods_asks_once(cluster: Counting) -> None:
    cluster.delay_s = 0.01
    known = lineage(cluster, deadline_s=10.0)
    pod = reviewing.pod(reviewing.job())
    found = await asyncio.gather(*(known.of(pod, NAMESPACE) for _ in range(100)))
    assert cluster.reads == 1
    assert {above[0]["metadata"]["name"] for above in found} == {"train"}


async def test_what_was_read_is_kept_for_a_while(cluster: Counting) -> None:
    clock = Clock()
    known = lineage(cluster, clock=clock)
    for moment, reads in ((0.0, 1), (KEPT_S - 1, 1), (KEPT_S + 1, 2)):
        clock.now = moment
        assert await known.read(NAMESPACE, owner()) is not None
        assert cluster.reads == reads


async def test_an_owner_of_the_same_name_is_not_the_owner(cluster: Counting) -> None:
    known = lineage(cluster)
    assert await known.read(NAMESPACE, owner("uid-of-its-predecessor")) is None
    assert await known.read(NAMESPACE, Owner("ray.io/v1", "RayCluster", "r", "u")) is None


async def test_no_answer_in_time_is_no_owner_now_but_the_next_time(cluster: Counting) -> None:
    cluster.delay_s = 0.05
    known = lineage(cluster, deadline_s=0.01)
    pod = reviewing.pod(reviewing.job())
    assert await known.of(pod, NAMESPACE) == ()
    await asyncio.sleep(0.06)
    assert len(await known.of(pod, NAMESPACE)) == 1
    assert cluster.reads == 1


async def test_an_api_server_that_fails_is_no_owner(cluster: Counting) -> None:
    cluster.fail = Unreachable("away")
    assert await lineage(cluster).of(reviewing.pod(reviewing.job()), NAMESPACE) == ()


async def test_owners_that_own_each_other_end_somewhere(cluster: Counting) -> None:
    body = reviewing.job("ring")
    body["metadata"]["ownerReferences"] = [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "ring", "uid": "uid-ring"}
        | {"controller": True}
    ]
    cluster.put(kinds.JOBS, body)
    assert len(await lineage(cluster).of(body, NAMESPACE)) == 5
