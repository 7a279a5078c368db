"""What a user sees: statuses, conditions and pod annotations, from everything that was decided."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from energaizer_operator import booking, human, ranking
from energaizer_operator.booking import NO_BOOKING, Booking
from energaizer_operator.inputs import Resolution
from energaizer_operator.names import ConditionType, Reason
from energaizer_operator.options import Option
from energaizer_operator.placement import Plan
from energaizer_operator.policy import Verdict
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.aiworkload.status import (
    AIWorkloadStatus,
    Candidate,
    Measured,
    PlacementStatus,
)
from energaizer_operator.resources.energypolicy import EnergyPolicy, EnergyPolicyStatus
from energaizer_operator.resources.gpuprofile import GPUProfile, GPUProfileStatus, ObservedTerm
from energaizer_operator.schema import Condition, EstimateSummary, Objective

_STATUS: Final[dict[bool | None, Literal["True", "False", "Unknown"]]] = {
    True: "True",
    False: "False",
    None: "Unknown",
}
_MAX_MESSAGE = 32768
_MAX_INPUTS = 32
_MAX_PROFILES = 16
_MAX_TERMS = 32
_SHOWN_NODES = 3


@dataclass(frozen=True)
class Finding:
    """Everything known about a workload when its status is written."""

    resolution: Resolution
    options: Sequence[Option] = ()
    """As `policy.within_limits` marks them; those with fewer replicas are not shown."""
    likely: Option | None = None
    """Where it should land (`policy.likely`); else the charged option is shown."""
    verdict: Verdict | None = None
    plan: Plan | None = None
    objective: Objective = "Energy"
    digest: str | None = None
    estimated: Reason = Reason.ESTIMATED
    """Estimated, TDPBoundUsed, NoProfile, InfeasibleMemory or EstimatorTimeout."""
    estimated_message: str = ""
    booking: Booking = NO_BOOKING
    problem: tuple[Reason, str] | None = None
    """UnknownModel, InvalidConfigMap, WorkloadNotFound, DuplicateWorkload: found outside inputs."""


@dataclass(frozen=True)
class Census:
    """What the nodes say about one profile."""

    nodes: int = 0
    gpus: int = 0
    power_nodes: int = 0
    """Nodes that advertise watts."""
    terms: Sequence[ObservedTerm] = ()
    conflicts: Sequence[str] = ()
    """Nodes whose labels name this profile and another one."""


@dataclass(frozen=True)
class Measurement:
    """What feedback knows of a workload."""

    measured: Measured | None
    """None keeps what was measured before."""
    reason: Reason
    """Measured, NoSamples, SourceUnavailable or SharedGPU."""
    message: str


@dataclass(frozen=True)
class State:
    """The wanted state of one condition."""

    type: ConditionType
    status: bool | None
    """None is Unknown."""
    reason: Reason
    message: str


def conditions(
    previous: Sequence[Condition], wanted: Sequence[State], generation: int | None, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions, each with the time at which its status last changed.

    Conditions that are not wanted here are kept: another part of the controller owns them.
    """
    before = {condition.type: condition for condition in previous}
    result = []
    for state in wanted:
        status = _STATUS[state.status]
        old = before.pop(str(state.type), None)
        same = old is not None and old.status == status
        result.append(
            Condition(
                type=str(state.type),
                status=status,
                observed_generation=generation,
                last_transition_time=old.last_transition_time if old and same else _whole(now),
                reason=str(state.reason),
                message=state.message[:_MAX_MESSAGE],
            )
        )
    return (*result, *before.values())


def aiworkload_status(
    workload: AIWorkload, finding: Finding, now: datetime, measurement: Measurement | None = None
) -> AIWorkloadStatus:
    """Return the whole status of an AIWorkload; the budget is kept as it is.

    Args:
        workload: With its status so far.
        finding: What was decided.
        now: Time of new conditions and of a new estimate.
        measurement: What feedback found; None keeps what it found before.
    """
    previous, resolution = workload.status, finding.resolution
    shown = finding.likely or (finding.verdict.charged if finding.verdict else None)
    generation = workload.metadata.generation
    return AIWorkloadStatus(
        observed_generation=generation,
        task=resolution.inputs.task,
        model_name=resolution.inputs.model_name,
        inputs_source=resolution.inputs_source,
        resolved_inputs=resolution.sources[:_MAX_INPUTS],
        inputs_digest=finding.digest,
        estimate=_dated(shown.estimate, previous.estimate, now) if shown else None,
        candidates=_candidates(workload, finding),
        budget=booking.budget(finding.booking, previous),
        placement=_placement(finding.plan),
        measured=(measurement and measurement.measured) or previous.measured,
        conditions=conditions(
            previous.conditions, _states(finding, previous, measurement), generation, now
        ),
    )


def _candidates(workload: AIWorkload, finding: Finding) -> tuple[Candidate, ...]:
    """Return the candidates of a status: few where nobody needs more, for each costs time.

    Who asks what would be if sees all. So does admission where only we may read the configuration
    of a model: it answers by what stands here.
    """
    inputs = finding.resolution.inputs
    asked = workload.spec.what_if is not None or inputs.model_source == "HuggingFaceConfig"
    return ranking.candidates(
        finding.options,
        finding.objective,
        most=ranking.MOST if asked else ranking.USUAL,
        declared=(inputs.clock_megahertz, inputs.power_cap_watts),
    )


def _dated(
    estimate: EstimateSummary, previous: EstimateSummary | None, now: datetime
) -> EstimateSummary:
    """Return an estimate in words too; its time moves only when the estimate does."""
    made = estimate.model_copy(
        update={
            "energy_human": human.energy(estimate.energy_joules),
            "power_human": human.power(estimate.power_watts),
            "estimate_time": previous.estimate_time if previous else None,
        }
    )
    if made == previous and made.estimate_time is not None:
        return made
    return made.model_copy(update={"estimate_time": _whole(now)})


def _placement(plan: Plan | None) -> PlacementStatus | None:
    if plan is None:
        return None
    return PlacementStatus(
        mode=plan.mode,
        applied=plan.applied,
        preferred_profiles=plan.order[:_MAX_PROFILES] if plan.claim else plan.preferred_profiles,
    )


def _states(
    finding: Finding, previous: AIWorkloadStatus, measurement: Measurement | None
) -> list[State]:
    inputs, estimated = _inputs(finding), _estimated(finding)
    reserved = State(
        ConditionType.BUDGET_RESERVED,
        *booking.reserved(finding.booking, finding.verdict, previous),
    )
    states = [inputs, estimated, reserved, _placed(finding.plan)]
    if measurement is not None:
        good = True if measurement.reason is Reason.MEASURED else None
        states.append(State(ConditionType.MEASURED, good, measurement.reason, measurement.message))
    elif not any(condition.type == ConditionType.MEASURED for condition in previous.conditions):
        message = "nothing has been measured yet"
        states.append(State(ConditionType.MEASURED, None, Reason.NO_SAMPLES, message))
    failing = next((one for one in (inputs, estimated, reserved) if one.status is not True), None)
    ready = (
        State(ConditionType.READY, failing.status, failing.reason, failing.message)
        if failing
        else State(ConditionType.READY, True, Reason.READY, estimated.message)
    )
    return [ready, *states]


def _inputs(finding: Finding) -> State:
    kind = ConditionType.INPUTS_RESOLVED
    problems = finding.resolution.problems
    if finding.problem is not None:
        return State(kind, False, *finding.problem)
    if problems:
        invalid = [one for one in problems if one.reason is Reason.INVALID_ANNOTATION]
        first = (invalid or problems)[0]
        text = "; ".join(one.message for one in (first, *(p for p in problems if p is not first)))
        return State(kind, False, first.reason, text)
    source = finding.resolution.inputs_source
    return State(kind, True, Reason.RESOLVED, f"every input is known; the weakest source: {source}")


def _estimated(finding: Finding) -> State:
    message = finding.estimated_message
    shown = finding.likely or (finding.verdict.charged if finding.verdict else None)
    if shown is not None and not message:
        estimate = shown.estimate
        message = (
            f"{estimate.gpu_count} x {estimate.profile}: {human.energy(estimate.energy_joules)}, "
            f"{human.power(estimate.power_watts)}, {estimate.duration_seconds} s, {estimate.method}"
        )
    good = finding.estimated is Reason.ESTIMATED
    return State(ConditionType.ESTIMATED, good, finding.estimated, message)


def _placed(plan: Plan | None) -> State:
    kind = ConditionType.PLACEMENT_APPLIED
    if plan is None:
        return State(kind, None, Reason.PENDING, "not planned yet")
    return State(kind, plan.applied, plan.reason, plan.message)


def _calibration(profile: GPUProfile, loaded: tuple[bool, Reason, str] | None) -> State:
    """Say what the estimates on a GPU rest on."""
    kind, stated = ConditionType.CALIBRATION_LOADED, profile.spec.calibration
    if loaded is not None:
        return State(kind, *loaded)
    if stated is None:
        return State(kind, False, Reason.NO_CALIBRATION, "estimates rest on the datasheet")
    return State(kind, True, Reason.CALIBRATION_LOADED, "fitted coefficients")


def gpuprofile_status(
    profile: GPUProfile,
    census: Census,
    now: datetime,
    loaded: tuple[bool, Reason, str] | None = None,
) -> GPUProfileStatus:
    """Return the status of a GPUProfile.

    Args:
        profile: What it says.
        census: What the nodes say.
        now: Time, aware.
        loaded: Whether the ConfigMap that it names can be used, with reason and message.
    """
    calibration = profile.spec.calibration
    error = calibration.energy_error_permille if calibration else None
    if census.conflicts:
        nodes = ", ".join(census.conflicts[:_SHOWN_NODES])
        text = (
            f"labels or devices of {len(census.conflicts)} nodes also name another profile: {nodes}"
        )
        matched = State(ConditionType.MATCHED, False, Reason.CONFLICT, text)
    elif census.nodes == 0:
        text = "no node of the cluster has this GPU"
        matched = State(ConditionType.MATCHED, False, Reason.NO_NODES, text)
    else:
        text = f"{census.nodes} nodes with {census.gpus} GPUs"
        matched = State(ConditionType.MATCHED, True, Reason.MATCHED, text)
    calibrated = _calibration(profile, loaded)
    # A profile that no node has is ready for the first one; a conflict needs a person.
    ready = (
        State(ConditionType.READY, False, matched.reason, matched.message)
        if census.conflicts
        else State(ConditionType.READY, True, Reason.READY, matched.message)
    )
    generation = profile.metadata.generation
    terms = sorted(census.terms, key=lambda term: (-term.nodes, term.key, term.value))
    return GPUProfileStatus(
        nodes=census.nodes,
        gpus=census.gpus,
        power_nodes=census.power_nodes,
        energy_error_percent=None if error is None else -(-error // 10),
        observed_terms=tuple(terms[:_MAX_TERMS]),
        conditions=conditions(
            profile.status.conditions, [ready, matched, calibrated], generation, now
        ),
    )


def policy_status(
    policy: EnergyPolicy, matched_namespaces: int, now: datetime
) -> EnergyPolicyStatus:
    """Return the status of an EnergyPolicy."""
    message = f"in force in {matched_namespaces} namespaces"
    ready = State(ConditionType.READY, True, Reason.READY, message)
    return EnergyPolicyStatus(
        matched_namespaces=matched_namespaces,
        conditions=conditions(policy.status.conditions, [ready], policy.metadata.generation, now),
    )


def _whole(now: datetime) -> datetime:
    return now.replace(microsecond=0)  # metav1.Time carries whole seconds
