"""Watts from rates of work, supply and clock; and the clock that a power limit leaves.

This room sees arrays, never a kernel: joules of work at the reference supply, seconds of busy SMs
and seconds of wall time. Everything the cap does acts through the clock, never by clipping power.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer.machine import Machine
from energaizer.precision import RATE_KEYS

FloatArray = npt.NDArray[np.float64]
_GHZ = 1e9
_PICO = 1e-12
COMPONENTS = (
    "idle", "sm_active", "tensor", "cuda_core", "l2", "special", "leakage", "dram", "link",
)  # fmt: skip
"""Components of energy in the order in which arrays hold them."""
_IDLE, _ACTIVE, _TENSOR, _CORE, _L2, _SPECIAL, _LEAKAGE, _DRAM, _LINK = range(len(COMPONENTS))
_TEMPERATURE_STEPS = 2


class Activity(NamedTuple):
    """Work of P steps, independent of the clock.

    Attributes:
        core_j: Joules at the reference supply by tensor, CUDA core, L2 and special, shape (P, 4).
        memory_j: Joules that do not scale with the core supply: DRAM and links, shape (P, 2).
    """

    core_j: FloatArray
    memory_j: FloatArray


def work_energies(
    machine: Machine, flops: FloatArray, moved: FloatArray, factor: FloatArray
) -> Activity:
    """Return joules of K kernels at the reference supply.

    Args:
        machine: The GPU with its energies.
        flops: FLOP by rate key, shape (K, R).
        moved: L2 bytes, special operations, DRAM bytes, link bytes, shape (K, 4).
        factor: Factor of dynamic energy of each kernel, shape (K,).
    """
    power = machine.coefficients.power
    # A rate key without an energy is bought at the price of the nearest one that has.
    priced = np.where(np.isfinite(machine.flop_j), machine.flop_j, _nearest_price(machine.flop_j))
    joules = flops * priced * factor[:, None]
    core = np.empty((len(flops), 4))
    core[:, 1] = joules[:, 0]
    core[:, 0] = joules[:, 1:].sum(axis=1)
    core[:, 2] = moved[:, 0] * (power.l2_pj_per_byte * _PICO) * factor
    core[:, 3] = moved[:, 1] * (power.special_pj * _PICO) * factor
    memory = np.empty((len(flops), 2))
    memory[:, 0] = moved[:, 2] * (power.dram_pj_per_byte * _PICO) * factor
    memory[:, 1] = moved[:, 3] * (machine.coefficients.link.pj_per_byte * _PICO)
    return Activity(core, memory)


def _nearest_price(flop_j: FloatArray) -> float:
    bf16 = flop_j[RATE_KEYS.index("bf16")]
    return float(bf16 if np.isfinite(bf16) else np.nanmax(flop_j, initial=0.0))


def idle_power(machine: Machine, clock_hz: FloatArray) -> FloatArray:
    """Return board power with a live context and no work, W: `p0 + p1 V^2 f + p3 V^3` (4.1).

    Args:
        machine: The GPU.
        clock_hz: SM clocks, any shape.
    """
    power = machine.coefficients.power
    found = _idle_table(machine, clock_hz)
    if power.held_idle_w is not None:
        reference = _idle_table(machine, np.array([machine.gpu.reference_clock_hz]))[0]
        found = found + max(0.0, power.held_idle_w - reference)
    return found


def _idle_table(machine: Machine, clock_hz: FloatArray) -> FloatArray:
    power = machine.coefficients.power
    volt = machine.supply(clock_hz)
    square = volt * volt
    return (
        power.idle_w
        + power.idle_w_per_v2_ghz * square * (clock_hz / _GHZ)
        + power.idle_w_per_v3 * square * volt
    )


def supply_factor(machine: Machine, clock_hz: FloatArray) -> FloatArray:
    """Return `(V/V_ref)^q`, by which core energies scale, dimensionless (section 4)."""
    power = machine.coefficients.power
    factor: FloatArray = (machine.supply(clock_hz) / power.reference_v) ** power.voltage_exponent
    return factor


def leakage_power(
    machine: Machine, clock_hz: FloatArray, idle_w: FloatArray, busy_w: FloatArray
) -> FloatArray:
    """Return watts of leakage that heat adds to idle, never negative (4.4), in two iterations.

    Args:
        machine: The GPU.
        clock_hz: SM clocks, shape of `busy_w` or broadcastable.
        idle_w: Idle power at those clocks, W.
        busy_w: Power without the added leakage, W.
    """
    power = machine.coefficients.power
    if power.leakage_w == 0:
        return np.zeros_like(busy_w)
    base = power.leakage_w * (machine.supply(clock_hz) / power.reference_v) ** 3

    def heat(watts: FloatArray) -> FloatArray:
        die = power.ambient_c + power.kelvin_per_watt * watts
        grown: FloatArray = np.exp(power.leakage_per_kelvin * (die - power.leakage_reference_c))
        return grown

    cold = heat(idle_w)
    added = np.zeros_like(busy_w)
    for _ in range(_TEMPERATURE_STEPS):
        added = base * np.maximum(0.0, heat(busy_w + added) - cold)
    return added


def energies(
    machine: Machine,
    clock_hz: FloatArray,
    duration_s: FloatArray,
    active_s: FloatArray,
    activity: Activity,
) -> FloatArray:
    """Return joules of each step by component, shape (F, P, components).

    Args:
        machine: The GPU.
        clock_hz: SM clocks, broadcast against (F, P): shape (F, 1), or (1, P) for one each.
        duration_s: Wall time of each step, shape (F, P).
        active_s: Seconds times the share of SMs that work, shape (F, P).
        activity: Work of P steps.
    """
    shape = duration_s.shape
    found = np.empty((*shape, len(COMPONENTS)))
    scale = supply_factor(machine, clock_hz)
    idle_w = idle_power(machine, clock_hz)
    per_ghz = machine.coefficients.power.sm_active_w_per_ghz * machine.units
    found[..., _IDLE] = idle_w * duration_s
    found[..., _ACTIVE] = scale * (clock_hz / _GHZ) * per_ghz * active_s
    found[..., _TENSOR : _SPECIAL + 1] = scale[..., None] * activity.core_j
    found[..., _DRAM:] = activity.memory_j
    found[..., _LEAKAGE] = 0.0
    if machine.coefficients.power.leakage_w:
        busy_w = found.sum(axis=-1) / duration_s
        found[..., _LEAKAGE] = leakage_power(machine, clock_hz, idle_w, busy_w) * duration_s
    return found


class Throttle(NamedTuple):
    """Where a limit leaves the clock of each of P steps; arrays of shape (P,), or (L, P).

    The board dithers between two grid clocks so that its mean power sits at the limit.

    Attributes:
        first: Index of the lowest grid clock that exceeds the limit; the number of clocks if none.
        low: Index of the lower grid clock.
        high: Index of the upper one; equal to `low` if no dithering is needed.
        high_share: Share of time at the upper clock, in [0, 1].
    """

    first: npt.NDArray[np.intp]
    low: npt.NDArray[np.intp]
    high: npt.NDArray[np.intp]
    high_share: FloatArray

    @property
    def over(self) -> npt.NDArray[np.bool_]:
        """Even the lowest clock exceeds the limit."""
        found: npt.NDArray[np.bool_] = self.first == 0
        return found


def throttle(power_w: FloatArray, limit_w: float | FloatArray) -> Throttle:
    """Return the highest clock, between grid clocks too, at which power meets the limit (4.6).

    Args:
        power_w: Power on a rising grid of clocks, shape (F, P), W.
        limit_w: Effective limit of the board, W, or L limits, shape (L,).
    """
    limit = np.asarray(limit_w)[..., None]
    clocks = len(power_w)
    exceeds = power_w > limit[..., None]
    # The highest clock below which all clocks hold, so that noise in P(f) cannot skip the limit.
    first = np.where(exceeds.any(axis=-2), exceeds.argmax(axis=-2), clocks)
    high, low = np.minimum(first, clocks - 1), np.maximum(first - 1, 0)
    columns = np.arange(power_w.shape[1])
    p_low, p_high = power_w[low, columns], power_w[high, columns]
    share = np.divide(limit - p_low, p_high - p_low, out=np.zeros_like(p_low), where=p_high > p_low)
    return Throttle(first, low, high, np.minimum(np.maximum(share, 0.0), 1.0))
