"""How predictions steer the scheduler: node-affinity terms beside the user's own, never instead.

The scheduler's own machinery chooses; we only say by weights which GPU takes less, and we say
nothing where the difference is smaller than our error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from energaizer_operator.names import (
    LABEL_AMD_PRODUCT,
    LABEL_GPU_PROFILE,
    LABEL_NVIDIA_PRODUCT,
    Reason,
)
from energaizer_operator.options import Option, cost
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import Objective, PlacementMode

MAX_WEIGHT: Final = 100
_MAX_PREFERENCES = 16
_ERRORS = 2  # a difference counts from twice the error on


@dataclass(frozen=True)
class Wish:
    """What placement is asked for."""

    options: Sequence[Option]
    profiles: Mapping[str, GPUProfile]
    mode: PlacementMode = "Prefer"
    objective: Objective = "Energy"
    max_slowdown_percent: int | None = None
    allowed_profiles: Sequence[str] | None = None
    terms: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Profile -> its term (`term_of`), of those for which it is known already."""


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
    order: tuple[str, ...] = ()
    """Profiles that may be chosen, the best first, whatever their difference."""
    claim: str = ""
    """Name of the ResourceClaimTemplate that pods may refer to."""
    required: tuple[dict[str, Any], ...] = ()
    """NodeSelectorTerms of `allowedProfiles`; any is enough, at least one is needed."""

    @property
    def applied(self) -> bool:
        """Return whether the scheduler is told anything."""
        return bool(self.weights or self.required or self.claim)

    @property
    def preferred_profiles(self) -> tuple[str, ...]:
        """Return the profiles in order of preference."""
        return tuple(sorted(self.weights, key=lambda name: (-self.weights[name], name)))


def plan(wish: Wish) -> Plan:
    """Return what to ask of the scheduler for one workload."""
    options, required = _choices(wish), _required(wish)
    order = tuple(option.profile for option in options)

    def without_preference(reason: Reason, message: str) -> Plan:
        if required:
            names = ", ".join(wish.allowed_profiles or ())
            reason, message = Reason.REQUIRED, f"pods must land on {names}; {message}"
        return Plan(wish.mode, reason, message, order=order, required=required)

    if wish.mode != "Prefer":
        message = f"placement mode {wish.mode}: pods get no preference from us"
        return without_preference(Reason.SKIPPED, message)
    if len(options) <= 1:
        message = "there is no choice of GPUs to prefer one from"
        return without_preference(Reason.SKIPPED, message)
    costs = {option.profile: cost(option, wish.objective) for option in options}
    least, most = min(costs.values()), max(costs.values())
    error = max(_error(option, wish.profiles.get(option.profile)) for option in options)
    difference = (most - least) / least
    if most == least or difference < _ERRORS * error:
        message = (
            f"the GPUs differ by {difference:.1%}, less than twice the error of {error:.1%}:"
            " no preference is honest"
        )
        return without_preference(Reason.WITHIN_ERROR, message)
    weights = {
        profile: 1 + round((MAX_WEIGHT - 1) * (most - amount) / (most - least))
        for profile, amount in costs.items()
    }
    best = min(costs, key=lambda profile: (costs[profile], profile))
    saved = (most - least) / most
    return Plan(
        mode=wish.mode,
        reason=Reason.PREFERRED,
        message=f"{best} is preferred: {saved:.0%} less than the dearest, by {wish.objective}",
        weights=weights,
        preferences={
            profile: wish.terms.get(profile) or term_of(wish.profiles[profile])
            for profile in weights
        },
        order=order,
        required=required,
    )


def node_selector(profile: GPUProfile) -> dict[str, str] | None:
    """Return labels that all nodes with a profile carry; None if no single value stands for it."""
    expressions = term_of(profile)["matchExpressions"]
    if any(one["operator"] != "In" or len(one["values"]) != 1 for one in expressions):
        return None
    return {one["key"]: one["values"][0] for one in expressions}


def _choices(wish: Wish) -> list[Option]:
    """Return one option a profile: feasible, still possible, at the board's defaults."""
    replicas = max((option.estimate.replicas for option in wish.options), default=0)
    chosen: dict[str, Option] = {}
    for option in wish.options:
        if (
            option.plain
            and option.reachable
            and option.feasibility == "Feasible"
            and option.estimate.replicas == replicas
            and option.estimate.method != "TDPBound"
            and option.profile in wish.profiles
            and (wish.allowed_profiles is None or option.profile in wish.allowed_profiles)
        ):
            chosen.setdefault(option.profile, option)
    options = list(chosen.values())
    if wish.max_slowdown_percent is not None and options:
        fastest = min(option.pace for option in options)
        longest = fastest * (100 + wish.max_slowdown_percent)
        options = [one for one in options if 100 * one.pace <= longest]
    options.sort(key=lambda one: (cost(one, wish.objective), one.profile))
    return options[:_MAX_PREFERENCES]


def _error(option: Option, profile: GPUProfile | None) -> float:
    """Return the relative error of an option's energy: measured, else half of its interval."""
    calibration = profile.spec.calibration if profile else None
    if calibration and calibration.energy_error_permille is not None:
        return calibration.energy_error_permille / 1000
    estimate = option.estimate
    return (estimate.energy_high_joules - estimate.energy_low_joules) / 2 / estimate.energy_joules


def term_of(profile: GPUProfile) -> dict[str, Any]:
    """Return the one term that stands for a profile: two dialects on one node would score twice.

    Our own label where nodes carry it, else the label that most nodes carry, else what the
    profile states.
    """
    nodes: dict[str, int] = {}
    for term in profile.status.observed_terms:
        nodes[term.key] = nodes.get(term.key, 0) + term.nodes
    if not nodes:
        return _stated(profile)[0]
    key = max(nodes, key=lambda key: (key == LABEL_GPU_PROFILE, nodes[key], key))
    whole = [term for term in _compound(profile) if term["matchExpressions"][0]["key"] == key]
    if whole:
        return whole[0]
    values = sorted({term.value for term in profile.status.observed_terms if term.key == key})
    return _expressions([_in(key, values)])


def _compound(profile: GPUProfile) -> list[dict[str, Any]]:
    """Return the terms that need several labels: one of them alone would match another GPU too."""
    terms = profile.spec.node_selector_terms
    return [term.to_dict() for term in terms if len(term.match_expressions) > 1]


def _stated(profile: GPUProfile) -> list[dict[str, Any]]:
    """Return the terms of a profile that no node has shown yet: stated ones, then product names."""
    terms = [term.to_dict() for term in profile.spec.node_selector_terms]
    names = [name for name in profile.spec.product_names if " " not in name]
    if profile.spec.vendor == "NVIDIA" and names:
        values = [f"{prefix}{name}" for name in names for prefix in ("NVIDIA-", "Tesla-", "")]
        terms.append(_expressions([_in(LABEL_NVIDIA_PRODUCT, values)]))
    if profile.spec.vendor == "AMD" and names:
        values = [name.replace("-", "_") for name in names]
        terms.append(_expressions([_in(LABEL_AMD_PRODUCT, values)]))
    return terms or [_expressions([_in(LABEL_GPU_PROFILE, [profile.metadata.name])])]


def _required(wish: Wish) -> tuple[dict[str, Any], ...]:
    """Return the terms of the allowed profiles: any dialect of any of them is enough.

    Profiles that share a label key share one term, which keeps the product with the user's own
    terms small.
    """
    if wish.allowed_profiles is None:
        return ()
    values: dict[str, set[str]] = {LABEL_GPU_PROFILE: set(wish.allowed_profiles)}
    compound: list[dict[str, Any]] = []
    for name in wish.allowed_profiles:
        profile = wish.profiles.get(name)
        if profile is None:
            continue
        whole = _compound(profile)
        compound += [term for term in whole if term not in compound]
        partial = {one["key"] for term in whole for one in term["matchExpressions"]}
        for observed in profile.status.observed_terms:
            if observed.key not in partial:
                values.setdefault(observed.key, set()).add(observed.value)
        for term in _stated(profile):
            first = term["matchExpressions"][0]
            if len(term["matchExpressions"]) == 1 and first["operator"] == "In":
                values.setdefault(first["key"], set()).update(first["values"])
            elif term not in compound:
                compound.append(term)
    merged = [_expressions([_in(key, sorted(values[key]))]) for key in sorted(values)]
    return (*merged, *compound)


def _in(key: str, values: Sequence[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def _expressions(expressions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"matchExpressions": list(expressions)}
