"""The controller beside a crowd: how long until every AIWorkload has its status, and what it takes.

    make bench-cluster SIZE=small      # 100 nodes, 500 AIWorkloads, 2,000 + 2,000 pods
    make bench-cluster SIZE=full       # 2,000 nodes, 5,000 AIWorkloads, 20,000 + 50,000 pods

Each size runs on a control plane of its own, first a tenth of it, which says how the time grows.
Every AIWorkload describes a Job with some of the labelled pods; no pod is scheduled and no Job is
looked after: they are there to be listed and watched. When a status is written is seen by a watch,
one line each, and not by asking, which would be most of the load. The rate of plain status applies
is taken on the same API server at the end, with a status as the controller wrote it and as many
requests at once as it has workers, so that a slow machine slows both.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster_crowd import NAMESPACE, RAW, SIZES, Size, at_once, fill, tell, workload

from energaizer_operator import kinds
from energaizer_operator.cluster import Cluster as Api
from energaizer_operator.settings import Settings
from localcluster import Cluster, operator, processes
from localcluster.operator import OperatorProcess

WORKERS = 10
LATE = 200
RAW_APPLIES = 200


@dataclass(frozen=True)
class Result:
    """What one run showed; times in seconds."""

    cold: float
    """From the start of the process to the last status."""
    written: float
    """From the first status to the last."""
    warm: float
    raw: float
    """Plain status applies a second."""
    delays: tuple[float, ...]
    """From the create of an AIWorkload to its status."""
    rss_mib: float
    """The most that the controller was resident."""
    series: int
    """Lines of the metrics page that are no comments."""
    scrape: float
    """Time of reading that page, once all is quiet."""
    cpu: Mapping[str, float]
    """Processor time from the start to the last status, by process, s."""
    warm_cpu: float
    """Processor time of all of them during the warm restart, s."""


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[Api]:
    """An admin's connection."""
    api = await Api.connect(Settings(kubeconfig=cluster.kubeconfig, request_timeout_s=60))
    yield api
    await api.close()


@dataclass
class Follower:
    """Notes when the status of each AIWorkload first says Ready, by watching."""

    seen: dict[str, float] = field(default_factory=dict)

    async def run(self, api: Api) -> None:
        """Follow for ever."""
        pages = api.pages(kinds.AIWORKLOADS, NAMESPACE)
        version = [page.resource_version async for page in pages][-1]
        while True:
            async for change in api.watch(kinds.AIWORKLOADS, version):
                metadata = change.object["metadata"]
                version = metadata["resourceVersion"]
                if change.type != "BOOKMARK" and metadata["name"] not in self.seen:
                    conditions = change.object.get("status", {}).get("conditions", ())
                    if any((one["type"], one["status"]) == ("Ready", "True") for one in conditions):
                        self.seen[metadata["name"]] = time.monotonic()

    async def wait(self, count: int, process: OperatorProcess, limit_s: float) -> None:
        """Wait until so many are Ready."""
        deadline = told = time.monotonic()
        while len(self.seen) < count:
            await asyncio.sleep(0.1)
            now = time.monotonic()
            if now > deadline + limit_s or not process.running:
                raise SystemExit(f"only {len(self.seen)} of {count} Ready\n{process.tail()}")
            if now - told > 10:  # noqa: PLR2004, s
                told = now
                tell(f"  Ready: {len(self.seen):,} of {count:,}")


def scraped(process: OperatorProcess) -> tuple[int, float]:
    """Series of the metrics page, and how long it took."""
    began = time.monotonic()
    page = process.metrics()
    took = time.monotonic() - began
    return sum(bool(line) and not line.startswith("#") for line in page.splitlines()), took


async def until_caught_up(process: OperatorProcess, limit_s: float) -> None:
    """Wait until the controller says that it has looked at every AIWorkload."""
    deadline = time.monotonic() + limit_s
    while "aiworkload: caught up" not in process.log.read_text(errors="replace"):
        if time.monotonic() > deadline or not process.running:
            raise SystemExit(f"not all looked at\n{process.tail()}")
        await asyncio.sleep(0.1)


def resident_mib(process: OperatorProcess) -> float:
    """The most that the process was resident."""
    status = Path(f"/proc/{process.child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1]) / 1024


def cpu(cluster: Cluster, **others: int) -> dict[str, float]:
    """Processor time that each process of the instance, `others` and this one have taken, s.

    What a process has started, as a webhook its estimator, counts as its own.
    """
    taken: Counter[str] = Counter()
    for one in processes.running(cluster.directory):
        taken[one.component] += _taken(one.pid)
    for name, pid in {**others, "benchmark": os.getpid()}.items():
        taken[name] += _taken(pid)
    return taken


def _taken(pid: int) -> float:
    used = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, used)) / os.sysconf("SC_CLK_TCK")


def since(before: Mapping[str, float], cluster: Cluster, **others: int) -> dict[str, float]:
    """Processor time that each process has taken since, s."""
    return {name: used - before.get(name, 0.0) for name, used in cpu(cluster, **others).items()}


async def delays(api: Api, follower: Follower, process: OperatorProcess) -> tuple[float, ...]:
    """From the create of an AIWorkload to its status, ten new ones a second."""
    created: dict[str, float] = {}
    count = len(follower.seen)
    for number in range(LATE):
        body = workload(number, prefix="late")
        body["spec"]["accelerator"] = {"countPerReplica": 1, "replicas": 1}
        created[body["metadata"]["name"]] = time.monotonic()
        await api.create(kinds.AIWORKLOADS, body)
        await asyncio.sleep(0.1)
    await follower.wait(count + LATE, process, 60)
    return tuple(sorted(follower.seen[name] - began for name, began in created.items()))


async def plain_rate(api: Api) -> float:
    """Applies of a status a second: what the controller wrote, to objects that have none yet."""
    status = (await api.get(kinds.AIWORKLOADS, "w-0", NAMESPACE))["status"]
    await at_once(RAW_APPLIES, lambda n: api.create(kinds.AIWORKLOADS, workload(n, RAW)))
    began = time.monotonic()
    await at_once(
        RAW_APPLIES,
        lambda n: api.apply_status(kinds.AIWORKLOADS, f"w-{n}", RAW, copy.deepcopy(status)),
        writers=WORKERS,
    )
    return RAW_APPLIES / (time.monotonic() - began)


def start(cluster: Cluster, number: int) -> OperatorProcess:
    """Start a controller."""
    return operator.start_controller(cluster, number, workers=WORKERS)


async def run(size: Size, limit_s: float) -> Result:
    """Measure one size on a control plane of its own."""
    tell(f"a control plane, and {size}")
    with Cluster(pools=[]) as cluster:
        operator.install(cluster)
        for kind in ("validating", "mutating"):  # the webhook has a benchmark of its own
            cluster.kubectl("delete", f"{kind}webhookconfiguration", "energaizer")
        async with connected(cluster) as api:
            began = time.monotonic()
            await fill(api, size)
            tell(f"created in {time.monotonic() - began:.0f} s")
            follower = Follower()
            following = asyncio.create_task(follower.run(api))
            await asyncio.sleep(1)
            began, before = time.monotonic(), cpu(cluster)
            process = start(cluster, 0)
            await follower.wait(size.workloads, process, limit_s)
            spent = since(before, cluster)
            first, last = min(follower.seen.values()), max(follower.seen.values())
            cold = last - began
            tell(f"cold {cold:.1f} s, of which {first - began:.1f} s to the first status")
            rss = resident_mib(process)
            process.terminate()
            began, before = time.monotonic(), cpu(cluster)
            process = start(cluster, 1)
            await asyncio.to_thread(process.wait_leading, limit_s)
            await until_caught_up(process, limit_s)
            warm, again = time.monotonic() - began, sum(since(before, cluster).values())
            tell(f"warm {warm:.1f} s")
            late = await delays(api, follower, process)
            series, scrape = await asyncio.to_thread(scraped, process)
            rss = max(rss, resident_mib(process))
            process.terminate()
            following.cancel()
            raw = await plain_rate(api)
            tell(f"{raw:.0f} plain applies/s")
    return Result(
        cold=cold,
        written=last - first,
        warm=warm,
        raw=raw,
        delays=late,
        rss_mib=rss,
        series=series,
        scrape=scrape,
        cpu=spent,
        warm_cpu=again,
    )


def values(size: Size, result: Result) -> dict[str, str]:
    """One column of the table."""
    rate = size.workloads / result.written
    p99 = result.delays[int(0.99 * (len(result.delays) - 1))]
    total = sum(result.cpu.values())
    rows = {
        "cold start: all Ready": f"{result.cold:.1f} s",
        "warm restart: all looked at": f"{result.warm:.1f} s",
        "statuses written": f"{rate:.1f}/s",
        "plain status applies": f"{result.raw:.1f}/s",
        "ratio of the two": f"{rate / result.raw:.2f}",
        "create to status, p50": f"{statistics.median(result.delays):.2f} s",
        "create to status, p99": f"{p99:.2f} s",
        "controller, most resident": f"{result.rss_mib:.0f} MiB",
        "series": str(result.series),
        "scrape": f"{result.scrape:.2f} s",
        "processor time, cold": f"{total:.1f} s",
        "processor time, warm": f"{result.warm_cpu:.1f} s",
        "processor time of a status": f"{1000 * total / size.workloads:.1f} ms",
    }
    used = sorted(result.cpu.items(), key=lambda item: -item[1])
    return rows | {f"  {name}": f"{seconds:.1f} s" for name, seconds in used}


def table(size: Size, small: Result, large: Result) -> str:
    """Both runs as a table with the bars of the full size."""
    bars = {
        "cold start: all Ready": "<= 180 s",
        "warm restart: all looked at": "<= 60 s",
        "statuses written": ">= 50/s",
        "ratio of the two": ">= 0.3",
        "create to status, p50": "<= 1 s",
        "create to status, p99": "<= 5 s",
        "controller, most resident": "<= 512 MiB",
        "series": "<= 80000",
        "scrape": "<= 2 s",
        "10 x the work takes": "<= 11 x the time",
    }
    before = values(size.tenth, small)
    after = {
        **values(size, large),
        "10 x the work takes": f"{large.cold / small.cold:.1f} x the time",
        "  and of the processor": f"{sum(large.cpu.values()) / sum(small.cpu.values()):.1f} x",
    }
    rows = [
        (name, value, before.get(name, ""), bars.get(name, "")) for name, value in after.items()
    ]
    rows.insert(0, ("measure", "value", "a tenth", "bar at full size"))
    lines = ["  ".join(cell.ljust(30) for cell in row).rstrip() for row in rows]
    return "\n".join([f"{size}; load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores", *lines])


def main() -> None:
    """Run both sizes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES, nargs="?", default="small")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one phase")
    options = parser.parse_args()
    size = SIZES[options.size]
    small = asyncio.run(run(size.tenth, options.limit))
    large = asyncio.run(run(size, options.limit))
    sys.stdout.write(f"{table(size, small, large)}\n")


if __name__ == "__main__":
    main()
