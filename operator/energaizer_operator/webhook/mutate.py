"""What admission adds: a label to workloads, and to pods their prediction and a preference of GPU.

Where power is a resource, pods and the templates of Jobs also request their watts. We only touch
our own keys. Nothing here refuses anything: an object that cannot be read is left as it is, for the
validating half or the API server itself to judge.
"""

from typing import Any

from energaizer_operator import affinity, marks
from energaizer_operator.names import LABEL_WORKLOAD, AuditKey
from energaizer_operator.owners import Description, describe
from energaizer_operator.webhook import hold, power
from energaizer_operator.webhook.judge import Judge, Part
from energaizer_operator.webhook.review import Answer, Patch, Request, allow
from energaizer_operator.webhook.view import metadata_of

COUNTED_TEMPLATES = frozenset({"Job", "JobSet"})
"""Kinds whose template requests watts too; others would differ from what GitOps tools applied."""
LABEL = ("metadata", "labels", LABEL_WORKLOAD)


async def mutate_owner(judge: Judge, request: Request) -> Answer:
    """Label a workload; under a budget that holds, let none start by itself.

    A workload that is updated was labelled before; it may be one that starts only now.
    """
    obj = request.object
    described = _asking(request, "CREATE", "UPDATE")
    if obj is None or described is None:
        return allow(cause="Skipped")
    if judge.own(request.user.username):
        return allow(cause="OwnAccount")
    part = await judge.part(request, obj, described)
    if not part.asks:
        return allow(cause="Skipped")
    patch = Patch(obj)
    created = request.operation == "CREATE"
    if created:
        patch.put(LABEL, part.label)
    if created and obj.get("kind") in COUNTED_TEMPLATES:  # Kueue sees what the pods will ask for
        await _request_watts(judge, part, described, patch)
    if part.parent and request.user.username in judge.settings.trusted_controllers:
        return allow(patch=patch.operations, cause="JudgedBefore")
    starts = created or hold.suspended(request.old_object)
    if starts and not hold.suspended(obj) and await _must_wait(judge, request, part):
        hold.hold(patch)
        return allow(patch=patch.operations, audit={AuditKey.DECISION: "hold"}, cause="Held")
    return allow(patch=patch.operations, cause="Labelled")


async def _must_wait(judge: Judge, request: Request, part: Part) -> bool:
    """Say whether an object that is about to start has to wait for the leader.

    Who removes our mark is not put back into the queue in silence, but refused by the other half.
    """
    obj = request.object or {}
    if hold.held(request.old_object) and not hold.marked(obj):
        return False
    uid = str(metadata_of(obj).get("uid") or "")
    reserved = bool(uid) and judge.view.reservation(request.namespace, uid) is not None
    queued = await judge.queued(request.namespace, obj)
    purses, enabled = judge.purses(part, request.namespace), judge.settings.hold
    return not reserved and hold.holding(purses, obj, queued=queued, enabled=enabled)


async def mutate_pod(judge: Judge, request: Request) -> Answer:
    """Label a pod, annotate it with its share of the prediction, and steer it to a GPU."""
    obj = request.object
    described = _asking(request, "CREATE")
    if obj is None or described is None:
        return allow(cause="Skipped")
    part = await judge.part(request, obj, described)
    if not part.asks:
        return allow(cause="Skipped")
    patch = Patch(obj)
    patch.put(LABEL, part.label)
    decided = await judge.decide(part)
    watts = power.wanted(decided, part.gpus, part.of_gpus, enabled=judge.settings.power_resource)
    power.write(patch, ("spec",), _spec(obj), watts)
    if decided.case.idle or decided.shown is None:
        return allow(patch=patch.operations, cause=str(decided.reason))
    texts = marks.of_pod(decided.shown.estimate, part.gpus, part.of_gpus, decided.digest)
    patch.put_all(("metadata", "annotations"), texts)
    steering = affinity.patch(_spec(obj), decided.plan)
    return allow(patch=(*patch.operations, *steering), cause=str(decided.reason))


def leave(_request: Request, why: str) -> Answer:
    """Change nothing; the validating half judges."""
    return allow(audit={"decision": "error"}, cause=why.capitalize())


async def _request_watts(judge: Judge, part: Part, described: Description, patch: Patch) -> None:
    """Let each template of a Job or JobSet carry the watts of one of its pods."""
    decided = await judge.decide(part)
    for group in described.groups:
        gpus = sum(group.gpus.values())
        watts = power.wanted(decided, gpus, part.of_gpus, enabled=judge.settings.power_resource)
        at = tuple(int(step) if step.isdigit() else step for step in group.path.split("/")[1:])
        power.write(patch, at, group.pod_spec, watts if gpus else None)


def _spec(obj: dict[str, Any]) -> dict[str, Any]:
    spec = obj.get("spec")
    return spec if isinstance(spec, dict) else {}


def _asking(request: Request, *operations: str) -> Description | None:
    """Return what an object says that asks for GPUs, or for devices that may be some."""
    if request.operation not in operations or request.object is None:
        return None
    described = describe(request.object)
    return described if described and (described.gpus or described.claims) else None
