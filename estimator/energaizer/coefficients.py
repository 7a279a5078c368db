"""What was fitted about a GPU, apart from what its datasheet says.

A file of `profiles/calibrations/` is one `Coefficients`: effective parameters of the timing forms,
energies per unit of work, idle power, and the residuals from which intervals follow. Names are
dotted paths (`time.tile_edge`), so that a fit can read and write them as one flat vector.
Symbols of the method's formulas stand in brackets.
"""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic_core import ValidationError

from energaizer.errors import InputError, ProfileError
from energaizer.gpu import Source
from energaizer.records import Field, Record
from energaizer.result import Provenance

FAMILIES = (
    "gemm", "attention-prefill", "attention-decode", "softmax", "norm", "elementwise", "copy",
    "gather", "collective", "convolution", "grouped-gemm", "state-space", "optimizer",
    "sort", "convolution-3d",
)  # fmt: skip
"""Kernel families in the order in which arrays hold them; a fit may add parameters to each."""

Regime = Literal["launch", "memory", "compute", "capped", "any"]


class TimeCoefficients(Record):
    """Effective parameters of the timing forms, dimensionless unless the name says otherwise."""

    tile_edge: float = Field(ge=0, description="extra cycles of small tiles [c_t]")
    tile_prologue: float = Field(ge=0, description="elements of K paid before the main loop [K0]")
    core_prologue: float | None = Field(
        default=None, ge=0, description="the same on CUDA cores; None: as tile_prologue"
    )
    tail_overhead: float = Field(ge=0, description="waves added to every launch [o]")
    split_overhead: float = Field(ge=0, description="extra main-loop work of split-K [sigma]")
    core_split_overhead: float | None = Field(
        default=None, ge=0, description="the same on CUDA cores; None: as split_overhead"
    )
    split_fixed_cycles: float = Field(ge=0, description="cycles of a split-K reduction")
    stream_bytes_per_cycle: float = Field(gt=0, description="through L2, B/cycle/SM [beta]")
    operand_bytes_per_cycle: float | None = Field(
        default=None, gt=0, description="of products, B/cycle/SM; None: twice the streaming rate"
    )
    misaligned_factor: float = Field(
        default=3.0,
        ge=1,
        description="work of tensor products whose rows break 16-byte alignment, where an SM "
        "multiplies 1024 a cycle; what it adds takes as long at any rate",
    )
    elements_per_cycle: float | None = Field(
        default=None, gt=0, description="of a streaming kernel, per cycle and SM; None: no limit"
    )
    contiguous_issue: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="issue of an element of tensors that are read in order, several at a load, "
        "against one with an index of its own",
    )
    usable_l2_fraction: float = Field(gt=0, le=1, description="[phi]")
    special_per_cycle: float = Field(gt=0, description="special-function operations per cycle, SM")
    kernel_cycles: float = Field(
        ge=0, description="clocked part of a kernel's fixed cost [kappa_c]"
    )
    kernel_s: float = Field(
        ge=0, description="unclocked part of a kernel's fixed cost, s [kappa_t]"
    )
    row_bytes: float = Field(gt=0, description="longest row a reduction keeps on chip, B")
    block_bytes_in_flight: float = Field(gt=0, description="DRAM bytes one block keeps in flight")
    memory_latency_s: float = Field(gt=0, description="of a DRAM read under load, s")
    memory_efficiency: float = Field(default=1.0, gt=0, le=1, description="share of the DRAM peak")


class FamilyCoefficients(Record):
    """What sets one kernel family apart; parameters of one family do not serve another."""

    compute_efficiency: float = Field(default=1.0, gt=0, description="of the FLOP peak [eta]")
    memory_efficiency: float = Field(default=1.0, gt=0, description="of the DRAM peak, relative")
    fixed_s: float = Field(default=0.0, ge=0, description="s per launch beyond the common cost")
    reduction_s: float = Field(
        default=0.0, ge=0, description="s per launch whose keys are split over blocks, besides"
    )
    block_cycles: float = Field(
        default=0.0, ge=0, description="cycles an SM spends on a block beyond its work"
    )
    paged_share: float = Field(
        default=1.0, gt=0, description="of that efficiency, where keys lie in pages of a cache"
    )
    narrow_rate: float = Field(
        default=1.0, gt=0, description="rate of a cache of 8 bits against one of 16"
    )
    whole_heads: float = Field(
        default=0.0, ge=0, le=1,
        description="1: decode with a window, or without groups of heads, gives each query head a "
        "block and never splits keys of 16 bits",
    )  # fmt: skip
    energy_factor: float = Field(default=1.0, gt=0, description="dynamic energy, relative")
    toggle: float = Field(
        default=1.0, gt=0, description="energy of FLOP and L2 bytes, by the values of operands"
    )
    provenance: Provenance = Field(description="calibrated: this family was in a fit of this GPU")


class LinkCoefficients(Record):
    """Collectives over the links between boards."""

    hop_s: float = Field(ge=0, description="latency of one hop, s [alpha]")
    efficiency: float = Field(gt=0, le=1, description="share of the link's peak bandwidth")
    channels: float = Field(ge=0, description="SMs that a collective keeps busy")
    pj_per_byte: float = Field(ge=0, description="energy of a byte sent, pJ/B")
    overlap: float = Field(
        default=0.7, ge=0, le=1, description="share of backward time that hides gradients [omega]"
    )


class PowerCoefficients(Record):
    """Idle power and energies per unit of work; effective numbers, not properties of silicon.

    Idle is `p0 + p1 V^2 f + p3 V^3` with V in volts and f in GHz. Energies of core components hold
    at `reference_v` and scale with `(V/reference_v)^voltage_exponent`; DRAM and links do not scale.
    """

    idle_w: float = Field(ge=0, description="constant part: memory, board, regulators, W [p0]")
    idle_w_per_v2_ghz: float = Field(ge=0, description="clock tree of the chip [p1]")
    idle_w_per_v3: float = Field(ge=0, description="leakage of the chip [p3]")
    held_idle_w: float | None = Field(
        default=None, description="W with a live context and clocks up, at f0; None: as idle"
    )
    sm_active_w_per_ghz: float = Field(ge=0, description="one busy SM [c_SM]")
    stalled_share: float = Field(
        default=1.0, ge=0, le=1, description="power of an SM that waits for memory, against busy"
    )
    tail_share: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="power of an SM that the last wave of a kernel leaves without a block, "
        "against busy",
    )
    flop_pj: dict[str, float] = Field(description="pJ/FLOP by rate key of the GPU [e_d]")
    l2_pj_per_byte: float = Field(ge=0, description="[e_L]")
    dram_pj_per_byte: float = Field(ge=0, description="[e_D]")
    special_pj: float = Field(ge=0, description="pJ per special operation [e_x]")
    reference_v: float = Field(gt=0, description="supply at which core energies hold, V")
    voltage_exponent: float = Field(default=2.0, ge=0, le=6)
    leakage_w: float = Field(default=0.0, ge=0, description="heat-dependent W at 60 C, reference_v")
    leakage_per_kelvin: float = Field(default=0.015, ge=0)
    leakage_reference_c: float = Field(default=60.0)
    ambient_c: float = Field(default=45.0, description="die temperature without power, C")
    kelvin_per_watt: float = Field(default=0.1, ge=0, description="die above ambient")
    warm_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="of a kernel's power above idle that a one-second sensor saw before it, on "
        "average, in tables of single kernels; None: not fitted",
    )


class Residual(Record):
    """Spread of ln(measured/predicted) on what a fit did not see."""

    quantity: Literal["duration", "power", "energy"]
    family: str = Field(description='a kernel family, or "any"')
    regime: Regime = "any"
    log_sd: float = Field(ge=0)
    bias: float = Field(default=0.0, description="mean of the log residual")
    n: int = Field(ge=0, description="groups (not rows) behind it; small ones shrink to parents")


class FittedOn(Record):
    """One data set behind a fit."""

    dataset: str
    date: str = Field(pattern=r"^\d{4}-\d{2}(-\d{2})?$")
    rows: int = Field(ge=0)
    held_out: str = Field(default="", description="rule of the hold-out behind the residuals")


class Coefficients(Record):
    """Everything fitted about one GPU."""

    schema_version: Literal[1] = 1
    gpu: str = Field(description="name of the GPU profile")
    provenance: Provenance
    time: TimeCoefficients
    rate_efficiency: dict[str, float] = Field(
        default_factory=dict, description="share of the peak of a rate key; 1 where absent"
    )
    families: dict[str, FamilyCoefficients] = Field(default_factory=dict)
    link: LinkCoefficients
    power: PowerCoefficients
    voltage: tuple[tuple[float, float], ...] | None = Field(
        default=None, description="(Hz, V) rising, where the datasheet profile has no curve"
    )
    residuals: tuple[Residual, ...] = ()
    hull: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="fitted ranges: clock_hz, batch, input_tokens, context_tokens, ...",
    )
    fitted_on: tuple[FittedOn, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="shown beside every estimate")
    source: Source

    @classmethod
    def loads(cls, text: str, where: str = "coefficients") -> Self:
        """Read one JSON text; a breach of the schema names the file and the field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProfileError.of(where, error) from error

    def dumps(self) -> str:
        """Return the JSON text of a profile file, stable in order."""
        return self.model_dump_json(indent=2) + "\n"

    def values(self) -> dict[str, float]:
        """Return every fitted number by dotted path, e.g. `power.flop_pj.bf16`."""
        tree = self.model_dump(
            include={"time", "rate_efficiency", "families", "link", "power"}, exclude_none=True
        )
        return dict(_flat("", tree))

    def with_values(self, values: Mapping[str, float], **fields: Any) -> Self:
        """Return a copy in which the numbers at some dotted paths are others.

        Args:
            values: New numbers by path, as `values()` names them.
            fields: Whole fields to replace beside, e.g. `provenance` or `residuals`.
        """
        tree = self.model_dump()
        for path, value in values.items():
            *parents, leaf = path.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise InputError(f'coefficient "{path}" does not exist')
            node[leaf] = float(value)
        tree.update(fields)
        return type(self).model_validate(tree)


def _flat(path: str, node: Mapping[str, Any]) -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for key, value in node.items():
        here = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            found.extend(_flat(here, value))
        elif isinstance(value, float | int):
            found.append((here, float(value)))
    return found
