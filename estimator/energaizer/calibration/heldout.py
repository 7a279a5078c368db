"""Fits of forward passes, whole families left out: the residuals from which intervals follow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from energaizer.calibration import fit, problem
from energaizer.calibration.fit import Parameter, Sample
from energaizer.calibration.forward import Board
from energaizer.calibration.plan import POWER_SPREAD
from energaizer.coefficients import Coefficients
from energaizer.host import LaunchCost

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_LAUNCH_SHARE = 0.6  # of GPU time: launch-bound from here


@dataclass(frozen=True)
class Setup:
    """What a fit starts from.

    Attributes:
        coefficients: Idle and energies are the prior of power; timing where nothing is fitted.
        host: Launch cost where nothing is fitted.
        parameters: What is fitted of time.
        fit_idle: Whether the constant part of idle is fitted too.
    """

    coefficients: Coefficients
    host: LaunchCost
    parameters: tuple[Parameter, ...]
    fit_idle: bool = False


@dataclass(frozen=True)
class Fitted:
    """Coefficients and host of one fit, and its log parameters for a warm start."""

    coefficients: Coefficients
    host: LaunchCost
    theta: FloatArray

    def predict(self, runs: problem.Runs) -> problem.Predicted:
        """Return what an estimate with this fit says of some runs."""
        return problem.predict(runs, self.coefficients, self.host)


def fit_boards(samples: Sequence[Sample], setup: Setup, start: FloatArray | None = None) -> Fitted:
    """Return time, then power, of all runs with a weight."""
    timed = fit.fit_time(samples, setup.coefficients, setup.host, setup.parameters, start)
    powered = fit.fit_power(
        samples, timed.coefficients, timed.host, POWER_SPREAD, fit_idle=setup.fit_idle
    )
    return Fitted(powered, timed.host, timed.theta)


@dataclass(frozen=True)
class Outcome:
    """Predictions of rows that the fit behind them did not see; arrays of shape (n,).

    Attributes:
        duration_s: Predicted seconds.
        power_w: Predicted watts.
        host_s: Predicted launch time.
        gpu_s: Predicted kernel time.
        throttled: The limit lowered the predicted clock.
    """

    duration_s: FloatArray
    power_w: FloatArray
    host_s: FloatArray
    gpu_s: FloatArray
    throttled: BoolArray

    @property
    def launch_bound(self) -> BoolArray:
        """Host time exceeds .6 of GPU time."""
        return self.host_s > _LAUNCH_SHARE * self.gpu_s

    @property
    def regime(self) -> npt.NDArray[np.str_]:
        """Launch-bound, capped, or any other, of each row."""
        found = np.full(len(self.duration_s), "any", dtype="<U8")
        found[self.launch_bound] = "launch"
        found[self.throttled] = "capped"
        return found


def leave_out(
    boards: Sequence[Board],
    setup: Setup,
    full: Fitted,
    scored: Callable[[Board, str], BoolArray] | None = None,
    trained: Callable[[Board, str], BoolArray] | None = None,
) -> tuple[Outcome, ...]:
    """Return predictions of each family from a fit without it, one outcome a board.

    Args:
        boards: Tables on one GPU.
        setup: What is fitted.
        full: Fit on everything, a start only.
        scored: Rows that one family's fit predicts; None: all of that family.
        trained: Rows that may train it; None: all of the other families.
    """
    families = sorted({name for board in boards for name in board.family})
    columns = [np.full((4, len(board.frame)), np.nan) for board in boards]
    capped = [np.zeros(len(board.frame), dtype=np.bool_) for board in boards]
    for family in families:
        samples = []
        for board in boards:
            keep = board.family != family
            if trained is not None:
                keep &= trained(board, family)
            own = board.sample
            samples.append(Sample(own.runs, own.time_s, own.power_w, own.weight * keep))
        fitted = fit_boards(samples, setup, full.theta)
        for board, values, throttled in zip(boards, columns, capped, strict=True):
            rows = board.family == family
            if scored is not None:
                rows &= scored(board, family)
            if not rows.any():
                continue
            seen = fitted.predict(board.sample.runs.select(rows))
            values[:, rows] = seen.duration_s, seen.power_w, seen.host_s, seen.gpu_s
            throttled[rows] = seen.throttled
    return tuple(
        Outcome(values[0], values[1], values[2], values[3], throttled)
        for values, throttled in zip(columns, capped, strict=True)
    )
