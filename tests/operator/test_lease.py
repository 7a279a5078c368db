import asyncio
from typing import Any

import pytest

from energaizer_operator.cluster import Unreachable
from energaizer_operator.kinds import LEASES
from energaizer_operator.lease import LeadershipLost, Lease, Times
from fake_cluster import FakeCluster

QUICK = Times(duration_s=1, renew_deadline_s=0.3, retry_s=0.02)


def candidate(cluster: FakeCluster, name: str, times: Times = QUICK) -> Lease:
    return Lease(cluster, name="l", namespace="ns", identity=name, times=times)  # type: ignore[arg-type]


def spec(cluster: FakeCluster) -> dict[str, Any]:
    found: dict[str, Any] = cluster.objects["leases", "ns", "l"]["spec"]
    return found


async def test_one_leads_the_other_waits_until_it_is_released() -> None:
    cluster = FakeCluster()
    first, second = candidate(cluster, "a"), candidate(cluster, "b")
    await first.acquire()
    assert (first.fencing_token, spec(cluster)["holderIdentity"]) == (1, "a")
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await first.release()
    await asyncio.wait_for(waiting, 60)
    assert (second.fencing_token, first.fencing_token) == (2, None)


async def test_dead_leader_is_replaced_after_the_duration_and_not_before() -> None:
    cluster = FakeCluster()
    await candidate(cluster, "a").acquire()
    second = candidate(cluster, "b")
    started = asyncio.get_running_loop().time()
    await asyncio.wait_for(second.acquire(), 60)
    assert asyncio.get_running_loop().time() - started >= 1.0
    assert second.fencing_token == 2


async def test_living_leader_is_not_replaced() -> None:
    cluster = FakeCluster()
    long = Times(duration_s=3, renew_deadline_s=2, retry_s=0.02)
    first = candidate(cluster, "a", long)
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(candidate(cluster, "b", long).acquire(), 3.5)
    assert not keeping.done()
    keeping.cancel()


async def test_leader_that_was_replaced_stops() -> None:
    cluster = FakeCluster()
    first = candidate(cluster, "a")
    await first.acquire()
    body = await cluster.get(LEASES, "l", "ns")
    body["spec"] |= {"holderIdentity": "b", "leaseDurationSeconds": 15}
    cluster.put(LEASES, body)
    with pytest.raises(LeadershipLost, match="another replica"):
        await asyncio.wait_for(first.keep(), 60)
    await first.release()
    assert spec(cluster)["holderIdentity"] == "b"


async def test_leader_that_cannot_renew_stops_before_another_may_start() -> None:
    cluster = FakeCluster()
    long = Times(duration_s=30, renew_deadline_s=0.3, retry_s=0.02)
    first = candidate(cluster, "a", long)
    await first.acquire()
    cluster.fail = Unreachable("no answer")
    with pytest.raises(LeadershipLost, match="not renewed"):
        await asyncio.wait_for(first.keep(), long.duration_s)


async def test_our_name_on_a_lease_that_we_did_not_take_is_anothers() -> None:
    cluster = FakeCluster()
    await candidate(cluster, "a").acquire()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(candidate(cluster, "a").acquire(), 0.3)
