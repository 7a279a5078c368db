"""A program on many kinds of GPU at once: kernels of all of them are one array.

A cluster has many kinds of GPU, and for each the arithmetic is small beside the calls that do it.
What is found here is what `simulation` finds for each alone, and is put where it remembers.
"""

from collections.abc import Sequence

import numpy as np

from energaizer import demand, power, simulation, timeline
from energaizer.host import Host
from energaizer.kernels import FloatArray, Program
from energaizer.links import Fabric
from energaizer.machine import Machine
from energaizer.power import Activity
from energaizer.simulation import Loaded, Sweep, Timing

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
    first, boards = loaded[0], tuple(one.machine for one in loaded)

    def kernels(name: str) -> FloatArray:
        return np.stack([getattr(one.work, name) for one in loaded])[:, None]

    own = [machine.coefficients for machine in boards]
    shares = np.array([(one.power.stalled_share, one.link.overlap) for one in own])
    stalled, overlap = shares.T[..., None, None]
    timed = timeline.Timed(*(kernels(name) for name in timeline.Timed._fields))
    timing = Timing(timed, kernels("active"), stalled, overlap, first.host_s, first.gaps_s)
    activity = Activity(np.stack([one.activity.joules for one in loaded])[:, None])
    found = simulation.swept(first.program, timing, power.on_grids(boards), activity)
    for index, one in enumerate(loaded):
        clocks = len(power.on_grid(one.machine).clock_hz)
        simulation.every_clock.put(Sweep(*(array[index, :clocks] for array in found)), one)
