"""A program on many kinds of GPU at once: kernels of all of them are one array.

A cluster has many kinds of GPU, and for each the arithmetic is small beside the calls that do it.
What is found here is what `simulation` finds for each alone, and is put where it remembers.
"""

from collections.abc import Sequence

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
_TIMED = timeline.Timed._fields
_MANY = 2  # machines for which one array is quicker than one after the other


def load(
    program: Program, machines: Sequence[Machine], host: Host, fabrics: Sequence[Fabric | None]
) -> list[Loaded]:  # fmt: skip
    """Return what `simulation.load` is to find for each machine, and let it know.

    Machines that it knows are left out, and those that lack a rate, of which it tells.

    Args:
        program: Kernels and steps.
        machines: B kinds of GPU.
        host: Launch costs.
        fabrics: What joins the boards of each, as `simulation.load` takes it.
    """
    wanted = [
        (machine, fabric)
        for machine, fabric in zip(machines, fabrics, strict=True)
        if simulation.load.known(program, machine, host, fabric) is None
        and demand.missing_rate(program.rows, machine) is None
    ]
    if len(wanted) < _MANY:
        return []
    boards, joined = [machine for machine, _ in wanted], [fabric for _, fabric in wanted]
    size, count = len(boards), len(program.rows)
    work = demand.compile_together(program.rows, boards, joined)
    of = np.arange(size).repeat(count)
    price = np.stack([power.prices(machine) for machine in boards])[of]
    factor = np.stack([machine.energy for machine in boards])[of, work.family]
    each = power.work_energies(price, work.switched, work.moved, factor)
    times = program.counts * program.runs[:, None]
    joules = times @ each.joules.reshape(size, count, -1)
    beside = simulation.host_times(program, host)
    found = []
    for index, (machine, fabric) in enumerate(wanted):
        own = slice(index * count, (index + 1) * count)
        part = timeline.Work._make(array[own] for array in work)
        one = Loaded(program, machine, part, Activity(joules[index]), *beside)
        simulation.load.put(one, program, machine, host, fabric)
        found.append(one)
    return found


def every_clock(loaded: Sequence[Loaded]) -> None:
    """Let `simulation.every_clock` know what it is to find for each of some machines.

    Args:
        loaded: One program on B machines beside one host.
    """
    if len(loaded) < _MANY:
        return
    boards = tuple(one.machine for one in loaded)
    timing, activity = _together(loaded)
    found = simulation.swept(loaded[0].program, timing, power.on_grids(boards), activity)
    for index, one in enumerate(loaded):
        clocks = len(power.on_grid(one.machine).clock_hz)
        simulation.every_clock.put(Sweep(*(array[index, :clocks] for array in found)), one)


def settle(loaded: Sequence[Loaded]) -> list[Settled]:
    """Return what `simulation.unset` is to find for each of some machines, and let it know.

    Power rises with the clock, so that a limit is looked for among few clocks first, and then
    between two of them; there only for the steps that exceed the limit of some board.

    Args:
        loaded: One program on B machines beside one host.
    """
    if len(loaded) < _MANY:
        return [simulation.unset(one) for one in loaded]
    program, boards = loaded[0].program, tuple(one.machine for one in loaded)
    timing, activity = _together(loaded)
    places, points = power.coarsely(boards)
    found = simulation.swept(program, timing, points, activity)
    exceeds = found.power_w > _limits_w(loaded)
    hot, highest = exceeds[:, -1], points.clock_hz[:, -1]
    seconds, joules, kernel_s = (array[:, -1].copy() for array in found[:3])
    clock = np.repeat(highest, len(program.phases), axis=1)
    over = np.zeros_like(hot)
    if True in hot:
        which, steps, tried = _between(exceeds, places)
        here = which[:, None], steps
        own = hot[here]
        held, upper_hz, lowest = _held([loaded[index] for index in which.tolist()], steps, tried)
        seconds[here] = np.where(own, held.duration_s, seconds[here])
        joules[here] = np.where(own[..., None], held.energy_j, joules[here])
        clock[here] = np.where(own, held.clock_hz, clock[here])
        over[here] = own & lowest
        if steps[0] == 0:
            begins = np.where(own[:, :1], upper_hz[:, :1], highest[which])
            work = timeline.Timed(*(getattr(timing.work, name)[which, 0] for name in _TIMED))
            kernel_s[which] = timeline.durations(work, begins)
    bound = timing.host_s > found.gpu_s[:, -1]
    each = zip(seconds, joules, clock, clock < highest, over, kernel_s, bound, strict=True)
    settled = list(map(Settled._make, each))
    for one, its in zip(loaded, settled, strict=True):
        simulation.unset.put(its, one)
    return settled


def _between(exceeds: BoolArray, places: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return which boards and steps exceed a limit, and the places of clocks around it, (B, F).

    All steps of a board share clocks, from the lowest that one of them needs. Lists here, since all
    of them are short.

    Args:
        exceeds: Whether each step of each board exceeds the limit at some clocks, (B, F, P).
        places: Of these clocks on the grid of each board, rising, its last one among them, (B, F).
    """
    first, hot, coarse = exceeds.argmax(axis=1).tolist(), exceeds[:, -1].tolist(), places.tolist()
    which = [board for board, steps in enumerate(hot) if True in steps]
    ends = []
    for board in which:
        found = [at for at, exceeding in zip(first[board], hot[board], strict=True) if exceeding]
        ends.append((coarse[board][max(min(found) - 1, 0)], coarse[board][max(found)]))
    width = max(last - lowest for lowest, last in ends) + 1
    begins = [max(last - width + 1, 0) for _, last in ends]
    tried = np.array(begins)[:, None] + np.arange(width)
    steps = [step for step, boards in enumerate(zip(*hot, strict=True)) if True in boards]
    return np.array(which), np.array(steps), np.minimum(tried, places[which, -1:])


def _held(
    loaded: Sequence[Loaded], steps: IntArray, tried: IntArray
) -> tuple[Held, FloatArray, BoolArray]:
    """Return some steps as the limits of B boards hold them; arrays of shape (B, P).

    Beside them the upper of their two clocks, and whether even the lowest one exceeds the limit.

    Args:
        loaded: A program on each board.
        steps: Of the program.
        tried: Places of rising clocks on the grid of each board, the limit between them, (B, F).
    """
    program = loaded[0].program
    kernels = np.flatnonzero(program.counts[steps].any(axis=0))
    timing, activity = _together(loaded, steps, kernels)
    points = power.at_places(tuple(one.machine for one in loaded), tried)
    found = simulation.swept(program.part(steps, kernels), timing, points, activity)

    def beside(array: FloatArray) -> FloatArray:
        """Take the steps of all boards as steps of one: (B, F, P, ...) -> (F, B P, ...)."""
        return array.swapaxes(0, 1).reshape(array.shape[1], -1, *array.shape[3:])

    grid = beside(np.broadcast_to(points.clock_hz, found.duration_s.shape))
    at = power.throttle(beside(found.power_w - _limits_w(loaded)), 0.0)
    held = simulation.held(beside(found.duration_s), beside(found.energy_j), grid, at)
    upper_hz = grid[at.high, np.arange(grid.shape[1])]
    shape = (len(loaded), len(steps))
    every = Held(*(array.reshape(*shape, *array.shape[1:]) for array in held))
    return every, upper_hz.reshape(shape), at.over.reshape(shape)


def _limits_w(loaded: Sequence[Loaded]) -> FloatArray:
    """Return the limit of each board, shape (B, 1, 1), W."""
    return np.array([[[one.machine.gpu.power_limit_w]] for one in loaded])


def _together(
    loaded: Sequence[Loaded], steps: IntArray | None = None, kernels: IntArray | None = None
) -> tuple[Timing, Activity]:
    """Return what sets time and energy of a program on B machines, which are in front.

    Args:
        loaded: The program on each machine.
        steps: Of the program; None: all.
        kernels: Those of these steps; None: all.
    """
    some, which = (slice(None) if one is None else one for one in (steps, kernels))

    names = (*_TIMED, "active")
    table = np.array([[getattr(one.work, name) for name in names] for one in loaded])
    *timed, active = np.moveaxis(table[:, :, None, which], 1, 0)
    own = [one.machine.coefficients for one in loaded]
    shares = np.array([(one.power.stalled_share, one.link.overlap) for one in own])
    stalled, overlap = shares.T[..., None, None]
    host_s, gaps_s = loaded[0].host_s[some], loaded[0].gaps_s[some]
    joules = np.array([one.activity.joules for one in loaded])
    return (
        Timing(timeline.Timed(*timed), active, stalled, overlap, host_s, gaps_s),
        Activity(joules[:, None, some]),
    )
