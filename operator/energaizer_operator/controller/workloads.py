"""GPU workloads that nobody described: each gets an AIWorkload of ours.

The webhook labels what it sees with the name of its AIWorkload, so the watch on that label brings
new workloads at once. What came while the webhook was away, or before the namespace opted in, has
no label and is found by `audit`, page by page and seldom.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from energaizer_operator import owners
from energaizer_operator.cluster import Conflict, Object
from energaizer_operator.controller.describing import describing, grouping
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.sources import with_claims
from energaizer_operator.controller.strays import Strays
from energaizer_operator.informer import Informer
from energaizer_operator.kinds import AIWORKLOADS, CHARGED, PODS, REPLICASETS, WORKLOADS
from energaizer_operator.lifetimes import ended
from energaizer_operator.names import LABEL_ADMISSION, LABEL_WORKLOAD, Admission
from energaizer_operator.records import WorkloadKey

log = logging.getLogger(__name__)

_BREATH_S = 0.0002
"""Of the audit, for each object: who waits for an estimate comes first."""


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
        body = await self._context.cluster.find(CHARGED[kind], name, namespace)
        if body is None:
            return Result.GONE
        described = await self._counted(body)
        if described is None or not needs_one(described, body):
            return Result.UNCHANGED
        made = await self._made(described)
        if made is None:
            return Result.UNCHANGED
        try:
            await self._context.cluster.create(AIWORKLOADS, made)
        except Conflict:
            return Result.UNCHANGED
        log.info(
            "described %s %s",
            kind,
            name,
            extra={"namespace": namespace, "aiworkload": made["metadata"]["name"]},
        )
        return Result.CHANGED

    async def _counted(self, body: Object) -> owners.Description | None:
        """Return what an object says, with the GPUs of its claims."""
        described = owners.describe(body)
        return described and await with_claims(self._context.cluster, described)

    async def _made(self, described: owners.Description) -> Object | None:
        """Return the AIWorkload to create; None if there is one, or something else stands for it.

        Pods of a lone ReplicaSet are described by that; those of a controller that we do not know
        are a group, found by their label.
        """
        owner = described.owner
        if described.kind == PODS.kind and owner is not None:
            wanted = described.labels.get(LABEL_WORKLOAD) or owners.workload_name(
                owner.kind, owner.name
            )
            if owner.kind != REPLICASETS.kind:
                if self._context.informer.aiworkloads.get(wanted, described.namespace):
                    return None
                return grouping(described.namespace, owner, wanted, self._version)
            body = await self._context.cluster.find(REPLICASETS, owner.name, described.namespace)
            above = None if body is None else owners.describe(body)
            if above is None or (above.owner and above.owner.kind in owners.CONTROLLERS):
                return None
            described = above
        else:
            wanted = described.labels.get(LABEL_WORKLOAD) or owners.workload_name(
                described.kind, described.name
            )
        if self._exists(wanted, described):
            return None
        return describing(described, wanted, self._version)

    def _exists(self, wanted: str, described: owners.Description) -> bool:
        """Say whether an AIWorkload is there, by name or by what it refers to.

        One that refers to a CronJob or TrainJob describes what that makes.
        """
        context, namespace = self._context, described.namespace
        if context.informer.aiworkloads.get(wanted, namespace) is not None:
            return True
        named = [(described.kind, described.name)]
        if described.owner is not None:
            named.append((described.owner.kind, described.owner.name))
        return any(context.references.first(namespace, *one) for one in named)


def opted_in(informer: Informer, namespace: str) -> bool:
    """Say whether a namespace chose to be judged."""
    record = informer.namespaces.get(namespace)
    label = "" if record is None else record.labels.get(LABEL_ADMISSION, "")
    return label in (Admission.ENABLED, Admission.STRICT)


def needs_one(described: owners.Description, body: Object) -> bool:
    """Say whether a workload should have an AIWorkload.

    It asks for GPUs and nothing that we follow does so on its behalf. One that ended before anybody
    labelled it is past, and is left alone.
    """
    if described.gpus_per_replica == 0:
        return False
    owner = described.owner
    followed = owners.CONTROLLERS
    if described.kind == PODS.kind:
        followed = owners.FOLLOWED
    if owner is not None and owner.kind in followed:
        return False
    return LABEL_WORKLOAD in described.labels or not ended(body)


def undescribed(informer: Informer) -> list[WorkloadKey]:
    """Return the labelled workloads whose AIWorkload does not exist, as a dead leader may leave."""
    return [
        (record.kind, record.namespace, record.name)
        for store in informer.workloads
        for record in store
        if opted_in(informer, record.namespace)
        and not (record.controlled and record.kind == PODS.kind)
        and informer.aiworkloads.get(record.workload, record.namespace) is None
    ]


async def audit(context: Context, strays: Strays) -> AsyncIterator[WorkloadKey]:
    """Yield the workloads of opted-in namespaces that may lack an AIWorkload; note stray pods."""
    informer = context.informer
    strays.forget()
    for namespace in informer.namespaces:
        if not opted_in(informer, namespace.name):
            continue
        for resource in WORKLOADS:
            pages = context.cluster.pages(resource, namespace.name, labels=f"!{LABEL_WORKLOAD}")
            async for page in pages:
                await asyncio.sleep(_BREATH_S * len(page.items))
                for body in page.items:
                    if resource == PODS:
                        strays.see(body)
                        if not _asks(body["spec"]):
                            continue
                    described = owners.describe(body)
                    if described is None or not (described.gpus or described.claims):
                        continue
                    if described.claims or needs_one(described, body):
                        yield resource.kind, namespace.name, described.name
    await strays.adopt()
    for key in undescribed(informer):
        yield key


def _asks(pod_spec: Mapping[str, Any]) -> bool:
    """Say whether a pod asks for a device: most do not, and need no closer look."""
    return bool(owners.gpu_requests(pod_spec) or owners.claims_of(pod_spec))
