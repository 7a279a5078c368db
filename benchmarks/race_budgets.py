"""Who is let in when a thousand ask at once: RUNS races for one budget, each exact or not.

Accounting alone, over a real API server (tests/support/race.py); the room differs from race to
race, from none to more than may wait to be booked. Prints each race, and how many were exact.
"""

import argparse
import asyncio
import random
import sys

import numpy as np

from localcluster import Cluster, operator
from race import NEED, racing

MOST_ROOM = 400
PLACES = 128
"""Promises that may wait to be booked (docs/cluster.md, 2.4)."""
LEAST = 30
"""Let in by a race whose rate says something."""
BOOKED = ("all may wait to be booked", "more than may wait to be booked")


async def races(cluster: Cluster, runs: int, creates: int, seed: int) -> int:
    """Print races; return how many were not exact."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    wrong, rates, asked = 0, [], 0
    let_in: dict[str, list[float]] = {few: [] for few in BOOKED}
    async with racing(cluster) as race:
        for number in range(runs):
            room = chance.choice([0, 1, chance.randint(2, 127), chance.randint(128, MOST_ROOM)])
            found = await race.run(creates, room)
            exact = found.admitted == room and found.held == room * NEED
            wrong += not exact
            asked += found.asked
            rates.append(creates / found.seconds)
            if found.admitted >= LEAST:
                few = found.admitted < PLACES
                let_in[BOOKED[0] if few else BOOKED[1]].append(found.admitted / found.seconds)
            verdict = "exact" if exact else f"WRONG: admitted {found.admitted}, held {found.held}"
            print(  # noqa: T201
                f"race {number}: room for {room} of {creates}: {verdict}; {found.seconds:.1f} s, "
                f"{found.asked} questions, {found.admitted / found.seconds:.0f} let in a second",
                flush=True,
            )
    low, middle, high = np.percentile(rates, [0, 50, 100])
    print(f"{runs - wrong} of {runs} exact; {asked} questions")  # noqa: T201
    print(f"answers a second: {middle:.0f} in the median, {low:.0f} to {high:.0f}")  # noqa: T201
    for room, found_rates in let_in.items():
        if found_rates:
            low, middle, high = np.percentile(found_rates, [0, 50, 100])
            print(  # noqa: T201
                f"accounting alone, {room}: {middle:.0f} let in a second in the median, "
                f"{low:.0f} to {high:.0f}, {len(found_rates)} races"
            )
    return wrong


def main() -> int:
    """Run; return 1 where a race was not exact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--creates", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with Cluster("race-budgets", pools=()) as cluster:
        operator.install(cluster)
        wrong = asyncio.run(races(cluster, options.runs, options.creates, options.seed))
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
