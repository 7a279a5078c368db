"""What is judged, and what the judgement is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from energaizer_operator.resources.aiworkload.spec import LimitsSpec
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.schema import Objective, Option, PlacementMode


class Action(StrEnum):
    """What follows from a verdict, weakest first."""

    ALLOW = "Allow"
    AUDIT = "Audit"
    WARN = "Warn"
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


@dataclass(frozen=True)
class Question:
    """What is judged: the options of one workload against all that limits it."""

    options: Sequence[Option]
    policies: Sequence[EnergyPolicy] = ()
    """Matching ones only (`matching`)."""
    limits: LimitsSpec | None = None
    workload: str = "AIWorkload"
    """How messages call the owner of `limits`, e.g. `AIWorkload team-a/train`."""
    problems: Sequence[str] = ()
    """What is missing or invalid, as text; why only a bound exists."""
    declared_clock_megahertz: int | None = None
    declared_cap_watts: int | None = None
    remedies: Mapping[str, str] = field(default_factory=dict)
    """Profile -> how to choose it: `nodeSelector nvidia.com/gpu.product: NVIDIA-L40S`."""


@dataclass(frozen=True)
class Violation:
    """One limit that is passed."""

    owner: str
    """`energy policy team-a-limit`, or the workload itself."""
    limit: str
    """Name of the limit: maxEnergyJoules, allowedProfiles, requireInputs, ..."""
    action: Action
    message: str
    policy: str | None = None


@dataclass(frozen=True)
class Verdict:
    """The answer, for a webhook, a status and a person."""

    action: Action
    charged: Option | None
    violations: tuple[Violation, ...] = ()
    message: str = ""
    """Of a refusal: what was needed, what the limit is, what would fit."""
    warnings: tuple[str, ...] = ()
    """For kubectl: at most 256 characters each, 4096 in total."""
    alternative: Option | None = None
