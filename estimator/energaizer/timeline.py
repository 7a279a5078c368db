"""From kernels to seconds: the closed form of the method (2.4 and 3), for all clocks at once.

Cycles and bytes do not depend on the clock. `compile_work` finds them once for a program on a GPU;
`durations` is then a smooth maximum of a clocked and an unclocked part, so that a sweep over
sixty clocks costs little more than one clock.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer import links, tiling, traffic, waves
from energaizer.errors import NoEstimateError
from energaizer.kernels import BLOCK_ELEMENTS, COLUMN, FAMILY, RATE, FloatArray
from energaizer.machine import Machine
from energaizer.precision import RATE_KEYS

_TENSOR_ROWS = 16  # a product this thin is bound by DRAM latency: a GEMV
_FP32 = RATE["fp32"]
_DECODE = FAMILY["attention-decode"]
_LEAST_S = 1e-30  # no time at all, to divide by
_STREAMS = np.zeros(len(FAMILY), dtype=np.bool_)
_STREAMS[[FAMILY[name] for name in ("elementwise", "copy", "gather")]] = True


class Alternatives(NamedTuple):
    """Part of a program on a GPU that no coefficient changes.

    Attributes:
        rows: Kernels, shape (K, columns).
        products: Index of the G matrix products among the kernels.
        plans: Their 48 alternatives.
        rate: Rate key of each kernel as an index, shape (K,).
        family: Family of each kernel as an index, shape (K,).
    """

    rows: FloatArray
    products: npt.NDArray[np.intp]
    plans: tiling.Plans
    rate: npt.NDArray[np.intp]
    family: npt.NDArray[np.intp]


class Work(NamedTuple):
    """What K kernels ask of a GPU at any clock; arrays of shape (K,) unless stated.

    Attributes:
        cycles: Clocked part: math, L2, special functions, smoothly added.
        unclocked_s: Part that DRAM or the links set, s.
        fixed_cycles: Fixed cost per launch, clocked.
        fixed_s: Fixed cost per launch, unclocked, s.
        active: Share of SMs that work.
        flops: FLOP by rate key, CUDA-core work under fp32, shape (K, R).
        dram_bytes: Bytes that reach DRAM.
        l2_bytes: Bytes through L2.
        special: Special-function operations.
        link_bytes: Bytes sent to other boards.
        blocks: Thread blocks.
        toggle: Energy of tensor and L2 work against random operands.
        family: Family index.
    """

    cycles: FloatArray
    unclocked_s: FloatArray
    fixed_cycles: FloatArray
    fixed_s: FloatArray
    active: FloatArray
    flops: FloatArray
    dram_bytes: FloatArray
    l2_bytes: FloatArray
    special: FloatArray
    link_bytes: FloatArray
    blocks: FloatArray
    toggle: FloatArray
    family: npt.NDArray[np.intp]

    @property
    def switched(self) -> FloatArray:
        """FLOP as their energy counts, shape (K, R).

        Operands that are mostly zero toggle less in tensor cores; on CUDA cores the instruction
        costs more than its operands.
        """
        found = self.flops * self.toggle[:, None]
        found[:, _FP32] = self.flops[:, _FP32]
        return found

    @property
    def moved(self) -> FloatArray:
        """Work that costs energy beside FLOP, as `power` wants it, shape (K, 4)."""
        near = self.l2_bytes * self.toggle
        return np.stack((near, self.special, self.dram_bytes, self.link_bytes), axis=1)


class Timed(NamedTuple):
    """The part of `Work` that durations need: four arrays of equal shape."""

    cycles: FloatArray
    unclocked_s: FloatArray
    fixed_cycles: FloatArray
    fixed_s: FloatArray


def fourth_norm(*terms: FloatArray) -> FloatArray:
    """Return the smooth maximum `pn(...; 4)` of non-negative terms (section 0)."""
    square = terms[0] * terms[0]
    total = square * square
    for term in terms[1:]:
        square = term * term
        total = total + square * square
    return np.sqrt(np.sqrt(total))


def host_norm(gpu_s: FloatArray, host_s: FloatArray) -> FloatArray:
    """Return the smooth maximum `pn(gpu, host; 6)` of GPU time and launch time, s (2.8)."""
    large = np.maximum(gpu_s, host_s)
    ratio = np.minimum(gpu_s, host_s) / np.maximum(large, _LEAST_S)
    found: FloatArray = large * (1.0 + ratio**6) ** (1.0 / 6.0)
    return found


def queued(kernel_s: FloatArray, launch_s: float) -> float:
    """Return when the last kernel of a queue ends, s: `end_i = max(h_i, end_{i-1}) + t_i` (2.8)."""
    launched = launch_s * np.arange(1, len(kernel_s) + 1)
    before = np.concatenate(([0.0], np.cumsum(kernel_s)[:-1]))
    return float(np.max(launched - before) + np.sum(kernel_s)) if len(kernel_s) else 0.0


def alternatives(rows: FloatArray, machine: Machine) -> Alternatives:
    """Return what of a program on a GPU depends on no coefficient.

    Args:
        rows: Kernels, shape (K, columns).
        machine: The GPU; only its SM count and its rate keys are read.

    Raises:
        NoEstimateError: A kernel computes in a format that the GPU has no rate for.
    """
    rate = rows[:, COLUMN["rate"]].astype(np.intp)
    used = rows[:, COLUMN["flops"]] > 0
    missing = used & ~np.isfinite(machine.rates[rate])
    on_cores = bool((rows[:, COLUMN["core_flops"]] > 0).any())
    if missing.any() or (on_cores and not np.isfinite(machine.rates[_FP32])):
        key = RATE_KEYS[rate[missing][0] if missing.any() else _FP32]
        raise NoEstimateError(
            f"{key} on {machine.gpu.name}: no rate; choose another precision, "
            f"or add peak_flops.{key} to the profile"
        )
    products = np.flatnonzero(rows[:, COLUMN["m"]] > 0)
    chosen = rows[products]
    first = COLUMN["batch"]
    operands = COLUMN["a_bytes"]
    return Alternatives(
        rows=rows,
        products=products,
        plans=tiling.alternatives(
            chosen[:, first : first + 4],
            chosen[:, operands : operands + 2],
            rate[products] == _FP32,
            machine.units,
        ),
        rate=rate,
        family=rows[:, COLUMN["family"]].astype(np.intp),
    )


class _Limits(NamedTuple):
    """What bounds each kernel, filled by family; arrays of shape (K,)."""

    math: FloatArray
    core: FloatArray
    l2: FloatArray
    special: FloatArray
    issue: FloatArray
    blocks: FloatArray
    dram_bytes: FloatArray
    l2_bytes: FloatArray
    latency_bound: npt.NDArray[np.bool_]


def _streams(found: Alternatives, machine: Machine) -> _Limits:
    """Return the limits of streaming kernels and attention; products are overwritten later.

    Each clocked limit is cycles, so that all can be added before the clock is known.
    """
    time, units, rows = machine.coefficients.time, machine.units, found.rows

    def column(name: str) -> FloatArray:
        return rows[:, COLUMN[name]]

    efficiency = machine.compute[found.family]
    split = column("in_flight") > 0
    base = np.maximum(column("batch"), 1.0)
    most = column("blocks")
    filled = np.maximum(base, np.minimum(most, base * np.ceil(units / base)))
    blocks = np.where(split, filled, most)
    busy = np.minimum(units, blocks)
    reread = traffic.row_rereads(column("row_bytes"), time.row_bytes) * column("read_bytes")
    stream = column("read_bytes") + column("write_bytes") + reread
    usable = time.usable_l2_fraction * machine.gpu.l2_bytes
    stays = traffic.resident_fraction(stream, usable) * column("cacheable")
    onchip = column("onchip_bytes") + reread
    flops = column("flops")
    rate = np.where(flops > 0, machine.rates[found.rate], 1.0) * efficiency
    issue = np.zeros(len(rows))
    if time.elements_per_cycle is not None:
        # Loads of narrow elements are issued, not streamed: a limit by count, not by bytes.
        streams = _STREAMS[found.family]
        issue[streams] = (BLOCK_ELEMENTS * blocks / (time.elements_per_cycle * busy))[streams]
    return _Limits(
        math=flops / (2.0 * rate * busy),
        core=column("core_flops") / (2.0 * machine.rates[_FP32] * busy * efficiency),
        l2=onchip / (time.stream_bytes_per_cycle * busy),
        special=column("special") / (time.special_per_cycle * busy),
        issue=issue,
        blocks=blocks,
        dram_bytes=stream * (1.0 - stays),
        l2_bytes=onchip,
        latency_bound=split,
    )


def _products(limits: _Limits, found: Alternatives, machine: Machine) -> None:
    """Overwrite the limits of matrix products with those of their fastest plan (2.4)."""
    time, units, at = machine.coefficients.time, machine.units, found.products
    chosen = found.rows[at]

    def column(name: str) -> FloatArray:
        return chosen[:, COLUMN[name]]

    rates = machine.rates[found.rate[at]] * machine.compute[found.family[at]]
    choice = tiling.choose(found.plans, rates, units, time)
    limits.math[at], limits.l2[at], limits.special[at] = choice.cycles, 0.0, 0.0
    limits.core[at] = column("core_flops") / (2.0 * machine.rates[_FP32] * units)
    limits.blocks[at] = choice.blocks
    limits.l2_bytes[at] = choice.operand_bytes
    usable = time.usable_l2_fraction * machine.gpu.l2_bytes
    m, n, k, near = column("m"), column("n"), column("k"), column("resident_bytes")
    limits.dram_bytes[at] = (
        column("read_bytes")
        + column("write_bytes")
        - near * traffic.resident_fraction(near, usable)
        + traffic.panel_rereads(
            (m * k * column("a_bytes"), n * k * column("b_bytes")), choice.waves, usable
        )
    )
    limits.latency_bound[at] = np.minimum(m, n) <= _TENSOR_ROWS


def compile_work(
    found: Alternatives, machine: Machine, fabric: links.Fabric | None = None
) -> Work:  # fmt: skip
    """Return cycles, bytes and operations of each kernel on a GPU (2.4 and 3).

    Args:
        found: Alternatives of the program on this GPU.
        machine: The GPU with its coefficients.
        fabric: What joins the boards; None: the GPU's own link joins any number.
    """
    time, rows, family = machine.coefficients.time, found.rows, found.family

    def column(name: str) -> FloatArray:
        return rows[:, COLUMN[name]]

    limits = _streams(found, machine)
    if len(found.products):
        _products(limits, found, machine)
    bandwidth = machine.gpu.memory_bandwidth
    in_flight = traffic.in_flight_fraction(
        limits.blocks, time.block_bytes_in_flight, bandwidth, time.memory_latency_s
    )
    reached = machine.memory[family] * np.where(limits.latency_bound, in_flight, 1.0)
    ranks = column("link_ranks")
    link_s, sent = np.zeros(len(rows)), np.zeros(len(rows))
    if (ranks > 1.0).any():
        at = ranks > 1.0
        names = ("link_operation", "link_bytes", "link_ranks", "link_stride")
        operation, message, group, stride = (column(name)[at] for name in names)
        link_s[at], sent[at] = links.exchange(
            operation, message, group, stride, fabric or (machine.link,)
        )
    active = np.where(
        ranks > 1.0,
        min(1.0, machine.coefficients.link.channels / machine.units),
        waves.active_fraction(limits.blocks, machine.units),
    )
    flops = np.zeros((len(rows), len(RATE_KEYS)))
    flops[np.arange(len(rows)), found.rate] = column("flops")
    flops[:, _FP32] += column("core_flops")
    launches = column("launches")
    # A decode kernel whose keys are not split has nothing to reduce afterwards.
    whole = (family == _DECODE) & (limits.blocks <= column("batch"))
    reduction_s = np.where(whole, 0.0, machine.reduction_s[family])
    return Work(
        cycles=fourth_norm(limits.math, limits.core, limits.l2, limits.special, limits.issue)
        + machine.block_cycles[family] * limits.blocks / np.minimum(machine.units, limits.blocks),
        unclocked_s=fourth_norm(limits.dram_bytes / (bandwidth * reached), link_s),
        fixed_cycles=launches * time.kernel_cycles,
        fixed_s=launches * (time.kernel_s + machine.fixed_s[family] + reduction_s),
        active=active,
        flops=flops,
        dram_bytes=limits.dram_bytes,
        l2_bytes=limits.l2_bytes,
        special=column("special"),
        link_bytes=sent,
        blocks=limits.blocks,
        toggle=column("toggle"),
        family=family,
    )


def durations(work: Work | Timed, clock_hz: FloatArray) -> FloatArray:
    """Return seconds of each kernel: `pn(n/f, D/W_D; 4) + kappa_c/f + kappa_t`.

    Args:
        work: K kernels.
        clock_hz: SM clocks, broadcast against (K,): shape (F, 1) for a sweep, (K,) for one each.
    """
    return fourth_norm(work.cycles / clock_hz, work.unclocked_s) + (
        work.fixed_cycles / clock_hz + work.fixed_s
    )


def moving(
    work: Work | Timed, kernel_s: FloatArray, clock_hz: FloatArray, stalled_share: float = 1.0
) -> FloatArray:
    """Return the part of each kernel's seconds in which blocks work: without its fixed cost.

    Args:
        work: K kernels.
        kernel_s: Their durations, s.
        clock_hz: SM clocks, as `durations` takes them.
        stalled_share: What a second counts in which blocks only wait for memory or links.
    """
    seconds = kernel_s - (work.fixed_cycles / clock_hz + work.fixed_s)
    if stalled_share == 1.0:
        return seconds
    busy = np.minimum(work.cycles / clock_hz, seconds)
    waiting: FloatArray = busy + stalled_share * (seconds - busy)
    return waiting
