"""Many programs on many kinds of GPU at once: kernels of all of them are one array.

A cluster has many kinds of GPU and many workloads that wait for an answer, and for each the
arithmetic is small beside the calls that do it. What is found here is what `simulation` finds for
each alone. Arrays hold one run after the other: R kernels of all of them, S steps, F clocks.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer import demand, power, simulation, timeline
from energaizer.host import Host
from energaizer.kernels import FloatArray, Program
from energaizer.links import Fabric
from energaizer.machine import Machine
from energaizer.power import Activity
from energaizer.simulation import Held, Loaded, Settled, Sweep, Timing

IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]


class Run(NamedTuple):
    """A program on a machine beside a host, what joins the boards last: as `simulation.load`."""

    program: Program
    machine: Machine
    host: Host
    fabric: Fabric | None


class Loads(NamedTuple):
    """Programs on machines, at least one, and the work of all kernels, one run after the other."""

    each: list[Loaded]
    work: timeline.Work

    @classmethod
    def of(cls, loaded: Sequence[Loaded]) -> "Loads":
        """Put the work of some runs together."""
        every = zip(*(one.work for one in loaded), strict=True)
        return cls(list(loaded), timeline.Work._make(map(np.concatenate, every)))


def load(runs: Iterable[Run]) -> list[Loaded]:
    """Return what `simulation.load` is to find for each run, and let it know.

    Those that it knows are left out, and those whose GPU lacks a rate, of which it tells.
    """
    found = load_together(runs)
    return found.each if found else []


def load_together(runs: Iterable[Run]) -> Loads | None:
    """Return the same with the work of all; None: each is left out."""
    wanted = [
        run
        for run in runs
        if simulation.load.known(*run) is None
        and demand.missing_rate(run.program.rows, run.machine) is None
    ]
    if not wanted:
        return None
    machines, board = _kinds(run.machine for run in wanted)
    rows = [run.program.rows for run in wanted]
    sizes = [len(own) for own in rows]
    work = demand.compile_together(rows, machines, board, [run.fabric for run in wanted])
    of = np.array(board).repeat(sizes)
    price, factor = _prices(machines)
    each = power.work_energies(price[of], work.switched, work.moved, factor[of, work.family]).joules
    places = iter(demand.stretches(sizes))
    found = []
    for program, same in itertools.groupby(wanted, key=lambda run: run.program):
        own = [(run, next(places)) for run in same]
        first, last = own[0][1].start, own[-1][1].stop
        times = program.counts * program.runs[:, None]
        joules = times @ each[first:last].reshape(len(own), len(program.rows), -1)
        for (run, place), its in zip(own, joules, strict=True):
            beside = simulation.host_times(program, run.host)
            one = Loaded(program, run.machine, work, place, Activity(its), *beside)
            simulation.load.put(one, *run)
            found.append(one)
    return Loads(found, work)


@lru_cache(maxsize=64)
def _prices(machines: tuple[Machine, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the prices of work on some boards, and their factors by family, boards in front."""
    prices = [power.prices(machine) for machine in machines]
    return np.stack(prices), np.stack([machine.energy for machine in machines])


@lru_cache(maxsize=64)
def _limits(machines: tuple[Machine, ...]) -> FloatArray:
    return np.array([machine.gpu.power_limit_w for machine in machines])


def every_clock(loaded: Sequence[Loaded]) -> None:
    """Let `simulation.every_clock` know what it is to find for each of some runs."""
    if not loaded:
        return
    machines, board = _kinds(one.machine for one in loaded)
    beside = _Beside.of(Loads.of(loaded))
    found = _swept(beside, power.on_grids(machines), np.array(board))
    for one, kernels, steps in zip(loaded, *_places(loaded), strict=True):
        clocks = len(power.on_grid(one.machine).clock_hz)
        own = (steps, steps, kernels, steps)
        parts = (array[:clocks, where] for array, where in zip(found, own, strict=True))
        simulation.every_clock.put(Sweep(*parts), one)


def settle_together(loads: Loads) -> Settled:
    """Return what `simulation.unset` finds for some runs, one after the other.

    Power rises with the clock, so that a limit is looked for among few clocks first, and then
    between two of them; there only for the steps that exceed the limit of their board.
    """
    machines, kinds = _kinds(one.machine for one in loads.each)
    beside, board = _Beside.of(loads), np.array(kinds)
    places, few = power.coarsely(machines)
    found = _swept(beside, few, board)
    board_of_step = board[beside.of_step]
    limit_w = _limits(machines)[board_of_step]
    exceeds = found.power_w > limit_w
    hot, highest = exceeds[-1], few.clock_hz[-1, board_of_step]
    seconds, joules, kernel_s = (array[-1].copy() for array in found[:3])
    clock, upper, over = highest.copy(), highest.copy(), np.zeros_like(hot)
    if np.count_nonzero(hot):
        runs, tried = _between(exceeds, beside.of_step, places[board])
        some, steps = beside.part(hot)
        held, upper_hz, lowest = _held(
            some, power.at_places(machines, board[runs], tried), limit_w[steps]
        )
        own = hot[steps]
        here = steps[own]
        seconds[here], joules[here], clock[here] = (array[own] for array in held)
        upper[here], over[here] = upper_hz[own], lowest[own]
        begins = upper[_firsts(beside.of_step)]
        kernel_s = timeline.durations(beside.timing.work, begins[beside.of_kernel])
    bound = beside.timing.host_s > found.gpu_s[-1]
    return Settled(seconds, joules, clock, clock < highest, over, kernel_s, bound)


def _kinds(each: Iterable[Machine]) -> tuple[tuple[Machine, ...], list[int]]:
    """Return the kinds of machine, always in the same order, and which of them each is."""
    found = list(each)
    kinds = tuple(sorted(set(found), key=id))
    index = {machine: place for place, machine in enumerate(kinds)}
    return kinds, [index[machine] for machine in found]


def _places(loaded: Sequence[Loaded]) -> tuple[list[slice], list[slice]]:
    """Return where the kernels and the steps of each run lie."""
    sizes = [one.program.counts.shape for one in loaded]
    steps, kernels = (demand.stretches(each) for each in zip(*sizes, strict=True))
    return kernels, steps


def _owners(sizes: Sequence[tuple[int, ...]]) -> tuple[IntArray, IntArray]:
    """Return the run of each step and of each kernel; `sizes` says how many of both a run has."""
    steps, kernels = (np.arange(len(sizes)).repeat(each) for each in zip(*sizes, strict=True))
    return steps, kernels


class _Beside(NamedTuple):
    """Steps of N runs beside each other, as `simulation.Steps` wants them.

    Attributes:
        blocks: Launches of a program, shape (P, K), and how many runs in a row are of it.
        of_kernel: Run of each kernel, shape (R,).
        of_step: Run of each step, shape (S,).
        kernels: What `Timing` says of kernels, then `hidden`, one a row, shape (7, R).
        steps: What it says of steps, then `slots` and `runs`, one a row, shape (5, S).
        activity: Joules of their work.
    """

    blocks: list[tuple[FloatArray, int]]
    of_kernel: IntArray
    of_step: IntArray
    kernels: FloatArray
    steps: FloatArray
    activity: Activity

    @property
    def timing(self) -> Timing:
        """What sets their time."""
        timed, (active, stalled, _) = timeline.Timed(*self.kernels[:4]), self.kernels[4:]
        return Timing(timed, active, stalled, *self.steps[:3])

    @property
    def hidden(self) -> FloatArray:
        """Share of a step's other kernels beside which each kernel can run, shape (R,)."""
        found: FloatArray = self.kernels[6]
        return found

    @property
    def slots(self) -> FloatArray:
        """Stage times that pass per step, shape (S,)."""
        found: FloatArray = self.steps[3]
        return found

    @property
    def runs(self) -> FloatArray:
        """Stage runs per step, shape (S,)."""
        found: FloatArray = self.steps[4]
        return found

    @classmethod
    def of(cls, loads: Loads) -> "_Beside":
        """Put runs beside each other."""
        loaded, work = loads
        programs = [one.program for one in loaded]
        of_step, of_kernel = _owners([program.counts.shape for program in programs])
        own = [one.machine.coefficients for one in loaded]
        shared = np.array(
            ([each.power.stalled_share for each in own], [each.link.overlap for each in own])
        )
        beside = [(one.host_s, one.gaps_s, one.program.slots, one.program.runs) for one in loaded]
        return cls(
            [(program.counts, len(list(same))) for program, same in itertools.groupby(programs)],
            of_kernel,
            of_step,
            np.array(
                (
                    work.cycles, work.unclocked_s, work.fixed_cycles, work.fixed_s, work.active,
                    shared[0, of_kernel], np.concatenate([program.hidden for program in programs]),
                )
            ),
            np.array((shared[1, of_step], *map(np.concatenate, zip(*beside, strict=True)))),
            Activity(np.concatenate([one.activity.joules for one in loaded])),
        )  # fmt: skip

    def totals(self, each: FloatArray) -> FloatArray:
        """Return the sum over the launches of each step, shape (F, R) -> (F, S)."""
        clocks = len(each)
        found = np.empty((clocks, len(self.of_step)))
        kernel = step = 0
        for counts, runs in self.blocks:
            steps, kernels = counts.shape
            last, end = kernel + runs * kernels, step + runs * steps
            own = each[:, kernel:last].reshape(clocks, runs, kernels) @ counts.T
            found[:, step:end] = own.reshape(clocks, -1)
            kernel, step = last, end
        return found

    def part(self, wanted: BoolArray) -> tuple["_Beside", IntArray]:
        """Return the runs of some steps with these, and which steps of all they are.

        With a step of one run come the same of the others of its program.
        """
        blocks, kernels, steps, sizes = [], [], [], []
        kernel = step = 0
        for counts, runs in self.blocks:
            here = wanted[step : step + runs * len(counts)].reshape(runs, -1)
            which = np.logical_or.reduce(here, axis=1).nonzero()[0]
            if len(which):
                some = np.logical_or.reduce(here).nonzero()[0]
                launched = np.logical_or.reduce(counts[some]).nonzero()[0]
                blocks.append((counts[some[:, None], launched], len(which)))
                first = which[:, None]
                kernels.append((kernel + counts.shape[1] * first + launched).ravel())
                steps.append((step + len(counts) * first + some).ravel())
                sizes += [(len(some), len(launched))] * len(which)
            kernel, step = kernel + runs * counts.shape[1], step + runs * len(counts)
        at, of = np.concatenate(kernels), np.concatenate(steps)
        of_step, of_kernel = _owners(sizes)
        some_of_it = _Beside(
            blocks, of_kernel, of_step, self.kernels.take(at, axis=1), self.steps.take(of, axis=1),
            Activity(self.activity.joules[of]),
        )  # fmt: skip
        return some_of_it, of


def _swept(beside: _Beside, grids: power.Grids, board: IntArray) -> Sweep:
    """Return steps at F clocks of their boards; `board` says which of the grids each run has."""
    clock_hz = grids.clock_hz.take(board[beside.of_kernel], axis=1)
    at = grids.points(board[beside.of_step])
    return simulation.swept(beside, beside.timing, clock_hz, at, beside.activity)


def _between(exceeds: BoolArray, of_step: IntArray, places: IntArray) -> tuple[IntArray, IntArray]:
    """Return which runs exceed a limit, and the places of clocks around it, (N, F).

    All steps of a run share clocks, from the lowest that one of them needs.

    Args:
        exceeds: Whether each step exceeds its limit at some clocks, (F, S).
        of_step: Run of each step, (S,).
        places: Of these clocks on the grid of each run, rising, its last one among them, (N, F).
    """
    hot = exceeds[-1].nonzero()[0]
    first, run = exceeds[:, hot].argmax(axis=0), of_step[hot]
    starts = _firsts(run)
    which = run[starts]
    lowest = places[which, np.maximum(np.minimum.reduceat(first, starts) - 1, 0)]
    last = places[which, np.maximum.reduceat(first, starts)]
    width = int((last - lowest).max()) + 1
    tried = np.maximum(last - width + 1, 0)[:, None] + np.arange(width)
    return which, np.minimum(tried, places[which, -1:])


def _firsts(run: IntArray) -> IntArray:
    """Return where each run begins among its steps."""
    changed = np.empty(len(run), dtype=np.bool_)
    changed[0] = True
    np.not_equal(run[1:], run[:-1], out=changed[1:])
    return changed.nonzero()[0]


def _held(
    beside: _Beside, grids: power.Grids, limit_w: FloatArray
) -> tuple[Held, FloatArray, BoolArray]:
    """Return steps as their limits hold them; arrays of shape (S,).

    Beside them the upper of their two clocks, and whether even the lowest one exceeds the limit.

    Args:
        beside: The steps.
        grids: The board of each run at rising clocks, the limit between them.
        limit_w: Limit of each step, (S,), W.
    """
    boards = grids.points(beside.of_step)
    found = simulation.swept(
        beside, beside.timing, grids.clock_hz.take(beside.of_kernel, axis=1), boards,
        beside.activity,
    )  # fmt: skip
    at = power.throttle(found.power_w - limit_w, 0.0)
    held = simulation.held(found.duration_s, found.energy_j, boards.clock_hz, at)
    return held, boards.clock_hz[at.high, np.arange(len(limit_w))], at.over
