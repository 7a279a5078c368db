"""A workload on a board before its sums are judged: checks, runs and sums.

Many workloads and boards are run at once (`together`), since the calls cost more than what they do.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

import numpy as np

from energaizer import catalog, fleet, job, lowering, machine, memory, place, power, simulation
from energaizer.caches import remembered
from energaizer.coefficients import Coefficients
from energaizer.errors import EnergaizerError, InputError
from energaizer.fleet import Run
from energaizer.gpu import Gpu
from energaizer.host import Host, with_kernels
from energaizer.job import Total
from energaizer.kernels import Program
from energaizer.machine import Machine
from energaizer.simulation import Loaded
from energaizer.workload import Workload

if TYPE_CHECKING:  # loaded by `place` for more than one board
    from energaizer.node import Node

P = ParamSpec("P")
T = TypeVar("T")
NO_ANSWER = (EnergaizerError, ArithmeticError, ValueError)
"""What says that an estimate does not exist; of pydantic's errors too, which are ValueErrors."""


class Setting(NamedTuple):
    """What the board is set to: the clock that is asked for and the limit that is enforced."""

    clock_hz: float
    limit_w: float
    notes: tuple[str, ...]


class Placed(NamedTuple):
    """A job before it runs: on what, its batches, and what a reader must know.

    `runs` are programs beside their host, each with how often it runs.
    """

    board: Machine
    setting: Setting
    where: place.Place
    runs: list[tuple[Run, float]]
    notes: list[str]

    @property
    def unset(self) -> bool:
        """Return whether nobody set the clock or the limit."""
        gpu, setting = self.board.gpu, self.setting
        return setting.clock_hz == gpu.max_clock_hz and setting.limit_w == gpu.power_limit_w


class Ran(NamedTuple):
    """A job as it ran: on what, the sums of its phases, and what a reader must know.

    `times` is how often its batches ran, `step_s` what they take once without pauses.
    """

    board: Machine
    setting: Setting
    where: place.Place
    program: Program
    totals: list[Total]
    notes: list[str]
    times: float
    step_s: float


def setting_of(workload: Workload, gpu: Gpu) -> Setting:
    """Return clock and limit that a workload asks for, checked against the board.

    Raises:
        InputError: The board cannot be set to that clock or limit.
    """
    notes = []
    clock, limit = workload.clock_hz, workload.power_cap_w
    if clock is None:
        clock = gpu.max_clock_hz
        notes.append(f"no clock given: boost, {clock / 1e6:.0f} MHz unless the limit lowers it")
    elif not gpu.min_clock_hz <= clock <= gpu.max_clock_hz:
        raise InputError(
            f"{gpu.name} runs at {gpu.min_clock_hz / 1e6:.0f} to {gpu.max_clock_hz / 1e6:.0f} MHz, "
            f"not at {clock / 1e6:g} MHz; choose a clock in between"
        )
    if limit is None:
        limit = gpu.power_limit_w
    elif not (gpu.min_power_limit_w or 0.0) <= limit <= gpu.power_limit_w:
        least = "up" if gpu.min_power_limit_w is None else f"{gpu.min_power_limit_w:g}"
        raise InputError(
            f"{gpu.name} accepts limits of {least} to {gpu.power_limit_w:g} W, "
            f"not {limit:g}; choose one in between"
        )
    return Setting(clock, limit, tuple(notes))


def attempt(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | Exception:
    """Return what a function returns, or the error by which it says that there is no estimate.

    As a value the error keeps no frames: those would keep it, and all arrays of its batch, until
    somebody collects cycles.
    """
    try:
        return function(*args, **kwargs)
    except NO_ANSWER as error:
        error.__traceback__ = error.__context__ = None
        return error


def placed(
    workload: Workload, gpu: Gpu, coefficients: Coefficients | None,
    host: Host | None = None, node: "Node | None" = None,
) -> Placed:  # fmt: skip
    """Return a job before it runs; arguments and errors as of `estimate`."""
    beside = host or catalog.host(host_name(workload))
    board = machine.of(gpu, with_kernels(beside, gpu, coefficients or catalog.coefficients(gpu)))
    setting = setting_of(workload, gpu)
    memory.check(workload, gpu)
    where = place.of(workload, board, node)
    notes, runs = [*setting.notes, *where.notes], []
    for program, times in _programs(workload):
        runs.append((Run(program, board, beside, where.fabric), times))
        notes.extend(note for note in program.notes if note not in notes)
    return Placed(board, setting, where, runs, notes)


@remembered(64)
def _programs(workload: Workload) -> list[tuple[Program, float]]:
    """Return the programs of a job and how often each runs: the same on all boards."""
    return [
        (
            lowering.lower(
                workload
                if batch == workload.batch
                else workload.model_copy(update={"batch": batch})
            ),
            times,
        )
        for batch, times in job.batches(workload)
    ]


def together(placed: Sequence[Placed]) -> dict[Loaded, dict[str, job.Sums]]:
    """Return what the phases of batches add up to, where nobody set the board: of all at once."""
    first: dict[Program, int] = {}
    runs = sorted(
        (run for one in placed if one.unset for run, _ in one.runs),
        key=lambda run: first.setdefault(run.program, len(first)),
    )
    fresh = fleet.load_together(runs)
    every = (simulation.load.known(*run) for run in runs)
    # what was swept already settles by that
    loaded = [one for one in every if one and simulation.every_clock.known(one) is None]
    if not loaded:
        return {}
    loads = fresh if fresh and fresh.each == loaded else fleet.Loads.of(loaded)
    programs = [one.program for one in loaded]
    sums = job.sums_together(programs, loads.work, fleet.settle_together(loads))
    return dict(zip(loaded, sums, strict=True))


def ran(
    workload: Workload, one: Placed, known: Mapping[Loaded, dict[str, job.Sums]]
) -> Ran:  # fmt: skip
    """Return a job as it ran.

    Args:
        workload: What is run.
        one: On what.
        known: Sums of runs on boards that nobody set, where they were found already.
    """
    board, setting, where, runs, notes = one
    totals: dict[str, Total] = {}
    for run, times in runs:
        loaded = simulation.load(*run)
        phases = known.get(loaded) if one.unset else None
        if phases is None:
            settled = simulation.settle(loaded, setting.clock_hz, setting.limit_w)
            phases = job.sums(loaded, settled)
        job.add(totals, phases, times)
    step_s = sum(total.duration_s for total in totals.values())
    for name, held in job.pauses(workload, where.nodes).items():
        watts = float(power.idle_power(board, np.array([setting.clock_hz]))[0])
        job.pause(totals, name, held, watts, setting.clock_hz)
    times = job.fill_duration(totals, workload, board, setting.clock_hz)
    each = list(totals.values())
    return Ran(board, setting, where, runs[-1][0].program, each, notes, times, step_s)


def host_name(workload: Workload) -> str:
    """Return the host profile of a workload: the one named, else that of its kind."""
    return workload.host_profile
