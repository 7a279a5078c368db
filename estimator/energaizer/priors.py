"""Coefficients of a GPU that nobody has fitted: scaled from its architecture and its datasheet.

The rules are those of docs/method.md, 4.2 and 5.7: energies by process and memory type,
terms of the chip by SM count, never by board limit where an idle reading could stand.
The numbers are data: `profiles/calibrations/prior.json`.
"""

import itertools
from typing import Literal, Self

from pydantic_core import ValidationError

from energaizer.caches import remembered
from energaizer.coefficients import (
    Coefficients,
    FamilyCoefficients,
    LinkCoefficients,
    PowerCoefficients,
    Residual,
    TimeCoefficients,
)
from energaizer.errors import ProfileError
from energaizer.gpu import Gpu, Source
from energaizer.records import Field, Record
from energaizer.result import Provenance

_GHZ = 1e9


class VoltageRule(Record):
    """Supply over clock of a chip whose curve is not published."""

    flat_fraction: float = Field(gt=0, lt=1, description="of the highest clock: flat up to there")
    flat_v: float = Field(gt=0)
    top_v: float = Field(gt=0, description="V at the highest clock")


class ArchitecturePrior(Record):
    """Energies of one architecture class."""

    flop_pj: dict[str, float] = Field(description="pJ/FLOP by rate key; needs bf16")
    at_1_volt: bool = Field(description="energies hold at 1 V instead of at the reference clock")
    sm_active_w_per_ghz: float | None = Field(
        default=None, description="one SM, at the supply above"
    )
    sm_active_limit_fraction: float | None = Field(default=None, description="of the limit, at f0")
    held_idle_w_per_unit: float | None = Field(default=None, description="live context, W per SM")
    source: str


class CoreLatencies(Record):
    """Widths and latencies of an SM and of the way to memory, for `stages`; cycles at f0."""

    shared_bytes_per_cycle: float = Field(gt=0)
    shared_cycles: float = Field(ge=0)
    mma_cycles: float = Field(ge=0)
    l2_bytes_per_cycle: float = Field(gt=0, description="of the whole chip")
    l2_cycles: float = Field(ge=0)
    dram_cycles: float = Field(ge=0, description="at the reference clock; constant in seconds")


class Prior(Record):
    """The whole prior: numbers, spreads and the rules that scale them."""

    schema_version: Literal[1] = 1
    time: TimeCoefficients
    families: dict[str, FamilyCoefficients]
    links: dict[str, LinkCoefficients] = Field(description="by kind of link")
    architectures: dict[str, ArchitecturePrior]
    default_architecture: str = Field(description="for an architecture that is not listed")
    relative_flop_pj: dict[str, float] = Field(description="energy against bf16, missing keys")
    dram_pj_per_byte: dict[str, float] = Field(description="by memory type; default: any other")
    idle_w: dict[str, float] = Field(description="p0 by memory type; default: any other")
    idle_w_per_v2_ghz_unit: float
    idle_w_per_v3_unit: float
    l2_pj_per_byte: float
    special_pj: float
    voltage_rule: VoltageRule
    core: CoreLatencies
    voltage_exponent: float
    ambient_c: float
    kelvin_at_limit: float = Field(description="die above ambient at the board's limit")
    leakage_per_kelvin: float
    leakage_reference_c: float
    leakage_share: float = Field(description="of the idle leakage term that follows temperature")
    log_sd: dict[str, float] = Field(description="spread of ln(coefficient), by dotted path")
    residuals: tuple[Residual, ...]
    source: Source

    @classmethod
    def loads(cls, text: str) -> Self:
        """Read the JSON text of the prior."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ProfileError(f"prior.json: {field}: {first['msg']}; mend that field") from error


def voltage_curve(rule: VoltageRule, gpu: Gpu) -> tuple[tuple[float, float], ...]:
    """Return a supply curve that is flat, then linear up to the highest clock (4.2)."""
    knee = max(rule.flat_fraction * gpu.max_clock_hz, gpu.min_clock_hz)
    points = [(gpu.min_clock_hz, rule.flat_v)]
    if gpu.min_clock_hz < knee < gpu.max_clock_hz:
        points.append((knee, rule.flat_v))
    points.append((gpu.max_clock_hz, rule.top_v))
    return tuple(points)


def interpolate(curve: tuple[tuple[float, float], ...], clock_hz: float) -> float:
    """Return the supply at one clock, V; the ends of the curve extend flat."""
    if clock_hz <= curve[0][0]:
        return curve[0][1]
    for (f_low, v_low), (f_high, v_high) in itertools.pairwise(curve):
        if clock_hz <= f_high:
            return v_low + (v_high - v_low) * (clock_hz - f_low) / (f_high - f_low)
    return curve[-1][1]


def _flop_energies(prior: Prior, architecture: ArchitecturePrior, gpu: Gpu) -> dict[str, float]:
    base = architecture.flop_pj["bf16"]
    return {
        key: architecture.flop_pj.get(key, base * prior.relative_flop_pj.get(key, 1.0))
        for key in gpu.peak_flops
    }


@remembered(256)
def from_specification(gpu: Gpu, prior: Prior) -> Coefficients:
    """Return the coefficients of a GPU without a calibration file (5.7).

    Args:
        gpu: The board, from its datasheet.
        prior: Energies by architecture and the rules that scale them.
    """
    key = gpu.architecture.lower()
    known = key in prior.architectures
    architecture = prior.architectures[key if known else prior.default_architecture]
    curve = gpu.voltage or voltage_curve(prior.voltage_rule, gpu)
    notes = [f"{gpu.name}: coefficients scaled from the datasheet, no reading behind them"]
    if not known:
        notes.append(f'architecture "{gpu.architecture}" has no prior; {architecture.source} used')
    if gpu.voltage is None:
        notes.append(f"{gpu.name}: supply voltage unknown, a typical curve is assumed")
    reference_v = interpolate(curve, gpu.reference_clock_hz)
    if architecture.at_1_volt and gpu.voltage is not None:
        reference_v = 1.0
    per_sm = architecture.sm_active_w_per_ghz
    if per_sm is None:
        fraction = architecture.sm_active_limit_fraction or 0.0
        per_sm = fraction * gpu.power_limit_w * _GHZ / gpu.reference_clock_hz / gpu.compute_units
    elif architecture.at_1_volt and gpu.voltage is None:
        per_sm *= reference_v**prior.voltage_exponent
    energies = _flop_energies(prior, architecture, gpu)
    l2_pj, special_pj = prior.l2_pj_per_byte, prior.special_pj
    if architecture.at_1_volt and gpu.voltage is None:
        scale = reference_v**prior.voltage_exponent
        energies = {name: energy * scale for name, energy in energies.items()}
    held = architecture.held_idle_w_per_unit
    leakage_v3 = prior.idle_w_per_v3_unit * gpu.compute_units
    return Coefficients(
        gpu=gpu.name,
        provenance=Provenance.SPECIFICATION,
        time=prior.time,
        families=prior.families,
        link=prior.links.get(gpu.link.kind, prior.links["default"]),
        power=PowerCoefficients(
            idle_w=prior.idle_w.get(gpu.memory_type, prior.idle_w["default"]),
            idle_w_per_v2_ghz=prior.idle_w_per_v2_ghz_unit * gpu.compute_units,
            idle_w_per_v3=leakage_v3,
            held_idle_w=None if held is None else held * gpu.compute_units,
            sm_active_w_per_ghz=per_sm,
            flop_pj=energies,
            l2_pj_per_byte=l2_pj,
            dram_pj_per_byte=prior.dram_pj_per_byte.get(
                gpu.memory_type, prior.dram_pj_per_byte["default"]
            ),
            special_pj=special_pj,
            reference_v=reference_v,
            voltage_exponent=prior.voltage_exponent,
            leakage_w=prior.leakage_share * leakage_v3 * reference_v**3,
            leakage_per_kelvin=prior.leakage_per_kelvin,
            leakage_reference_c=prior.leakage_reference_c,
            ambient_c=prior.ambient_c,
            kelvin_per_watt=prior.kelvin_at_limit / gpu.power_limit_w,
        ),
        voltage=None if gpu.voltage is not None else curve,
        residuals=prior.residuals,
        notes=tuple(notes),
        source=prior.source,
    )
