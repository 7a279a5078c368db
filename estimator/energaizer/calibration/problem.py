"""Measured runs as arrays: distinct kernels, their counts and the clocks at which they ran.

A fit evaluates the same physics as an estimate, hundreds of times. All runs of one board share one
table of kernels, whose tile plans are found once; a set of coefficients then costs a few
milliseconds for hundreds of runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from energaizer import demand, machine, power, simulation, timeline
from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu
from energaizer.host import LaunchCost
from energaizer.kernels import COLUMN, Kernel, table

FloatArray = npt.NDArray[np.float64]
Groups = Sequence[tuple[Kernel, float]]


@dataclass(frozen=True)
class Runs:
    """n measured runs on one board.

    Attributes:
        gpu: The board.
        found: Tile plans of all distinct kernels of all programs, K in number.
        program: Index of the program of each kernel, shape (K,).
        counts: Launches of each kernel in its program, shape (K,).
        calls: Framework calls of each program, shape (programs,).
        row: Program of each run, shape (n,).
        clock_hz: Requested clock of each run, shape (n,).
    """

    gpu: Gpu
    found: demand.Alternatives
    program: npt.NDArray[np.intp]
    counts: FloatArray
    calls: FloatArray
    row: npt.NDArray[np.intp]
    clock_hz: FloatArray

    @property
    def launches(self) -> FloatArray:
        """Kernel launches of each program, shape (programs,)."""
        each = self.counts * self.found.rows[:, COLUMN["launches"]]
        return self._summed(each)

    def sums(self, amounts: FloatArray) -> FloatArray:
        """Return amounts of kernels, shape (K,), summed over each program, shape (programs,)."""
        return self._summed(amounts * self.counts)

    def _summed(self, each: FloatArray) -> FloatArray:
        total = np.bincount(self.program, weights=each, minlength=len(self.calls))
        return total.astype(np.float64)

    def select(self, chosen: npt.NDArray[np.bool_]) -> "Runs":
        """Return only some of the runs, and of the kernels those that they run."""
        row = self.row[chosen]
        used, place = np.unique(row, return_inverse=True)
        if len(used) == len(self.calls):
            return replace(self, row=row, clock_hz=self.clock_hz[chosen])
        kept = np.isin(self.program, used)
        return replace(
            self,
            found=demand.part(self.found, kept),
            program=np.searchsorted(used, self.program[kept]),
            counts=self.counts[kept],
            calls=self.calls[used],
            row=place.astype(np.intp),
            clock_hz=self.clock_hz[chosen],
        )


def runs(
    gpu: Gpu,
    coefficients: Coefficients,
    programs: Sequence[tuple[Groups, float]],
    row: npt.NDArray[np.intp],
    clock_hz: FloatArray,
) -> Runs:
    """Return measured runs ready for evaluation.

    Args:
        gpu: The board.
        coefficients: Any of that board; only rate keys are read here.
        programs: Kernels with counts, and framework calls, of each distinct workload.
        row: Which program each run executed, shape (n,).
        clock_hz: Requested clock of each run, shape (n,).
    """
    kernels: list[Kernel] = []
    owner: list[int] = []
    counts: list[float] = []
    for index, (groups, _) in enumerate(programs):
        for kernel, count in groups:
            kernels.append(kernel)
            owner.append(index)
            counts.append(count)
    return Runs(
        gpu=gpu,
        found=demand.alternatives(table(kernels), machine.build(gpu, coefficients)),
        program=np.array(owner, dtype=np.intp),
        counts=np.array(counts, dtype=np.float64),
        calls=np.array([calls for _, calls in programs], dtype=np.float64),
        row=row,
        clock_hz=clock_hz,
    )


@dataclass(frozen=True)
class Evaluated:
    """What the physics says of n runs at their requested clocks.

    Attributes:
        duration_s: Wall time, shape (n,).
        gpu_s: Time of the kernels, shape (n,).
        host_s: Launch time, shape (n,).
        active_s: Seconds times share of busy SMs, shape (n,).
        memory_s: Time at the DRAM limit, shape (n,).
        work: Cycles, bytes and operations of all kernels.
    """

    duration_s: FloatArray
    gpu_s: FloatArray
    host_s: FloatArray
    active_s: FloatArray
    memory_s: FloatArray
    work: timeline.Work


def evaluate(
    measured: Runs, coefficients: Coefficients, host: LaunchCost, clock_hz: FloatArray | None = None
) -> Evaluated:
    """Return durations of all runs under some coefficients.

    Args:
        measured: The runs.
        coefficients: Of the board.
        host: Launch cost of the machine that measured.
        clock_hz: Clocks instead of the requested ones, shape (n,).
    """
    board = machine.build(measured.gpu, coefficients)
    work = demand.compile_work(measured.found, board)
    clocks = measured.clock_hz if clock_hz is None else clock_hz
    n = len(clocks)
    gpu_s, active_s, memory_s = np.empty(n), np.empty(n), np.empty(n)
    for clock in np.unique(clocks):
        own = clocks == clock
        each = timeline.durations(work, np.full(len(measured.program), clock))
        rows = measured.row[own]
        gpu_s[own] = measured.sums(each)[rows]
        moving = timeline.moving(work, each, np.asarray(clock), coefficients.power.stalled_share)
        active_s[own] = measured.sums(moving * work.active)[rows]
        memory_s[own] = measured.sums(work.unclocked_s)[rows]
    launch = measured.launches * host.launch_s + measured.calls * host.call_s + host.step_s
    host_s = launch[measured.row]
    return Evaluated(timeline.host_norm(gpu_s, host_s), gpu_s, host_s, active_s, memory_s, work)


def joules(
    measured: Runs, coefficients: Coefficients, seen: Evaluated, clock_hz: FloatArray
) -> FloatArray:
    """Return joules by component of all runs at some clocks, shape (n, components)."""
    board = machine.build(measured.gpu, coefficients)
    work = seen.work
    price, factor = power.prices(board), board.energy[work.family]
    each = power.work_energies(price, work.switched, work.moved, factor)
    spent = np.stack([measured.sums(column) for column in each.joules.T], axis=1)
    found = power.energies(
        power.points(board, clock_hz[None, :]),
        seen.duration_s[None, :],
        seen.active_s[None, :],
        power.Activity(spent[measured.row]),
    )
    first: FloatArray = found[0]
    return first


@dataclass(frozen=True)
class Predicted:
    """Predictions under the power limit: time, power, energy of n runs, and where it acted."""

    duration_s: FloatArray
    power_w: FloatArray
    energy_j: FloatArray
    throttled: npt.NDArray[np.bool_]
    host_s: FloatArray
    gpu_s: FloatArray
    memory_s: FloatArray


def predict(measured: Runs, coefficients: Coefficients, host: LaunchCost) -> Predicted:
    """Return what an estimate says of all runs: the limit acts through the clock (4.6)."""
    limit = measured.gpu.power_limit_w
    seen = evaluate(measured, coefficients, host)
    energy = joules(measured, coefficients, seen, measured.clock_hz).sum(axis=1)
    duration = seen.duration_s.copy()
    over = energy / duration > limit
    if over.any():
        hot = measured.select(over)
        board = machine.build(measured.gpu, coefficients)
        grid = board.grid(float(hot.clock_hz.max()))
        at = [np.minimum(np.full(len(hot.row), clock), hot.clock_hz) for clock in grid]
        each = [evaluate(hot, coefficients, host, clocks) for clocks in at]
        seconds = np.stack([one.duration_s for one in each])
        spent = np.stack([joules(hot, coefficients, *pair) for pair in zip(each, at, strict=True)])
        where = power.throttle(spent.sum(axis=-1) / seconds, limit)
        between = simulation.held(seconds, spent, grid[:, None], where)
        duration[over], energy[over] = between.duration_s, between.energy_j.sum(axis=-1)
    return Predicted(
        duration, energy / duration, energy, over, seen.host_s, seen.gpu_s, seen.memory_s
    )
