"""How predictions steer the scheduler: node-affinity terms beside the user's own, never instead.

The scheduler's own machinery chooses; we only say by weights which GPU takes less, and we say
nothing where the difference is smaller than our error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energaizer_operator.names import Reason
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import Objective, Option, PlacementMode

JsonPatch = list[dict[str, Any]]


@dataclass(frozen=True)
class Wish:
    """What placement is asked for."""

    options: Sequence[Option]
    profiles: Mapping[str, GPUProfile]
    mode: PlacementMode = "Prefer"
    objective: Objective = "Energy"
    max_slowdown_percent: int | None = None
    allowed_profiles: Sequence[str] | None = None


@dataclass(frozen=True)
class Plan:
    """Weights per profile and hard demands, before they meet a pod."""

    mode: PlacementMode
    reason: Reason
    """Preferred, Required, WithinError or Skipped."""
    message: str
    weights: Mapping[str, int] = field(default_factory=dict)
    """Profile -> 1-100."""
    preferences: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Profile -> the one NodeSelectorTerm that stands for it."""
    required: tuple[dict[str, Any], ...] = ()
    """NodeSelectorTerms of `allowedProfiles`; any is enough, at least one is needed."""

    @property
    def preferred_profiles(self) -> tuple[str, ...]:
        """Return the profiles in order of preference."""
        return tuple(sorted(self.weights, key=lambda name: (-self.weights[name], name)))


def plan(wish: Wish) -> Plan:
    """Return what to ask of the scheduler for one workload."""
    raise NotImplementedError


def patch(pod_spec: Mapping[str, Any], planned: Plan, path: str = "/spec") -> JsonPatch:
    """Return JSON Patch additions that merge a plan into a pod's spec at `path`; [] if none."""
    raise NotImplementedError
