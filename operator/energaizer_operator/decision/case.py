"""A subject in its world, and which estimates its verdict needs: all that precedes an estimate."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any

from energaizer_operator import estimation, landing, placement, policy, runtimes
from energaizer_operator.estimation import Question, Setting
from energaizer_operator.identity import Catalogue
from energaizer_operator.inputs import Origins, Resolution, ResolvedInputs, resolve
from energaizer_operator.names import RESOURCE_NVIDIA_MIG_PREFIX, RESOURCE_NVIDIA_SHARED, Reason
from energaizer_operator.owners import Description
from energaizer_operator.policy import Modes
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.gpuprofile import GPUProfile

MAX_COMBINATIONS = 64
_RESOURCES = 64  # parts of GPUs have names of their own
_CLOCKS, _CAPS = 4, 2  # tried per profile when a way out is looked for


@dataclass(frozen=True)
class World:
    """What the cluster knows: its rules, its GPUs, and which of them its nodes have."""

    profiles: Mapping[str, GPUProfile]
    policies: tuple[EnergyPolicy, ...]
    in_cluster: frozenset[str]
    """Profiles that some node offers."""
    calibrations: Mapping[str, str] = field(default_factory=dict)
    """Coefficients by profile, where the cluster holds its own; checked."""

    @classmethod
    def of(
        cls,
        profiles: Iterable[GPUProfile],
        policies: Iterable[EnergyPolicy] = (),
        in_cluster: Iterable[str] | None = None,
        calibrations: Mapping[str, str] | None = None,
    ) -> "World":
        """Return a world; where its nodes are not given, the profiles' status tells of them."""
        known = {profile.metadata.name: profile for profile in profiles}
        if in_cluster is None:
            in_cluster = (name for name, profile in known.items() if profile.status.nodes)
        return cls(known, tuple(policies), frozenset(in_cluster), dict(calibrations or {}))

    @cached_property
    def catalogue(self) -> Catalogue:
        """Return the index of labels."""
        return Catalogue(self.profiles.values())

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """Return the digest of each profile with its calibration."""
        return {
            name: estimation.digest_of(profile, self.calibrations.get(name))
            for name, profile in self.profiles.items()
        }

    @cached_property
    def remedies(self) -> Mapping[str, str]:
        """Return how to choose each profile."""
        return landing.remedies(self.catalogue)

    @cached_property
    def terms(self) -> Mapping[str, dict[str, Any]]:
        """Return the term that stands for each profile."""
        return {name: placement.term_of(profile) for name, profile in self.profiles.items()}

    @cached_property
    def offering(self) -> Callable[[str | None], frozenset[str]]:
        """Return a function that tells which profiles a resource leaves, and remembers it."""
        return lru_cache(maxsize=_RESOURCES)(partial(_offering, self.profiles))


@dataclass(frozen=True)
class Subject:
    """What is judged: an object that runs pods, an AIWorkload, or both."""

    description: Description | None = None
    workload: AIWorkload | None = None
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    owner_annotations: Sequence[Mapping[str, str]] = ()
    """Of owners above the description, its own controller first."""
    config: str | None = None
    """Content of the ConfigMap that the AIWorkload names."""
    unknown_nodes: Sequence[str] = ()
    """Where pods of it run although no GPUProfile matches their GPUs."""

    @property
    def name(self) -> str:
        """Return how messages call it."""
        if self.workload is not None:
            metadata = self.workload.metadata
            return f"AIWorkload {metadata.namespace or 'default'}/{metadata.name}"
        if self.description is not None:
            namespace = self.description.namespace or "default"
            return f"{self.description.kind} {namespace}/{self.description.name}"
        return "workload"

    @property
    def labels(self) -> dict[str, str]:
        """Return the labels by which rules select it: of its pods, itself, its AIWorkload."""
        described, workload = self.description, self.workload
        labels = dict(described.pod_labels) | dict(described.labels) if described else {}
        return labels if workload is None else labels | workload.metadata.labels


@dataclass(frozen=True)
class Case:
    """A subject with all that can be said before any estimate, and the estimates it needs."""

    subject: Subject
    world: World
    resolution: Resolution
    policies: tuple[EnergyPolicy, ...]
    modes: Modes
    reachable: frozenset[str]
    """Profiles that the scheduler may still choose."""
    questions: tuple[Question, ...]
    ceiling: tuple[Reason, str] | None
    """Why the questions can only be answered by a bound; None if they can be estimated."""

    @property
    def idle(self) -> bool:
        """Return whether there is nothing to judge: no GPU, or no replica."""
        description, inputs = self.subject.description, self.resolution.inputs
        if description is not None and not description.gpus:
            return True
        return inputs.replicas == 0


def prepare(subject: Subject, world: World) -> Case:
    """Return what is known of a subject, and which estimates its verdict needs."""
    workload = subject.workload
    policies = policy.matching(world.policies, subject.namespace_labels, subject.labels)
    resolution = resolve(_origins(subject, policies))
    inputs, reachable = resolution.inputs, _reachable(subject, world, resolution)
    wanted = {} if subject.unknown_nodes else dict.fromkeys(reachable, _declared(inputs))
    case = Case(
        subject=subject,
        world=world,
        resolution=resolution,
        policies=policies,
        modes=_modes(workload, policy.modes(policies)),
        reachable=reachable,
        questions=_questions(subject, world, inputs, wanted),
        ceiling=_ceiling(resolution),
    )
    if subject.unknown_nodes:
        return _on_unknown_gpu(case)
    return case if reachable else _unknown_gpu(case)


def widen(case: Case) -> Case:
    """Return the case with other GPUs of the cluster, clocks and caps, to look for a way out."""
    if case.ceiling is not None or not case.reachable:
        return case
    stated = case.subject.workload and case.subject.workload.spec.what_if
    names = [*sorted(case.reachable), *sorted(_usable(case) - case.reachable)]
    if stated:
        names += [name for name in stated.profiles if name in case.world.profiles]
    names = list(dict.fromkeys(names))[:MAX_COMBINATIONS]
    each = max(1, MAX_COMBINATIONS // len(names))
    wanted: dict[str, tuple[Setting, ...]] = {}
    for name in names:
        tried = list(_declared(case.resolution.inputs))
        if stated and name in stated.profiles:
            tried += [
                Setting(clock, cap)
                for clock in (None, *stated.clocks_megahertz)
                for cap in (None, *stated.power_caps_watts)
            ]
        tried += _settings(case.world.profiles[name])
        most = each if not stated else max(each, len(tried))
        wanted[name] = tuple(dict.fromkeys(tried))[:most]
    return _asking(case, wanted)


def _origins(subject: Subject, policies: Sequence[EnergyPolicy]) -> Origins:
    described = subject.description

    def published(name: str | None) -> str | None:
        return estimation.published_precision(name, subject.config)

    if described is None:
        return Origins(
            workload=subject.workload, defaults=policy.defaults(policies), published=published
        )
    parts = estimation.model_parts()
    arguments = runtimes.of_workload(described, parts)
    own = () if described.kind == "Pod" else (described.annotations,)
    return Origins(
        workload=subject.workload,
        pod_annotations=described.pod_annotations,
        owner_annotations=(*own, *subject.owner_annotations),
        runtime=arguments.values,
        hidden=arguments.unknown,
        ceilings=arguments.ceilings,
        published=published,
        defaults=policy.defaults(policies),
        resource_name=described.resource_name,
        gpus_per_replica=described.gpus_per_replica or None,
        replicas=described.replicas,
        deadline_seconds=described.deadline_seconds,
    )


def _modes(workload: AIWorkload | None, modes: Modes) -> Modes:
    """Return the policies' modes, overruled by what the AIWorkload says of its own placement."""
    if workload is None:
        return modes
    wish, limits = workload.spec.placement, workload.spec.limits
    slowest = limits.max_slowdown_percent if limits else None
    return replace(
        modes,
        placement_mode=(wish and wish.mode) or modes.placement_mode,
        objective=(wish and wish.objective) or modes.objective,
        max_slowdown_percent=modes.max_slowdown_percent if slowest is None else slowest,
    )


def _ceiling(resolution: Resolution) -> tuple[Reason, str] | None:
    resource = resolution.inputs.resource_name or ""
    if resource.startswith(RESOURCE_NVIDIA_MIG_PREFIX) or resource == RESOURCE_NVIDIA_SHARED:
        return Reason.SHARED_GPU, f"{resource} is a part of a GPU: bounded by the whole board"
    if resolution.problems:
        return Reason.TDP_BOUND_USED, resolution.problems[0].message
    return None


def _reachable(subject: Subject, world: World, resolution: Resolution) -> frozenset[str]:
    """Return the profiles that nodeSelector, affinity, resource and allowedProfiles leave."""
    inputs, described = resolution.inputs, subject.description
    left = world.offering(inputs.resource_name)
    if described is not None:
        left &= frozenset[str]().union(
            *(
                landing.possible(world.catalogue, spec, described.gpus)
                for spec in described.pod_specs
            )
        )
    if inputs.allowed_profiles:
        left &= set(inputs.allowed_profiles)
    return left & world.in_cluster or left


def _offering(profiles: Mapping[str, GPUProfile], resource: str | None) -> frozenset[str]:
    """Return the profiles whose GPU, or a part of it, a resource may stand for."""
    part = resource is not None and (
        resource.startswith(RESOURCE_NVIDIA_MIG_PREFIX) or resource == RESOURCE_NVIDIA_SHARED
    )
    if not resource or part:
        return frozenset(profiles)
    return _understanding(profiles, profiles.keys(), resource)


def _unknown_gpu(case: Case) -> Case:
    """Return the case with the hungriest GPU for the unknown one."""
    why = "no GPUProfile matches what the pods ask for; add one, or mend nodeSelector and affinity"
    return _hungriest(case, _usable(case) or frozenset(case.world.profiles), why)


def _on_unknown_gpu(case: Case) -> Case:
    """Return the case with the hungriest GPU of all for that of a node which nobody described."""
    nodes = case.subject.unknown_nodes
    more = f" and {len(nodes) - 1} others" if len(nodes) > 1 else ""
    why = (
        f"runs on node {nodes[0]}{more}, whose GPU no GPUProfile matches; label the node, "
        "or add its label to a profile"
    )
    profiles = frozenset(case.world.profiles)
    return _hungriest(case, _understood(case, profiles) or profiles, why)


def _hungriest(case: Case, candidates: frozenset[str], why: str) -> Case:
    """Return the case with a bound by the hungriest of some profiles, and why."""
    if not candidates:
        return replace(case, ceiling=(Reason.NO_PROFILE, "the cluster has no GPUProfile at all"))
    worst = max(
        sorted(candidates),
        key=lambda name: case.world.profiles[name].spec.thermal_design_power_watts,
    )
    return _asking(replace(case, ceiling=(Reason.NO_PROFILE, why)), {worst: estimation.PLAIN})


def _usable(case: Case) -> frozenset[str]:
    """Return the profiles of the cluster that understand the resource that is asked for."""
    return _understood(case, case.world.in_cluster & case.world.profiles.keys())


def _understood(case: Case, names: frozenset[str]) -> frozenset[str]:
    """Return which of some profiles understand the resource that is asked for."""
    return _understanding(case.world.profiles, names, case.resolution.inputs.resource_name)


def _understanding(
    profiles: Mapping[str, GPUProfile], names: Iterable[str], resource: str | None
) -> frozenset[str]:
    """Return which of some profiles understand a resource; all if none is asked for."""
    return frozenset(
        name
        for name in names
        if not resource
        or not profiles[name].spec.resource_names
        or resource in profiles[name].spec.resource_names
    )


def _declared(inputs: ResolvedInputs) -> tuple[Setting, ...]:
    """Return the board's own setting and, where a user declares a clock or cap, that one."""
    declared = Setting(inputs.clock_megahertz, inputs.power_cap_watts)
    return tuple(dict.fromkeys((*estimation.PLAIN, declared)))


def _settings(profile: GPUProfile) -> list[Setting]:
    """Return some clocks and caps of a profile, spread over its range."""
    clocks = sorted(profile.spec.supported_clocks_megahertz)
    spread = [clocks[len(clocks) * step // _CLOCKS] for step in range(_CLOCKS)] if clocks else []
    found = [Setting(clock) for clock in sorted(set(spread), reverse=True)]
    caps = profile.spec.power_cap_range
    if caps is not None and caps.min_watts < caps.max_watts:
        width = caps.max_watts - caps.min_watts
        found += [Setting(None, caps.min_watts + width * step // _CAPS) for step in (1, 0)]
    return found


def _asking(case: Case, wanted: Mapping[str, tuple[Setting, ...]]) -> Case:
    """Return the case with the questions of some profiles and settings."""
    inputs = case.resolution.inputs
    return replace(case, questions=_questions(case.subject, case.world, inputs, wanted))


def _questions(
    subject: Subject,
    world: World,
    inputs: ResolvedInputs,
    wanted: Mapping[str, tuple[Setting, ...]],
) -> tuple[Question, ...]:
    return tuple(
        Question(
            inputs,
            world.profiles[name],
            world.digests[name],
            settings,
            subject.config,
            world.calibrations.get(name),
        )
        for name, settings in sorted(wanted.items())
    )
