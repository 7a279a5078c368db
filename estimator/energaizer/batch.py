"""Many cases on one GPU as one array: what a fit evaluates thousands of times.

Lowering and the alternatives of tiles depend on no coefficient and are built once, in `Batch`;
`predict` then costs one pass over all kernels of all cases. Each case has its own clock and limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from energaizer import demand, kernels, machine, power, simulation, timeline
from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.kernels import FloatArray, Kernel, Program
from energaizer.power import Activity

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Prediction:
    """What N cases are predicted to take; arrays of shape (N,) unless stated.

    Attributes:
        duration_s: Wall time of the case, all its steps.
        power_w: Mean board power.
        energy_j: Board energy.
        clock_hz: Mean clock.
        components_j: Energy by component, shape (N, C).
        work: Cycles, bytes and operations of all kernels.
        kernel_s: Seconds of each kernel at the case's requested clock, shape (K,).
    """

    duration_s: FloatArray
    power_w: FloatArray
    energy_j: FloatArray
    clock_hz: FloatArray
    components_j: FloatArray
    work: timeline.Work
    kernel_s: FloatArray


@dataclass(frozen=True)
class Steps:
    """Steps of all cases; arrays of shape (S,)."""

    case: IntArray
    repetitions: FloatArray
    sequences: FloatArray
    layers: FloatArray
    launches: FloatArray
    calls: FloatArray
    graphed: npt.NDArray[np.bool_]
    slots: FloatArray
    runs: FloatArray


class Batch:
    """N cases on one GPU, ready to be predicted with any coefficients.

    Attributes:
        gpu: The board.
        clock_hz: Requested clock of each case, shape (N,).
        limit_w: Limit of each case, shape (N,).
        steps: Steps of all cases.
        kernel_case: Case that each kernel belongs to, shape (K,).
    """

    def __init__(
        self, gpu: Gpu, programs: Sequence[Program], clock_hz: FloatArray, limit_w: FloatArray
    ) -> None:
        """Gather the kernels and steps of one program a case."""
        first = np.cumsum([0] + [len(program.rows) for program in programs])
        step, kernel, count = [], [], []
        steps = 0
        for index, program in enumerate(programs):
            where = np.nonzero(program.counts)
            step.append(where[0] + steps)
            kernel.append(where[1] + first[index])
            count.append(program.counts[where])
            steps += len(program.phases)
        cases = np.repeat(np.arange(len(programs)), [len(p.phases) for p in programs])

        def join(name: str) -> FloatArray:
            return np.concatenate([getattr(program, name) for program in programs])

        self._set(
            gpu, np.concatenate([program.rows for program in programs]),
            Steps(cases, join("repetitions"), join("sequences"), join("layers"),
                  join("launches"), join("calls"), join("graphed").astype(np.bool_),
                  join("slots"), join("runs")),
            (np.concatenate(step), np.concatenate(kernel), np.concatenate(count)),
        )  # fmt: skip
        self.clock_hz, self.limit_w = _checked(clock_hz, limit_w, len(programs))
        self.kernel_case = np.repeat(np.arange(len(programs)), np.diff(first))

    @classmethod
    def of_kernels(
        cls, gpu: Gpu, cases: Sequence[Kernel], clock_hz: FloatArray, limit_w: FloatArray
    ) -> Self:
        """Return a batch in which each case is a single kernel without a host."""
        batch = cls.__new__(cls)
        count = len(cases)
        every, one = np.arange(count), np.ones(count)
        nothing = np.zeros(count)
        batch._set(
            gpu, kernels.table(cases),
            Steps(every, one, nothing, nothing, nothing, nothing, nothing > 0, one, one),
            (every, every, one),
        )  # fmt: skip
        batch.clock_hz, batch.limit_w = _checked(clock_hz, limit_w, count)
        batch.kernel_case = every
        return batch

    def _set(
        self, gpu: Gpu, rows: FloatArray, steps: Steps, pairs: tuple[IntArray, IntArray, FloatArray]
    ) -> None:
        self.gpu, self.rows, self.steps = gpu, rows, steps
        self._step, self._kernel, self._count = pairs
        self._found: demand.Alternatives | None = None

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.clock_hz)

    def predict(self, coefficients: Coefficients, host: Host | None = None) -> Prediction:
        """Return time, power and energy of every case.

        Args:
            coefficients: Numbers of the GPU.
            host: Launch costs; None: kernels follow each other without gaps.

        Raises:
            NoEstimateError: A kernel multiplies in a format that the GPU has no rate for.
        """
        board = machine.build(self.gpu, coefficients)
        if self._found is None:
            self._found = demand.alternatives(self.rows, board)
        work = demand.compile_work(self._found, board)
        each = power.work_energies(
            power.prices(board), work.switched, work.moved, board.energy[work.family]
        )
        step_clock = self.clock_hz[self.steps.case]
        kernel_s = timeline.durations(work, self.clock_hz[self.kernel_case])
        every = np.arange(len(self.steps.case))
        duration, energy = self._evaluate(board, work, each, host, step_clock, every)
        clock = step_clock.copy()
        limit = self.limit_w[self.steps.case]
        hot = np.flatnonzero(energy.sum(axis=1) > limit * duration)
        if len(hot):
            grid = board.grid(float(step_clock[hot].max()))
            rows = [
                self._evaluate(board, work, each, host, np.minimum(f, step_clock[hot]), hot)
                for f in grid
            ]
            durations = np.stack([row[0] for row in rows])
            energies = np.stack([row[1] for row in rows])
            for limit_w in np.unique(limit[hot]):
                own = np.flatnonzero(limit[hot] == limit_w)
                seconds, joules = durations[:, own], energies[:, own]
                at = power.throttle(joules.sum(axis=-1) / seconds, float(limit_w))
                between = simulation.held(seconds, joules, grid[:, None], at)
                duration[hot[own]], energy[hot[own]] = between.duration_s, between.energy_j
                clock[hot[own]] = np.minimum(step_clock[hot[own]], between.clock_hz)
        return self._summed(duration, energy, clock, work, kernel_s)

    def _evaluate(
        self, board: machine.Machine, work: timeline.Work, each: Activity, host: Host | None,
        clock_hz: FloatArray, chosen: IntArray,
    ) -> tuple[FloatArray, FloatArray]:  # fmt: skip
        """Return wall time, shape (s,), and energy by component, (s, C), of some steps."""
        place = np.full(len(self.steps.case), -1, dtype=np.intp)
        place[chosen] = np.arange(len(chosen))
        step = place[self._step]
        inside = step >= 0
        step, kernel, count = step[inside], self._kernel[inside], self._count[inside]
        timed, clock = _taken(work, kernel), clock_hz[step]
        each_s = timeline.durations(timed, clock)
        seconds = count * each_s
        moving_s = count * timeline.moving(
            timed, each_s, clock, board.coefficients.power.stalled_share
        )
        size = len(chosen)
        beside = self.rows[kernel, kernels.COLUMN["link_hidden"]] > 0.0
        gpu_s = simulation.exposed(
            _sums(step, seconds, size),
            _sums(step, seconds * beside, size),
            board.coefficients.link.overlap,
        )
        runs = self.steps.runs[chosen]
        active_s = runs * _sums(step, moving_s * work.active[kernel], size)
        stage_s = gpu_s
        if host is not None:
            launch_s, gap_s = _host_times(host, self.steps, chosen)
            stage_s = timeline.host_norm(gpu_s, launch_s) + gap_s
        duration = self.steps.slots[chosen] * stage_s

        def total(amounts: FloatArray) -> FloatArray:
            weighted = count[:, None] * amounts[kernel]
            columns = [_sums(step, weighted[:, index], size) for index in range(amounts.shape[1])]
            return runs[:, None] * np.stack(columns, axis=1)

        activity = Activity(total(each.joules)[None])
        energy = power.energies(
            power.points(board, clock_hz[None, :]), duration[None, :], active_s[None, :], activity
        )
        return duration, energy[0]

    def _summed(
        self, duration: FloatArray, energy: FloatArray, clock: FloatArray,
        work: timeline.Work, kernel_s: FloatArray,
    ) -> Prediction:  # fmt: skip
        cases, repeated = self.steps.case, self.steps.repetitions

        def total(values: FloatArray) -> FloatArray:
            return _sums(cases, repeated * values, len(self))

        seconds = total(duration)
        parts = np.stack([total(energy[:, index]) for index in range(energy.shape[1])], axis=1)
        joules = parts.sum(axis=1)
        return Prediction(
            duration_s=seconds,
            power_w=joules / seconds,
            energy_j=joules,
            clock_hz=total(clock * duration) / seconds,
            components_j=parts,
            work=work,
            kernel_s=kernel_s,
        )


def _checked(
    clock_hz: FloatArray, limit_w: FloatArray, count: int
) -> tuple[FloatArray, FloatArray]:
    clock = np.broadcast_to(np.asarray(clock_hz, dtype=np.float64), count)
    limit = np.broadcast_to(np.asarray(limit_w, dtype=np.float64), count)
    return clock, limit


def _sums(place: IntArray, values: FloatArray, size: int) -> FloatArray:
    return np.bincount(place, weights=values, minlength=size).astype(np.float64, copy=False)


def _taken(work: timeline.Work, kernel: IntArray) -> timeline.Timed:
    return timeline.Timed(
        work.cycles[kernel], work.unclocked_s[kernel],
        work.fixed_cycles[kernel], work.fixed_s[kernel],
    )  # fmt: skip


def _host_times(host: Host, steps: Steps, chosen: IntArray) -> tuple[FloatArray, FloatArray]:
    graphed = steps.graphed[chosen]

    def cost(name: str) -> FloatArray:
        decode, prefill = float(getattr(host.decode, name)), float(getattr(host.prefill, name))
        return np.where(graphed, decode, prefill)

    sequences, layers = steps.sequences[chosen], steps.layers[chosen]
    launch = steps.launches[chosen] * cost("launch_s") + cost("step_s")
    launch += steps.calls[chosen] * cost("call_s")
    gaps = cost("gap_step_s") + sequences * cost("gap_sequence_s") + layers * cost("gap_layer_s")
    return launch + sequences * cost("sequence_s"), gaps
