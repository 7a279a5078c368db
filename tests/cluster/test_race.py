"""Many ask one budget at once: exactly as many are let in as there is room for, each time."""

from __future__ import annotations

import random

import pytest

from localcluster import Cluster
from race import NEED, Outcome, racing

ROOMS = (0, 1, 7, 127, 150)
"""From none to more than may wait to be booked."""


async def race_all(cluster: Cluster, creates: int, rooms: list[int]) -> list[tuple[int, Outcome]]:
    async with racing(cluster) as race:
        return [(room, await race.run(creates, room)) for room in rooms]


def assert_exact(found: list[tuple[int, Outcome]]) -> None:
    admitted = [one.admitted for _, one in found]
    held = [one.held for _, one in found]
    assert admitted == [room for room, _ in found]
    assert held == [room * NEED for room, _ in found]


async def test_replicas_let_in_exactly_as_many_as_there_is_room_for(installed: Cluster) -> None:
    chance = random.Random(7)
    rooms = [*ROOMS, *(chance.randint(2, 30) for _ in range(15))]
    assert_exact(await race_all(installed, 200, rooms))


@pytest.mark.proof
async def test_a_thousand_at_once_each_time(installed: Cluster) -> None:
    chance = random.Random(11)
    rooms = [*ROOMS, *(chance.randint(2, 400) for _ in range(15))]
    assert_exact(await race_all(installed, 1000, rooms))
