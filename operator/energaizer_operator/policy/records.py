"""What is judged, and what the judgement is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Literal

from energaizer_operator import ledger
from energaizer_operator.options import Option
from energaizer_operator.resources.aiworkload.spec import AIWorkloadSpec, LimitsSpec
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.schema import Objective, PlacementMode


class Action(StrEnum):
    """What follows from a verdict, weakest first."""

    ALLOW = "Allow"
    AUDIT = "Audit"
    WARN = "Warn"
    HOLD = "Hold"
    DENY = "Deny"

    @property
    def strength(self) -> int:
        """Return how strong the action is; the strongest wins."""
        return list(Action).index(self)


@dataclass(frozen=True)
class Modes:
    """The scalars of the matching policies: each from the highest priority that states it."""

    uncertainty: Literal["Mean", "High"] = "High"
    on_estimator_failure: Literal["UseTDPBound", "Warn", "Deny"] = "UseTDPBound"
    declared_caps: Literal["Trusted", "Untrusted"] = "Untrusted"
    placement_mode: PlacementMode = "Prefer"
    objective: Objective = "Energy"
    max_slowdown_percent: int | None = None


def modes(policies: Sequence[EnergyPolicy], workload: AIWorkloadSpec | None = None) -> Modes:
    """Return the scalars in force: the workload's own word on placement, else the policies'.

    Args:
        policies: Matching ones, strongest first.
        workload: Spec of the AIWorkload, if there is one.
    """
    placements = [policy.spec.placement for policy in policies if policy.spec.placement]
    own = workload.placement if workload else None
    limits = workload.limits if workload else None
    plain = Modes()
    first = policies[0].spec if policies else None
    stated = [own, *placements]
    slowdowns = [limits, *placements]
    return Modes(
        uncertainty=first.uncertainty if first else plain.uncertainty,
        on_estimator_failure=first.on_estimator_failure if first else plain.on_estimator_failure,
        declared_caps=first.declared_caps if first else plain.declared_caps,
        placement_mode=next((one.mode for one in stated if one and one.mode), plain.placement_mode),
        objective=next((one.objective for one in stated if one and one.objective), plain.objective),
        max_slowdown_percent=next(
            (
                one.max_slowdown_percent
                for one in slowdowns
                if one and one.max_slowdown_percent is not None
            ),
            None,
        ),
    )


@dataclass(frozen=True)
class Balance:
    """What is left of one budget, for the workload that is judged."""

    name: str
    """`team-a/monthly`."""
    action: Action
    limit_joules: int
    remaining_joules: int
    """What may still be promised, and what is held for this workload already; may be negative."""
    until: str = ""
    """When the window ends, in the budget's own zone; empty without an end."""
    high: bool = True
    """Whether the upper end of the interval is charged."""
    seconds: int | None = None
    """Of what never ends: time for which its power is charged."""
    surge: int = 0
    """Of what never ends: pods that a rolling update may run beside its replicas."""
    note: str = ""
    """What else to say of a refusal: that its kind cannot be held."""
    broken: str = ""
    """Why the budget cannot be read; nothing fits it then."""

    def need(self, option: Option) -> int:
        """Return what an option is charged, J."""
        estimate = option.estimate
        if self.seconds is not None:
            estimate = ledger.surged(estimate, self.surge)
            return self.seconds * (estimate.power_high_watts if self.high else estimate.power_watts)
        return estimate.energy_high_joules if self.high else estimate.energy_joules

    def fits(self, option: Option) -> bool:
        """Say whether there is room for an option."""
        return not self.broken and self.need(option) <= self.remaining_joules


@dataclass(frozen=True)
class Shorter:
    """The same workload with less to do, as a way out."""

    option: Option
    change: str
    """How to choose it: `annotation energaizer.io/steps: "5600"`."""
    share: float
    """Of the work that was asked for."""


@dataclass(frozen=True)
class Question:
    """What is judged: the options of one workload against all that limits it."""

    options: Sequence[Option]
    policies: Sequence[EnergyPolicy] = ()
    """Matching ones only (`matching`)."""
    limits: LimitsSpec | None = None
    balances: Sequence[Balance] = ()
    """Of the budgets that select the workload."""
    workload: str = "AIWorkload"
    """How messages call the owner of `limits`, e.g. `AIWorkload team-a/train`."""
    problems: Sequence[str] = ()
    """What is missing or invalid, as text; why only a bound exists."""
    declared_clock_megahertz: int | None = None
    declared_cap_watts: int | None = None
    shorter: Shorter | None = None
    remedies: Mapping[str, str] = field(default_factory=dict)
    """Profile -> how to choose it: `nodeSelector nvidia.com/gpu.product: NVIDIA-L40S`."""

    @cached_property
    def in_force(self) -> Modes:
        """Return the scalars of the policies."""
        return modes(self.policies)


@dataclass(frozen=True)
class Violation:
    """One limit that is passed."""

    owner: str
    """`energy policy team-a-limit`, `energy budget team-a/monthly`, or the workload itself."""
    limit: str
    """Name of the limit: maxEnergyJoules, allowedProfiles, requireInputs, remaining, ..."""
    action: Action
    message: str
    policy: str | None = None
    budget: str | None = None
    """Namespace and name."""
    unholdable: bool = False
    """Whether the budget would hold it, had it a kind that can wait."""


@dataclass(frozen=True)
class Verdict:
    """The answer, for a webhook, a status and a person."""

    action: Action
    charged: Option | None
    hungriest: Option | None
    """Of all that it may still become, what draws most."""
    violations: tuple[Violation, ...] = ()
    message: str = ""
    """Of a refusal: what was needed, what the limit is, what would fit."""
    warnings: tuple[str, ...] = ()
    """For kubectl: at most 256 characters each, 4096 in total."""
    alternative: Option | None = None
