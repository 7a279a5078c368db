"""What a prediction must beat: constants, limits and rooflines, each as simple as it sounds."""

import numpy as np
import numpy.typing as npt

from energaizer.calibration import problem
from energaizer.kernels import COLUMN, RATE

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def roofline(runs: problem.Runs) -> FloatArray:
    """Return max(FLOP / peak rate, bytes / bandwidth) of each kernel, summed over each run, s.

    The peak rate is that of the requested clock.
    """
    rows = runs.found.rows
    peaks = np.array([runs.gpu.peak_flops.get(key, np.nan) for key in RATE])
    rate = peaks[rows[:, COLUMN["rate"]].astype(np.intp)]
    flops = rows[:, COLUMN["flops"]]
    compute = np.where(flops > 0, flops / rate, 0.0)
    core = rows[:, COLUMN["core_flops"]] / peaks[RATE["fp32"]]
    moved = rows[:, COLUMN["read_bytes"]] + rows[:, COLUMN["write_bytes"]]
    memory = moved / runs.gpu.memory_bandwidth
    found = np.empty(len(runs.row))
    for clock in np.unique(runs.clock_hz):
        own = runs.clock_hz == clock
        slower = runs.gpu.reference_clock_hz / clock
        each = np.maximum(np.maximum(compute, core) * slower, memory)
        found[own] = runs.sums(each)[runs.row[own]]
    return found


def scaled(bound: FloatArray, measured: FloatArray, trained: BoolArray) -> FloatArray:
    """Return a bound times the one factor that fits the rows trained on, in logs."""
    factor = np.exp(np.mean(np.log(measured[trained] / bound[trained])))
    found: FloatArray = bound * factor
    return found


def constant(measured: FloatArray, trained: BoolArray, group: FloatArray) -> FloatArray:
    """Return the mean of the rows trained on, for each group (a clock) apart where there is one."""
    found = np.full(len(measured), float(np.mean(measured[trained])))
    for value in np.unique(group):
        own = (group == value) & trained
        if own.any():
            found[group == value] = float(np.mean(measured[own]))
    return found
