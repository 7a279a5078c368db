"""A decision in Kueue's words: the state of an AdmissionCheck, and what its pods are to carry.

Pure: bodies in, bodies out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from energaizer_operator import human, marks, owners, placement
from energaizer_operator.decision import Decision, Subject, World
from energaizer_operator.owners import Description
from energaizer_operator.policy import Action

Object = dict[str, Any]

_MESSAGE_MOST = 4096
_UPDATES_MOST = 8  # podSetUpdates of one check
_STATES = {Action.DENY: "Rejected", Action.HOLD: "Retry"}


def active(check: Mapping[str, Any], problem: str | None, now: datetime) -> Object | None:
    """Return the status of an AdmissionCheck of ours; None if it stands there already."""
    wanted = {
        "type": "Active",
        "status": "True" if problem is None else "False",
        "reason": "Active" if problem is None else "BadParameters",
        "message": problem or "energaizer judges workloads with this check",
        "observedGeneration": check["metadata"].get("generation", 0),
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    for present in check.get("status", {}).get("conditions") or ():
        if present["type"] == wanted["type"]:
            if all(present.get(key) == wanted[key] for key in wanted if "Time" not in key):
                return None
            if present["status"] == wanted["status"]:
                wanted["lastTransitionTime"] = present["lastTransitionTime"]
    return {"conditions": [wanted]}


def policy_of(check: Mapping[str, Any]) -> str | None:
    """Return the name of the EnergyPolicy that a check adds."""
    stated = check["spec"].get("parameters") or {}
    return str(stated["name"]) if stated.get("name") else None


def under(world: World, policy: str | None) -> World:
    """Return a world in which one policy is in force for everything, whatever it selects."""
    if policy is None:
        return world
    open_to_all = {"namespace_selector": None, "workload_selector": None}
    policies = tuple(
        one.model_copy(update={"spec": one.spec.model_copy(update=open_to_all)})
        if one.metadata.name == policy
        else one
        for one in world.policies
    )
    return dataclasses.replace(world, policies=policies)


def flavor_labels(workload: Mapping[str, Any], flavors: Mapping[str, Object]) -> dict[str, str]:
    """Return the node labels of the flavors that a Workload's GPUs were assigned."""
    found: dict[str, str] = {}
    admission = workload.get("status", {}).get("admission") or {}
    for assigned in admission.get("podSetAssignments") or ():
        for resource, flavor in (assigned.get("flavors") or {}).items():
            if owners.is_gpu_resource(resource):
                found |= flavors.get(flavor, {}).get("spec", {}).get("nodeLabels") or {}
    return found


def narrowed(subject: Subject, selector: Mapping[str, str]) -> Subject:
    """Return a subject whose pods also ask for the labels of their flavor."""
    described = subject.description
    if described is None or not selector:
        return subject
    groups = tuple(
        dataclasses.replace(group, pod_spec=_selecting(group.pod_spec, selector))
        if group.gpus
        else group
        for group in described.groups
    )
    spec = _selecting(described.pod_spec, selector)
    description = dataclasses.replace(described, pod_spec=spec, groups=groups)
    return dataclasses.replace(subject, description=description)


def _selecting(pod_spec: Mapping[str, Any], selector: Mapping[str, str]) -> Mapping[str, Any]:
    return {**pod_spec, "nodeSelector": {**selector, **(pod_spec.get("nodeSelector") or {})}}


def pod_sets(workload: Mapping[str, Any], owner: owners.Owner | None) -> list[Description]:
    """Return each pod set with GPUs as a workload of its own, for owners that we cannot read."""
    return [
        dataclasses.replace(
            described,
            name=workload["metadata"]["name"] if owner is None else owner.name,
            namespace=workload["metadata"]["namespace"],
            kind="Workload" if owner is None else owner.kind,
            replicas=int(pod_set.get("count", 1)),
        )
        for pod_set, described in _with_gpus(workload)
    ]


def state(
    workload: Mapping[str, Any],
    check: str,
    decided: Sequence[Decision],
    selector: Mapping[str, str],
    now: datetime,
    retry_s: int = 60,
) -> Object:
    """Return the state of one check.

    Args:
        workload: The Workload of Kueue.
        check: Name of the AdmissionCheck.
        decided: On each part of it; the strongest verdict wins.
        selector: Node labels that its flavor adds already.
        now: The present.
        retry_s: When Kueue is to ask again about what has to wait, s.
    """
    worst = max(decided, key=lambda one: one.verdict.action.strength, default=None)
    action = Action.ALLOW if worst is None else worst.verdict.action
    result: Object = {
        "name": check,
        "state": _STATES.get(action, "Ready"),
        "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "message": _message(worst)[:_MESSAGE_MOST],
    }
    if result["state"] == "Retry":
        result["requeueAfterSeconds"] = retry_s
    if result["state"] == "Ready" and worst is not None:
        result["podSetUpdates"] = list(_updates(workload, worst, selector))[:_UPDATES_MOST]
    return result


def _message(decided: Decision | None) -> str:
    if decided is None or decided.case.idle or decided.shown is None:
        return "asks for no GPU"
    if decided.verdict.message:
        return decided.verdict.message
    estimate = decided.shown.estimate
    return (
        f"{estimate.gpu_count} x {estimate.profile}: {human.energy(estimate.energy_joules)}, "
        f"{human.power(estimate.power_watts)}, {estimate.method}"
    )


def _updates(
    workload: Mapping[str, Any], decided: Decision, selector: Mapping[str, str]
) -> Iterable[Object]:
    """Yield what pods are to carry.

    Kueue refuses a key that the template has with another value, hence what a user wrote is left to
    the webhook to replace.
    """
    shown = decided.shown
    if shown is None or decided.case.idle:
        return
    found = _with_gpus(workload)
    total = sum(described.gpus_per_replica * int(one.get("count", 1)) for one, described in found)
    chosen: Mapping[str, str] = {}
    if decided.case.modes.placement_mode == "Kueue":
        chosen = placement.node_selector(decided.case.world.profiles[shown.profile]) or {}
    for pod_set, described in found:
        gpus = described.gpus_per_replica
        texts = marks.of_pod(shown.estimate, gpus, total, decided.digest)
        present = {**(described.pod_spec.get("nodeSelector") or {}), **selector}
        update: Object = {
            "name": pod_set["name"],
            "annotations": {k: v for k, v in texts.items() if k not in described.pod_annotations},
        }
        if chosen and not any(key in present for key in chosen):
            update["nodeSelector"] = dict(chosen)
        yield update


def _with_gpus(workload: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Description]]:
    found = []
    for pod_set in workload["spec"].get("podSets") or ():
        template = pod_set.get("template") or {}
        described = owners.describe({"apiVersion": "v1", "kind": "Pod", **template})
        if described is not None and described.gpus:
            found.append((pod_set, described))
    return found
