"""What a user sees: statuses, conditions and pod annotations, from everything that was decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from energaizer_operator.inputs import Resolution
from energaizer_operator.names import ConditionType, Reason
from energaizer_operator.placement import Plan
from energaizer_operator.policy import Verdict
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from energaizer_operator.resources.energypolicy import EnergyPolicy, EnergyPolicyStatus
from energaizer_operator.resources.gpuprofile import GPUProfile, GPUProfileStatus, ObservedTerm
from energaizer_operator.schema import Condition, EstimateSummary, Objective, Option


@dataclass(frozen=True)
class Finding:
    """Everything known about a workload when its status is written."""

    resolution: Resolution
    options: Sequence[Option] = ()
    verdict: Verdict | None = None
    plan: Plan | None = None
    objective: Objective = "Energy"
    digest: str | None = None
    estimated: Reason = Reason.ESTIMATED
    """Estimated, TDPBoundUsed, NoProfile, InfeasibleMemory or EstimatorTimeout."""
    estimated_message: str = ""
    problem: tuple[Reason, str] | None = None
    """UnknownModel, InvalidConfigMap, WorkloadNotFound, DuplicateWorkload: found outside inputs."""


@dataclass(frozen=True)
class Census:
    """What the nodes say about one profile."""

    nodes: int = 0
    gpus: int = 0
    power_nodes: int = 0
    """Nodes that advertise watts."""
    terms: Sequence[ObservedTerm] = ()
    conflicts: Sequence[str] = ()
    """Nodes whose labels name this profile and another one."""


@dataclass(frozen=True)
class State:
    """The wanted state of one condition."""

    type: ConditionType
    status: bool | None
    """None is Unknown."""
    reason: Reason
    message: str


def conditions(
    previous: Sequence[Condition], wanted: Sequence[State], generation: int | None, now: datetime
) -> tuple[Condition, ...]:
    """Return the conditions, each with the time at which its status last changed."""
    raise NotImplementedError


def aiworkload_status(workload: AIWorkload, finding: Finding, now: datetime) -> AIWorkloadStatus:
    """Return the whole status of an AIWorkload; budget and measured are kept as they are."""
    raise NotImplementedError


def gpuprofile_status(profile: GPUProfile, census: Census, now: datetime) -> GPUProfileStatus:
    """Return the status of a GPUProfile."""
    raise NotImplementedError


def policy_status(
    policy: EnergyPolicy, matched_namespaces: int, now: datetime
) -> EnergyPolicyStatus:
    """Return the status of an EnergyPolicy."""
    raise NotImplementedError


def shares(total: int, pods: int) -> tuple[int, ...]:
    """Return the shares of pods, which sum to the total; the last one takes the remainder."""
    raise NotImplementedError


def pod_annotations(
    estimate: EstimateSummary, pods: int, digest: str | None = None
) -> Mapping[str, str]:
    """Return what a pod is marked with at CREATE: its share, rounded up, and the whole."""
    raise NotImplementedError
