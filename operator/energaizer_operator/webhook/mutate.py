"""What admission adds: a label to workloads, and to pods their prediction and a preference of GPU.

We only add, and only our own keys. Nothing here refuses anything: an object that cannot be read is
left as it is, for the validating half or the API server itself to judge.
"""

from energaizer_operator import placement, status
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.owners import describe
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.review import Answer, Patch, Request, allow

LABEL = ("metadata", "labels", LABEL_WORKLOAD)


async def mutate_owner(judge: Judge, request: Request) -> Answer:
    """Label a Job, Deployment or StatefulSet with the name of its AIWorkload."""
    obj = request.object
    if request.operation != "CREATE" or obj is None or not _gpus(obj):
        return allow(cause="Skipped")
    part = await judge.part(request, obj)
    patch = Patch(obj)
    patch.put(LABEL, part.label)
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
    if decided.case.idle or decided.shown is None:
        return allow(patch=patch.operations, cause=str(decided.reason))
    marks = status.pod_annotations(decided.shown.estimate, part.pods, decided.digest)
    for key, value in marks.items():
        patch.put(("metadata", "annotations", key), value)
    steering = placement.patch(obj.get("spec") or {}, decided.plan)
    return allow(patch=(*patch.operations, *steering), cause=str(decided.reason))


def leave(_request: Request, why: str) -> Answer:
    """Change nothing; the validating half judges."""
    return allow(audit={"decision": "error"}, cause=why.capitalize())


def _gpus(obj: dict[str, object]) -> bool:
    described = describe(obj)
    return described is not None and bool(described.gpus)
