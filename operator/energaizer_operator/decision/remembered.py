"""Estimates that the controller wrote down: what admission answers with where it may not look.

A model may be described by a ConfigMap that only the controller is allowed to read. What it found
stands in the AIWorkload's status, and holds as long as the inputs are the same.
"""

from energaizer_operator import human
from energaizer_operator.decision.case import Case
from energaizer_operator.estimation import Answer, Question, Setting
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus, Candidate
from energaizer_operator.schema import EstimateSummary, Feasibility


def of(case: Case, question: Question) -> tuple[Answer, ...] | None:
    """Return the answers of the status to a question; None unless it has one to each setting."""
    status = _status(case)
    if status is None:
        return None
    found = [_answer(status, question, setting) for setting in question.settings]
    answers = tuple(answer for answer in found if answer is not None)
    return answers if len(answers) == len(question.settings) else None


def digest(case: Case) -> str | None:
    """Return the digest of the status, where it is what is answered with."""
    status = _status(case)
    return status.inputs_digest if status else None


def _status(case: Case) -> AIWorkloadStatus | None:
    """Return the status of a subject whose configuration is out of reach, if it still holds."""
    workload, inputs = case.subject.workload, case.resolution.inputs
    if workload is None or inputs.model_source != "HuggingFaceConfig" or case.subject.config:
        return None
    status = workload.status
    then = {(entry.name, entry.value) for entry in status.resolved_inputs}
    now = {(entry.name, entry.value) for entry in case.resolution.sources}
    current = status.observed_generation == workload.metadata.generation
    return status if status.estimate is not None and current and then == now else None


def _answer(status: AIWorkloadStatus, question: Question, setting: Setting) -> Answer | None:
    profile, estimate = question.profile.metadata.name, status.estimate
    if estimate is None or estimate.method == "TDPBound":
        return None
    if (
        estimate.profile == profile
        and setting == Setting()
        and estimate.gpu_count == question.inputs.gpu_count
    ):
        return Answer(setting, estimate)
    wanted = (profile, setting.clock_megahertz, setting.power_cap_watts)
    for candidate in status.candidates:
        if (candidate.profile, candidate.clock_megahertz, candidate.power_cap_watts) == wanted:
            return _of_candidate(candidate, estimate, question, setting)
    return None


def _of_candidate(
    candidate: Candidate, estimate: EstimateSummary, question: Question, setting: Setting
) -> Answer | None:
    """Return a candidate as an estimate: its interval is as wide downward as it is upward."""
    energy, high = candidate.energy_joules, candidate.energy_high_joules
    power, seconds = candidate.power_watts, candidate.duration_seconds
    same_size = estimate.gpu_count == question.inputs.gpu_count
    if not (energy and high and power and seconds and same_size):
        return None
    fits: Feasibility = "Feasible"
    if candidate.feasibility == "InsufficientMemory":
        fits = "InsufficientMemory"
    summary = EstimateSummary(
        profile=candidate.profile,
        gpu_count=estimate.gpu_count,
        replicas=estimate.replicas,
        power_cap_watts=candidate.power_cap_watts,
        power_watts=power,
        power_low_watts=max(1, power * energy // high),
        power_high_watts=-(-power * high // energy),
        duration_seconds=seconds,
        energy_joules=energy,
        energy_low_joules=max(1, energy * energy // high),
        energy_high_joules=high,
        energy_human=human.energy(energy),
        power_human=human.power(power),
        method=estimate.method,
        estimator_version=estimate.estimator_version,
        estimate_time=estimate.estimate_time,
    )
    return Answer(setting, summary, feasibility=fits)
