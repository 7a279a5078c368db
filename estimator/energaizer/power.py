"""Watts from rates of work, supply and clock; and the clock that a power limit leaves.

This room sees arrays, never a kernel: joules of work at the reference supply, seconds of busy SMs
and seconds of wall time. Everything the cap does acts through the clock, never by clipping power.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer.caches import remembered
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
_COARSE = 12  # clocks among which a limit is looked for first: about the root of those of a grid


class Activity(NamedTuple):
    """Work of P steps, or of K kernels, independent of the clock.

    Attributes:
        joules: By tensor, CUDA core, L2 and special at the reference supply, then by DRAM and
            links, which do not scale with it, shape (P, 6).
    """

    joules: FloatArray

    @property
    def core_j(self) -> FloatArray:
        """Joules that scale with the core supply, shape (P, 4)."""
        return self.joules[..., :4]

    @property
    def memory_j(self) -> FloatArray:
        """Joules that do not, shape (P, 2)."""
        return self.joules[..., 4:]


@remembered(256)
def prices(machine: Machine) -> FloatArray:
    """Return J of work at the reference supply, shape (R + 4,).

    By rate key a FLOP; then a byte through L2, a special operation, a DRAM byte, a byte on a link.
    A rate key without an energy is bought at the price of the nearest one that has.
    """
    power, link = machine.coefficients.power, machine.coefficients.link
    flop = np.where(np.isfinite(machine.flop_j), machine.flop_j, _nearest_price(machine.flop_j))
    others = (power.l2_pj_per_byte, power.special_pj, power.dram_pj_per_byte, link.pj_per_byte)
    return np.append(flop, np.array(others) * _PICO)


def work_energies(
    price: FloatArray, flops: FloatArray, moved: FloatArray, factor: FloatArray
) -> Activity:
    """Return joules of K kernels at the reference supply.

    Args:
        price: Of the GPU (`prices`), or of that of each kernel, shape (K, R + 4).
        flops: FLOP by rate key, shape (K, R).
        moved: L2 bytes, special operations, DRAM bytes, link bytes, shape (K, 4).
        factor: Factor of dynamic energy of each kernel, shape (K,).
    """
    keys = flops.shape[1]
    joules = flops * price[..., :keys]
    each = np.empty((len(flops), 6))
    each[:, 0] = np.add.reduce(joules[:, 1:], axis=1)
    each[:, 1] = joules[:, 0]
    each[:, 2:] = moved * price[..., keys:]
    each[:, :5] *= factor[:, None]  # links do not depend on the family
    return Activity(each)


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


class Heat(NamedTuple):
    """How the leakage of a die grows with the power of its board: floats, or shape (P,).

    Attributes:
        per_kelvin: Relative growth, 1/K.
        kelvin_per_watt: Die above ambient.
        above_reference: Ambient above the temperature at which leakage is known, K.
    """

    per_kelvin: float | FloatArray
    kelvin_per_watt: float | FloatArray
    above_reference: float | FloatArray


class Points(NamedTuple):
    """A board at F clocks, whatever it computes; arrays of the shape of the clocks.

    Shapes are (F, 1), (1, P) for one clock each, or (F, P) for steps of several boards.

    Attributes:
        clock_hz: SM clocks.
        idle_w: Board power without work.
        scale: Factor of core energies.
        active_w: What all SMs draw by being active.
        leakage_w: Leakage at its reference temperature; None: it does not grow with heat.
        cold: Growth of leakage at idle.
        heat: How it grows.
    """

    clock_hz: FloatArray
    idle_w: FloatArray
    scale: FloatArray
    active_w: FloatArray
    leakage_w: FloatArray | None
    cold: FloatArray
    heat: Heat


def points(machine: Machine, clock_hz: FloatArray) -> Points:
    """Return a board at some clocks of any shape."""
    power = machine.coefficients.power
    idle_w, scale = idle_power(machine, clock_hz), supply_factor(machine, clock_hz)
    heat = Heat(
        power.leakage_per_kelvin,
        power.kelvin_per_watt,
        power.ambient_c - power.leakage_reference_c,
    )
    return Points(
        clock_hz=clock_hz,
        idle_w=idle_w,
        scale=scale,
        active_w=scale * (clock_hz / _GHZ) * (power.sm_active_w_per_ghz * machine.units),
        leakage_w=power.leakage_w * (machine.supply(clock_hz) / power.reference_v) ** 3
        if power.leakage_w
        else None,
        cold=_growth(heat, idle_w),
        heat=heat,
    )


@lru_cache(maxsize=256)
def at_clock(machine: Machine, clock_hz: float) -> Points:
    """Return a board at one clock, shape (1, 1)."""
    return points(machine, np.array([[clock_hz]]))


@remembered(64)
def on_grid(machine: Machine) -> Points:
    """Return a board at every clock that it can hold, shape (F, 1)."""
    return points(machine, machine.grid(machine.gpu.max_clock_hz)[:, None])


class Grids(NamedTuple):
    """B boards at some clocks of each.

    Attributes:
        table: Arrays of `Points` but its heat, one after the other, shape (6, F, B).
        heat: The numbers of `Heat`, shape (3, B).
    """

    table: FloatArray
    heat: FloatArray

    @property
    def clock_hz(self) -> FloatArray:
        """Clocks of each board, shape (F, B)."""
        found: FloatArray = self.table[0]
        return found

    def points(self, board: npt.NDArray[np.intp]) -> Points:
        """Return the points of some of these boards, one for each step, shape (F, P)."""
        clock, idle, scale, active, leakage, cold = self.table.take(board, axis=2)
        return Points(
            clock, idle, scale, active, leakage, cold, Heat(*self.heat.take(board, axis=1))
        )


@lru_cache(maxsize=64)
def on_grids(machines: tuple[Machine, ...]) -> Grids:
    """Return boards at every clock that they can hold; a shorter grid ends with its last clock."""
    boards = [on_grid(machine) for machine in machines]
    most = max(len(board.clock_hz) for board in boards)
    table = np.empty((6, most, len(boards)))
    for index, board in enumerate(boards):
        leakage = np.zeros_like(board.idle_w) if board.leakage_w is None else board.leakage_w
        own = (board.clock_hz, board.idle_w, board.scale, board.active_w, leakage, board.cold)
        clocks = len(leakage)
        table[:, :clocks, index] = np.array(own)[..., 0]
        table[:, clocks:, index] = table[:, clocks - 1 : clocks, index]
    return Grids(table, np.array([board.heat for board in boards]).T)


def at_places(
    machines: tuple[Machine, ...], board: npt.NDArray[np.intp], places: npt.NDArray[np.intp]
) -> Grids:
    """Return boards at some clocks of their grids (`on_grids`).

    Args:
        machines: The boards.
        board: Which of them, N times, shape (N,).
        places: On the grid of each, rising, shape (N, F).
    """
    grids = on_grids(machines)
    table = np.ascontiguousarray(grids.table[:, places.T, board])
    return Grids(table, grids.heat.take(board, axis=1))


@lru_cache(maxsize=64)
def coarsely(machines: tuple[Machine, ...]) -> tuple[npt.NDArray[np.intp], Grids]:
    """Return some places on the grid of each board, both ends among them, and boards there."""
    last = [len(on_grid(machine).clock_hz) - 1 for machine in machines]
    places = np.round(np.linspace(0, last, _COARSE).T).astype(np.intp)
    return places, at_places(machines, np.arange(len(machines)), places)


def _growth(heat: Heat, watts: FloatArray) -> FloatArray:
    above = heat.above_reference + heat.kelvin_per_watt * watts
    grown: FloatArray = np.exp(heat.per_kelvin * above)
    return grown


def leakage_power(at: Points, busy_w: FloatArray) -> FloatArray:
    """Return watts of leakage that heat adds to idle, never negative (4.4), in two iterations.

    Args:
        at: The board at its clocks.
        busy_w: Power without the added leakage, W.
    """
    if at.leakage_w is None:
        return np.zeros_like(busy_w)
    watts = busy_w
    for _ in range(_TEMPERATURE_STEPS):
        grown = _growth(at.heat, watts) - at.cold
        added = at.leakage_w * np.maximum(0.0, grown)
        watts = busy_w + added
    return added


def energies(
    at: Points, duration_s: FloatArray, active_s: FloatArray, activity: Activity
) -> FloatArray:
    """Return joules of each step by component, shape (F, P, components).

    Args:
        at: The board at its clocks, broadcast against (F, P).
        duration_s: Wall time of each step, shape (F, P).
        active_s: Seconds times the share of SMs that work, of that shape.
        activity: Work of P steps.
    """
    found = np.empty((*duration_s.shape, len(COMPONENTS)))
    found[..., _IDLE] = at.idle_w * duration_s
    found[..., _ACTIVE] = at.active_w * active_s
    np.multiply(at.scale[..., None], activity.core_j, out=found[..., _TENSOR : _SPECIAL + 1])
    found[..., _DRAM:] = activity.memory_j
    found[..., _LEAKAGE] = 0.0
    if at.leakage_w is not None:
        busy_w = np.add.reduce(found, axis=-1) / duration_s
        found[..., _LEAKAGE] = leakage_power(at, busy_w) * duration_s
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
    some = np.logical_or.reduce(exceeds, axis=-2)
    first = np.where(some, exceeds.argmax(axis=-2), clocks)
    high, low = np.minimum(first, clocks - 1), np.maximum(first - 1, 0)
    columns = np.arange(power_w.shape[1])
    p_low, p_high = power_w[low, columns], power_w[high, columns]
    share = np.divide(limit - p_low, p_high - p_low, out=np.zeros_like(p_low), where=p_high > p_low)
    return Throttle(first, low, high, np.minimum(np.maximum(share, 0.0), 1.0))
