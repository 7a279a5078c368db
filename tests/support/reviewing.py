"""Objects as the API server sends them for review, and a judge over an API server in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from annotated import BATCH
from elsewhere import in_thread
from energaizer_operator import estimation, kinds
from energaizer_operator.estimation.timely import Elsewhere, TimelyEstimator
from energaizer_operator.informer import Informer
from energaizer_operator.settings import Settings
from energaizer_operator.webhook.accounts import Accounts
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.lineage import Lineage
from energaizer_operator.webhook.view import View
from fake_cluster import FakeCluster

NAMESPACE = "team-a"
NODES = {"h100-sxm5-80gb": 3, "l40s-48gb": 2, "a100-sxm4-80gb": 2}
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
INPUTS = BATCH
LABELS = {
    "h100-sxm5-80gb": "NVIDIA-H100-80GB-HBM3",
    "l40s-48gb": "NVIDIA-L40S",
    "a100-sxm4-80gb": "NVIDIA-A100-SXM4-80GB",
}
Object = dict[str, Any]


def template(gpus: int = 1, **spec: Any) -> Object:
    """Return a pod template."""
    limits = {"nvidia.com/gpu": str(gpus)} if gpus else {"cpu": "1"}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    return {"metadata": {}, "spec": {"containers": [container], **spec}}


def job(name: str = "train", gpus: int = 1, **spec: Any) -> Object:
    """Return a Job of four pods, with the inputs as annotations."""
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": dict(INPUTS)}
    made = {"parallelism": 4, "completions": 4, "template": template(gpus, restartPolicy="Never")}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": made | spec}


def deployment(replicas: int, name: str = "chat") -> Object:
    """Return a Deployment that serves for as long as it is left."""
    annotations = {key: text for key, text in INPUTS.items() if "requests" not in key}
    annotations["energaizer.io/task"] = "Inference"
    metadata = {"name": name, "namespace": NAMESPACE, "annotations": annotations}
    spec = {"replicas": replicas, "template": template()}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def pod(owner: Object | None = None, gpus: int = 1, **spec: Any) -> Object:
    """Return a pod that is about to be created, perhaps by a controller."""
    made = template(gpus, **spec)
    metadata: Object = {"generateName": "train-", "namespace": NAMESPACE}
    if owner is None:
        metadata["annotations"] = dict(INPUTS)
    else:
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"].get("uid", f"uid-{owner['metadata']['name']}"),
            "controller": True,
        }
        metadata["ownerReferences"] = [reference]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": made["spec"]}


def aiworkload(name: str = "train", **spec: Any) -> Object:
    """Return an AIWorkload."""
    metadata = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": metadata,
        "spec": spec,
    }


def policy(name: str = "guard", **spec: Any) -> Object:
    """Return an EnergyPolicy."""
    return {"metadata": {"name": name}, "spec": spec}


def budget(name: str, action: str, joules: int = 10**13) -> tuple[kinds.ApiResource, Object]:
    """Return a budget that the leader has seen; unless told otherwise it has room for some."""
    spec = {"limitJoules": joules, "window": {"type": "None"}, "action": action}
    metadata = {"name": name, "namespace": NAMESPACE, "generation": 1}
    status = {"observedGeneration": 1}
    return kinds.ENERGYBUDGETS, {"metadata": metadata, "spec": spec, "status": status}


def review(obj: Any, operation: str = "CREATE", user: str = "jane", **more: Any) -> Object:
    """Return the AdmissionReview of an object."""
    group, _, version = str(obj.get("apiVersion", "v1")).rpartition("/")
    request = {
        "uid": UID,
        "kind": {"group": group, "version": version, "kind": obj.get("kind")},
        "resource": {"group": group, "version": version, "resource": "things"},
        "name": obj.get("metadata", {}).get("name", ""),
        "namespace": NAMESPACE,
        "operation": operation,
        "userInfo": {"username": user, "groups": ["system:authenticated"]},
        "object": obj,
        "oldObject": None,
        "dryRun": False,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def body(document: Object) -> bytes:
    """Return a review as it travels."""
    return json.dumps(document).encode()


@asynccontextmanager
async def judging(
    *objects: tuple[kinds.ApiResource, Object],
    admission: str = "enabled",
    elsewhere: Elsewhere | None = None,
    **settings: Any,
) -> AsyncIterator[tuple[Judge, FakeCluster]]:
    """Run a judge over an API server that holds some objects and the nodes of `NODES`.

    Args:
        objects: What the API server holds beside nodes and profiles.
        admission: Mode of the namespace.
        elsewhere: Makes the estimates; a thread of this process where None.
        settings: Of the webhook, where they differ from the usual ones.
    """
    cluster = FakeCluster()
    labels = {"energaizer.io/admission": admission, "kubernetes.io/metadata.name": NAMESPACE}
    cluster.put(kinds.NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": labels}})
    for profile in estimation.catalogue():
        manifest = profile.to_dict()
        name = profile.metadata.name
        if name in NODES:
            term = {"key": "nvidia.com/gpu.product", "value": LABELS[name], "nodes": NODES[name]}
            manifest["status"] = {"nodes": NODES[name], "observedTerms": [term]}
        cluster.put(kinds.GPUPROFILES, manifest)
    for resource, obj in objects:
        cluster.put(resource, obj)
    informer = Informer.for_webhook()
    view = View(informer)
    watching = asyncio.create_task(informer.run(cluster))  # type: ignore[arg-type]
    await informer.wait()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(_ended, watching)
        there = elsewhere or await stack.enter_async_context(in_thread())
        estimator = TimelyEstimator(there, deadline_s=5.0, now=lambda: NOW)
        chosen = Settings(kubeconfig=Path("nowhere"), **settings)
        accounts = Accounts(cluster, informer)  # type: ignore[arg-type]
        lineage = Lineage(cluster, deadline_s=5.0)  # type: ignore[arg-type]
        yield Judge(view, lineage, estimator, chosen, accounts), cluster


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
