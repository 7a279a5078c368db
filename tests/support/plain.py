"""Jobs and AIWorkloads that say no more than they must, in a namespace that opted in."""

from __future__ import annotations

from typing import Any

from energaizer_operator import kinds
from fake_cluster import FakeCluster

NAMESPACE = "team-a"


def job(name: str = "train", gpus: int = 8, **metadata: Any) -> dict[str, Any]:
    container = {"name": "c", "resources": {"limits": {"nvidia.com/gpu": gpus} if gpus else {}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "team-a", "uid": f"uid-{name}", **metadata},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }


def aiworkload(
    name: str, spec: dict[str, Any], created: str = "2026-01-01T00:00:00Z"
) -> dict[str, Any]:
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": name, "namespace": "team-a", "creationTimestamp": created},
        "spec": spec,
    }


def reference(name: str = "train", kind: str = "Job") -> dict[str, str]:
    version = "batch/v1" if kind in ("Job", "CronJob") else "example.com/v1"
    return {"apiVersion": version, "kind": kind, "name": name}


def opted_in() -> FakeCluster:
    """Return an API server with a namespace that is judged and one that is not."""
    made = FakeCluster()
    labels = {"energaizer.io/admission": "enabled"}
    made.put(kinds.NAMESPACES, {"metadata": {"name": NAMESPACE, "labels": labels}})
    made.put(kinds.NAMESPACES, {"metadata": {"name": "plain"}})
    return made
