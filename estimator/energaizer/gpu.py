"""A GPU as data: what the datasheet says. Fitted numbers live in `coefficients`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Source(BaseModel):
    """Where the numbers of a profile come from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    citation: str
    date: str = Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")
    licence: str = "facts from a public datasheet"


class Link(BaseModel):
    """The fastest way from this board to its neighbours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["NVLink", "XGMI", "XeLink", "PCIe"]
    bandwidth: float = Field(gt=0, description="B/s in one direction")


class Gpu(BaseModel):
    """One accelerator board.

    Rates are dense (no structured sparsity), hold at `reference_clock_hz` and scale with the clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    aliases: tuple[str, ...] = ()
    vendor: Literal["NVIDIA", "AMD", "Intel"]
    architecture: str
    compute_units: int = Field(ge=1, le=4096, description="SMs or CUs: N")
    reference_clock_hz: float = Field(gt=0, description="f0, where the peaks are quoted")
    min_clock_hz: float = Field(gt=0)
    max_clock_hz: float = Field(gt=0)
    clock_step_hz: float = Field(gt=0, default=15e6)
    peak_flops: dict[str, float] = Field(
        description="dense FLOP/s at f0 by rate key: fp32, tf32, fp16, bf16, fp8, int8, fp4"
    )
    memory_bytes: float = Field(gt=0)
    memory_bandwidth: float = Field(gt=0, description="B/s: W_D")
    memory_type: str
    l2_bytes: float = Field(gt=0)
    power_limit_w: float = Field(gt=0, le=10000, description="default limit of the board (TDP)")
    min_power_limit_w: float = Field(gt=0)
    link: Link
    voltage: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="(clock in Hz, core supply in V), rising; None: unknown"
    )
    source: Source
