"""Three replicas that promise joules of one budget, over an API server in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from energaizer_operator import kinds
from energaizer_operator.cluster import Conflict, Unreachable
from energaizer_operator.informer import Informer
from energaizer_operator.resources.energybudget import EnergyBudget, Provisional
from energaizer_operator.webhook.accounts import Accounts, Ask, BusyError
from fake_cluster import FakeCluster, settle

KEY = ("team-a", "monthly")
NEED = 100
LATER = datetime(2030, 1, 1, tzinfo=UTC)


def stored(limit: int, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "monthly", "namespace": "team-a"},
        "spec": {"limitJoules": limit, "window": {"period": "Month"}, "action": "Deny"},
        "status": {"observedGeneration": 1, **status},
    }


def asking(uid: str, joules: int = NEED) -> Ask:
    def ask(_: EnergyBudget) -> Provisional:
        return Provisional(uid=uid, kind="Job", name=uid, energy_joules=joules, expires_time=LATER)

    return ask


@asynccontextmanager
async def replicas(cluster: FakeCluster, count: int = 3) -> AsyncIterator[list[Accounts]]:
    informers = [Informer.for_webhook() for _ in range(count)]
    watching = [asyncio.create_task(one.run(cluster)) for one in informers]  # type: ignore[arg-type]
    for one in informers:
        await one.wait()
    yield [Accounts(cluster, one, within_s=60) for one in informers]  # type: ignore[arg-type]
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)


def entries(cluster: FakeCluster) -> list[str]:
    body = cluster.objects["energybudgets", *KEY]
    return [entry["uid"] for entry in body["status"].get("provisional", ())]


@pytest.mark.parametrize("room", [0, 1, 7, 50])
async def test_replicas_promise_exactly_what_there_is(room: int) -> None:
    cluster = FakeCluster()
    cluster.put(kinds.ENERGYBUDGETS, stored(room * NEED + NEED // 2))
    async with replicas(cluster) as accounts:

        async def create(number: int) -> bool:
            uid = f"u{number}"
            while True:
                try:
                    receipt = await accounts[number % 3].promise(KEY, uid, asking(uid))
                except BusyError:
                    continue  # as client-go does
                return receipt.refused_by is None

        admitted = await asyncio.gather(*(create(number) for number in range(200)))
    assert sum(admitted) == room
    assert len(entries(cluster)) == room


async def test_a_promise_leaves_what_a_newer_leader_wrote() -> None:
    cluster = FakeCluster()
    cluster.put(kinds.ENERGYBUDGETS, stored(NEED, notKnownYet={"of": 1}))
    async with replicas(cluster) as (one, *_):
        assert (await one.promise(KEY, "a", asking("a"))).new
    status = cluster.objects["energybudgets", *KEY]["status"]
    assert status["notKnownYet"] == {"of": 1}
    assert [entry["uid"] for entry in status["provisional"]] == ["a"]


async def test_a_promise_asked_for_again_is_the_same_and_can_be_taken_back() -> None:
    cluster = FakeCluster()
    cluster.put(kinds.ENERGYBUDGETS, stored(NEED))
    async with replicas(cluster) as (one, other, _):
        assert (await one.promise(KEY, "a", asking("a"))).new
        written = list(cluster.writes)
        again = await one.promise(KEY, "a", asking("a"))
        assert (again.refused_by, again.new) == (None, False)
        assert cluster.writes == written, "nothing is written twice"
        assert (await other.promise(KEY, "b", asking("b"))).refused_by is not None
        await one.withdraw(KEY, "a")
        assert entries(cluster) == []
        assert (await other.promise(KEY, "b", asking("b"))).refused_by is None


async def test_who_gives_up_leaves_no_promise_behind() -> None:
    cluster = FakeCluster()
    cluster.put(kinds.ENERGYBUDGETS, stored(NEED))
    async with replicas(cluster, 1) as [one]:
        late = asyncio.create_task(one.promise(KEY, "late", asking("late")))
        await asyncio.sleep(0)
        replace = cluster.replace

        async def slow(*arguments: Any, **more: Any) -> Any:
            late.cancel()
            return await replace(*arguments, **more)

        cluster.replace = slow  # type: ignore[method-assign]
        with pytest.raises(asyncio.CancelledError):
            await late
        for _ in range(50):
            await asyncio.sleep(0)
    assert entries(cluster) == []


async def test_a_lost_race_takes_in_who_came_and_lets_go_of_who_gave_up() -> None:
    cluster = FakeCluster()
    cluster.put(kinds.ENERGYBUDGETS, stored(9 * NEED))
    async with replicas(cluster, 1) as [one]:
        asked = {name: asyncio.create_task(one.promise(KEY, name, asking(name))) for name in "ab"}
        replace, tries = cluster.replace, 0

        async def lose_once(*arguments: Any, **more: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries > 1:
                return await replace(*arguments, **more)
            asked["a"].cancel()
            asked["c"] = asyncio.create_task(one.promise(KEY, "c", asking("c")))
            await asyncio.sleep(0)
            raise Conflict("changed", 409)

        cluster.replace = lose_once  # type: ignore[method-assign]
        await asked["b"]
        await asked["c"]
    assert (tries, entries(cluster)) == (2, ["b", "c"])


async def test_who_finds_no_write_in_time_is_let_go_and_leaves_nothing() -> None:
    cluster = FakeCluster()
    cluster.put(kinds.ENERGYBUDGETS, stored(9 * NEED))
    async with replicas(cluster, 1) as [one]:
        one._within_s = 0.05
        replace = cluster.replace

        async def lose(*_: Any, **__: Any) -> Any:
            raise Conflict("changed", 409)

        cluster.replace = lose  # type: ignore[method-assign]
        with pytest.raises(BusyError, match="too many"):
            await one.promise(KEY, "a", asking("a"))
        cluster.replace = replace  # type: ignore[method-assign]
        one._within_s = 60
        assert (await one.promise(KEY, "b", asking("b"))).new
    assert entries(cluster) == ["b"]


async def test_nobody_is_told_on_a_copy_that_may_be_old() -> None:
    """A promise that another replica took back a moment ago is none."""
    cluster = FakeCluster()
    cluster.put(kinds.ENERGYBUDGETS, stored(NEED))
    async with replicas(cluster) as (one, other, _):
        await one.promise(KEY, "a", asking("a"))
        await settle()
        old = other._newest.get(KEY)
        await one.withdraw(KEY, "a")
        other._newest.get = lambda _: old  # type: ignore[method-assign]
        assert (await other.promise(KEY, "a", asking("a"))).new
    assert entries(cluster) == ["a"]


async def test_a_full_list_turns_away_only_who_finds_no_place() -> None:
    cluster = FakeCluster()
    some = [asking(str(number), 0)(None).to_dict() for number in range(127)]  # type: ignore[arg-type]
    cluster.put(kinds.ENERGYBUDGETS, stored(9 * NEED, provisional=some))
    async with replicas(cluster, 1) as [one]:
        found = await asyncio.gather(
            *(one.promise(KEY, name, asking(name)) for name in "ab"), return_exceptions=True
        )
    assert getattr(found[0], "new", None) is True
    assert isinstance(found[1], BusyError)


async def test_what_cannot_be_judged_now_may_come_again() -> None:
    cluster = FakeCluster()
    new = stored(NEED)
    new["status"] = {}
    cluster.put(kinds.ENERGYBUDGETS, new)
    async with replicas(cluster, 1) as [one]:
        with pytest.raises(BusyError, match="is new"):
            await one.promise(KEY, "a", asking("a"))
        full = [asking(str(number), 0)(None).to_dict() for number in range(128)]  # type: ignore[arg-type]
        cluster.put(kinds.ENERGYBUDGETS, stored(NEED, provisional=full))
        await settle()
        with pytest.raises(BusyError, match="waits for the controller"):
            await one.promise(KEY, "a", asking("a"))
        cluster.fail = Unreachable("no answer")
        with pytest.raises(Unreachable):
            await one.promise(KEY, "b", asking("b", 10 * NEED))
        cluster.fail = None
        cluster.remove(kinds.ENERGYBUDGETS, "monthly", "team-a")
        await settle()
        assert (await one.promise(KEY, "a", asking("a"))).refused_by is None, "it limits nobody"
