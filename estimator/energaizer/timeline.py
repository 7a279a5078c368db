"""From kernels to seconds: the closed form of the method (2.4 and 3), for all clocks at once.

Cycles and bytes do not depend on the clock. `compile_work` finds them once for a program on a GPU;
`durations` is then a smooth maximum of a clocked and an unclocked part, so that a sweep over
sixty clocks costs little more than one clock.
"""

from dataclasses import dataclass
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
_STREAMS = [FAMILY[name] for name in ("elementwise", "copy", "gather")]


@dataclass(frozen=True)
class Alternatives:
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


@dataclass(frozen=True)
class Work:
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
    family: npt.NDArray[np.intp]


class Timed(NamedTuple):
    """The part of `Work` that durations need: four arrays of equal shape."""

    cycles: FloatArray
    unclocked_s: FloatArray
    fixed_cycles: FloatArray
    fixed_s: FloatArray


def fourth_norm(*terms: FloatArray) -> FloatArray:
    """Return the smooth maximum `pn(...; 4)` of non-negative terms (section 0)."""
    total = np.zeros_like(terms[0])
    for term in terms:
        square = term * term
        total = total + square * square
    return np.sqrt(np.sqrt(total))


def host_norm(gpu_s: FloatArray, host_s: FloatArray) -> FloatArray:
    """Return the smooth maximum `pn(gpu, host; 6)` of GPU time and launch time, s (2.8)."""
    large = np.maximum(gpu_s, host_s)
    small = np.minimum(gpu_s, host_s)
    ratio = np.divide(small, large, out=np.zeros_like(large), where=large > 0)
    return large * (1.0 + ratio**6) ** (1.0 / 6.0)


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
        NoEstimateError: A kernel multiplies in a format that the GPU has no rate for.
    """
    rate = rows[:, COLUMN["rate"]].astype(np.intp)
    used = rows[:, COLUMN["flops"]] > 0
    missing = used & ~np.isfinite(machine.rates[rate])
    if missing.any():
        key = RATE_KEYS[rate[missing][0]]
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


def compile_work(found: Alternatives, machine: Machine) -> Work:
    """Return cycles, bytes and operations of each kernel on a GPU (2.4 and 3).

    Args:
        found: Alternatives of the program on this GPU.
        machine: The GPU with its coefficients.
    """
    time = machine.coefficients.time
    rows, rate, family = found.rows, found.rate, found.family

    def column(name: str) -> FloatArray:
        return rows[:, COLUMN[name]]

    units = machine.units
    efficiency = machine.compute[family]
    kernel_rate = machine.rates[rate] * efficiency
    l2 = time.usable_l2_fraction * machine.gpu.l2_bytes
    beta = time.stream_bytes_per_cycle * units
    blocks = column("blocks").copy()
    flops, core_flops, special = column("flops"), column("core_flops"), column("special")

    # Streaming kernels and attention: each clocked limit is cycles, added before the clock.
    split = column("in_flight") > 0
    base = np.maximum(column("batch"), 1.0)
    filled = np.maximum(base, np.minimum(blocks, base * np.ceil(units / base)))
    blocks[split] = filled[split]
    busy = np.minimum(units, blocks)
    onchip = column("onchip_bytes")
    reread = traffic.row_rereads(column("row_bytes"), time.row_bytes) * column("read_bytes")
    stream = column("read_bytes") + column("write_bytes") + reread
    stays = traffic.resident_fraction(stream, l2) * column("cacheable")
    dram = stream * (1.0 - stays)
    with np.errstate(invalid="ignore"):
        math = np.where(flops > 0, flops / (2.0 * kernel_rate * busy), 0.0)
    core_rate = machine.rates[_FP32]
    core = core_flops / (2.0 * core_rate * busy * efficiency)
    l2_cycles = (onchip + reread) / (beta * busy / units)
    special_cycles = special / (time.special_per_cycle * busy)
    issue = np.zeros(len(rows))
    if time.elements_per_cycle is not None:
        # Loads of narrow elements are issued, not streamed: a limit by count, not by bytes.
        streams = np.isin(family, _STREAMS)
        issue[streams] = (BLOCK_ELEMENTS * blocks / (time.elements_per_cycle * busy))[streams]

    products = found.products
    if len(products):
        choice = tiling.choose(found.plans, kernel_rate[products], units, time)
        math[products], l2_cycles[products] = choice.cycles, 0.0
        core[products] = core_flops[products] / (2.0 * core_rate * units)
        special_cycles[products] = 0.0
        blocks[products] = choice.blocks
        onchip = onchip.copy()
        onchip[products] = choice.operand_bytes
        chosen = rows[products]
        depth = chosen[:, COLUMN["k"]]
        panels = (
            chosen[:, COLUMN["m"]] * depth * chosen[:, COLUMN["a_bytes"]],
            chosen[:, COLUMN["n"]] * depth * chosen[:, COLUMN["b_bytes"]],
        )
        near = chosen[:, COLUMN["resident_bytes"]]
        dram[products] = (
            stream[products]
            - near * traffic.resident_fraction(near, l2)
            + traffic.panel_rereads(panels, choice.waves, l2)
        )
        thin = np.minimum(chosen[:, COLUMN["m"]], chosen[:, COLUMN["n"]]) <= _TENSOR_ROWS
        split[products] = thin
    bandwidth = machine.gpu.memory_bandwidth
    reached = np.where(
        split,
        traffic.in_flight_fraction(
            blocks, time.block_bytes_in_flight, bandwidth, time.memory_latency_s
        ),
        1.0,
    )
    link = machine.coefficients.link
    ranks, message = column("link_ranks"), column("link_bytes")
    sent = links.sent_bytes(message, ranks)
    link_s = links.all_reduce(
        message, ranks, link.hop_s, machine.gpu.link.bandwidth * link.efficiency
    )
    active = waves.active_fraction(blocks, units)
    active = np.where(ranks > 1.0, np.minimum(1.0, link.channels / units), active)
    by_rate = np.zeros((len(rows), len(RATE_KEYS)))
    by_rate[np.arange(len(rows)), rate] = flops
    by_rate[:, _FP32] += core_flops
    launches = column("launches")
    reduces = np.where(family == FAMILY["attention-decode"], blocks > base, True)
    return Work(
        cycles=fourth_norm(math, core, l2_cycles, special_cycles, issue),
        unclocked_s=fourth_norm(dram / (bandwidth * machine.memory[family] * reached), link_s),
        fixed_cycles=launches * time.kernel_cycles,
        fixed_s=launches * (time.kernel_s + machine.fixed_s[family] * reduces),
        active=active,
        flops=by_rate,
        dram_bytes=dram,
        l2_bytes=onchip + reread,
        special=special,
        link_bytes=sent,
        blocks=blocks,
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


def moving(work: Work | Timed, kernel_s: FloatArray, clock_hz: FloatArray) -> FloatArray:
    """Return the part of each kernel's seconds in which blocks work: without its fixed cost."""
    return kernel_s - (work.fixed_cycles / clock_hz + work.fixed_s)
