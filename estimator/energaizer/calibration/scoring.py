"""Predictions of what no fit saw, beside their labels and baselines: the numbers of the report."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from energaizer.calibration import anchors, baselines, boards, dataset, heldout, residuals
from energaizer.calibration.boards import Job
from energaizer.calibration.forward import Board
from energaizer.calibration.heldout import Fitted, Outcome
from energaizer.calibration.residuals import Errors, errors
from energaizer.coefficients import Coefficients

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TRAINED_CLOCKS_HZ = (510e6, 870e6, 1320e6)
"""Clocks that may train when families and clocks are both left out."""
_MOST_OF_RUN = 2
_COMMON = 0.5
_CORE_RATE = "rate_efficiency.fp32"


@dataclass(frozen=True)
class Scored:
    """Rows with predictions of a fit that did not see them; arrays of shape (n,).

    Attributes:
        name: What was left out.
        board: Rows, their labels and kernels.
        outcome: Predictions.
        rows: Rows that count.
        trivial_power_w: Power of the constant baseline.
        trivial_s: Time of the scaled roofline.
    """

    name: str
    board: Board
    outcome: Outcome
    rows: BoolArray
    trivial_power_w: FloatArray
    trivial_s: FloatArray

    def label(self, column: str) -> FloatArray:
        """Return one column of the rows that count."""
        return self.board.frame[column].to_numpy(np.float64)[self.rows]

    def errors(self, labels: str, chosen: BoolArray | None = None) -> tuple[Errors, Errors, Errors]:
        """Return errors of time, power and energy.

        Args:
            labels: `corrected`, `recorded`, or `law`: recorded, predictions through the start-up
                of a recorded run.
            chosen: Rows, of those that count; None: all.
        """
        keep = np.ones(int(self.rows.sum()), dtype=np.bool_) if chosen is None else chosen
        time_s, watts = self.outcome.duration_s[self.rows], self.outcome.power_w[self.rows]
        names = ("time_s", "power", "energy")
        if labels != "corrected":
            names = ("recorded_s", "recorded_w", "recorded_j")
        energy = time_s * watts
        if labels == "law":
            startup_s = self.label("startup_s")
            before_w = self.label("startup_j") / startup_s
            time_s, energy = dataset.recorded_run(time_s, energy, startup_s, before_w)
            watts = energy / time_s
        found = [
            errors(predicted[keep], self.label(name)[keep])
            for predicted, name in zip((time_s, watts, energy), names, strict=True)
        ]
        return found[0], found[1], found[2]

    def baseline(self) -> tuple[float, float, float]:
        """Return mean errors of scaled roofline, constant power, and their product, percent."""
        time_s, watts = self.trivial_s[self.rows], self.trivial_power_w[self.rows]
        return (
            errors(time_s, self.label("time_s")).mean,
            errors(watts, self.label("power")).mean,
            errors(time_s * watts, self.label("energy")).mean,
        )

    def log_residuals(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return ln(measured/predicted) of time, power and energy."""
        time_s = np.log(self.label("time_s") / self.outcome.duration_s[self.rows])
        watts = np.log(self.label("power") / self.outcome.power_w[self.rows])
        return time_s, watts, time_s + watts


def _scored(name: str, board: Board, outcome: Outcome, rows: BoolArray) -> Scored:
    """Return predictions with baselines that leave the same families out."""
    family, clock = board.family, board.frame["clock_hz"].to_numpy(np.float64)
    watts, seconds = board.sample.power_w, board.sample.time_s
    bound = baselines.roofline(board.sample.runs)
    power_w, time_s = np.empty(len(family)), np.empty(len(family))
    for left in np.unique(family):
        own = family == left
        power_w[own] = baselines.constant(watts, ~own, clock)[own]
        time_s[own] = baselines.scaled(bound, seconds, ~own)[own]
    return Scored(name, board, outcome, rows, power_w, time_s)


def families(data: Path, names: tuple[str, ...]) -> tuple[Job, Fitted, tuple[Scored, ...]]:
    """Return each table of a GPU with whole families left out."""
    job = boards.job(data, names)
    full = heldout.fit_boards([board.sample for board in job.boards], job.setup)
    outcomes = heldout.leave_out(job.boards, job.setup, full)
    scored = tuple(
        _scored(name, board, outcome, np.ones(len(board.frame), dtype=np.bool_))
        for name, board, outcome in zip(names, job.boards, outcomes, strict=True)
    )
    return job, full, scored


def clocks(job: Job, full: Fitted) -> Scored:
    """Return the many-clock table with family and clock left out."""

    def known(board: Board, _family: str) -> BoolArray:
        clock = board.frame["clock_hz"].to_numpy(np.float64)
        if len(np.unique(clock)) == 1:
            return np.ones(len(clock), dtype=np.bool_)
        return np.isin(clock, TRAINED_CLOCKS_HZ)

    def unknown(board: Board, family: str) -> BoolArray:
        return ~known(board, family)

    outcomes = heldout.leave_out(job.boards, job.setup, full, scored=unknown, trained=known)
    board, outcome = job.boards[-1], outcomes[-1]
    return _scored("family and clock", board, outcome, np.isfinite(outcome.duration_s))


def carried(source: Fitted, start: Coefficients, job: Job) -> Coefficients:
    """Return what another GPU's fit says of a GPU: ratios of fitted to prior values carry over.

    Half of each, in logs: what one GPU's rows move is as much its own as it is common. The rate of
    the CUDA cores stays where their width differs.

    Args:
        source: Fit of the other GPU.
        start: What that fit started from.
        job: The GPU that is predicted; its datasheet and idle power are known.
    """
    before, after = start.values(), source.coefficients.values()
    own = job.setup.coefficients.values()
    ratios = {
        path: own[path] * (value / before[path]) ** _COMMON
        for path, value in after.items()
        if path in own
        and path in before
        and before[path] > 0
        and not path.startswith(("power.idle", "power.held"))
        and not (path == _CORE_RATE and own[path] != before[path])
        and path.startswith(("time.", "rate_efficiency.", "power.", "families."))
        and path not in {"power.reference_v", "power.ambient_c", "power.kelvin_per_watt"}
    }
    return job.setup.coefficients.with_values(ratios)


def from_specification(source: Fitted, start: Coefficients, job: Job, name: str) -> Scored:
    """Return a GPU predicted from another: specifications and idle of its own, and no row."""
    board = job.boards[0]
    begin = carried(source, start, job)
    seen = heldout.Fitted(begin, source.host, source.theta).predict(board.sample.runs)
    outcome = Outcome(seen.duration_s, seen.power_w, seen.host_s, seen.gpu_s, seen.throttled)
    found = _scored(name, board, outcome, np.ones(len(board.frame), dtype=np.bool_))
    # What a datasheet alone says: the roofline, and the limit.
    limit_w = np.full(len(board.frame), job.gpu.power_limit_w)
    return replace(found, trivial_s=baselines.roofline(board.sample.runs), trivial_power_w=limit_w)


def transfer(source: Fitted, start: Coefficients, job: Job, name: str) -> Scored:
    """Return a GPU predicted from another: specifications, idle and two anchor rows of its own.

    The anchors set host, rates and energies and are not scored.

    Args:
        source: Fit of the other GPU.
        start: What that fit started from.
        job: The GPU that is predicted.
        name: For the table.
    """
    board = job.boards[0]
    begin = carried(source, start, job)
    guess = heldout.Fitted(begin, source.host, source.theta).predict(board.sample.runs)
    bound = guess.host_s / guess.gpu_s
    usual = (board.frame["precision"] == "bf16").to_numpy() & ~board.frame[
        "power_capped"
    ].to_numpy()
    launch = int(np.argmax(np.where(usual, bound, -np.inf)))
    # A typical compute-bound row: the median of the long half, by time, among bf16 rows.
    long = np.flatnonzero(usual & (bound < 1.0 / _MOST_OF_RUN))
    compute = int(long[np.argsort(board.sample.time_s[long])[len(long) // 2]])
    final, host = anchors.anchored(board, begin, launch, compute, source.host)
    seen = heldout.Fitted(final, host, source.theta).predict(board.sample.runs)
    outcome = Outcome(seen.duration_s, seen.power_w, seen.host_s, seen.gpu_s, seen.throttled)
    rows = np.ones(len(board.frame), dtype=np.bool_)
    rows[[launch, compute]] = False
    found = _scored(name, board, outcome, rows)
    # The same anchors, without physics: one factor of the roofline, one fraction of the limit.
    time_s = baselines.roofline(board.sample.runs)
    anchor = np.zeros(len(rows), dtype=np.bool_)
    anchor[compute] = True
    power_w = np.full(len(rows), board.sample.power_w[compute])
    return replace(
        found,
        trivial_s=baselines.scaled(time_s, board.sample.time_s, anchor),
        trivial_power_w=power_w,
    )


def interval_coverage(
    scored: Scored, beside: Sequence[Scored] = ()
) -> tuple[tuple[float, float], ...]:
    """Return (share inside, mean ln(high/low)) of 90 % intervals for time, power and energy.

    The interval of a family comes from residuals of the other families, each of them left out of
    its own fit: nothing of the scored family is inside.

    Args:
        scored: The table whose intervals are checked.
        beside: Other tables of the same GPU, whose residuals a profile holds too.
    """
    return tuple(
        (float(np.mean(inside)), float(np.mean(2.0 * half)))
        for inside, half in (intervals(scored, index, beside) for index in range(3))
    )


def intervals(
    scored: Scored, index: int, beside: Sequence[Scored] = ()
) -> tuple[BoolArray, FloatArray]:
    """Return which rows lie inside their 90 % interval, and its half-width in logs, shape (n,).

    Args:
        scored: The table whose intervals are checked.
        index: 0 time, 1 power, 2 energy.
        beside: As in `interval_coverage`.
    """
    tables = (scored, *beside)
    logs = np.concatenate([each.log_residuals()[index] for each in tables])
    regime = np.concatenate([each.outcome.regime[each.rows] for each in tables])
    workload = np.concatenate([each.board.workload[each.rows] for each in tables])
    families = np.concatenate([each.board.family[each.rows] for each in tables])
    family = scored.board.family[scored.rows]
    half = np.empty(len(family))
    for left in np.unique(family):
        own, others = family == left, families != left
        spreads = residuals.grouped(logs[others], regime[others], workload[others])
        names = regime[: len(family)][own]
        half[own] = [np.log(spreads.get(name, spreads["any"]).factor) for name in names]
    return np.abs(logs[: len(family)]) <= half, half
