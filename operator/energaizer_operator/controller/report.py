"""What a written status says elsewhere: in an event, in a log line, on the metrics page."""

from __future__ import annotations

from dataclasses import replace

from energaizer_operator import human
from energaizer_operator.metrics import CandidateSeries, WorkloadSeries
from energaizer_operator.names import ConditionType
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from energaizer_operator.schema import Condition

_MICRO = 1e-6
_EXPORTED = (ConditionType.READY, ConditionType.BUDGET_RESERVED)


def failure(wanted: AIWorkloadStatus) -> Condition | None:
    """Return the first condition that says why there is no honest estimate, or None."""
    for name in (ConditionType.INPUTS_RESOLVED, ConditionType.ESTIMATED):
        for condition in wanted.conditions:
            if condition.type == name and condition.status == "False":
                return condition
    return None


def summary(wanted: AIWorkloadStatus) -> str:
    """Return the estimate as one line."""
    estimate = wanted.estimate
    if estimate is None:
        return "nothing to estimate"
    joules = human.span(estimate.energy_low_joules, estimate.energy_high_joules, "J")
    watts = human.span(estimate.power_low_watts, estimate.power_high_watts, "W")
    return (
        f"{estimate.energy_human} expected, 90 % interval {joules}; {estimate.power_human}, "
        f"{watts}; {estimate.duration_seconds} s on {estimate.gpu_count} x {estimate.profile}, "
        f"{estimate.method}"
    )


def series(
    wanted: AIWorkloadStatus, *, candidates: bool = False, ended: float | None = None
) -> WorkloadSeries:
    """Return what the metrics page says of a status.

    Args:
        wanted: The status.
        candidates: Whether its candidates have series too.
        ended: When the workload ended, seconds since the epoch.
    """
    inputs = {resolved.name: resolved.value for resolved in wanted.resolved_inputs}
    conditions = {
        condition.type: condition.status == "True"
        for condition in wanted.conditions
        if condition.type in _EXPORTED and condition.status != "Unknown"
    }
    common = WorkloadSeries(
        task=wanted.task or "",
        model=wanted.model_name or "",
        precision=inputs.get("model.precision", ""),
        conditions=conditions,
        ended=ended,
    )
    measured, estimate = wanted.measured, wanted.estimate
    if measured is not None:
        common = replace(
            common,
            measured_source=measured.source,
            measured_energy_j=measured.energy_joules,
            measured_coverage=measured.coverage_percent / 100,
        )
    if estimate is None:
        return common
    token = estimate.energy_per_token_microjoules
    return replace(
        common,
        gpu_profile=estimate.profile,
        method=estimate.method,
        power_w=estimate.power_watts,
        energy_j=estimate.energy_joules,
        energy_low_j=estimate.energy_low_joules,
        energy_high_j=estimate.energy_high_joules,
        duration_s=estimate.duration_seconds,
        energy_per_token_j=None if token is None else token * _MICRO,
        declared_gpus=estimate.gpu_count,
        candidates=_candidates(wanted) if candidates else (),
    )


def _candidates(wanted: AIWorkloadStatus) -> tuple[CandidateSeries, ...]:
    return tuple(
        CandidateSeries(
            gpu_profile=one.profile,
            clock="" if one.clock_megahertz is None else f"{one.clock_megahertz} MHz",
            power_cap="" if one.power_cap_watts is None else f"{one.power_cap_watts} W",
            energy_j=one.energy_joules,
        )
        for one in wanted.candidates
        if one.energy_joules is not None and one.feasibility == "Feasible"
    )
