"""Many programs on one board -> values with intervals and provenance, as an estimate gives them.

The same physics and the same residuals as `pipeline.estimate`, for a whole table at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from energaizer import catalog, machine, uncertainty
from energaizer.batch import Batch
from energaizer.coefficients import FAMILIES, Coefficients
from energaizer.errors import EnergaizerError, one_line
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.kernels import COLUMN, Kernel, Program
from energaizer.precision import RATE_KEYS
from energaizer.result import Provenance
from energaizer.uncertainty import CAPPED, COMPUTE, LAUNCH, MEMORY, QUANTITIES, REGIMES
from energaizer.validation import names
from energaizer.validation.reading import Table
from energaizer.validation.scores import (
    Column,
    FloatArray,
    IntArray,
    Progress,
    TextArray,
    nowhere,
    texts,
)

_MINOR = 0.01  # parts below this share of time do not weaken a provenance
_UNITS = ("s", "W", "J")
_WIDEST = 20.0  # log width beyond which an interval says nothing


@dataclass(frozen=True)
class Predicted:
    """What N cases are predicted to take; arrays of shape (N,) unless stated.

    Attributes:
        duration_s: Wall time.
        power_w: Mean power of one board.
        energy_j: Energy of one board.
        widths: Half-width of ln for duration, power and energy, shape (3, N).
        provenance: Where the numbers come from.
        regime: What bounds most of the time: launch, memory, compute, capped.
        roofline_s: Datasheet roofline: the larger of FLOP at peak and bytes at bandwidth.
    """

    duration_s: FloatArray
    power_w: FloatArray
    energy_j: FloatArray
    widths: FloatArray
    provenance: TextArray
    regime: TextArray
    roofline_s: FloatArray


@dataclass(frozen=True)
class Cases:
    """N single-step programs, or N kernels, on one board.

    Attributes:
        gpu: The board.
        coefficients: What was fitted about it.
        clock_hz: Requested clock, shape (N,).
        limit_w: Limit, shape (N,).
        inputs: Inputs that a fitted range may name, shape (N,) each.
    """

    gpu: Gpu
    coefficients: Coefficients
    clock_hz: FloatArray
    limit_w: FloatArray
    inputs: Mapping[str, FloatArray]


class Answers:
    """Predictions of the n rows of a table, filled board by board; NaN where there is none.

    Attributes:
        duration_s: Wall time, shape (n,).
        power_w: Mean power of one board, shape (n,).
        energy_j: Energy of one board, shape (n,).
        widths: Half-width of ln for duration, power and energy, shape (3, n).
        roofline_s: Datasheet roofline, shape (n,).
        limit_w: Limit of one board, shape (n,).
        provenance: Where the numbers come from, shape (n,).
        regime: What bounds most of the time, shape (n,).
        failed: Why a row has no prediction; "": it has one, shape (n,).
        boards: GPUs that were used, with their coefficients, by the table's name.
    """

    def __init__(self, count: int) -> None:
        """Begin without any."""
        self.duration_s, self.power_w, self.energy_j = (nowhere(count) for _ in range(3))
        self.widths = np.zeros((len(QUANTITIES), count))
        self.roofline_s, self.limit_w = nowhere(count), nowhere(count)
        self.provenance, self.regime, self.failed = (texts([""] * count) for _ in range(3))
        self.boards: dict[str, tuple[Gpu, Coefficients]] = {}

    def put(self, rows: IntArray, said: Predicted) -> None:
        """Take the predictions of some rows."""
        self.duration_s[rows], self.power_w[rows] = said.duration_s, said.power_w
        self.energy_j[rows], self.roofline_s[rows] = said.energy_j, said.roofline_s
        self.widths[:, rows] = said.widths
        self.provenance[rows], self.regime[rows] = said.provenance, said.regime

    def column(
        self, quantity: str, measured: FloatArray, predicted: FloatArray, reason: TextArray
    ) -> Column:
        """Return time, power or energy with its interval; the limit bounds power."""
        index = ("time", "power", "energy").index(quantity)
        most = self.limit_w if quantity == "power" else np.inf
        low, high = interval(predicted, self.widths[index], most)
        return Column(quantity, _UNITS[index], measured, predicted, low, high, reason)


def by_board(table: Table, answers: Answers, progress: Progress) -> Iterator[tuple[Gpu, IntArray]]:
    """Yield each GPU that a table's `gpu_model` names, with its rows; an unknown one fails them."""
    where = table.texts("gpu_model")
    for name in dict.fromkeys(where):
        rows = np.array([row for row, told in enumerate(where) if told == name], dtype=np.intp)
        try:
            gpu = names.board(name).gpu
        except EnergaizerError as error:
            answers.failed[rows] = one_line(error)
            continue
        answers.limit_w[rows] = gpu.power_limit_w
        answers.boards[name] = (gpu, catalog.coefficients(gpu))
        progress(table.dataset, int(rows[0]), len(table))
        yield gpu, rows


def programs(cases: Cases, runs: Sequence[Program], host: Host) -> Predicted:
    """Return predictions of programs: of one step, or of all their steps together.

    Raises:
        NoEstimateError: A kernel multiplies in a format that the GPU has no rate for.
    """
    batch = Batch(cases.gpu, runs, cases.clock_hz, cases.limit_w)
    counts = np.concatenate([(run.repetitions * run.runs) @ run.counts for run in runs])
    steps = batch.steps

    def cost(name: str) -> FloatArray:
        decode, prefill = float(getattr(host.decode, name)), float(getattr(host.prefill, name))
        return np.where(steps.graphed, decode, prefill)

    launch_s = steps.launches * cost("launch_s") + steps.calls * cost("call_s") + cost("step_s")
    launch_s = steps.repetitions * (launch_s + steps.sequences * cost("sequence_s"))
    total_s: FloatArray = np.bincount(steps.case, launch_s, len(batch)).astype(np.float64)
    return _judged(cases, batch, counts, host, total_s)


def kernels(cases: Cases, rows: Sequence[Kernel]) -> Predicted:
    """Return predictions of single kernels without a host.

    Raises:
        NoEstimateError: A kernel multiplies in a format that the GPU has no rate for.
    """
    batch = Batch.of_kernels(cases.gpu, rows, cases.clock_hz, cases.limit_w)
    return _judged(cases, batch, np.ones(len(rows)), None, np.zeros(len(rows)))


def _judged(
    cases: Cases, batch: Batch, counts: FloatArray, host: Host | None, launch_s: FloatArray
) -> Predicted:
    n = len(batch)
    found = batch.predict(cases.coefficients, host)
    work, owner = found.work, batch.kernel_case
    clock = found.clock_hz[owner]
    clocked, fixed = work.cycles / clock, work.fixed_cycles / clock + work.fixed_s
    bound = np.where(clocked > work.unclocked_s, COMPUTE, MEMORY)
    bound = np.where(fixed > np.maximum(clocked, work.unclocked_s), LAUNCH, bound)
    seconds = counts * found.kernel_s
    gpu_s = np.bincount(owner, seconds, n)
    whole = np.where(launch_s > gpu_s, LAUNCH, -1)
    whole = np.where((whole < 0) & (found.clock_hz < cases.clock_hz * (1 - 1e-9)), CAPPED, whole)
    bound = np.where(whole[owner] >= 0, whole[owner], bound)
    size = len(FAMILIES) * len(REGIMES)
    place = (owner * len(FAMILIES) + work.family) * len(REGIMES) + bound
    shares = np.bincount(place, seconds, n * size).reshape(n, size)
    total = shares.sum(axis=1, keepdims=True)
    shares = np.divide(shares, total, out=np.zeros_like(shares), where=total > 0)
    by_regime = shares.reshape(n, len(FAMILIES), len(REGIMES)).sum(axis=1)
    provenance = _provenance(cases, shares)
    return Predicted(
        duration_s=found.duration_s,
        power_w=found.power_w,
        energy_j=found.energy_j,
        widths=_widths(cases.coefficients, shares, provenance),
        provenance=texts([item.value for item in provenance]),
        regime=texts(np.array(REGIMES)[by_regime.argmax(axis=1)]),
        roofline_s=roofline(cases, batch.rows, counts, owner),
    )


def _provenance(cases: Cases, shares: FloatArray) -> list[Provenance]:
    """Return provenances by the rules of an estimate: own, hull, share of calibrated families."""
    own = cases.coefficients.provenance
    outside = np.zeros(len(shares), dtype=np.bool_)
    for name, (low, high) in cases.coefficients.hull.items():
        if name in cases.inputs:
            value = cases.inputs[name]
            outside |= (value < low) | (value > high)
    board = machine.of(cases.gpu, cases.coefficients)
    by_family = shares.reshape(len(shares), len(FAMILIES), len(REGIMES)).sum(axis=2)
    covered = by_family[:, board.calibrated].sum(axis=1) >= 1.0 - _MINOR
    found = []
    for beyond, whole in zip(outside, covered, strict=True):
        if own in {Provenance.SPECIFICATION, Provenance.EXTRAPOLATED, Provenance.BOUND}:
            worse = [Provenance.EXTRAPOLATED] if beyond else []
            found.append(Provenance.weakest(own, *worse))
        elif beyond:
            found.append(Provenance.EXTRAPOLATED)
        else:
            found.append(Provenance.CALIBRATED if whole else Provenance.ANALYTICAL)
    return found


def _widths(
    coefficients: Coefficients, shares: FloatArray, provenance: Sequence[Provenance]
) -> FloatArray:
    """Return half-widths of ln for each quantity, shape (3, N)."""
    spread = uncertainty.spread_of(coefficients.residuals)
    # one quantity after the other, for there may be many rows
    found = np.hstack([uncertainty.combined(one[None], shares) for one in spread]).T
    found *= np.array([uncertainty.widening(item) for item in provenance])
    return np.minimum(found, _WIDEST)


def roofline(cases: Cases, rows: FloatArray, counts: FloatArray, owner: IntArray) -> FloatArray:
    """Return the least time that a datasheet allows at the requested clock, s, shape (N,).

    Args:
        cases: Board and clocks; peaks hold at the reference clock and are not exceeded above it.
        rows: Kernels, shape (K, columns).
        counts: Launches of each, shape (K,).
        owner: Case of each, shape (K,).
    """
    gpu, n = cases.gpu, len(cases.clock_hz)
    peaks = np.array([gpu.peak(key) for key in RATE_KEYS])
    flops, rate = rows[:, COLUMN["flops"]], rows[:, COLUMN["rate"]].astype(np.intp)
    math_s = np.divide(flops, peaks[rate], out=np.zeros(len(rows)), where=flops > 0)
    slower = np.minimum(1.0, cases.clock_hz / gpu.reference_clock_hz)
    moved = rows[:, COLUMN["read_bytes"]] + rows[:, COLUMN["write_bytes"]]
    found: FloatArray = np.maximum(
        np.bincount(owner, counts * math_s, n) / slower,
        np.bincount(owner, counts * moved, n) / gpu.memory_bandwidth,
    )
    return found


def missing_rates(gpu: Gpu, rates: FloatArray) -> list[str]:
    """Return the rate keys, of those that kernels use by index, that a board lacks."""
    keys = sorted({RATE_KEYS[int(rate)] for rate in np.unique(rates)})
    return [key for key in keys if np.isnan(gpu.peak(key))]


def interval(
    value: FloatArray, width: FloatArray, most: FloatArray | float = np.inf
) -> tuple[FloatArray, FloatArray]:
    """Return the ends of intervals; `most` bounds the upper ones, never below the value."""
    factor = np.exp(width)
    return value / factor, np.maximum(value, np.minimum(value * factor, most))
