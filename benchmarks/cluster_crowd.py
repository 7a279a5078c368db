"""A crowd for the controller: nodes of eight kinds of GPU, Jobs with AIWorkloads, their pods."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from energaizer_operator import kinds
from energaizer_operator.cluster import Cluster as Api

WRITERS = 32
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
