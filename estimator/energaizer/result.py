"""What an estimate is: numbers that travel with interval, provenance and coverage."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Provenance(StrEnum):
    """Where a number comes from, strongest first (estimation.md 1)."""

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


class Quantity(_Frozen):
    """A number with its central 90 % prediction interval for a new measurement."""

    value: float
    low: float
    high: float
    unit: str = Field(description="SI: W, J, s, J/token")
    provenance: Provenance
    coverage: float = Field(ge=0, le=1, description="time-weighted share on calibrated kernels")


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
    profile_hash: str = Field(description="hash of the GPU profile and coefficients behind it")
    version: str
    notes: tuple[str, ...] = ()
