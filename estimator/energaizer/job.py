"""A job: how often the batches of a workload run, and what its phases add up to.

The job is its requests or optimiser steps, what a rate brings in a given time, or steady running
for that time. Boards that are held longer than they work draw idle power, in a phase of its own.
"""

import math
from collections.abc import Sequence

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
from energaizer.workload import Workload

_IDLE = COMPONENTS.index("idle")


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


def add(totals: dict[str, Total], loaded: Loaded, settled: Settled, times: float) -> None:
    """Add the steps of one batch, run so many times on each board, to the phases."""
    program = loaded.program
    repeated = program.repetitions * times
    duration = settled.duration_s * repeated
    once = shares(loaded, settled)
    for name, (steps, _) in _by_phase(program).items():
        count, seconds = repeated[steps], duration[steps]
        joules, weights = count @ settled.energy_j[steps], once[name] * times
        total = totals.get(name)
        if total is None:
            total = totals[name] = Total(name)
        total.energy_j += joules
        total.shares += weights
        total.count += sum(count.tolist())
        total.duration_s += sum(seconds.tolist())
        total.clock_s += float(seconds @ settled.clock_hz[steps])
        total.throttled |= True in settled.throttled[steps].tolist()
        total.over |= True in settled.over[steps].tolist()


@remembered(64)
def shares(loaded: Loaded, settled: Settled) -> dict[str, FloatArray]:
    """Return seconds of each phase of one batch, shared out over families and regimes."""
    return shares_together([loaded], [settled])[0]


def shares_together(
    loaded: Sequence[Loaded], settled: Sequence[Settled]
) -> list[dict[str, FloatArray]]:  # fmt: skip
    """Return the same (`shares`) of one program on B machines."""
    program, boards, cells = loaded[0].program, len(loaded), math.prod(uncertainty.SHAPE)

    def kernels(name: str) -> FloatArray:
        return np.array([getattr(one.work, name) for one in loaded])

    clock_hz = np.array([[one.clock_hz[0]] for one in settled])
    clocked, unclocked_s = kernels("cycles") / clock_hz, kernels("unclocked_s")
    fixed = kernels("fixed_cycles") / clock_hz + kernels("fixed_s")
    regime = np.where(clocked > unclocked_s, uncertainty.COMPUTE, uncertainty.MEMORY)
    regime[fixed > np.maximum(clocked, unclocked_s)] = uncertainty.LAUNCH
    place = loaded[0].work.family * uncertainty.SHAPE[1]
    kernel_s = np.array([one.kernel_s for one in settled])
    duration = np.array([one.duration_s for one in settled]) * program.repetitions
    host_bound, throttled = (
        np.array([getattr(one, name) for one in settled]) for name in ("host_bound", "throttled")
    )
    first = np.arange(boards)[:, None] * cells
    found: list[dict[str, FloatArray]] = [{} for _ in loaded]
    for name, (steps, launches) in _by_phase(program).items():
        here = np.where(throttled[:, steps].any(axis=1, keepdims=True), uncertainty.CAPPED, regime)
        here = np.where(host_bound[:, steps].any(axis=1, keepdims=True), uncertainty.LAUNCH, here)
        weight = launches * kernel_s
        flat = np.bincount(
            (first + place + here).ravel(), weights=weight.ravel(), minlength=boards * cells
        ).reshape(boards, cells)
        total = weight.sum(axis=1)
        scale = duration[:, steps].sum(axis=1) / np.where(total > 0.0, total, 1.0)
        each = (flat * scale[:, None]).reshape(boards, *uncertainty.SHAPE)
        for one, own in zip(found, each, strict=True):
            one[name] = own
    return found


@remembered(2048)
def _by_phase(
    program: Program,
) -> dict[str, tuple[slice | npt.NDArray[np.intp], FloatArray]]:
    """Return the steps of each phase, and launches of each kernel in all of them, shape (K,)."""
    found = {}
    times = program.repetitions * program.runs
    for name in dict.fromkeys(program.phases):
        where = [index for index, phase in enumerate(program.phases) if phase == name]
        steps: slice | npt.NDArray[np.intp] = slice(where[0], where[-1] + 1)
        if len(where) < where[-1] + 1 - where[0]:
            steps = np.array(where)
        found[name] = (steps, times[steps] @ program.counts[steps])
    return found


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
