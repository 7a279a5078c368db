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
from energaizer_operator.cluster import Cluster, Missing, Refused
from energaizer_operator.controller.loop import Context
from energaizer_operator.informer import ObjectRecord, WorkloadRecord
from energaizer_operator.kinds import CONFIGMAPS, OWNERS, PODS, WORKLOADS
from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload import AIWorkload

CONFIG_KEY = "config.json"
_DEPTH_MOST = 5
_RESOURCES = {resource.kind: resource for resource in WORKLOADS}


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
    resource = OWNERS.get((reference.api_version, reference.kind))
    what = f"{reference.kind} {reference.name}"
    if resource is None:
        known = ", ".join(sorted(kind for _, kind in OWNERS))
        message = f"{what}: kind not known in {reference.api_version}; known are {known}"
        return Sources(problem=(Reason.WORKLOAD_NOT_FOUND, message))
    rival = _rival(context, record)
    if rival is not None:
        message = f"{what} is described by AIWorkload {rival} already; delete one of them"
        return Sources(problem=(Reason.DUPLICATE_WORKLOAD, message))
    body = await context.cluster.find(resource, reference.name, record.namespace)
    if body is None:
        message = f"{what} does not exist in namespace {record.namespace}"
        return Sources(problem=(Reason.WORKLOAD_NOT_FOUND, message))
    described = owners.describe(body)
    if described is None:
        return Sources(problem=(Reason.WORKLOAD_NOT_FOUND, f"{what} makes no pods itself"))
    return Sources(described, await annotations_above(context.cluster, described))


async def _labelled(context: Context, record: ObjectRecord) -> Sources:
    """Find what carries our label with this AIWorkload's name: an owner, else its pods."""
    carriers: list[WorkloadRecord] = [
        carrier
        for store in context.informer.workloads
        for carrier in store
        if carrier.workload == record.name and carrier.namespace == record.namespace
    ]
    roots = [carrier for carrier in carriers if carrier.kind != PODS.kind]
    chosen = next(iter(roots or carriers), None)
    if chosen is None:
        return Sources()
    body = await context.cluster.find(_RESOURCES[chosen.kind], chosen.name, chosen.namespace)
    described = None if body is None else owners.describe(body)
    if described is None:
        return Sources()
    if not roots:
        described = dataclasses.replace(described, replicas=len(carriers))
    return Sources(described, await annotations_above(context.cluster, described))


async def annotations_above(
    cluster: Cluster, described: owners.Description
) -> tuple[Mapping[str, str], ...]:
    """Return the annotations of what is above the workload, the nearest first."""
    found: list[Mapping[str, str]] = []
    owner, namespace = described.owner, described.namespace
    for _ in range(_DEPTH_MOST):
        resource = None if owner is None else OWNERS.get((owner.api_version, owner.kind))
        if owner is None or resource is None:
            break
        body = await cluster.find(resource, owner.name, namespace)
        if body is None:
            break
        found.append(body["metadata"].get("annotations") or {})
        owner = owners.controller_of(body)
    return tuple(found)


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
    text = (body.get("data") or {}).get(CONFIG_KEY)
    if text is None:
        return None, (Reason.INVALID_CONFIG_MAP, f"{what} has no key {CONFIG_KEY}")
    return str(text), None


def _rival(context: Context, record: ObjectRecord) -> str | None:
    """Return the name of an older AIWorkload that refers to the same workload."""
    reference = record.body["spec"].get("workloadRef")
    mine = (record.body["metadata"].get("creationTimestamp", ""), record.name)
    for other in context.informer.aiworkloads:
        if (
            other.namespace == record.namespace
            and other.name != record.name
            and other.body.get("spec", {}).get("workloadRef") == reference
            and (other.body["metadata"].get("creationTimestamp", ""), other.name) < mine
        ):
            return other.name
    return None
