"""Whether admission lets an object in: our own kind, workloads, and pods that nobody judged before.

Order of docs/cluster.md, 4.2: inputs, estimate, the user's limits, policies, budgets. What makes an
object smaller is always let in, so that people can shrink when they are over a limit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from energaizer_operator import ledger
from energaizer_operator.decision import Claim, Decision, Purse, balances, decide_soon
from energaizer_operator.names import AuditKey
from energaizer_operator.options import Option
from energaizer_operator.owners import controller_of, describe
from energaizer_operator.policy import Action
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.schema import EstimateSummary
from energaizer_operator.webhook import charging, hold
from energaizer_operator.webhook.accounts import BusyError
from energaizer_operator.webhook.charging import Debtor
from energaizer_operator.webhook.judge import INTERCEPTED, Judge, Part
from energaizer_operator.webhook.review import Answer, Request, allow, busy, deny, invalid

Fallback = Callable[[Request, str], Answer]


async def validate_workload(judge: Judge, request: Request) -> Answer:
    """Judge a Job, JobSet, Deployment or StatefulSet; a JobSet's Jobs were judged with it."""
    obj = request.object
    if request.operation not in ("CREATE", "UPDATE") or obj is None:
        return allow(cause="Skipped")
    if judge.own(request.user.username):
        return allow(cause="OwnAccount")
    part = await judge.part(request, obj)
    if part.parent and request.user.username in judge.settings.trusted_controllers:
        return allow(cause="JudgedBefore")
    return await _judge(judge, request, obj, part)


async def validate_scale(judge: Judge, request: Request) -> Answer:
    """Judge a change of replicas through the scale subresource; a smaller number is let in."""
    wanted, present = _replicas(request.object), _replicas(request.old_object)
    if request.operation != "UPDATE" or wanted is None:
        return allow(cause="Skipped")
    if present is not None and wanted <= present:
        return allow(cause="Shrinks")
    parent = await judge.scaled(request)
    if parent is None:
        return allow(cause="Skipped")
    obj, old = _of_size(parent, wanted), _of_size(parent, present or 0)
    part = await judge.part(request, obj)
    if not part.asks:
        return allow(cause="Skipped")
    as_update = request.model_copy(update={"object": obj, "old_object": old})
    return await _judge(judge, as_update, obj, part)


async def validate_pod(judge: Judge, request: Request) -> Answer:
    """Judge a pod, unless its workload was judged and a controller of Kubernetes made it."""
    obj = request.object
    if request.operation != "CREATE" or obj is None:
        return allow(cause="Skipped")
    owner, trusted = controller_of(obj), judge.settings.trusted_controllers
    made_by_kubernetes = owner is not None and request.user.username in trusted
    if made_by_kubernetes and owner is not None and owner.kind in INTERCEPTED:
        return allow(cause="JudgedBefore")
    part = await judge.part(request, obj)
    if made_by_kubernetes and part.parent:
        return allow(cause="JudgedBefore")
    if made_by_kubernetes and not await judge.lineage.of(obj, request.namespace):
        # Its ReplicaSet may be of a Deployment that was charged: only that could tell.
        return busy("the owner of this pod could not be read in time; try again")
    return await _judge(judge, request, obj, part)


async def _judge(judge: Judge, request: Request, obj: dict[str, Any], part: Part) -> Answer:
    """Judge by limits and policies, then by budgets, which are charged for what is about to run."""
    before, height = await _before(judge, request)
    described = part.subject.description
    surge = described.surge if described else 0
    debtor = Debtor.of(request.namespace, part.root or obj, height, surge)
    purses = judge.purses(part, request.namespace)
    queued = await judge.queued(request.namespace, obj)
    if not queued and (stopped := _hold_rules(judge, request, debtor, purses)) is not None:
        return stopped
    runs = not hold.suspended(obj)
    enabled = judge.settings.hold
    holdable = hold.holdable(obj, enabled=enabled) and not queued and not runs
    hard = charging.refusing(purses, holdable=holdable) if runs else ()
    soft = tuple(one for one in purses if one.acts(holdable=holdable) is not Action.DENY)
    claim = Claim(debtor.kind, holdable, surge, charging.held(judge, debtor, purses))
    looked_at = (*hard, *soft) if request.dry_run else soft
    decided = await judge.decide(part, balances(looked_at, claim, datetime.now(UTC)))
    if decided.verdict.action is Action.DENY:
        return _shrunk(judge, decided, before) or _answer(judge, decided)
    if decided.case.idle or not hard or request.dry_run:
        return _answer(judge, decided)
    return await _charge(judge, part, decided, _Bill(debtor, claim, hard, soft))


@dataclass(frozen=True)
class _Bill:
    """Who pays, and which budgets."""

    debtor: Debtor
    claim: Claim
    hard: tuple[Purse, ...]
    """Those that refuse what they have no room for."""
    soft: tuple[Purse, ...]


async def _charge(judge: Judge, part: Part, decided: Decision, bill: _Bill) -> Answer:
    """Let in what the budgets promise, and refuse the rest."""
    charged = decided.verdict.charged
    if charged is None:  # no GPUProfile at all: nobody knows what it takes
        return await _refuse(judge, part, (*bill.hard, *bill.soft), bill.claim)
    try:
        without_room = await charging.charge(judge, bill.debtor, charged.estimate, bill.hard)
    except BusyError as error:
        return busy(f"{error}; try again")
    if without_room is None:
        return _answer(judge, decided)
    now = (without_room if one.name == without_room.name else one for one in bill.hard)
    return await _refuse(judge, part, (*now, *bill.soft), bill.claim)


def _hold_rules(
    judge: Judge, request: Request, debtor: Debtor, purses: tuple[Purse, ...]
) -> Answer | None:
    """Refuse what starts unheld, or is let go, where a budget holds; None if that is not so."""
    obj = request.object or {}
    held = hold.holding(purses, obj, queued=False, enabled=judge.settings.hold)
    if not held or hold.suspended(obj):
        return None
    if request.operation == "CREATE":
        what = f"{debtor.kind} {debtor.name}"
        return busy(f"{what} has to start held by its energy budget; try again")
    reserved = judge.view.reservation(request.namespace, debtor.uid) is not None
    return _lifted(debtor, purses) if hold.held(request.old_object) and not reserved else None


async def _refuse(judge: Judge, part: Part, purses: tuple[Purse, ...], claim: Claim) -> Answer:
    """Refuse what a budget has no room for, with a way out."""
    decided = await judge.decide(part, balances(purses, claim, datetime.now(UTC)))
    if decided.verdict.action is not Action.DENY:  # room came free in this very moment
        return busy("the energy budget changed while this was judged; try again")
    return _answer(judge, decided)


def _lifted(debtor: Debtor, purses: tuple[Purse, ...]) -> Answer:
    """Refuse to let go what waits for joules."""
    names = ", ".join(one.full_name for one in purses if one.action is Action.HOLD)
    message = (
        f"{debtor.kind} {debtor.name} is held by energy budget {names} and starts by itself when"
        " there is room; see `kubectl energaizer budget`. An administrator can raise the budget"
    )
    audit = {str(AuditKey.DECISION): "deny", str(AuditKey.BUDGET): names}
    return deny(message, audit=audit, cause="HoldLifted")


async def validate_aiworkload(judge: Judge, request: Request) -> Answer:
    """Judge an AIWorkload: whether it can be read, and what it predicts against its limits."""
    if request.operation not in ("CREATE", "UPDATE") or request.object is None:
        return allow(cause="Skipped")
    try:
        workload = AIWorkload.of_server(request.object)
    except ValidationError as error:
        return invalid(f"AIWorkload {request.name}: {_faults(error)}")
    if judge.own(request.user.username):
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
    if decided.verdict.action is Action.HOLD:
        warnings.append(f"held until there is room: {decided.verdict.message}")
    return allow(warnings, _audit(decided), cause=cause)


def _audit(decided: Decision) -> dict[str, str]:
    found = {str(AuditKey.DECISION): decided.verdict.action.lower()}
    budgets = [one.budget for one in decided.verdict.violations if one.budget]
    if budgets:
        found[AuditKey.BUDGET] = ",".join(dict.fromkeys(budgets))
    policies = [violation.policy for violation in decided.verdict.violations if violation.policy]
    if policies:
        found[AuditKey.POLICY] = ",".join(dict.fromkeys(policies))
    if digest := decided.digest:
        found[AuditKey.DIGEST] = digest
    return found


async def _before(judge: Judge, request: Request) -> tuple[Option | None, EstimateSummary | None]:
    """Return what an object under update is charged as it stands, and at the height of a roll-out.

    None if it runs nothing yet.
    """
    old: dict[str, Any] | None = request.old_object
    described = None if old is None else describe(old)
    if request.operation != "UPDATE" or old is None or described is None or hold.suspended(old):
        return None, None
    charged = (await judge.decide(await judge.part(request, old))).verdict.charged
    return charged, None if charged is None else ledger.surged(charged.estimate, described.surge)


def _shrunk(judge: Judge, decided: Decision, before: Option | None) -> Answer | None:
    """Let in an update that takes no more than what is there already."""
    after = decided.verdict.charged
    if before is None or after is None:
        return None
    smaller = (
        after.estimate.energy_high_joules <= before.estimate.energy_high_joules
        and after.estimate.power_high_watts <= before.estimate.power_high_watts
    )
    return _admit(judge, decided, "Shrinks") if smaller else None


def _of_size(obj: Mapping[str, Any], replicas: int) -> dict[str, Any]:
    return {**obj, "spec": {**obj.get("spec", {}), "replicas": replicas}}


def _replicas(scale: dict[str, Any] | None) -> int | None:
    spec = (scale or {}).get("spec")
    wanted = spec.get("replicas", 0) if isinstance(spec, dict) else None
    return wanted if isinstance(wanted, int) and wanted >= 0 else None


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
