"""A job: how often the batches of a workload run, and what its phases add up to.

The job is its requests or optimiser steps, what a rate brings in a given time, or steady running
for that time. Boards that are held longer than they work draw idle power, in a phase of its own.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer import memory, power, uncertainty
from energaizer.caches import remembered
from energaizer.errors import TooSlowError
from energaizer.gpu import Gpu
from energaizer.kernels import FloatArray, Program
from energaizer.machine import Machine
from energaizer.power import COMPONENTS
from energaizer.recipe import Training
from energaizer.result import TrainingFigures
from energaizer.simulation import Loaded, Settled
from energaizer.timeline import Work
from energaizer.workload import Workload

_IDLE = COMPONENTS.index("idle")


class Sums(NamedTuple):
    """What the steps of one phase add up to on one board, run once.

    Attributes:
        times: Steps that run.
        duration_s: Their wall time.
        clock_s: Wall time of each times its clock.
        energy_j: By component, shape (C,).
        shares: Their seconds, shared out over families and regimes.
        throttled: The limit lowered a clock.
        over: Even the lowest clock exceeded the limit.
    """

    times: float
    duration_s: float
    clock_s: float
    energy_j: FloatArray
    shares: FloatArray
    throttled: bool
    over: bool


class Total:
    """Sums of one phase over all boards of the deployment."""

    def __init__(
        self, name: str, count: float = 0.0, duration_s: float = 0.0, clock_s: float = 0.0
    ) -> None:
        """Begin with some time at some clock, and no energy."""
        self.name = name
        self.count, self.duration_s, self.clock_s = count, duration_s, clock_s
        self.throttled = self.over = False
        self.energy_j = np.zeros(len(COMPONENTS))
        self.shares = np.zeros(uncertainty.SHAPE)


def batches(workload: Workload) -> tuple[tuple[int, float], ...]:
    """Return (sequences per replica, how often) of the job's batches.

    Replicas share the requests; the last batch of a counted job holds what is left, while those
    that arrive at a rate are served in full batches.
    """
    if workload.training is not None:
        return ((workload.batch, 1.0),)
    together = workload.batch * workload.parallelism.data
    if workload.requests_per_second is not None and workload.duration_s is not None:
        return ((workload.batch, workload.requests_per_second * workload.duration_s / together),)
    if workload.requests is None:
        return ((workload.batch, 1.0),)
    full, rest = divmod(workload.requests, together)
    found = [(workload.batch, float(full))] if full else []
    if rest:
        found.append((math.ceil(rest / workload.parallelism.data), 1.0))
    return tuple(found)


def add(totals: dict[str, Total], phases: Mapping[str, Sums], times: float) -> None:
    """Add the phases of one batch, run so many times on each board, to those of the job."""
    for name, own in phases.items():
        total = totals.get(name)
        if total is None:
            total = totals[name] = Total(name)
            total.energy_j, total.shares = own.energy_j * times, own.shares * times
        else:
            total.energy_j += own.energy_j * times
            total.shares += own.shares * times
        total.count += own.times * times
        total.duration_s += own.duration_s * times
        total.clock_s += own.clock_s * times
        total.throttled |= own.throttled
        total.over |= own.over


@remembered(64)
def sums(loaded: Loaded, settled: Settled) -> dict[str, Sums]:
    """Return what the phases of one batch add up to."""
    return sums_together([loaded.program], loaded.work, settled)[0]


def sums_together(
    programs: Sequence[Program], work: Work, settled: Settled
) -> list[dict[str, Sums]]:  # fmt: skip
    """Return the same of N runs of programs on machines.

    Arrays hold one run after the other, and below each of its phases as a part of its own.

    Args:
        programs: Of the runs.
        work: Of the kernels of all runs.
        settled: The steps of all runs.
    """
    parts = _Parts.of(programs)
    energy_j = settled.energy_j[parts.steps]
    seconds = settled.duration_s[parts.steps] * parts.repetitions
    clocked_s = seconds * settled.clock_hz[parts.steps]

    def summed(steps: FloatArray) -> FloatArray:
        found: FloatArray = np.add.reduceat(steps, parts.first_steps)
        return found

    flags = np.array((settled.throttled, settled.host_bound, settled.over))[:, parts.steps]
    throttled, bound, over = np.logical_or.reduceat(flags, parts.first_steps, axis=1)
    duration_s = summed(seconds)
    regime = _regimes(programs, work, settled)[parts.kernels]
    regime[throttled[parts.of_kernel]] = uncertainty.CAPPED
    regime[bound[parts.of_kernel]] = uncertainty.LAUNCH
    cells, count = math.prod(uncertainty.SHAPE), len(duration_s)
    weight = parts.launches * settled.kernel_s[parts.kernels]
    family = work.family[parts.kernels]
    place = parts.of_kernel * cells + family * uncertainty.SHAPE[1] + regime
    flat = np.bincount(place, weights=weight, minlength=count * cells).reshape(count, cells)
    total = np.add.reduceat(weight, parts.first_kernels)
    scale = duration_s / np.where(total > 0.0, total, 1.0)
    each = map(
        Sums._make,
        zip(
            summed(parts.repetitions).tolist(),
            duration_s.tolist(),
            summed(clocked_s).tolist(),
            summed(energy_j * parts.repetitions[:, None]),
            (flat * scale[:, None]).reshape(count, *uncertainty.SHAPE),
            throttled.tolist(),
            over.tolist(),
            strict=True,
        ),
    )
    return [dict(zip(names, each, strict=False)) for names in parts.names]


def _regimes(
    programs: Sequence[Program], work: Work, settled: Settled
) -> npt.NDArray[np.intp]:  # fmt: skip
    """Return what sets the time of each kernel at the clock of the first step."""
    steps, kernels = zip(*(program.counts.shape for program in programs), strict=True)
    clock_hz = settled.clock_hz[_starts(steps)].repeat(kernels)
    clocked, unclocked_s = work.cycles / clock_hz, work.unclocked_s
    fixed = work.fixed_cycles / clock_hz + work.fixed_s
    regime = np.where(clocked > unclocked_s, uncertainty.COMPUTE, uncertainty.MEMORY)
    regime[fixed > np.maximum(clocked, unclocked_s)] = uncertainty.LAUNCH
    return regime


class _Phases(NamedTuple):
    """Phases of one program: J of them.

    Attributes:
        names: Their names.
        steps: Steps of the program, those of a phase in a row.
        sizes: Steps of each phase.
        launches: Of each kernel in all steps of a phase, shape (J, K).
    """

    names: tuple[str, ...]
    steps: npt.NDArray[np.intp]
    sizes: list[int]
    launches: FloatArray


@remembered(512)
def _phases(program: Program) -> _Phases:
    places: dict[str, list[int]] = {}
    for index, phase in enumerate(program.phases):
        places.setdefault(phase, []).append(index)
    belongs = np.zeros((len(places), len(program.phases)))
    for row, where in enumerate(places.values()):
        belongs[row, where] = 1.0
    times = program.repetitions * program.runs
    return _Phases(
        names=tuple(places),
        steps=np.array(list(itertools.chain.from_iterable(places.values()))),
        sizes=[len(where) for where in places.values()],
        launches=(belongs * times) @ program.counts,
    )


class _Parts(NamedTuple):
    """Phases of N programs, one after the other.

    Attributes:
        names: Of the phases of each program.
        steps: Steps of all programs, those of a phase in a row.
        first_steps: Where each phase begins among them.
        repetitions: How often each of them runs.
        kernels: Kernels of all programs, once for each phase.
        first_kernels: Where each phase begins among them.
        of_kernel: Phase of each of them.
        launches: Of each of them in its phase.
    """

    names: list[tuple[str, ...]]
    steps: npt.NDArray[np.intp]
    first_steps: npt.NDArray[np.intp]
    repetitions: FloatArray
    kernels: npt.NDArray[np.intp]
    first_kernels: npt.NDArray[np.intp]
    of_kernel: npt.NDArray[np.intp]
    launches: FloatArray

    @classmethod
    def of(cls, programs: Sequence[Program]) -> "_Parts":
        """Take the phases of programs apart."""
        every = [_phases(program) for program in programs]
        steps, kernels, kernel_sizes = [], [], []
        places = np.arange(sum(own.launches.shape[1] for own in every))
        step = kernel = 0
        for own in every:
            steps.append(own.steps + step)
            phases, size = own.launches.shape
            kernels += [places[kernel : kernel + size]] * phases
            kernel_sizes += [size] * phases
            step, kernel = step + len(own.steps), kernel + size
        of_steps = np.concatenate(steps)
        return cls(
            names=[own.names for own in every],
            steps=of_steps,
            first_steps=_starts([size for own in every for size in own.sizes]),
            repetitions=np.concatenate([program.repetitions for program in programs])[of_steps],
            kernels=np.concatenate(kernels),
            first_kernels=_starts(kernel_sizes),
            of_kernel=np.arange(len(kernel_sizes)).repeat(kernel_sizes),
            launches=np.concatenate([own.launches for own in every], axis=None),
        )


def _starts(sizes: Sequence[int]) -> npt.NDArray[np.intp]:
    return np.array([0, *itertools.accumulate(sizes[:-1])])


def pauses(workload: Workload, nodes: float) -> dict[str, tuple[float, float]]:
    """Return what holds training up while its boards are idle: name -> (how often, s in all).

    Args:
        workload: What is run.
        nodes: Servers that write a checkpoint together.
    """
    training = workload.training
    if training is None:
        return {}
    found = {}
    if training.checkpoints:
        written = memory.checkpoint_bytes(workload, training)
        each = written / (training.storage_bandwidth * nodes)
        found["checkpoint"] = (float(training.checkpoints), training.checkpoints * each)
    if training.stall_s:
        found["input"] = (float(training.steps), training.steps * training.stall_s)
    return found


def pause(totals: dict[str, Total], name: str, held: tuple[float, float], watts: float,
          clock_hz: float) -> None:  # fmt: skip
    """Add a phase in which the boards are held and do nothing.

    Args:
        totals: Phases of the job.
        name: Of the phase.
        held: How often, and seconds in all.
        watts: Idle power of one board.
        clock_hz: Clock that it keeps.
    """
    times, seconds = held
    total = totals[name] = Total(name, times, seconds, seconds * clock_hz)
    total.energy_j[_IDLE] = watts * seconds


def figures(
    workload: Workload, training: Training, gpu: Gpu, program: Program, ran: tuple[float, float]
) -> TrainingFigures:
    """Return what training gets done.

    Args:
        workload: What is run.
        training: Its steps.
        gpu: The board.
        program: Kernels of a step.
        ran: Seconds of all steps without pauses, and how often the job ran.
    """
    seconds, times = ran
    steps = training.steps * times
    samples = steps * training.global_batch
    rate = samples / (seconds * times)
    tokens = float(workload.input_tokens) if workload.has_tokens else None
    flop = program.useful_flops * training.steps
    slots, runs = program.slots, program.runs
    return TrainingFigures(
        steps=steps,
        tokens=None if tokens is None else samples * tokens,
        samples=samples,
        step_s=seconds / training.steps,
        tokens_per_s=None if tokens is None else rate * tokens,
        samples_per_s=rate,
        flop=flop * times * workload.parallelism.gpus,
        mfu=flop / (seconds * gpu.rate(workload.precision.rate_key)),
        bubble_fraction=float(1.0 - runs[0] / slots[0]),
    )


def steady(workload: Workload) -> bool:
    """Return whether the job is steady running for a time, however much gets done in it."""
    counted = workload.requests is not None or workload.requests_per_second is not None
    return workload.duration_s is not None and not counted


def idle_gap(workload: Workload, busy_s: float, gpu: str) -> float:
    """Return how long the boards are held without work, s.

    Raises:
        TooSlowError: Requests arrive faster than they are served.
    """
    if workload.duration_s is None or steady(workload):
        return 0.0
    gap = workload.duration_s - busy_s
    if gap < 0 and workload.requests_per_second is not None:
        most = workload.requests_per_second * workload.duration_s / busy_s
        raise TooSlowError(
            f"{workload.requests_per_second:g} requests/s arrive but {gpu} x "
            f"{workload.parallelism.gpus} serves {most:.3g} at batch {workload.batch}; add "
            "replicas, raise the batch or choose a faster GPU"
        )
    return max(gap, 0.0)


def fill_duration(
    totals: dict[str, Total], workload: Workload, board: Machine, clock_hz: float
) -> float:
    """Stretch the job to the duration it is to run for, and return how often its batches run.

    Raises:
        TooSlowError: Requests arrive faster than they are served.
    """
    if workload.duration_s is None:
        return 1.0
    busy = sum(total.duration_s for total in totals.values())
    if steady(workload):
        times = workload.duration_s / busy
        for total in totals.values():
            total.count *= times
            total.duration_s *= times
            total.clock_s *= times
            total.energy_j *= times
            total.shares *= times
        return times
    gap = idle_gap(workload, busy, board.gpu.name)
    if gap > 0:
        watts = float(power.idle_power(board, np.array([clock_hz]))[0])
        pause(totals, "idle", (1.0, gap), watts, clock_hz)
    return 1.0


def completed(workload: Workload, times: float) -> float:
    """Return requests served, or optimiser steps done, by a job whose batches run `times` times."""
    if workload.training is not None:
        return workload.training.steps * times
    if workload.requests_per_second is not None and workload.duration_s is not None:
        return workload.requests_per_second * workload.duration_s
    if workload.requests is not None:
        return float(workload.requests)
    return workload.batch * workload.parallelism.data * times


def tokens_each(workload: Workload) -> float:
    """Return tokens of one of what `completed` counts: written, or trained on; 0: none."""
    if workload.training is not None:
        each = workload.input_tokens if workload.has_tokens else 0
        return float(workload.training.global_batch * each)
    return float(workload.output_tokens)


def output_tokens(workload: Workload, times: float) -> float:
    """Return tokens of the job, its batches run `times` times: written, or trained on; 0: none."""
    return completed(workload, times) * tokens_each(workload)
