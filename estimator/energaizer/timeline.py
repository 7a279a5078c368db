"""From work to seconds: the closed form of the method (2.4 and 3), for all clocks at once.

Cycles and bytes do not depend on the clock; `demand` finds them once for a program on a GPU.
`durations` is then a smooth maximum of a clocked and an unclocked part, so that a sweep over
sixty clocks costs little more than one clock.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer.kernels import RATE, FloatArray

_FP32 = RATE["fp32"]
_LEAST_S = 1e-30  # no time at all, to divide by


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
        return np.array((near, self.special, self.dram_bytes, self.link_bytes)).T


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


def fourth_norm_of(rows: FloatArray) -> FloatArray:
    """Return the same of the rows of an array, shape (N, K) -> (K,)."""
    square = rows * rows
    square *= square
    found: FloatArray = np.sqrt(np.sqrt(np.add.reduce(square)))
    return found


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


def durations(work: Work | Timed, clock_hz: FloatArray) -> FloatArray:
    """Return seconds of each kernel: `pn(n/f, D/W_D; 4) + kappa_c/f + kappa_t`.

    Args:
        work: K kernels.
        clock_hz: SM clocks, broadcast against (K,): shape (F, 1) for a sweep, (K,) for one each.
    """
    clocked, fixed_s = _at(work, clock_hz)
    return fourth_norm(clocked, work.unclocked_s) + fixed_s


def _at(work: Work | Timed, clock_hz: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return seconds of the clocked part and of the fixed cost of each kernel."""
    return work.cycles / clock_hz, work.fixed_cycles / clock_hz + work.fixed_s


def durations_and_moving(
    work: Work | Timed, clock_hz: FloatArray, stalled_share: float | FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return `durations` and the `moving` part of them, what both need found once."""
    clocked, fixed_s = _at(work, clock_hz)
    kernel_s = fourth_norm(clocked, work.unclocked_s) + fixed_s
    return kernel_s, _moving(kernel_s - fixed_s, clocked, stalled_share)


def moving(
    work: Work | Timed,
    kernel_s: FloatArray,
    clock_hz: FloatArray,
    stalled_share: float | FloatArray = 1.0,
) -> FloatArray:
    """Return the part of each kernel's seconds in which blocks work: without its fixed cost.

    Args:
        work: K kernels.
        kernel_s: Their durations, s.
        clock_hz: SM clocks, as `durations` takes them.
        stalled_share: What a second counts in which blocks only wait for memory or links.
    """
    clocked, fixed_s = _at(work, clock_hz)
    return _moving(kernel_s - fixed_s, clocked, stalled_share)


def _moving(
    seconds: FloatArray, clocked: FloatArray, stalled_share: float | FloatArray
) -> FloatArray:  # fmt: skip
    if isinstance(stalled_share, float) and stalled_share == 1.0:
        return seconds
    busy = np.minimum(clocked, seconds)
    waiting: FloatArray = busy + stalled_share * (seconds - busy)
    return waiting
