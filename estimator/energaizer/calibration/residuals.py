"""Errors of predictions against measurements, and the spread from which intervals follow.

Everything is a function of two arrays, so that the same numbers serve a fit, the accuracy table
and `energaizer validate`. Percent only in what is printed; fractions inside.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_SHRINK = 10.0  # observations that weigh as much as the parent of a group
_MANY = 30  # observations from which quantiles are empirical
_CENTRAL = 0.9
_NINETY = 1.645  # half-width of a central 90 % interval, in standard deviations


class Errors(NamedTuple):
    """Errors of n predictions, percent; `bias` is the median signed error."""

    n: int
    mean: float
    median: float
    p90: float
    worst: float
    bias: float


def absolute_errors(predicted: npt.ArrayLike, measured: npt.ArrayLike) -> FloatArray:
    """Return `100 |p/y - 1|` of each pair, percent."""
    ratio = np.asarray(predicted, dtype=np.float64) / np.asarray(measured, dtype=np.float64)
    return 100.0 * np.abs(ratio - 1.0)


def errors(predicted: npt.ArrayLike, measured: npt.ArrayLike) -> Errors:
    """Return mean, median, 90 % quantile, worst and bias of some predictions, percent."""
    each = absolute_errors(predicted, measured)
    ratio = np.asarray(predicted, dtype=np.float64) / np.asarray(measured, dtype=np.float64)
    return Errors(
        n=len(each),
        mean=float(np.mean(each)),
        median=float(np.median(each)),
        p90=float(np.quantile(each, 0.9)),
        worst=float(np.max(each)),
        bias=float(np.median(100.0 * (ratio - 1.0))),
    )


def skill(error: float, baseline: float) -> float:
    """Return `1 - error / error of a baseline`: 0 is no better than the baseline, 1 is perfect.

    NaN against a baseline without error, which nothing can beat.
    """
    return 1.0 - error / baseline if baseline > 0 else float("nan")


def coverage(low: npt.ArrayLike, high: npt.ArrayLike, measured: npt.ArrayLike) -> float:
    """Return the share of measurements inside their interval, in [0, 1]."""
    y = np.asarray(measured, dtype=np.float64)
    inside = (np.asarray(low) <= y) & (y <= np.asarray(high))
    return float(np.mean(inside))


@dataclass(frozen=True)
class Spread:
    """Spread of ln(measured/predicted) of a group.

    Attributes:
        log_sd: Standard deviation.
        bias: Mean.
        n: Observations behind it, after repeats were merged.
    """

    log_sd: float
    bias: float
    n: int

    @property
    def factor(self) -> float:
        """Half-width of the central 90 % interval as a factor: `exp(1.645 s + |bias|)`."""
        return float(np.exp(_NINETY * self.log_sd + abs(self.bias)))


def spread(
    log_residuals: npt.ArrayLike, parent: Spread | None = None, independent: int | None = None
) -> Spread:
    """Return the spread of a group, shrunk to its parent by n/(n + 10) (5.6).

    From thirty observations the deviation is the one whose interval, bias and all, holds nine in
    ten of them (split conformal: the quantile of |z| at `.9 (k + 1)/k`): tails of a few host states
    are then not taken for a normal law, nor a bias for a spread on both sides.

    Args:
        log_residuals: ln(measured/predicted) of observations that no fit saw.
        parent: Spread of the wider group, None at the root.
        independent: How many of them do not repeat another [k]: one workload at ten clocks is one;
            None: all.
    """
    z = np.asarray(log_residuals, dtype=np.float64)
    rows, n = len(z), len(z) if independent is None else independent
    if n == 0:
        if parent is None:
            raise ValueError("a spread without observations needs a parent")
        return Spread(parent.log_sd, parent.bias, 0)
    bias = float(np.mean(z))
    if rows >= _MANY:
        half = float(np.quantile(np.abs(z), min(1.0, _CENTRAL * (n + 1) / n)))
        bias = float(np.clip(bias, -half, half))
        own = (half - abs(bias)) / _NINETY
    else:
        own = float(np.std(z, ddof=1)) if rows > 1 else 0.0
    if parent is None:
        return Spread(own, bias, n)
    share = n / (n + _SHRINK)
    variance = share * own**2 + (1.0 - share) * parent.log_sd**2
    return Spread(float(np.sqrt(variance)), share * bias + (1.0 - share) * parent.bias, n)


def grouped(
    log_residuals: FloatArray,
    groups: npt.NDArray[np.str_],
    workloads: npt.NDArray[np.str_] | None = None,
) -> Mapping[str, Spread]:
    """Return the spread of every group and of all under "any", groups shrunk to all.

    Args:
        log_residuals: ln(measured/predicted), shape (n,).
        groups: Name of the group of each, shape (n,).
        workloads: What was run, shape (n,); repeats of one count as one. None: all differ.
    """

    def of(chosen: npt.NDArray[np.bool_], parent: Spread | None = None) -> Spread:
        count = None if workloads is None else len(np.unique(workloads[chosen]))
        return spread(log_residuals[chosen], parent, count)

    everything = of(np.ones(len(log_residuals), dtype=np.bool_))
    names = {str(name): of(groups == name, everything) for name in np.unique(groups)}
    return {"any": everything, **names}
