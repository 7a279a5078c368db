"""Everything in the cluster that says something about one workload, read and put together.

An AIWorkload names its workload, or the workload carries the AIWorkload's name as a label. From the
workload we go up to its root, since annotations count there too, and aside to the ConfigMap that
holds the model's configuration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from energaizer_operator import owners
from energaizer_operator.cluster import Cluster, Missing, Object, Refused
from energaizer_operator.controller.loop import Context
from energaizer_operator.informer import ObjectRecord, WorkloadRecord
from energaizer_operator.kinds import (
    CHARGED,
    CONFIGMAPS,
    JOBSETS,
    OWNERS,
    PODS,
    RESOURCE_CLAIM_TEMPLATES,
    RESOURCE_CLAIMS,
    TRAINJOBS,
    WORKLOADS,
    ApiResource,
    resource_of,
)
from energaizer_operator.names import MODEL_CONFIG_KEY, Reason
from energaizer_operator.resources.aiworkload import AIWorkload

_CLAIMS = {resource.kind: resource for resource in (RESOURCE_CLAIMS, RESOURCE_CLAIM_TEMPLATES)}


@dataclass(frozen=True)
class Sources:
    """What was found; `problem` says what was not."""

    described: owners.Description | None = None
    owner_annotations: tuple[Mapping[str, str], ...] = ()
    """Of what controls the workload, the nearest first, of its root last."""
    config: str | None = None
    """Content of `config.json`."""
    problem: tuple[Reason, str] | None = None


async def gather(context: Context, workload: AIWorkload, record: ObjectRecord) -> Sources:
    """Read what the AIWorkload refers to.

    Raises:
        ClusterError: The API server failed; what is merely absent is a `problem`.
    """
    found = await _workload(context, workload, record)
    if found.problem is not None:
        return found
    config, problem = await _config(context.cluster, workload, record.namespace)
    return dataclasses.replace(found, config=config, problem=problem)


async def _workload(context: Context, workload: AIWorkload, record: ObjectRecord) -> Sources:
    """Find the workload by reference, else by label; having none at all is no problem."""
    reference = workload.spec.workload_ref
    if reference is None:
        return await _labelled(context, record)
    resource = resource_of(reference.api_version, reference.kind)
    what = f"{reference.kind} {reference.name}"
    if resource is None:
        known = ", ".join(sorted(kind for _, kind in OWNERS))
        message = f"{what}: kind not known in {reference.api_version}; known are {known}"
        return Sources(problem=(Reason.WORKLOAD_NOT_FOUND, message))
    rival = _rival(context, record, reference.kind, reference.name)
    if rival is not None:
        message = f"{what} is described by AIWorkload {rival} already; delete one of them"
        return Sources(problem=(Reason.DUPLICATE_WORKLOAD, message))
    body = await _read(context, resource, reference.name, record.namespace)
    if body is None:
        message = (
            f"{what} does not exist in namespace {record.namespace}; create it, or delete this "
            "AIWorkload"
        )
        return Sources(problem=(Reason.WORKLOAD_NOT_FOUND, message))
    if resource is TRAINJOBS:  # makes a JobSet of the same name, which has the pods
        body = await context.cluster.find(JOBSETS, reference.name, record.namespace)
    described = None if body is None else owners.describe(body)
    if described is None:
        message = f"{what} makes no pods itself, or has not made what makes them yet"
        return Sources(problem=(Reason.WORKLOAD_NOT_FOUND, message))
    return await _of(context.cluster, described)


async def _labelled(context: Context, record: ObjectRecord) -> Sources:
    """Find what carries our label with this AIWorkload's name: an owner, else its pods."""
    carriers = context.carriers.of(record.namespace, record.name)
    roots = [carrier for carrier in carriers if carrier.kind != PODS.kind]
    pods = [carrier for carrier in carriers if not carrier.life.ended]
    chosen = min(roots, key=_depth, default=None) or next(iter(pods or carriers), None)
    if chosen is None:
        return Sources()
    body = await _read(context, CHARGED[chosen.kind], chosen.name, chosen.namespace)
    described = None if body is None else owners.describe(body)
    if described is None:
        return Sources()
    if not roots:
        described = dataclasses.replace(described, replicas=len(pods))
    return await _of(context.cluster, described)


async def _read(
    context: Context, resource: ApiResource, name: str, namespace: str
) -> Object | None:
    """Return a workload but for its status: as the watch brought it, else as the server has it."""
    stores = (store for store in context.informer.workloads if store.resource == resource)
    found = next((store.get(name, namespace) for store in stores), None)
    known = None if found is None else found.body
    return known or await context.cluster.find(resource, name, namespace)


def _depth(carrier: WorkloadRecord) -> tuple[bool, bool, str]:
    """Return an order in which what makes others comes first: a JobSet before its Jobs."""
    ours = carrier.kind in (resource.kind for resource in WORKLOADS)
    return carrier.controlled, ours, carrier.name


async def _of(cluster: Cluster, described: owners.Description) -> Sources:
    """Return a workload with the GPUs of its claims and the annotations of its owners."""
    counted = await with_claims(cluster, described)
    return Sources(counted, await annotations_above(cluster, described))


async def with_claims(cluster: Cluster, described: owners.Description) -> owners.Description:
    """Return a description with the GPUs of its claims counted; one that is gone counts none."""
    found = {}
    for claim in described.claims:
        body = await cluster.find(_CLAIMS[claim.kind], claim.name, described.namespace)
        if body is not None:
            found[claim] = body
    return described.with_claims(found)


async def annotations_above(
    cluster: Cluster, described: owners.Description
) -> tuple[Mapping[str, str], ...]:
    """Return the annotations of what is above the workload, the nearest first."""

    async def read(owner: owners.Owner) -> Object | None:
        resource = resource_of(owner.api_version, owner.kind)
        if resource is None:
            return None
        return await cluster.find(resource, owner.name, described.namespace)

    above = [one async for one in owners.above(described.owner, read)]
    return tuple(one["metadata"].get("annotations") or {} for one in above)


async def _config(
    cluster: Cluster, workload: AIWorkload, namespace: str
) -> tuple[str | None, tuple[Reason, str] | None]:
    """Return the model's configuration, or why there is none although one is named."""
    model = workload.spec.model
    if model is None or model.config_map_ref is None:
        return None, None
    name = model.config_map_ref.name
    what = f"ConfigMap {namespace}/{name}"
    try:
        body = await cluster.get(CONFIGMAPS, name, namespace)
    except Missing:
        return None, (Reason.INVALID_CONFIG_MAP, f"{what} does not exist")
    except Refused:
        message = (
            f"{what} may not be read; bind ClusterRole energaizer-model-configs to ServiceAccount "
            f"energaizer-controller in {namespace}, as examples/model-config.yaml does"
        )
        return None, (Reason.INVALID_CONFIG_MAP, message)
    text = (body.get("data") or {}).get(MODEL_CONFIG_KEY)
    if text is None:
        return None, (Reason.INVALID_CONFIG_MAP, f"{what} has no key {MODEL_CONFIG_KEY}")
    return str(text), None


def _rival(context: Context, record: ObjectRecord, kind: str, name: str) -> str | None:
    """Return the name of an older AIWorkload that refers to the same workload."""
    first = context.references.first(record.namespace, kind, name)
    return None if first == record.name else first
