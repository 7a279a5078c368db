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
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from energaizer_operator import kinds
from energaizer_operator.cluster import Cluster as Api
from energaizer_operator.settings import Settings
from localcluster import Cluster, operator, processes
from localcluster.operator import OperatorProcess

WORKERS = 10
WRITERS = 32
LATE = 200
RAW_APPLIES = 500
NAMESPACE, RAW = "crowd", "raw"
NOBODY = "example.com/nobody"
"""Manages the Jobs, so that Kubernetes makes no pods for them."""
MODELS = ("meta-llama/Llama-3.1-8B", "mistralai/Mistral-7B-v0.1", "Qwen/Qwen2.5-7B", "gpt2")
PRODUCTS = (
    "NVIDIA-A100-SXM4-80GB",
    "NVIDIA-A100-SXM4-40GB",
    "NVIDIA-H100-80GB-HBM3",
    "NVIDIA-H200",
    "NVIDIA-B200",
    "NVIDIA-L40S",
    "NVIDIA-L4",
    "Tesla-T4",
)
BEGAN = time.monotonic()


@dataclass(frozen=True)
class Size:
    """How many of everything."""

    nodes: int
    workloads: int
    labelled: int
    others: int

    @property
    def tenth(self) -> Size:
        """A tenth of everything."""
        return Size(
            max(8, self.nodes // 10), self.workloads // 10, self.labelled // 10, self.others // 10
        )

    def __str__(self) -> str:
        """Say how many."""
        return (
            f"{self.nodes:,} nodes, {self.workloads:,} AIWorkloads, {self.labelled:,} labelled and "
            f"{self.others:,} other pods"
        )


SIZES = {"small": Size(100, 500, 2_000, 2_000), "full": Size(2_000, 5_000, 20_000, 50_000)}


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
    """Seconds of processor time until the last status, by process."""


def workload(number: int, namespace: str = NAMESPACE, prefix: str = "w") -> dict[str, Any]:
    """One AIWorkload; there are two hundred different ones, as many are alike in a real crowd."""
    inference = {
        "batchSize": 1 + number // len(MODELS) % 50,
        "inputTokens": 512,
        "outputTokens": 128,
        "requests": 10_000,
    }
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": f"{prefix}-{number}", "namespace": namespace},
        "spec": {
            "task": "BatchInference",
            "model": {"name": MODELS[number % len(MODELS)], "precision": "FP16"},
            "inference": inference,
        },
    }


def node(number: int) -> dict[str, Any]:
    """One node of eight GPUs."""
    labels = {
        "nvidia.com/gpu.product": PRODUCTS[number % len(PRODUCTS)],
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "81920",
    }
    return {"metadata": {"name": f"node-{number}", "labels": labels}}


def pod_spec(resource: str) -> dict[str, Any]:
    """A pod about as large as real ones are, that nobody schedules."""
    container = {
        "name": "main",
        "image": "example.com/main:1",
        "env": [{"name": f"VARIABLE_{n}", "value": "x" * 60} for n in range(20)],
        "resources": {"limits": {resource: "1"}},
    }
    return {"schedulerName": "nobody", "restartPolicy": "Never", "containers": [container]}


def job(number: int, pods: int) -> dict[str, Any]:
    """The Job that an AIWorkload describes."""
    labels = {"energaizer.io/workload": f"w-{number}"}
    return {
        "metadata": {"name": f"j-{number}", "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "managedBy": NOBODY,
            "parallelism": pods,
            "completions": pods,
            "template": {"metadata": {"labels": labels}, "spec": pod_spec("nvidia.com/gpu")},
        },
    }


def pod(number: int, owner: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A pod of a Job, by the name and UID of that and its label; else one of somebody else."""
    if owner is None:
        name, metadata = f"other-{number}", {}
    else:
        name = f"{owner['name']}-{number}"
        reference = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
        reference |= {"name": owner["name"], "uid": owner["uid"]}
        labels = {"energaizer.io/workload": owner["workload"]}
        metadata = {"labels": labels, "ownerReferences": [reference]}
    spec = pod_spec("cpu" if owner is None else "nvidia.com/gpu")
    return {"metadata": {"name": name, "namespace": NAMESPACE, **metadata}, "spec": spec}


def tell(line: str) -> None:
    """Print progress."""
    sys.stderr.write(f"{time.monotonic() - BEGAN:6.0f} s  {line}\n")


async def at_once(
    count: int, work: Callable[[int], Awaitable[object]], what: str = "", writers: int = WRITERS
) -> None:
    """Do `work` with each number, so many at a time, and tell how far it is now and then."""
    numbers = iter(range(count))
    told = time.monotonic()

    async def write() -> None:
        nonlocal told
        for number in numbers:
            await work(number)
            if what and time.monotonic() - told > 10:  # noqa: PLR2004, s
                told = time.monotonic()
                tell(f"  {what}: {number:,} of {count:,}")

    await asyncio.gather(*(write() for _ in range(writers)))


@asynccontextmanager
async def connected(cluster: Cluster) -> AsyncIterator[Api]:
    """An admin's connection."""
    api = await Api.connect(Settings(kubeconfig=cluster.kubeconfig, request_timeout_s=60))
    yield api
    await api.close()


async def fill(api: Api, size: Size) -> None:
    """Create the crowd."""
    label = {"energaizer.io/admission": "enabled"}
    for name in (NAMESPACE, RAW):
        await api.create(kinds.NAMESPACES, {"metadata": {"name": name, "labels": label}})
    await asyncio.sleep(1)  # the account of a namespace comes a moment later
    each = size.labelled // size.workloads

    async def with_job(number: int) -> None:
        made = (await api.create(kinds.JOBS, job(number, each)))["metadata"]
        owner = {"name": made["name"], "uid": made["uid"], "workload": f"w-{number}"}
        for one in range(each):
            await api.create(kinds.PODS, pod(one, owner))
        await api.create(kinds.AIWORKLOADS, workload(number))

    await at_once(size.nodes, lambda n: api.create(kinds.NODES, node(n)), "nodes")
    await at_once(size.workloads, with_job, "Jobs with pods and AIWorkload")
    await at_once(size.others, lambda n: api.create(kinds.PODS, pod(n)), "other pods")


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


def scraped(process: OperatorProcess) -> tuple[float, int, float]:
    """Reconciles of AIWorkloads so far, series of the metrics page, and how long it took."""
    began = time.monotonic()
    page = process.metrics()
    took = time.monotonic() - began
    lines = [line for line in page.splitlines() if line and not line.startswith("#")]
    looks = sum(
        float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith('energaizer_reconcile_total{controller="aiworkload"')
    )
    return looks, len(lines), took


async def until(process: OperatorProcess, count: int, limit_s: float) -> None:
    """Wait until the controller looked at so many AIWorkloads, asking seldom: it answers itself."""
    deadline = time.monotonic() + limit_s
    while True:
        looks, _, took = scraped(process)
        if looks >= count:
            return
        if time.monotonic() > deadline or not process.running:
            raise SystemExit(f"only {looks:.0f} of {count}\n{process.tail()}")
        await asyncio.sleep(max(0.25, 10 * took))


def resident_mib(process: OperatorProcess) -> float:
    """The most that the process was resident."""
    status = Path(f"/proc/{process.child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1]) / 1024


def cpu(cluster: Cluster) -> dict[str, float]:
    """Processor time that each process of the instance and this one have taken, s."""
    found = {one.component: one.pid for one in processes.running(cluster.directory)}
    found["benchmark"] = os.getpid()
    tick = os.sysconf("SC_CLK_TCK")
    return {
        name: sum(map(int, Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
        / tick
        for name, pid in found.items()
    }


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
    return operator.start_controller(cluster, number, lease_duration_s=3, workers=WORKERS)


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
            spent = {name: used - before.get(name, 0.0) for name, used in cpu(cluster).items()}
            first, last = min(follower.seen.values()), max(follower.seen.values())
            cold = last - began
            tell(f"cold {cold:.1f} s, of which {first - began:.1f} s to the first status")
            rss = resident_mib(process)
            process.terminate()
            began = time.monotonic()
            process = start(cluster, 1)
            await asyncio.to_thread(process.wait_leading, limit_s)
            await until(process, size.workloads, limit_s)
            warm = time.monotonic() - began
            tell(f"warm {warm:.1f} s")
            late = await delays(api, follower, process)
            _, series, scrape = await asyncio.to_thread(scraped, process)
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
    )


def table(size: Size, small: Result, large: Result) -> str:
    """Both runs as a table with the bars of the full size."""
    rate, before = size.workloads / large.written, size.tenth.workloads / small.written
    p99 = large.delays[int(0.99 * (len(large.delays) - 1))]
    rows: list[Sequence[str]] = [
        ("measure", "value", "a tenth", "bar at full size"),
        ("cold start: all Ready", f"{large.cold:.1f} s", f"{small.cold:.1f} s", "<= 180 s"),
        ("warm restart: all looked at", f"{large.warm:.1f} s", f"{small.warm:.1f} s", "<= 60 s"),
        ("statuses written", f"{rate:.0f}/s", f"{before:.0f}/s", ">= 50/s"),
        ("plain status applies", f"{large.raw:.0f}/s", f"{small.raw:.0f}/s", ""),
        ("ratio of the two", f"{rate / large.raw:.2f}", f"{before / small.raw:.2f}", ">= 0.3"),
        ("create to status, p50", f"{statistics.median(large.delays):.2f} s", "", "<= 1 s"),
        ("create to status, p99", f"{p99:.2f} s", "", "<= 5 s"),
        (
            "controller, most resident",
            f"{large.rss_mib:.0f} MiB",
            f"{small.rss_mib:.0f} MiB",
            "<= 512 MiB",
        ),
        ("10 x the work takes", f"{large.cold / small.cold:.1f} x the time", "", "<= 11 x"),
        ("series", f"{large.series}", f"{small.series}", "<= 80000"),
        ("scrape", f"{large.scrape:.2f} s", f"{small.scrape:.2f} s", "<= 2 s"),
    ]
    rows += [
        (f"processor, {name}", f"{used:.1f} s", f"{small.cpu.get(name, 0.0):.1f} s", "")
        for name, used in sorted(large.cpu.items(), key=lambda item: -item[1])
    ]
    lines = ["  ".join(cell.ljust(32) for cell in row).rstrip() for row in rows]
    return "\n".join([str(size), *lines])


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
