"""A GPU and its coefficients as plain numbers and arrays, ready for formulas.

Reading a frozen description costs more than a formula does, so it happens once per GPU.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer.caches import remembered
from energaizer.coefficients import FAMILIES, Coefficients, FamilyCoefficients
from energaizer.gpu import Gpu
from energaizer.links import Level
from energaizer.precision import RATE_KEYS
from energaizer.records import Record
from energaizer.result import Provenance

FloatArray = npt.NDArray[np.float64]
_ALIKE = {"fp16": "bf16", "bf16": "fp16"}


class Machine(NamedTuple):
    """Numbers of one GPU.

    Attributes:
        gpu: The datasheet.
        coefficients: What was fitted.
        units: SMs.
        rates: MAC per cycle and SM by rate key, NaN where the GPU has none, shape (R,).
        lacking: Places of the keys that it has none for.
        flop_j: J/FLOP by rate key at the reference supply, shape (R,).
        compute: Efficiency of compute by family, shape (families,).
        memory: Efficiency of DRAM by family, shape (families,).
        fixed_s: Extra fixed seconds per launch by family, shape (families,).
        reduction_s: Extra seconds of a launch that splits its keys, shape (families,).
        block_cycles: Extra cycles of an SM per block by family, shape (families,).
        paged_share: Share of compute where keys lie in pages, by family, shape (families,).
        narrow_rate: Rate of an 8-bit cache against 16 bits by family, shape (families,).
        whole_heads: 1 where decode may give each query head a block, by family, (families,).
        energy: Factor of dynamic energy by family, shape (families,).
        toggle: Factor of the energy of tensor and L2 work by family, shape (families,).
        calibrated: Families that were in a fit of this GPU, shape (families,).
        supply_hz: Clocks of the supply curve, rising.
        supply_v: Supply at those clocks, V.
        digest: Hash of both descriptions.
    """

    gpu: Gpu
    coefficients: Coefficients
    units: float
    rates: FloatArray
    lacking: frozenset[int]
    flop_j: FloatArray
    compute: FloatArray
    memory: FloatArray
    fixed_s: FloatArray
    reduction_s: FloatArray
    block_cycles: FloatArray
    paged_share: FloatArray
    narrow_rate: FloatArray
    whole_heads: FloatArray
    energy: FloatArray
    toggle: FloatArray
    calibrated: npt.NDArray[np.bool_]
    supply_hz: FloatArray
    supply_v: FloatArray
    digest: str

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same object: arrays have no truth to compare by."""
        return self is other

    def __hash__(self) -> int:
        """Return a hash of this object."""
        return id(self)

    def supply(self, clock_hz: FloatArray) -> FloatArray:
        """Return the core supply at each clock, V, flat beyond the ends of the curve."""
        return np.interp(clock_hz, self.supply_hz, self.supply_v)

    @property
    def link(self) -> Level:
        """The board's own link, as if it joined any number of boards."""
        found = self.coefficients.link
        return Level(math.inf, self.gpu.link.bandwidth * found.efficiency, found.hop_s)

    def grid(self, highest_hz: float) -> FloatArray:
        """Return the clocks that the board can hold, rising, with `highest_hz` as the last."""
        step = self.gpu.clock_step_hz
        clocks = np.arange(self.gpu.min_clock_hz, highest_hz - 0.5 * step, step)
        return np.append(clocks, max(highest_hz, self.gpu.min_clock_hz))


def _by_key(values: Mapping[Any, float], missing: float) -> FloatArray:
    return np.array(
        [values.get(key, values.get(_ALIKE.get(key, key), missing)) for key in RATE_KEYS]
    )


def build(gpu: Gpu, coefficients: Coefficients) -> Machine:
    """Return the numbers of a GPU with its coefficients."""
    default = FamilyCoefficients.model_construct(provenance=Provenance.ANALYTICAL)
    families = [coefficients.families.get(name, default) for name in FAMILIES]
    efficiency = _by_key(coefficients.rate_efficiency, 1.0)
    peaks = np.array([gpu.peak(key) for key in RATE_KEYS])
    energies = {"tf32": coefficients.power.flop_pj.get("fp32", np.nan)} | coefficients.power.flop_pj
    curve = coefficients.voltage or gpu.voltage
    if curve is None:
        curve = ((gpu.reference_clock_hz, coefficients.power.reference_v),)
    return Machine(
        gpu=gpu,
        coefficients=coefficients,
        units=float(gpu.compute_units),
        rates=efficiency * peaks / (2.0 * gpu.compute_units * gpu.reference_clock_hz),
        lacking=frozenset(np.flatnonzero(np.isnan(peaks)).tolist()),
        flop_j=1e-12 * _by_key(energies, np.nan),
        compute=np.array([family.compute_efficiency for family in families]),
        memory=np.array([family.memory_efficiency for family in families])
        * coefficients.time.memory_efficiency,
        fixed_s=np.array([family.fixed_s for family in families]),
        reduction_s=np.array([family.reduction_s for family in families]),
        block_cycles=np.array([family.block_cycles for family in families]),
        paged_share=np.array([family.paged_share for family in families]),
        narrow_rate=np.array([family.narrow_rate for family in families]),
        whole_heads=np.array([family.whole_heads for family in families]),
        energy=np.array([family.energy_factor for family in families]),
        toggle=np.array([family.toggle for family in families]),
        calibrated=np.array([family.provenance == Provenance.CALIBRATED for family in families]),
        supply_hz=np.array([clock for clock, _ in curve]),
        supply_v=np.array([volt for _, volt in curve]),
        digest=digest(gpu, coefficients),
    )


def digest(*profiles: Record) -> str:
    """Return a short hash by which an estimate names the profiles behind it."""
    text = "".join(profile.model_dump_json() for profile in profiles)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@remembered(256)
def of(gpu: Gpu, coefficients: Coefficients) -> Machine:
    """Return the numbers of a GPU, built once per pair of descriptions."""
    return build(gpu, coefficients)
