"""One way to run a workload, and what it costs by an objective."""

from dataclasses import dataclass

from energaizer_operator.schema import EstimateSummary, Feasibility, Objective


@dataclass(frozen=True)
class Option:
    """One way to run a workload: a GPU, at a clock or cap, on so many replicas, and its estimate.

    `clock_megahertz` and `power_cap_watts` are what somebody would have to set (None: the board's
    default), while the estimate holds the clock that the numbers assume.
    """

    profile: str
    estimate: EstimateSummary
    clock_megahertz: int | None = None
    power_cap_watts: int | None = None
    feasibility: Feasibility = "Feasible"
    reachable: bool = True
    """Whether the scheduler may still choose it, after nodeSelector, affinity, allowedProfiles."""
    work: float | None = None
    """Requests or training steps that it gets done; None if only a bound is known."""

    @property
    def name(self) -> str:
        """Return the key of the option in `status.candidates`."""
        clock = f"-{self.clock_megahertz}mhz" if self.clock_megahertz else ""
        cap = f"-{self.power_cap_watts}w" if self.power_cap_watts else ""
        return f"{self.profile}{clock}{cap}"

    @property
    def plain(self) -> bool:
        """Return whether neither clock nor cap has to be set for it."""
        return self.clock_megahertz is None and self.power_cap_watts is None

    @property
    def pace(self) -> float:
        """Return seconds for a piece of work, so that steady serving compares too."""
        return self.estimate.duration_seconds / (self.work or 1.0)


def cost(option: Option, objective: Objective) -> float:
    """Return what an objective minimises: joules, watts, or joule-seconds, for the same work.

    Where the time is fixed and the work is not, as in steady serving, a slow GPU takes less energy
    only because it does less; so energy and time are taken for a piece of work.
    """
    estimate, work = option.estimate, option.work or 1.0
    if objective == "Power":
        return estimate.power_watts
    if objective == "EnergyDelayProduct":
        return estimate.energy_joules / work * option.pace
    return estimate.energy_joules / work
