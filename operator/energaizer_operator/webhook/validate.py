"""Whether admission lets an object in: our own kind, workloads, and pods that nobody judged before.

Order of kubernetes.md 4.2: inputs, estimate, the user's limits, policies. What makes an object
smaller is always let in, so that people can shrink when they are over a limit.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from energaizer_operator.decision import Decision, decide_soon
from energaizer_operator.names import AuditKey
from energaizer_operator.owners import describe
from energaizer_operator.policy import Action
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.review import Answer, Request, allow, busy, deny, invalid

Fallback = Callable[[Request, str], Answer]


async def validate_workload(judge: Judge, request: Request) -> Answer:
    """Judge a Job, Deployment or StatefulSet."""
    obj = request.object
    if request.operation not in ("CREATE", "UPDATE") or obj is None:
        return allow(cause="Skipped")
    part = await judge.part(request, obj)
    decided = await judge.decide(part)
    if decided.verdict.action is Action.DENY and await _shrinks(judge, request, decided):
        return _admit(judge, decided, "Shrinks")
    return _answer(judge, decided)


async def validate_pod(judge: Judge, request: Request) -> Answer:
    """Judge a pod, unless its workload was judged and a controller of Kubernetes made it."""
    obj = request.object
    if request.operation != "CREATE" or obj is None:
        return allow(cause="Skipped")
    part = await judge.part(request, obj)
    if part.parent and request.user.username in judge.settings.trusted_controllers:
        return allow(cause="JudgedBefore")
    return _answer(judge, await judge.decide(part))


async def validate_aiworkload(judge: Judge, request: Request) -> Answer:
    """Judge an AIWorkload: whether it can be read, and what it predicts against its limits."""
    if request.operation not in ("CREATE", "UPDATE") or request.object is None:
        return allow(cause="Skipped")
    try:
        workload = AIWorkload.model_validate(request.object)
    except ValidationError as error:
        return invalid(f"AIWorkload {request.name}: {_faults(error)}")
    if request.user.username.startswith(f"system:serviceaccount:{judge.settings.namespace}:"):
        return allow(cause="OwnAccount")
    subject = await judge.of_aiworkload(workload, request.namespace)
    decided = await decide_soon(subject, judge.view.world, judge.estimator)
    warnings = _rivals(judge, request.namespace, workload)
    if subject.description is None and not decided.case.resolution.complete:
        # Annotations of a workload that is yet to come may complete it: it is judged then.
        missing = (problem.message for problem in decided.case.resolution.problems)
        return allow([*warnings, *(f"no estimate yet: {text}" for text in missing)], cause="Early")
    answer = _answer(judge, decided)
    return replace(answer, warnings=(*warnings, *answer.warnings))


def fall_back(judge: Judge) -> Fallback:
    """Return what to say where judging failed: what the namespace chose for that."""

    def answer(request: Request, why: str) -> Answer:
        if not judge.view.strict(request.namespace):
            warning = (
                f"energaizer could not judge this {request.kind.kind} ({why}): let in as it is"
            )
            return allow([warning], {AuditKey.DECISION: "error"}, cause=why.capitalize())
        return refuse(request, why)

    return answer


def refuse(request: Request, why: str) -> Answer:
    """Say that an object cannot be judged, hence not be let in."""
    if why == "late":
        return busy(f"energaizer did not judge this {request.kind.kind} in time; try again")
    message = (
        f"energaizer failed to judge this {request.kind.kind}; see the log of its webhook. Where "
        "work must go on, an administrator can label the namespace energaizer.io/admission=disabled"
    )
    return deny(message, audit={AuditKey.DECISION: "error"}, cause=why.capitalize())


def _answer(judge: Judge, decided: Decision) -> Answer:
    if decided.case.idle:
        return allow(cause="Idle")
    if decided.verdict.action is Action.DENY:
        verdict = decided.verdict
        return deny(verdict.message, verdict.warnings, _audit(decided), str(decided.reason))
    return _admit(judge, decided, str(decided.reason))


def _admit(judge: Judge, decided: Decision, cause: str) -> Answer:
    warnings = [*decided.verdict.warnings, *judge.view.unreadable]
    return allow(warnings, _audit(decided), cause=cause)


def _audit(decided: Decision) -> dict[str, str]:
    found = {str(AuditKey.DECISION): decided.verdict.action.lower()}
    policies = [violation.policy for violation in decided.verdict.violations if violation.policy]
    if policies:
        found[AuditKey.POLICY] = ",".join(dict.fromkeys(policies))
    if decided.digest:
        found[AuditKey.DIGEST] = decided.digest
    return found


async def _shrinks(judge: Judge, request: Request, decided: Decision) -> bool:
    """Return whether an update takes no more than what is there already."""
    old: dict[str, Any] | None = request.old_object
    if request.operation != "UPDATE" or old is None or describe(old) is None:
        return False
    before = (await judge.decide(await judge.part(request, old))).verdict.charged
    after = decided.verdict.charged
    if before is None or after is None:
        return False
    return (
        after.estimate.energy_high_joules <= before.estimate.energy_high_joules
        and after.estimate.power_high_watts <= before.estimate.power_high_watts
    )


def _rivals(judge: Judge, namespace: str, workload: AIWorkload) -> list[str]:
    reference = workload.spec.workload_ref
    if reference is None:
        return []
    others = [
        name
        for name in judge.view.rivals(namespace, reference.kind, reference.name)
        if name != workload.metadata.name
    ]
    what = f"{reference.kind} {reference.name}"
    return [f"{what} is described by AIWorkload {others[0]} already"] if others else []


def _faults(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)[:4]
    return "; ".join(
        f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults
    )
