"""The controller beside a crowd: how long until every AIWorkload has its status, and what it takes.

    make bench-cluster SIZE=small      # 100 nodes, 500 AIWorkloads, 2,000 + 2,000 pods
    make bench-cluster SIZE=full       # 2,000 nodes, 5,000 AIWorkloads, 20,000 + 50,000 pods

Each size runs on a control plane of its own, first a tenth of it, which says how the time grows.
Pods are not scheduled: they are there to be listed and watched. The rate of plain status applies is
taken on the same API server at the end, with a status as the controller wrote it and as many
requests at once as it has workers, so that a slow machine slows both.
"""

from __future__ import annotations

import argparse
import asyncio
import copy
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from energaizer_operator import kinds
from energaizer_operator.cluster import Cluster as Api
from energaizer_operator.settings import Settings
from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess

WORKERS = 10
WRITERS = 32
NAMESPACE, RAW = "crowd", "raw"
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


SIZES = {"small": Size(100, 500, 2_000, 2_000), "full": Size(2_000, 5_000, 20_000, 50_000)}


@dataclass(frozen=True)
class Result:
    """What one run showed; times in seconds."""

    cold: float
    warm: float
    rate: float
    """Reconciles a second from the lead to the last status."""
    raw: float
    """Plain status applies a second."""
    delays: tuple[float, ...]
    """From the create of an AIWorkload to its status."""
    rss_mib: float
    """The most that the controller was resident."""


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
            "accelerator": {"countPerReplica": 1, "replicas": 1},
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


def pod(number: int, size: Size, *, labelled: bool) -> dict[str, Any]:
    """A pod that nobody schedules, about as large as real ones are."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u", "controller": True}
    metadata: dict[str, Any] = {"name": f"p-{labelled:d}-{number}", "namespace": NAMESPACE}
    if labelled:
        metadata["labels"] = {"energaizer.io/workload": f"w-{number % size.workloads}"}
        metadata["ownerReferences"] = [owner]
    environment = [{"name": f"VARIABLE_{n}", "value": "x" * 60} for n in range(20)]
    limits = {"nvidia.com/gpu": "1"} if labelled else {"cpu": "1"}
    container = {
        "name": "main",
        "image": "example.com/main:1",
        "env": environment,
        "resources": {"limits": limits},
    }
    return {"metadata": metadata, "spec": {"schedulerName": "nobody", "containers": [container]}}


async def at_once(work: Iterable[Callable[[], Awaitable[object]]], writers: int = WRITERS) -> None:
    """Do all the work, so many pieces at a time."""
    pieces = iter(work)

    async def write() -> None:
        for piece in pieces:
            await piece()

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
    await at_once(lambda n=n: api.create(kinds.NODES, node(n)) for n in range(size.nodes))
    await at_once(
        lambda n=n: api.create(kinds.AIWORKLOADS, workload(n)) for n in range(size.workloads)
    )
    for labelled, count in ((True, size.labelled), (False, size.others)):
        await at_once(
            lambda n=n, labelled=labelled: api.create(kinds.PODS, pod(n, size, labelled=labelled))
            for n in range(count)
        )


def reconciles(process: OperatorProcess, result: str = "") -> float:
    """Reconciles of AIWorkloads so far."""
    return sum(
        value
        for labels, value in process.series("energaizer_reconcile_total").items()
        if 'controller="aiworkload"' in labels and result in labels
    )


async def ready(api: Api, wanted: int) -> bool:
    """Say whether every AIWorkload has an estimate and a Ready condition."""
    found = 0
    async for page in api.pages(kinds.AIWORKLOADS, NAMESPACE):
        for body in page.items:
            conditions = body.get("status", {}).get("conditions", ())
            found += any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return found == wanted


async def until(process: OperatorProcess, count: int, limit_s: float) -> None:
    """Wait until the controller looked at so many AIWorkloads."""
    deadline = time.monotonic() + limit_s
    while reconciles(process) < count:
        if time.monotonic() > deadline or not process.running:
            raise SystemExit(f"only {reconciles(process):.0f} of {count}\n{process.tail()}")
        await asyncio.sleep(0.25)


def resident_mib(process: OperatorProcess) -> float:
    """The most that the process was resident."""
    status = Path(f"/proc/{process.child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1]) / 1024


async def delays(api: Api, count: int) -> tuple[float, ...]:
    """From the create of an AIWorkload to its status, ten new ones a second."""
    created: dict[str, float] = {}
    found: dict[str, float] = {}
    pages = api.pages(kinds.AIWORKLOADS)
    version = [page.resource_version async for page in pages][-1]

    async def follow() -> None:
        async for change in api.watch(kinds.AIWORKLOADS, version):
            body = change.object
            name = body["metadata"].get("name", "")
            if name in created and name not in found and body.get("status", {}).get("estimate"):
                found[name] = time.monotonic() - created[name]
                if len(found) == count:
                    return

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.5)
    for number in range(count):
        body = workload(number, prefix="late")
        created[body["metadata"]["name"]] = time.monotonic()
        await api.create(kinds.AIWORKLOADS, body)
        await asyncio.sleep(0.1)
    await asyncio.wait_for(following, 60)
    return tuple(found.values())


async def plain_rate(api: Api, count: int) -> float:
    """Applies of a status a second: what the controller wrote, to objects that have none yet."""
    status = (await api.get(kinds.AIWORKLOADS, "w-0", NAMESPACE))["status"]
    await at_once(lambda n=n: api.create(kinds.AIWORKLOADS, workload(n, RAW)) for n in range(count))
    began = time.monotonic()
    await at_once(
        (
            lambda n=n: api.apply_status(kinds.AIWORKLOADS, f"w-{n}", RAW, copy.deepcopy(status))
            for n in range(count)
        ),
        WORKERS,
    )
    return count / (time.monotonic() - began)


async def run(size: Size, limit_s: float) -> Result:
    """Measure one size on a control plane of its own."""
    with Cluster(pools=[]) as cluster:
        operator.install(cluster)
        for kind in ("validating", "mutating"):  # the webhook has a benchmark of its own
            cluster.kubectl("delete", f"{kind}webhookconfiguration", "energaizer")
        async with connected(cluster) as api:
            tell(f"creating {size}")
            await fill(api, size)
            began = time.monotonic()
            process = operator.start_controller(cluster, lease_duration_s=3, workers=WORKERS)
            process.wait_leading(limit_s)
            led, before = time.monotonic(), reconciles(process)
            while not await ready(api, size.workloads):
                if time.monotonic() - began > limit_s or not process.running:
                    raise SystemExit(f"not all Ready after {limit_s:.0f} s\n{process.tail()}")
                await asyncio.sleep(0.5)
            cold = time.monotonic() - began
            rate = (reconciles(process) - before) / (time.monotonic() - led)
            tell(f"cold {cold:.1f} s, {rate:.0f} reconciles/s")
            rss = resident_mib(process)
            process.terminate()
            began = time.monotonic()
            process = operator.start_controller(cluster, 1, lease_duration_s=3, workers=WORKERS)
            process.wait_leading(limit_s)
            await until(process, size.workloads, limit_s)
            warm = time.monotonic() - began
            tell(f"warm {warm:.1f} s")
            late = await delays(api, min(200, size.workloads))
            rss = max(rss, resident_mib(process))
            process.terminate()
            raw = await plain_rate(api, min(500, size.workloads))
    return Result(cold, warm, rate, raw, late, rss)


def tell(line: str) -> None:
    """Print progress."""
    sys.stderr.write(f"{line}\n")


def table(size: Size, small: Result, large: Result) -> str:
    """Both runs as a table with the bars of the full size."""
    delays_s = sorted(large.delays)
    p99 = delays_s[int(0.99 * (len(delays_s) - 1))]
    growth = large.cold / small.cold
    rows = [
        ("measure", "value", "bar at full size"),
        ("cold start: all Ready", f"{large.cold:.1f} s", "<= 180 s"),
        ("warm restart: all looked at", f"{large.warm:.1f} s", "<= 60 s"),
        ("reconciles", f"{large.rate:.0f}/s", ">= 50/s"),
        ("plain status applies", f"{large.raw:.0f}/s", ""),
        ("ratio of the two", f"{large.rate / large.raw:.2f}", ">= 0.3"),
        ("create to status, p50", f"{statistics.median(delays_s):.2f} s", "<= 1 s"),
        ("create to status, p99", f"{p99:.2f} s", "<= 5 s"),
        ("controller, most resident", f"{large.rss_mib:.0f} MiB", "<= 512 MiB"),
        ("10 x the work takes", f"{growth:.1f} x the time", "<= 11 x"),
    ]
    head = (
        f"{size.nodes} nodes, {size.workloads} AIWorkloads, {size.labelled} labelled and "
        f"{size.others} other pods"
    )
    lines = ["  ".join(cell.ljust(30) for cell in row).rstrip() for row in rows]
    return "\n".join([head, *lines])


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
