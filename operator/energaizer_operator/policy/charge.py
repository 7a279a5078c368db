"""What a workload is charged: of all it may still become, what takes most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from energaizer_operator.options import Option, cost
from energaizer_operator.policy.records import Modes, Question
from energaizer_operator.schema import Objective

_RUNS = ("Feasible", "TooSlow", "OverLimit", "SharedGPU")  # the scheduler would run it so
_PER_TIER = (_RUNS, ("NotInCluster",), ("InsufficientMemory",))


@dataclass(frozen=True)
class Charge:
    """What is held against limits: the mean, or the upper end of the 90 % interval."""

    energy_joules: int
    power_watts: int
    energy_per_token_microjoules: int | None


def charge_of(option: Option, uncertainty: str) -> Charge:
    """Return the charge of one option; the energy per token widens as the energy does."""
    estimate = option.estimate
    per_token = estimate.energy_per_token_microjoules
    if uncertainty == "Mean":
        return Charge(estimate.energy_joules, estimate.power_watts, per_token)
    if per_token is not None:
        per_token = -(-per_token * estimate.energy_high_joules // estimate.energy_joules)
    return Charge(estimate.energy_high_joules, estimate.power_high_watts, per_token)


def requested_replicas(options: Sequence[Option]) -> int:
    """Return the replicas that the workload asks for; options with fewer are ways out."""
    return max((option.estimate.replicas for option in options), default=1)


def possible(question: Question, in_force: Modes) -> list[Option]:
    """Return the options that the scheduler may still choose, as they are charged.

    A declared clock or cap counts only where the platform enforces it. What is not in the cluster
    counts only if nothing that is possible is there (a cluster that grows on demand), and what
    does not fit into memory only if nothing else is left. A workload that excludes every GPU we
    know is charged as if it had excluded none.
    """
    replicas = requested_replicas(question.options)
    asked = [option for option in question.options if option.estimate.replicas == replicas]
    pool = [option for option in asked if option.plain]
    if in_force.declared_caps == "Trusted":
        wanted = (question.declared_clock_megahertz, question.declared_cap_watts)
        declared = {
            option.profile: option
            for option in asked
            if (option.clock_megahertz, option.power_cap_watts) == wanted
        }
        pool = [declared.get(option.profile, option) for option in pool] or list(declared.values())
    reachable = [option for option in pool if option.reachable] or pool
    for tier in _PER_TIER:
        found = [option for option in reachable if option.feasibility in tier]
        if found:
            return found
    return []


def dearest(options: Sequence[Option], of: Callable[[Option], int]) -> Option | None:
    """Return the option that takes most of something; ties by name."""
    return max(options, key=lambda option: (of(option), option.name), default=None)


def comparable(options: Sequence[Option]) -> list[Option]:
    """Return the options that may be compared: a bound says nothing beside an estimate.

    Where one GPU has an estimate and another has none (it lacks a number format, say), the bound
    of the other is of an assumed time, and may look cheap.
    """
    honest = [option for option in options if option.estimate.method != "TDPBound"]
    return honest or list(options)


def likely(question: Question, objective: Objective) -> Option | None:
    """Return the option on which the workload should land; None if none is feasible.

    The best by the objective, of those that are possible, at the clock and cap that are charged.
    """
    found = [
        option
        for option in possible(question, question.in_force)
        if option.feasibility == "Feasible"
    ]
    found = comparable(found)
    return min(found, key=lambda option: (cost(option, objective), option.name), default=None)
