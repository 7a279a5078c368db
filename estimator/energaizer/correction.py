"""One factor on the dynamic energies of a GPU, from energy that workloads were measured to take.

Where whole workloads are measured and no kernels, the data can tell how far power above idle is
off, and little else. So the structure of the coefficients is kept: every energy per unit of work is
multiplied by one factor, idle power and all times stay. The factor is the one at which the median
error of the workloads vanishes, and it is judged on workloads that it did not see.
"""

from collections.abc import Sequence
from statistics import fmean, median
from typing import NamedTuple

import numpy as np

from energaizer import machine, power
from energaizer.coefficients import Coefficients
from energaizer.errors import InputError
from energaizer.gpu import Gpu

LEAST = 5
"""Workloads below which no factor is offered."""
NEAR_LIMIT = 0.97
"""Share of the power limit from which the clock, not the work, sets the power."""
_SCALED = ("sm_active_w_per_ghz", "l2_pj_per_byte", "dram_pj_per_byte", "special_pj", "leakage_w")


class Observation(NamedTuple):
    """One workload as predicted and as measured: mean power of one board, W."""

    name: str
    predicted_w: float
    measured_w: float
    clock_hz: float | None = None
    """None: the board's highest."""
    limit_w: float | None = None
    """None: the board's own."""


class Judged(NamedTuple):
    """Error of one workload, predicted over measured less 1, dimensionless."""

    name: str
    before: float
    after: float
    """By the factor of all the others."""


class Correction(NamedTuple):
    """A factor on dynamic energies, and what it does to workloads that it did not see."""

    factor: float
    judged: tuple[Judged, ...]
    left_out: tuple[str, ...]
    """Workloads that tell nothing of it: at the power limit, or not above idle."""

    @property
    def error_before(self) -> float:
        """Return the mean absolute error of the predictions, dimensionless."""
        return fmean(abs(one.before) for one in self.judged)

    @property
    def error_after(self) -> float:
        """Return the mean absolute error with each workload left out in turn, dimensionless."""
        return fmean(abs(one.after) for one in self.judged)

    @property
    def improves(self) -> bool:
        """Return whether workloads that it did not see are predicted better with it."""
        return self.error_after < self.error_before


def correct(
    gpu: Gpu, coefficients: Coefficients, observations: Sequence[Observation]
) -> Correction:
    """Return the factor on dynamic energies by which the median error vanishes.

    A workload is met exactly by `(measured - idle) / (predicted - idle)`; its error rises with the
    factor, so that the median of those is the factor at which half of the errors are positive.

    Args:
        gpu: The board.
        coefficients: Those by which the observations were predicted.
        observations: Workloads on that board.

    Raises:
        InputError: Fewer than `LEAST` workloads tell something.
    """
    board = machine.of(gpu, coefficients)
    kept, left_out = [], []
    for one in observations:
        clock = gpu.max_clock_hz if one.clock_hz is None else one.clock_hz
        idle_w = float(power.idle_power(board, np.array([clock]))[0])
        limit_w = gpu.power_limit_w if one.limit_w is None else one.limit_w
        capped = max(one.predicted_w, one.measured_w) >= NEAR_LIMIT * limit_w
        if capped or min(one.predicted_w, one.measured_w) <= idle_w:
            left_out.append(one.name)
        else:
            kept.append((one, idle_w))
    if len(kept) < LEAST:
        raise InputError(
            f"{len(kept)} workloads tell how far dynamic energy is off on {gpu.name}, {LEAST} are "
            f"needed ({len(left_out)} more run at the power limit or not above idle); measure more"
        )
    factors = [(one.measured_w - idle) / (one.predicted_w - idle) for one, idle in kept]
    judged = []
    for place, (one, idle) in enumerate(kept):
        others = median(factors[:place] + factors[place + 1 :])
        after_w = idle + others * (one.predicted_w - idle)
        judged.append(
            Judged(one.name, one.predicted_w / one.measured_w - 1, after_w / one.measured_w - 1)
        )
    return Correction(median(factors), tuple(judged), tuple(left_out))


def scaled(coefficients: Coefficients, factor: float) -> Coefficients:
    """Return coefficients whose energies above idle are multiplied by a factor, dimensionless."""
    values = coefficients.values()
    paths = [f"power.{name}" for name in _SCALED] + ["link.pj_per_byte"]
    paths += [path for path in values if path.startswith("power.flop_pj.")]
    return coefficients.with_values({path: factor * values[path] for path in paths})
