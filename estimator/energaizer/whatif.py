"""Which GPU, clock, limit and batch: many settings of one workload, and the best of them.

For each GPU and batch one pass over the whole grid of clocks serves every clock and every limit,
so a setting costs microseconds. Values equal those of `pipeline.estimate` for the same setting.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer import (
    catalog,
    fleet,
    job,
    lowering,
    machine,
    memory,
    pipeline,
    place,
    power,
    simulation,
)
from energaizer.coefficients import Coefficients
from energaizer.errors import DoesNotFitError, EnergaizerError, InputError, TooSlowError
from energaizer.fleet import Run
from energaizer.gpu import Gpu
from energaizer.host import with_kernels
from energaizer.kernels import FloatArray
from energaizer.machine import Machine
from energaizer.result import Provenance
from energaizer.workload import Workload


class Candidate(NamedTuple):
    """One setting of a workload and what it costs.

    Attributes:
        gpu: Name of the board.
        gpu_count: Boards of the deployment.
        batch: Sequences that run together.
        clock_hz: Requested clock.
        power_cap_w: Limit per board.
        mean_clock_hz: Clock that the limit leaves.
        throttled: The limit lowers the clock.
        duration_s: The whole job.
        power_w: Mean over the job, all boards.
        energy_j: The whole job, all boards.
        completed: Requests served, or optimiser steps done.
        energy_per_output_token: J/token; None without output.
        output_tokens_per_s: Of the deployment; None without output.
        energy_low_j: Lower end of the 90 % interval.
        energy_high_j: Upper end.
        provenance: Where the numbers come from.
    """

    gpu: str
    gpu_count: int
    batch: int
    clock_hz: float
    power_cap_w: float
    mean_clock_hz: float
    throttled: bool
    duration_s: float
    power_w: float
    energy_j: float
    completed: float
    energy_per_output_token: float | None
    output_tokens_per_s: float | None
    energy_low_j: float
    energy_high_j: float
    provenance: Provenance


class Surface(NamedTuple):
    """A job at L limits and W wanted clocks on one board; arrays of shape (L, W).

    Attributes:
        duration_s: Wall time of the job.
        energy_j: Energy of one board.
        clock_hz: Mean clock.
        throttled: Some step runs below the requested clock.
    """

    duration_s: FloatArray
    energy_j: FloatArray
    clock_hz: FloatArray
    throttled: npt.NDArray[np.bool_]


def surface(loaded: simulation.Loaded, wanted: Sequence[int], limits_w: Sequence[float]) -> Surface:
    """Return one batch at some clocks and under some limits.

    Args:
        loaded: A program on a machine.
        wanted: Places of clocks on the grid of the board, length W.
        limits_w: Limits of one board, length L.
    """
    board, repeated = loaded.machine, loaded.program.repetitions
    grid = power.on_grid(board).clock_hz
    found = simulation.every_clock(loaded)
    at = power.throttle(found.power_w, np.array(limits_w))
    between = simulation.held(found.duration_s, found.energy_j, grid, at)
    place = np.array(wanted)[:, None]  # (W, 1), beside limits in front and steps behind
    exceeds = place >= at.first[:, None, :]

    def settled(held: FloatArray, free: FloatArray) -> FloatArray:
        return np.where(exceeds, held[:, None, :], free)

    seconds = settled(between.duration_s, found.duration_s[wanted]) * repeated
    joules = settled(between.energy_j.sum(axis=-1), found.energy_j[wanted].sum(axis=-1)) * repeated
    mean = settled(between.clock_hz, grid[wanted]) * seconds
    total = seconds.sum(axis=-1)
    lowered = np.any(exceeds & (place > at.low[:, None, :]), axis=-1)
    return Surface(total, joules.sum(axis=-1), mean.sum(axis=-1) / total, lowered)


def sweep(
    workload: Workload,
    gpus: Iterable[Gpu],
    *,
    clocks_hz: Sequence[float] | None = None,
    limits_w: Sequence[float] | None = None,
    batches: Sequence[int] | None = None,
    coefficients: Mapping[str, Coefficients] | None = None,
) -> tuple[Candidate, ...]:
    """Return the workload at every setting that a board can take and that fits its memory.

    Args:
        workload: What is run; its own clock, limit and batch are one setting if none is given.
        gpus: Boards to compare.
        clocks_hz: Clocks; None: the workload's, or every clock of the board if it has none. Each
            is moved down to the grid of the board.
        limits_w: Limits per board; None: the workload's, or the board's own.
        batches: Sequences that run together; None: the workload's.
        coefficients: By GPU name; None or missing: the catalogue's.

    Raises:
        InputError: No setting is left.
    """
    found: list[Candidate] = []
    host = catalog.host(pipeline.host_name(workload))
    for gpu in gpus:
        own = (coefficients or {}).get(gpu.name) or catalog.coefficients(gpu)
        board = machine.of(gpu, with_kernels(host, gpu, own))
        for batch in batches or (workload.batch,):
            part = _of_batch(workload, batch)
            try:
                memory.check(part, gpu)
            except DoesNotFitError:
                continue
            found.extend(_candidates(part, board, clocks_hz, limits_w))
    if not found:
        raise InputError("no setting fits: widen the clocks, limits, batches or GPUs")
    return tuple(found)


def load_together(
    workload: Workload, gpus: Sequence[Gpu], coefficients: Mapping[str, Coefficients]
) -> None:
    """Load a workload on many kinds of GPU at every clock, so that sweeps of each are cheap.

    Estimates and sweeps are the same without it. What cannot be loaded is left to them to tell.

    Args:
        workload: What is run.
        gpus: Boards to compare.
        coefficients: By GPU name; missing: the catalogue's.
    """
    host = catalog.host(pipeline.host_name(workload))
    with contextlib.suppress(EnergaizerError):
        boards = []
        for gpu in gpus:
            if memory.fits(workload, gpu):
                own = coefficients.get(gpu.name) or catalog.coefficients(gpu)
                board = machine.of(gpu, with_kernels(host, gpu, own))
                boards.append((board, place.of(workload, board).fabric))
        for batch, _ in job.batches(workload):
            program = lowering.lower(_of_batch(workload, batch))
            loaded = fleet.load([Run(program, board, host, fabric) for board, fabric in boards])
            fleet.every_clock(loaded)


def _candidates(
    workload: Workload, board: Machine,
    clocks_hz: Sequence[float] | None, limits_w: Sequence[float] | None,
) -> list[Candidate]:  # fmt: skip
    gpu = board.gpu
    points = power.on_grid(board)
    grid = points.clock_hz[:, 0]
    wanted = clocks_hz or ((workload.clock_hz,) if workload.clock_hz else tuple(grid))
    limits = [
        limit
        for limit in limits_w or (workload.power_cap_w or gpu.power_limit_w,)
        if (gpu.min_power_limit_w or 0.0) <= limit <= gpu.power_limit_w
    ]
    places = sorted(
        {int(np.searchsorted(grid, clock, side="right")) - 1 for clock in wanted
         if gpu.min_clock_hz <= clock <= gpu.max_clock_hz}
    )  # fmt: skip
    if not limits or not places:
        return []
    where = place.of(workload, board)
    host = catalog.host(pipeline.host_name(workload))
    loads = [
        (simulation.load(lowering.lower(_of_batch(workload, batch)), board, host, where.fabric), n)
        for batch, n in job.batches(workload)
    ]
    parts = [(surface(loaded, places, limits), times) for loaded, times in loads]
    duration = sum((part.duration_s * times for part, times in parts), np.zeros(1))
    energy = sum((part.energy_j * times for part, times in parts), np.zeros(1))
    clocked = sum((part.clock_hz * part.duration_s * times for part, times in parts), np.zeros(1))
    throttled = np.any([part.throttled for part, _ in parts], axis=0)
    idle = points.idle_w[places, 0].tolist()
    held = job.pauses(workload, where.nodes)
    paused = sum(seconds for _, seconds in held.values())
    factor, provenance = _energy_spread(workload, loads[0][0])
    boards = workload.parallelism.gpus
    clocks = grid[places].tolist()
    settled = zip(*(each.tolist() for each in (duration, energy, clocked, throttled)), strict=True)
    steady, each = job.steady(workload), job.tokens_each(workload)
    found = []
    for limit, row in zip(limits, settled, strict=True):
        for clock, idle_w, busy_s, busy_j, ticks, lowered in zip(clocks, idle, *row, strict=True):
            seconds, joules, times = busy_s + paused, busy_j + paused * idle_w, 1.0
            try:
                gap = job.idle_gap(workload, seconds, gpu.name)
            except TooSlowError:
                continue
            if steady and workload.duration_s is not None:
                times = workload.duration_s / seconds
            joules = (joules * times + gap * idle_w) * boards
            seconds = seconds * times + gap
            done = job.completed(workload, times)
            tokens = done * each
            found.append(
                Candidate(
                    gpu.name, boards, workload.batch, clock, limit, ticks / busy_s, lowered,
                    seconds, joules / seconds, joules, done,
                    joules / tokens if tokens else None, tokens / seconds if tokens else None,
                    joules / factor, joules * factor, provenance,
                )
            )  # fmt: skip
    return found


def _of_batch(workload: Workload, batch: int) -> Workload:
    return workload if batch == workload.batch else workload.model_copy(update={"batch": batch})


def _energy_spread(workload: Workload, loaded: simulation.Loaded) -> tuple[float, Provenance]:
    """Return the factor of the energy interval, found once for all settings of a batch."""
    gpu = loaded.machine.gpu
    settled = simulation.settle(loaded, gpu.max_clock_hz, gpu.power_limit_w)
    shares = np.sum([one.shares for one in job.sums(loaded, settled).values()], axis=0)
    (judge,) = pipeline.judges(loaded.machine, shares[None], [False])
    judge.hold(steady=job.steady(workload))
    return judge.factors[2], judge.provenance


def pareto(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates that no other beats in time without costing more energy.

    Both are taken per output token where there is one, so that batches compare. Sorted by time.
    """

    def costs(one: Candidate) -> tuple[float, float]:
        if one.output_tokens_per_s and one.energy_per_output_token:
            return 1.0 / one.output_tokens_per_s, one.energy_per_output_token
        return one.duration_s / one.completed, one.energy_j / one.completed

    front: list[Candidate] = []
    least = np.inf
    for one in sorted(candidates, key=costs):
        if costs(one)[1] < least:
            least = costs(one)[1]
            front.append(one)
    return tuple(front)
