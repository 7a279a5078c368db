"""A GPU as data: what the datasheet says. Fitted numbers live in `coefficients`."""

import math
from typing import Annotated, Literal, Self

from energaizer.errors import InputError
from energaizer.records import Field, Record, model_validator

RATES = ("fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4")
Positive = Annotated[float, Field(gt=0)]


class Source(Record):
    """Where the numbers of a profile come from."""

    citation: str
    date: str = Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")
    licence: str = "facts from a public datasheet"


class Link(Record):
    """The fastest way from this board to its neighbours."""

    kind: Literal["NVLink", "XGMI", "XeLink", "PCIe"]
    bandwidth: Positive = Field(description="B/s in one direction")


class Gpu(Record):
    """One accelerator board.

    Rates are dense (no structured sparsity) and hold at `reference_clock_hz`; they scale with the
    clock. Where a datasheet quotes one rate at another clock, the profile scales it and says so.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    aliases: tuple[str, ...] = ()
    product_names: tuple[str, ...] = Field(
        default=(), description="names the driver reports, e.g. NVIDIA H100 PCIe"
    )
    vendor: Literal["NVIDIA", "AMD", "Intel"]
    architecture: str
    compute_units: int = Field(ge=1, le=4096, description="SMs or CUs: N")
    reference_clock_hz: Positive = Field(description="f0, where the peaks are quoted")
    min_clock_hz: Positive
    max_clock_hz: Positive
    clock_step_hz: Positive = 15e6
    peak_flops: dict[str, Positive] = Field(
        min_length=1, description="dense FLOP/s at f0 by rate key: fp32, tf32, bf16, fp8, ..."
    )
    memory_bytes: Positive
    memory_bandwidth: Positive = Field(description="B/s: W_D")
    memory_type: str
    l2_bytes: Positive = Field(description="decimal, as datasheets print it: 40 MB is 4e7")
    memory_side_cache_bytes: Positive | None = Field(
        default=None, description="cache between L2 and DRAM (Infinity Cache); None: there is none"
    )
    power_limit_w: Positive = Field(le=10000, description="default limit of the board (TDP)")
    min_power_limit_w: Positive | None = Field(
        default=None, description="lowest limit the board accepts; None: not published"
    )
    link: Link
    voltage: tuple[tuple[Positive, Positive], ...] | None = Field(
        default=None, description="(clock in Hz, core supply in V), rising; None: unknown"
    )
    notes: tuple[str, ...] = Field(default=(), description="what a reader of the numbers must know")
    source: Source

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = set(self.peak_flops) - set(RATES)
        if unknown:
            raise ValueError(
                f"peak_flops knows {', '.join(RATES)}, not {', '.join(sorted(unknown))}"
            )
        if not self.min_clock_hz <= self.reference_clock_hz <= self.max_clock_hz:
            raise ValueError("clocks must satisfy min <= reference <= max")
        if self.min_power_limit_w is not None and self.min_power_limit_w > self.power_limit_w:
            raise ValueError("min_power_limit_w exceeds power_limit_w")
        if self.voltage is not None:
            clocks = [clock for clock, _ in self.voltage]
            supplies = [supply for _, supply in self.voltage]
            if not clocks or clocks != sorted(set(clocks)) or supplies != sorted(supplies):
                raise ValueError("voltage must be a curve of rising clocks and supplies")
        return self

    def peak(self, key: str) -> float:
        """Return the dense peak at the reference clock, FLOP/s, NaN if the board has no such rate.

        Frameworks ask for TF32 as a permission: boards whose tensor cores lack it run FP32.
        """
        stand_in = "fp32" if key == "tf32" else key
        return self.peak_flops.get(key, self.peak_flops.get(stand_in, math.nan))

    def rate(self, key: str) -> float:
        """Return the dense peak at the reference clock, FLOP/s.

        Raises:
            InputError: The board has no such rate; the message lists those it has.
        """
        found = self.peak(key)
        if not math.isnan(found):
            return found
        raise InputError(
            f"{self.name} has no {key} rate; use one of {', '.join(self.peak_flops)}, "
            f"or add peak_flops.{key} to a profile of your own"
        )

    def macs_per_cycle(self, key: str) -> float:
        """Return R_d = peak / (2 N f0), MAC per cycle and compute unit (docs/method.md, 0)."""
        return self.rate(key) / (2 * self.compute_units * self.reference_clock_hz)
