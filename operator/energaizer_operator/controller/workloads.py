"""GPU workloads that nobody described: each gets an AIWorkload of ours.

The webhook labels what it sees with the name of its AIWorkload, so the watch on that label brings
new workloads at once. What came while the webhook was away, or before the namespace opted in, has
no label and is found by `audit`, page by page and seldom.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from energaizer_operator import owners
from energaizer_operator.cluster import Cluster, Conflict, Object
from energaizer_operator.controller.describing import describing
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.informer import Informer
from energaizer_operator.kinds import AIWORKLOADS, PODS, WORKLOADS
from energaizer_operator.names import LABEL_ADMISSION, LABEL_WORKLOAD, Admission

log = logging.getLogger(__name__)

WorkloadKey = tuple[str, str, str]
"""Kind, namespace and name of a workload."""

_RESOURCES = {resource.kind: resource for resource in WORKLOADS}
_JUDGED_PARENTS = frozenset({"Job", "Deployment", "StatefulSet", "ReplicaSet", "JobSet"})
_FINISHED = ("Succeeded", "Failed")


class Workloads:
    """Creates what is missing."""

    def __init__(self, context: Context, version: str) -> None:
        """Mark what we create with our version."""
        self._context = context
        self._version = version

    async def reconcile(self, key: WorkloadKey) -> Result:
        """Create an AIWorkload for one workload, if it needs one and has none."""
        kind, namespace, name = key
        if not opted_in(self._context.informer, namespace):
            return Result.UNCHANGED
        body = await self._context.cluster.find(_RESOURCES[kind], name, namespace)
        if body is None:
            return Result.GONE
        described = owners.describe(body)
        if described is None or not needs_one(described, body):
            return Result.UNCHANGED
        wanted = described.labels.get(LABEL_WORKLOAD) or owners.workload_name(kind, name)
        if self._exists(wanted, described):
            return Result.UNCHANGED
        try:
            await self._context.cluster.create(
                AIWORKLOADS, describing(described, wanted, self._version)
            )
        except Conflict:
            return Result.UNCHANGED
        log.info(
            "described %s %s", kind, name, extra={"namespace": namespace, "aiworkload": wanted}
        )
        return Result.CHANGED

    def _exists(self, wanted: str, described: owners.Description) -> bool:
        store = self._context.informer.aiworkloads
        if store.get(wanted, described.namespace) is not None:
            return True
        reference = {
            "apiVersion": described.api_version,
            "kind": described.kind,
            "name": described.name,
        }
        return any(
            record.namespace == described.namespace
            and record.body.get("spec", {}).get("workloadRef") == reference
            for record in store
        )


def opted_in(informer: Informer, namespace: str) -> bool:
    """Say whether a namespace chose to be judged."""
    record = informer.namespaces.get(namespace)
    label = "" if record is None else record.labels.get(LABEL_ADMISSION, "")
    return label in (Admission.ENABLED, Admission.STRICT)


def needs_one(described: owners.Description, body: Object) -> bool:
    """Say whether a workload should have an AIWorkload.

    It asks for GPUs and no parent of it does so on its behalf. One that ended before anybody
    labelled it is past, and is left alone.
    """
    if described.gpus_per_replica == 0:
        return False
    if described.owner is not None and (
        described.kind == "Pod" or described.owner.kind in _JUDGED_PARENTS
    ):
        return False
    return LABEL_WORKLOAD in described.labels or not _finished(body)


def undescribed(informer: Informer) -> list[WorkloadKey]:
    """Return the labelled workloads whose AIWorkload does not exist, as a dead leader may leave."""
    return [
        (record.kind, record.namespace, record.name)
        for store in informer.workloads
        for record in store
        if not (record.controlled and record.kind == PODS.kind)
        and informer.aiworkloads.get(record.workload, record.namespace) is None
    ]


async def audit(cluster: Cluster, informer: Informer) -> AsyncIterator[WorkloadKey]:
    """Yield the workloads of opted-in namespaces that carry no label of ours."""
    for namespace in informer.namespaces:
        if not opted_in(informer, namespace.name):
            continue
        for resource in WORKLOADS:
            pages = cluster.pages(resource, namespace.name, labels=f"!{LABEL_WORKLOAD}")
            async for page in pages:
                for body in page.items:
                    described = owners.describe(body)
                    if described is not None and needs_one(described, body):
                        yield resource.kind, namespace.name, described.name


def _finished(body: Mapping[str, Any]) -> bool:
    status = body.get("status") or {}
    conditions = status.get("conditions") or ()
    return status.get("phase") in _FINISHED or any(
        condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True"
        for condition in conditions
    )
