"""Admissions a second on one energy budget, beside no webhook at all, and exactness under a crowd.

Three replicas of the webhook and a leader on a real control plane of this machine: the whole of an
admission, four reviews with what follows; `race_budgets.py` takes the accounting alone. A strict
namespace asks again where a review came too late, so that each run admits exactly what there is
room for.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from bench_cluster import cpu, since

from crowd import Crowd, energybudget, job
from localcluster import Cluster, operator

ROOM = 10**15
REPLICAS, CLIENTS = 3, 100
CREATED, FORBIDDEN = 201, 403


def main() -> int:
    """Print a table; return 1 where a run admitted more or less than there was room for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--creates", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    with Cluster("bench-budgets") as cluster:
        operator.start_replicas(cluster, REPLICAS)
        cluster.kubectl(*("wait", "--for=jsonpath={.status.nodes}", "--timeout=30s"), PROFILE)
        bare, _, _ = crowd(cluster, "bare", options.creates, None, "disabled")
        need = reserved(cluster)
        before = cpu(cluster)
        full, taken, _ = crowd(cluster, "full", options.creates, ROOM, "strict")
        spent = sorted(since(before, cluster).items(), key=lambda item: -item[1])
        each = {name: 1e3 * used / taken for name, used in spent if used > 0}
        print(f"{options.creates} Jobs without webhook:  {options.creates / bare:6.0f} a second")  # noqa: T201
        print(f"{taken} Jobs with one budget:     {taken / full:6.0f} a second, the whole")  # noqa: T201
        parts = ", ".join(f"{name} {ms:.1f}" for name, ms in each.items())
        print(f"processor time of each: {sum(each.values()):.0f} ms: {parts}")  # noqa: T201
        wrong = 0
        room = max(1, options.creates // 10)
        for number in range(options.runs):
            limit = room * need + need // 2
            name = f"run-{number}"
            took, admitted, said = crowd(cluster, name, options.creates, limit, "strict")
            wrong += admitted != room
            print(f"run {number}: room for {room}, admitted {admitted} in {took:.1f} s {said}")  # noqa: T201
            cluster.kubectl("delete", "namespace", name, "--wait=false")
    print(f"{options.runs - wrong} of {options.runs} runs admitted exactly what there was")  # noqa: T201
    return int(wrong > 0)


PROFILE = "gpuprofile/h100-sxm5-80gb"


def space(cluster: Cluster, name: str, admission: str, limit: int | None) -> None:
    """Make a namespace, with a budget that the leader has seen."""
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, f"energaizer.io/admission={admission}")
    if limit is not None:
        body = json.dumps(energybudget(limit, "Deny", "monthly"))
        cluster.kubectl("apply", "-n", name, "-f", "-", input=body)
        where = ("energybudget/monthly", "-n", name, "--timeout=20s")
        cluster.kubectl("wait", "--for=condition=Ready", *where)
    time.sleep(1)  # for the watches


def crowd(
    cluster: Cluster, name: str, count: int, limit: int | None, admission: str
) -> tuple[float, int, dict[int, int]]:
    """Return seconds, how many were admitted, and how many had which other answer."""
    space(cluster, name, admission, limit)
    bodies: list[dict[str, Any]] = [job(f"j-{number}") for number in range(count)]
    began = time.monotonic()
    answers = [status for status, _ in Crowd(cluster, name).create(bodies, at_once=CLIENTS)]
    took = time.monotonic() - began
    other = {code: answers.count(code) for code in set(answers) - {CREATED, FORBIDDEN}}
    return took, answers.count(CREATED), other


def reserved(cluster: Cluster) -> int:
    """Return the joules of one Job."""
    space(cluster, "probe", "strict", ROOM)
    cluster.kubectl("apply", "-n", "probe", "-f", "-", input=json.dumps(job("probe")))
    found = ("get", "energyreservations", "-n", "probe", "-o", "json")
    for _ in range(100):
        items = json.loads(cluster.kubectl(*found).stdout)["items"]
        if items:
            return int(items[0]["spec"]["energyJoules"])
        time.sleep(0.2)
    raise SystemExit("the probe was not booked")


if __name__ == "__main__":
    sys.exit(main())
