"""A program on a GPU beside a host: time and energy of its steps at any clock and limit.

`load` does what no clock changes, once; `sweep` evaluates F clocks as one array; `settle` finds the
clock that a power limit leaves for each step. `fleet` does this for many GPUs at once.
Shapes: F clocks, P steps, K kernels, C components.
"""

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from energaizer import demand, power, timeline
from energaizer.caches import remembered
from energaizer.host import Host
from energaizer.kernels import FloatArray, Program
from energaizer.links import Fabric
from energaizer.machine import Machine
from energaizer.power import Activity

_LEAST_S = 1e-30  # no time at all, to divide by
_GAPS = 4  # costs of a host that keep it busy, before those in which the GPU waits besides


class Loaded(NamedTuple):
    """A program on a machine; nothing depends on the clock.

    Attributes:
        program: Kernels and steps.
        machine: The GPU.
        works: Cycles, bytes and operations of its kernels, or of those of several runs.
        place: Where its own are among these; None: they are its own.
        activity: Joules of work of each step on one board.
        host_s: Launch time of one stage run of each step, shape (P,).
        gaps_s: Time in which the GPU waits for the host, one stage run, shape (P,).
    """

    program: Program
    machine: Machine
    works: timeline.Work
    place: slice | None
    activity: Activity
    host_s: FloatArray
    gaps_s: FloatArray

    @property
    def work(self) -> timeline.Work:
        """Cycles, bytes and operations of its kernels."""
        if self.place is None:
            return self.works
        return timeline.Work._make([array[self.place] for array in self.works])

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same object: arrays have no truth to compare by."""
        return self is other

    def __hash__(self) -> int:
        """Return a hash of this object."""
        return id(self)


class Sweep(NamedTuple):
    """Steps at F clocks.

    Attributes:
        duration_s: Wall time of one repetition of each step, shape (F, P).
        energy_j: Energy of one board in that time by component, shape (F, P, C).
        kernel_s: Seconds of each kernel, shape (F, K).
        gpu_s: Kernel time of one stage run, shape (F, P).
    """

    duration_s: FloatArray
    energy_j: FloatArray
    kernel_s: FloatArray
    gpu_s: FloatArray

    @property
    def power_w(self) -> FloatArray:
        """Mean power of one board in each step, shape (F, P), W."""
        total: FloatArray = np.add.reduce(self.energy_j, axis=-1) / self.duration_s
        return total


class Settled(NamedTuple):
    """Steps at the clock that a limit leaves them; arrays of shape (P,) unless stated.

    Attributes:
        duration_s: Wall time of one repetition.
        energy_j: Energy of one board by component, shape (P, C).
        clock_hz: Mean clock.
        throttled: The limit lowered the clock.
        over: Even the lowest clock exceeds the limit.
        kernel_s: Seconds of each kernel at the first step's clock, shape (K,).
        host_bound: Launches take longer than kernels.
    """

    duration_s: FloatArray
    energy_j: FloatArray
    clock_hz: FloatArray
    throttled: npt.NDArray[np.bool_]
    over: npt.NDArray[np.bool_]
    kernel_s: FloatArray
    host_bound: npt.NDArray[np.bool_]


@remembered(512)
def load(
    program: Program, machine: Machine, host: Host, fabric: Fabric | None = None
) -> Loaded:  # fmt: skip
    """Return a program on a machine beside a host.

    Args:
        program: Kernels and steps.
        machine: The GPU.
        host: Launch costs.
        fabric: What joins the boards; None: the GPU's own link joins any number.

    Raises:
        NoEstimateError: A kernel multiplies in a format that the GPU has no rate for.
    """
    work = demand.compile_work(demand.alternatives(program.rows, machine), machine, fabric)
    each = power.work_energies(
        power.prices(machine), work.switched, work.moved, machine.energy[work.family]
    )
    times = program.counts * program.runs[:, None]
    activity = Activity(times @ each.joules)
    return Loaded(program, machine, work, None, activity, *host_times(program, host))


@remembered(64)
def host_times(program: Program, host: Host) -> tuple[FloatArray, FloatArray]:
    """Return launch time of a stage run of each step, and the time in which the GPU waits."""
    once = np.ones(len(program.graphed))
    times = np.array(
        (program.launches, program.calls, once, program.sequences,
         once, program.sequences, program.layers)
    )  # fmt: skip
    times *= _costs(host).take(program.graphed.view(np.int8), axis=1)
    return np.add.reduce(times[:_GAPS]), np.add.reduce(times[_GAPS:])


@remembered(64)
def _costs(host: Host) -> FloatArray:
    """Return the costs of a host, one a row, for steps of prompts and of decode, shape (7, 2)."""
    return np.array(
        [
            (cost.launch_s, cost.call_s, cost.step_s, cost.sequence_s,
             cost.gap_step_s, cost.gap_sequence_s, cost.gap_layer_s)
            for cost in (host.prefill, host.decode)
        ]
    ).T  # fmt: skip


class Timing(NamedTuple):
    """What sets the time of P steps of K kernels; those of several machines may be beside others.

    Attributes:
        work: Of the kernels, shape (K,).
        active: Share of SMs that work, of that shape.
        stalled_share: What a second counts in which blocks wait, a float or (K,).
        overlap: Share of the other kernels' time that hides a collective, a float or (P,).
        host_s: Launch time of one stage run of each step, shape (P,).
        gaps_s: Time in which the GPU waits for the host, likewise.
    """

    work: timeline.Work | timeline.Timed
    active: FloatArray
    stalled_share: float | FloatArray
    overlap: float | FloatArray
    host_s: FloatArray
    gaps_s: FloatArray


class Steps(Protocol):
    """What time and energy of steps need of the program they belong to, or of several."""

    @property
    def slots(self) -> FloatArray:
        """Stage times that pass per step, shape (P,)."""

    @property
    def runs(self) -> FloatArray:
        """Stage runs per step, shape (P,)."""

    @property
    def hidden(self) -> FloatArray:
        """Share of a step's other kernels beside which each kernel can run, shape (K,)."""

    def totals(self, each: FloatArray) -> FloatArray:
        """Return the sum over the launches of each step, shape (F, K) -> (F, P)."""


def sweep(loaded: Loaded, at: power.Points) -> Sweep:
    """Return wall time and energy of each step at each clock.

    Args:
        loaded: A program on a machine.
        at: The machine at F clocks, shape (F, 1).
    """
    own = loaded.machine.coefficients
    work = loaded.work
    timing = Timing(
        work, work.active, own.power.stalled_share, own.link.overlap,
        loaded.host_s, loaded.gaps_s,
    )  # fmt: skip
    return swept(loaded.program, timing, at.clock_hz, at, loaded.activity)


def swept(
    steps: Steps, timing: Timing, clock_hz: FloatArray, at: power.Points, activity: Activity
) -> Sweep:
    """Return P steps of K kernels at F clocks.

    Args:
        steps: How often they run, and which kernels.
        timing: What sets their time.
        clock_hz: Clocks of kernels, shape (F, 1) or (F, K).
        at: Boards at the clocks of steps, shape (F, 1) or (F, P).
        activity: Joules of work of each step.
    """
    kernel_s, moving_s = timeline.durations_and_moving(timing.work, clock_hz, timing.stalled_share)
    gpu_s = steps.totals(kernel_s)
    window = steps.hidden
    if max(window.tolist(), default=0.0) > 0.0:
        beside_s = steps.totals(kernel_s * (window > 0.0))
        windows = steps.totals(kernel_s * window) / np.maximum(beside_s, _LEAST_S)
        gpu_s = exposed(gpu_s, beside_s, timing.overlap * windows)
    stage_s = timeline.host_norm(gpu_s, timing.host_s)
    duration_s = steps.slots * (stage_s + timing.gaps_s)
    active_s = steps.runs * steps.totals(moving_s * timing.active)
    energy_j = power.energies(at, duration_s, active_s, activity)
    return Sweep(duration_s, energy_j, kernel_s, gpu_s)


def exposed(
    gpu_s: FloatArray, beside_s: FloatArray, overlap: float | FloatArray
) -> FloatArray:  # fmt: skip
    """Return kernel time when some collectives run beside the rest: `max(0, t_c - w t)` shows.

    Args:
        gpu_s: Time of all kernels, one after the other, s.
        beside_s: Part of it that may hide behind the rest, s.
        overlap: Share of the rest that hides it.
    """
    rest = gpu_s - beside_s
    return rest + np.maximum(0.0, beside_s - overlap * rest)


@remembered(64)
def every_clock(loaded: Loaded) -> Sweep:
    """Return a program at every clock that its board can hold; kept for its next limit."""
    return sweep(loaded, power.on_grid(loaded.machine))


class Held(NamedTuple):
    """Steps that a limit holds between two clocks; arrays of the shape of their `Throttle`.

    Attributes:
        duration_s: Wall time of one repetition.
        energy_j: Energy of one board by component, shape (..., C).
        clock_hz: Mean clock.
    """

    duration_s: FloatArray
    energy_j: FloatArray
    clock_hz: FloatArray


def held(
    duration_s: FloatArray, energy_j: FloatArray, grid_hz: FloatArray, at: power.Throttle
) -> Held:
    """Return steps that dither: shares of time at two clocks, each doing work at its own rate.

    Args:
        duration_s: Wall time of P steps on a grid of clocks, shape (F, P), s.
        energy_j: Their energy by component, shape (F, P, C), J.
        grid_hz: Those clocks, shape (F, 1), or (F, P) where steps have clocks of their own.
        at: Where a limit leaves each step.
    """
    steps, both = np.arange(duration_s.shape[1]), np.array((at.low, at.high))
    share = np.array((1.0 - at.high_share, at.high_share))
    rate = share / duration_s[both, steps]
    mean_s = 1.0 / (rate[0] + rate[1])
    watts = rate[..., None] * energy_j[both, steps]
    own = steps if grid_hz.shape[1] > 1 else 0
    clock_hz = share * grid_hz[both, own]
    joules = (watts[0] + watts[1]) * mean_s[..., None]
    return Held(mean_s, joules, clock_hz[0] + clock_hz[1])


@remembered(64)
def unset(loaded: Loaded) -> Settled:
    """Return each step on a board whose clock and limit nobody set; kept for what is asked next."""
    gpu = loaded.machine.gpu
    return _settle(loaded, gpu.max_clock_hz, gpu.power_limit_w)


@lru_cache(maxsize=32)
def settle(loaded: Loaded, clock_hz: float, limit_w: float) -> Settled:
    """Return each step at the requested clock, or at the highest one that the limit allows (4.6).

    Kept for a while: a sweep asks for what an estimate of the same workload has just asked for.

    Args:
        loaded: A program on a machine.
        clock_hz: Requested SM clock, Hz.
        limit_w: Limit of one board, W.
    """
    gpu = loaded.machine.gpu
    if clock_hz == gpu.max_clock_hz and limit_w == gpu.power_limit_w:
        return unset(loaded)
    return _settle(loaded, clock_hz, limit_w)


def _settle(loaded: Loaded, clock_hz: float, limit_w: float) -> Settled:
    highest = clock_hz == loaded.machine.gpu.max_clock_hz
    known = every_clock.known(loaded) if highest else None
    first = known or sweep(loaded, power.at_clock(loaded.machine, clock_hz))
    duration_s, energy_j = first.duration_s[-1], first.energy_j[-1]
    host_bound = loaded.host_s > first.gpu_s[-1]
    if max((np.add.reduce(energy_j, axis=-1) / duration_s).tolist()) <= limit_w:
        steps = len(host_bound)
        none = np.zeros(steps, dtype=np.bool_)
        return Settled(
            duration_s, energy_j, np.full(steps, clock_hz), none, none,
            first.kernel_s[-1], host_bound,
        )  # fmt: skip
    if highest:
        found, points = known or every_clock(loaded), power.on_grid(loaded.machine)
    else:
        points = power.points(loaded.machine, loaded.machine.grid(clock_hz)[:, None])
        found = sweep(loaded, points)
    at = power.throttle(found.power_w, limit_w)
    between = held(found.duration_s, found.energy_j, points.clock_hz, at)
    return Settled(
        between.duration_s, between.energy_j, between.clock_hz, between.clock_hz < clock_hz,
        at.over, found.kernel_s[at.high[0]], host_bound,
    )  # fmt: skip
