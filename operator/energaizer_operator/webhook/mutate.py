"""What admission adds: a label to workloads, and to pods their prediction and a preference of GPU.

Where power is a resource, pods and the templates of Jobs also request their watts. We only touch
our own keys. Nothing here refuses anything: an object that cannot be read is left as it is, for the
validating half or the API server itself to judge.
"""

from typing import Any

from energaizer_operator import placement, status
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.owners import describe
from energaizer_operator.webhook import power
from energaizer_operator.webhook.judge import Judge, Part
from energaizer_operator.webhook.review import Answer, Patch, Request, allow

COUNTED_TEMPLATES = frozenset({"Job"})
"""Kinds whose template requests watts too; others would differ from what GitOps tools applied."""
LABEL = ("metadata", "labels", LABEL_WORKLOAD)


async def mutate_owner(judge: Judge, request: Request) -> Answer:
    """Label a Job, Deployment or StatefulSet with the name of its AIWorkload."""
    obj = request.object
    if request.operation != "CREATE" or obj is None or not _gpus(obj):
        return allow(cause="Skipped")
    part = await judge.part(request, obj)
    patch = Patch(obj)
    patch.put(LABEL, part.label)
    if obj.get("kind") in COUNTED_TEMPLATES:  # so that Kueue sees what the pods will ask for
        await _request_watts(judge, part, patch)
    return allow(patch=patch.operations, cause="Labelled")


async def mutate_pod(judge: Judge, request: Request) -> Answer:
    """Label a pod, annotate it with its share of the prediction, and steer it to a GPU."""
    obj = request.object
    if request.operation != "CREATE" or obj is None or not _gpus(obj):
        return allow(cause="Skipped")
    part = await judge.part(request, obj)
    patch = Patch(obj)
    patch.put(LABEL, part.label)
    decided = await judge.decide(part)
    watts = power.wanted(decided, part, enabled=judge.settings.power_resource)
    power.write(patch, ("spec",), _spec(obj), watts)
    if decided.case.idle or decided.shown is None:
        return allow(patch=patch.operations, cause=str(decided.reason))
    marks = status.pod_annotations(decided.shown.estimate, part.pods, decided.digest)
    for key, value in marks.items():
        patch.put(("metadata", "annotations", key), value)
    steering = placement.patch(_spec(obj), decided.plan)
    return allow(patch=(*patch.operations, *steering), cause=str(decided.reason))


def leave(_request: Request, why: str) -> Answer:
    """Change nothing; the validating half judges."""
    return allow(audit={"decision": "error"}, cause=why.capitalize())


async def _request_watts(judge: Judge, part: Part, patch: Patch) -> None:
    described = part.subject.description
    if described is None:
        return
    decided = await judge.decide(part)
    watts = power.wanted(decided, part, enabled=judge.settings.power_resource)
    at = tuple(described.pod_spec_path.strip("/").split("/"))
    power.write(patch, at, described.pod_spec, watts)


def _spec(obj: dict[str, Any]) -> dict[str, Any]:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def _gpus(obj: dict[str, object]) -> bool:
    described = describe(obj)
    return described is not None and bool(described.gpus)
