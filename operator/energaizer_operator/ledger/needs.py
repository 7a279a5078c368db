"""What a workload needs of a budget: joules to its end, or joules to the end of the window."""

from dataclasses import dataclass
from datetime import datetime

from energaizer_operator.ledger.windows import span
from energaizer_operator.resources.energybudget import EnergyBudgetSpec
from energaizer_operator.schema import EstimateSummary

_SUMS = (
    *("energy_joules", "energy_low_joules", "energy_high_joules"),
    *("power_watts", "power_low_watts", "power_high_watts"),
)
"""Fields of an estimate that grow with its replicas."""


@dataclass(frozen=True)
class Demand:
    """What a whole workload is predicted to take, as a budget looks at it."""

    energy_joules: int
    """Upper end of the interval."""
    expected_joules: int
    power_watts: int
    """Upper end of the interval."""
    expected_watts: int
    endless: bool = False
    """Whether it runs until somebody ends it, as a Deployment does."""
    replicas: int = 1

    @classmethod
    def of(cls, estimate: EstimateSummary, *, endless: bool = False) -> "Demand":
        """Return the demand of an estimate."""
        return cls(
            estimate.energy_high_joules,
            estimate.energy_joules,
            estimate.power_high_watts,
            estimate.power_watts,
            endless,
            estimate.replicas,
        )


def resized(estimate: EstimateSummary, replicas: int) -> EstimateSummary:
    """Return the estimate of other replicas of the same: each takes what it took, rounded up."""
    before = max(1, estimate.replicas)

    def part(value: int) -> int:
        return -(-value * replicas // before)

    return estimate.model_copy(
        update={
            "replicas": replicas,
            "gpu_count": part(estimate.gpu_count),
            **{field: part(getattr(estimate, field)) for field in _SUMS},
        }
    )


def surged(estimate: EstimateSummary, surge: int) -> EstimateSummary:
    """Return the estimate at the height of a rolling update: with the pods that it may add."""
    return resized(estimate, estimate.replicas + surge) if surge else estimate


def need(demand: Demand, spec: EnergyBudgetSpec, now: datetime) -> int:
    """Return what a budget would have to promise now, J.

    What never ends takes its power for the rest of a calendar window, for the whole length of a
    rolling one, and without a window for the time that the estimate assumes.

    Raises:
        ZoneError: The budget's time zone does not exist.
    """
    high = spec.reserve_for == "High"
    watts = demand.power_watts if high else demand.expected_watts
    seconds: int | None = None
    if demand.endless:
        rolling = spec.window.type == "Rolling"
        seconds = spec.window.seconds if rolling else span(spec.window, now).seconds_left(now)
    if seconds is None:
        return demand.energy_joules if high else demand.expected_joules
    return watts * seconds
