"""What an estimate is: numbers that travel with interval, provenance and coverage."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class Provenance(StrEnum):
    """Where a number comes from, strongest first (docs/method.md, 1)."""

    MEASURED = "measured"
    CALIBRATED = "calibrated"
    ANALYTICAL = "analytical"
    EXTRAPOLATED = "extrapolated"
    SPECIFICATION = "specification"
    BOUND = "bound"

    @classmethod
    def weakest(cls, *provenances: "Provenance") -> "Provenance":
        """Return the weakest of some provenances: that of a sum is that of its weakest part."""
        order = list(cls)
        return max(provenances, key=order.index)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with its central 90 % prediction interval for a new measurement.

    An answer has dozens, which we made: a class that is checked costs four times as much.

    Attributes:
        value: The number.
        low: Lower end of the interval.
        high: Upper end.
        unit: SI: W, J, s, J/token.
        provenance: Where the number comes from.
        coverage: Time-weighted share on calibrated kernels, in [0, 1].
    """

    value: float
    low: float
    high: float
    unit: str
    provenance: Provenance
    coverage: float


class Brief(NamedTuple):
    """What a job comes to, without its parts: what is said of it to a cluster.

    Attributes:
        power: W, mean over the job, all boards of the deployment.
        energy: J, whole job, all boards.
        duration: s, whole job.
        energy_per_output_token: J/token; None without output.
        decode_s: Mean time of a decode step, s; None without one.
        completed: Requests served, or optimiser steps done, in the job; 0 for a bound.
        gpu_count: Boards of the deployment.
        clock_hz: Time-weighted mean clock.
    """

    power: Quantity
    energy: Quantity
    duration: Quantity
    energy_per_output_token: Quantity | None
    decode_s: float | None
    completed: float
    gpu_count: int
    clock_hz: float


class PhaseEstimate(_Frozen):
    """One phase of a job (prefill, decode, idle): sums and means over its repetitions."""

    name: str
    count: int = Field(ge=0, description="repetitions, e.g. decode steps")
    duration: Quantity = Field(description="s, all repetitions together")
    power: Quantity = Field(description="W, all boards of the deployment, mean over the phase")
    energy: Quantity = Field(description="J, all boards")
    clock_hz: float = Field(gt=0, description="mean clock of the phase, after throttling")
    throttled: bool = Field(description="the power limit lowered the clock")
    components: dict[str, Quantity] = Field(
        description="J by component (idle, compute, memory, ...); they sum to `energy`"
    )


class Memory(_Frozen):
    """Bytes one GPU needs against what it has."""

    weights_bytes: float
    kv_cache_bytes: float
    activation_bytes: float
    total_bytes: float
    capacity_bytes: float
    largest_batch: int = Field(description="largest batch that fits, other inputs unchanged")


class TrainingFigures(_Frozen):
    """What training gets done, and how well it uses its boards."""

    steps: float
    tokens: float | None = Field(description="trained on in the job; None for a network of images")
    samples: float = Field(description="sequences or images trained on in the job")
    step_s: float = Field(description="s of one optimiser step, pauses apart")
    tokens_per_s: float | None = Field(description="of the whole deployment; None for images")
    samples_per_s: float
    flop: float = Field(description="FLOP of the job that recomputation does not repeat")
    mfu: float = Field(
        ge=0, description="those FLOP over peak FLOP/s of the precision, boards and step time"
    )
    bubble_fraction: float = Field(
        ge=0, lt=1, description="share of forward and backward in which a stage waits"
    )


class NodeEstimate(_Frozen):
    """What the servers draw at their sockets, boards included: never mixed with board power."""

    node: str = Field(description="profile of the server")
    nodes: float = Field(description="servers; a part where the boards fill one in part")
    power: Quantity = Field(description="W, mean over the job, all nodes")
    energy: Quantity = Field(description="J, whole job, all nodes")
    parts_w: dict[str, float] = Field(
        description="W by part: boards, processors, memory, network, other, fans, supplies"
    )


class Estimate(_Frozen):
    """The answer for one workload on one kind of GPU, at one clock or power cap."""

    power: Quantity = Field(description="W, mean over the job, all boards of the deployment")
    energy: Quantity = Field(description="J, whole job, all boards")
    duration: Quantity = Field(description="s, whole job")
    energy_per_output_token: Quantity | None = Field(
        description="J/token, prefill + decode energy over output tokens; None without output"
    )
    energy_per_sample: Quantity | None = Field(
        default=None, description="J/image, J/sequence, J/clip of a vision, text or speech network"
    )
    phases: tuple[PhaseEstimate, ...]
    components: dict[str, Quantity] = Field(description="J by component; they sum to `energy`")
    completed: float = Field(
        ge=0, description="requests served, or optimiser steps done, in the job; 0 for a bound"
    )
    model: str
    gpu: str
    gpu_count: int
    clock_hz: float = Field(description="time-weighted mean clock")
    power_cap_w: float = Field(description="limit per board that was applied, W")
    memory: Memory | None
    training: TrainingFigures | None = Field(default=None, description="of training alone")
    node: NodeEstimate | None = Field(default=None, description="where it was asked for")
    profile_hash: str = Field(description="hash of the GPU profile and coefficients behind it")
    version: str
    notes: tuple[str, ...] = ()
