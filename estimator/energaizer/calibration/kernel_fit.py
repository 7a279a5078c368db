"""Fits of single kernels: time by family and format, then power through the sensor's window.

No clock was recorded, so rows whose FLOP rate is high enough to meet the power limit are left out
of the fit of time: there the limit decides, and it acts through the clock as in every estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from energaizer.calibration import dataset, fit, plan, problem
from energaizer.calibration.fit import Parameter, Sample
from energaizer.calibration.single_kernels import Table, near_limit
from energaizer.coefficients import Coefficients
from energaizer.host import LaunchCost

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
NO_HOST = LaunchCost(launch_s=0.0, step_s=0.0)
_WARM_SHARES = np.linspace(0.0, 1.0, 21)
_NEAR_CAP = 0.97
_NOISE = 0.1
_ROUNDS = 12
_CLOCK_SHARES = np.linspace(0.5, 1.0, 26)
_SENSITIVE = 1.6  # time at half the clock over time at the boost clock: bound by the clock
_SLOWED = 0.97
_SUSTAINED_S = 1e-4
_START_WARM = 0.5
_ALIKE = 10.0  # single kernels are many, and alike: a hundred count as one


@dataclass(frozen=True)
class Stage:
    """Rows that one fit sees and the parameters it moves."""

    rows: BoolArray
    parameters: tuple[Parameter, ...]


def stages(found: Table) -> tuple[Stage, ...]:
    """Return the fits of time, in order: products, quantised products, prefill, decode."""
    frame = found.frame
    family = frame["family"].to_numpy(dtype=np.str_)
    wide = (frame["dtype"] == "bfloat16").to_numpy()
    parts = [
        Stage((family == "gemm") & wide, plan.KERNEL_PRODUCTS),
        *(
            Stage(
                (family == "gemm") & frame["dtype"].isin(names).to_numpy(),
                (Parameter(f"rate_efficiency.{key}", 0.8, 0.2),),
            )
            for key, names in (("fp8", ("fp8", "fp8_block")), ("fp4", ("nvfp4",)))
        ),
        Stage(family == "attention-prefill", plan.KERNEL_PREFILL),
        Stage(family == "attention-decode", plan.KERNEL_DECODE),
    ]
    return tuple(stage for stage in parts if stage.rows.any())


def fit_time(found: Table, start: Coefficients, kept: BoolArray) -> Coefficients:
    """Return coefficients that explain latencies of the rows kept."""
    seconds = found.column("latency_us") * 1e-6
    hot = near_limit(found)
    own = start
    for stage in stages(found):
        # A format that never runs below the limit is fitted on what there is.
        rows = stage.rows & kept & ~hot
        if not rows.any():
            rows = stage.rows & kept
        sample = Sample(found.runs, seconds, seconds, rows.astype(np.float64))
        own = fit.fit_time([sample], own, NO_HOST, stage.parameters).coefficients
    return own


@dataclass(frozen=True)
class PowerFit:
    """Energies of single kernels and the nuisance of their sensor.

    Attributes:
        coefficients: With fitted energies.
        floor_w: Board power with a live context and no work.
        warm_share: How far the second before a reading was like the kernel itself, by table.
        usual_share: The same of a table that is not named there.
    """

    coefficients: Coefficients
    floor_w: float
    warm_share: Mapping[str, float]
    usual_share: float = _START_WARM

    def recorded(self, found: Table, kernel_w: FloatArray) -> FloatArray:
        """Return what the sensor records of kernels that draw so much, W (5.3)."""
        share = np.array([self.warm_share.get(name, self.usual_share) for name in tables(found)])
        before = self.floor_w + share * (kernel_w - self.floor_w)
        return dataset.recorded_power(kernel_w, before, found.column("obs_weight_g"))


def tables(found: Table) -> npt.NDArray[np.str_]:
    """Return the name of the table that each row was measured in: operation and formats."""
    frame = found.frame
    return (frame["op"] + ":" + frame["dtype"] + ":" + frame["kv_dtype"]).to_numpy(dtype=np.str_)


def scorable(found: Table) -> BoolArray:
    """Return rows whose power holds enough of the kernel: tiers A and A+."""
    tier: BoolArray = found.frame["power_tier"].isin(("A", "A+")).to_numpy()
    return tier


def at_limit(found: Table) -> BoolArray:
    """Return rows that record the board's limit: they tell the limit, not the kernel."""
    rows: BoolArray = found.column("power_w") >= _NEAR_CAP * found.column("power_limit_w")
    return rows


def fit_power(found: Table, start: Coefficients, kept: BoolArray, floor_w: float) -> PowerFit:
    """Return energies that explain recorded power, rows at the limit as lower bounds.

    A recorded mean holds `1 - g` of the second before, which lies between the floor and the
    kernel's own power: one share for each table, fitted in turn with the energies.

    Args:
        found: Rows of one GPU.
        start: Timing as fitted; its energies are the prior.
        kept: Rows that may be fitted.
        floor_w: Board power with a live context and no work, W.
    """
    rows = kept & scorable(found) & (found.column("power_w") > floor_w)
    watts, g = found.column("power_w")[rows], found.column("obs_weight_g")[rows]
    limit, capped = found.column("power_limit_w")[rows], at_limit(found)[rows]
    table = tables(found)[rows]
    held = start.with_values({"power.held_idle_w": floor_w})
    runs = found.runs.select(rows)
    seconds = found.column("latency_us")[rows] * 1e-6
    clock, slowed = throttled_clock(runs, held, seconds)
    slowed &= capped
    runs = replace(runs, clock_hz=np.where(slowed, clock, runs.clock_hz))
    sample = Sample(runs, watts, watts, np.ones(len(watts)))
    columns, idle = fit.columns(sample, held, NO_HOST)
    prior, paths = held.values(), sorted(columns)
    before = np.array([prior[path] for path in paths])
    matrix = np.stack([columns[path] for path in paths], axis=1) * before
    pull = fit.POWER_NOISE / np.array(
        [fit.spread_of(plan.KERNEL_POWER_SPREAD, path) for path in paths]
    )
    pull = pull * np.sqrt(len(idle)) / _ALIKE
    solved, share = np.ones(len(paths)), np.full(len(watts), _START_WARM)
    warm: dict[str, float] = {}
    for _ in range(_ROUNDS):
        kernel = np.minimum(idle + matrix @ solved, limit)
        for name in np.unique(table):
            own = table == name
            trial = floor_w + (g[own] + (1.0 - g[own]) * _WARM_SHARES[:, None]) * (
                kernel[own] - floor_w
            )
            cost = np.sum(_soft(trial / watts[own] - 1.0), axis=1)
            warm[str(name)] = float(_WARM_SHARES[np.argmin(cost)])
            share[own] = warm[str(name)]
        seen = g + (1.0 - g) * share
        # Power of the kernel itself that the reading implies, or the limit, a lower bound.
        target = np.where(capped, limit, floor_w + (watts - floor_w) / seen)
        told = ~capped | slowed | (idle + matrix @ solved < limit)
        off = ((idle + matrix @ solved) - target) * seen / watts
        root = np.sqrt(told / np.sqrt(1.0 + (off / _NOISE) ** 2)) * seen / watts
        left = np.vstack([root[:, None] * matrix, np.diag(pull)])
        solved, _ = nnls(left, np.concatenate([root * (target - idle), pull]))
    energies = dict(zip(paths, solved * before, strict=True))
    return PowerFit(fit.with_energies(held, energies), floor_w, warm)


def throttled_clock(
    runs: problem.Runs, coefficients: Coefficients, seconds: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Return the clock at which each kernel would take as long as measured, and where that is told.

    A kernel that runs slower than at the boost clock, by a limit, tells at which clock it met it.
    """
    highest = float(runs.gpu.max_clock_hz)
    grid = highest * _CLOCK_SHARES
    at = np.stack(
        [
            problem.evaluate(runs, coefficients, NO_HOST, np.full(len(seconds), clock)).duration_s
            for clock in grid
        ]
    )
    clock = np.array(
        [np.interp(-own, -column, grid) for own, column in zip(seconds, at.T, strict=True)]
    )
    sensitive = at[0] > _SENSITIVE * at[-1]
    return clock, sensitive & (clock < _SLOWED * highest)


def held_at_limit(found: Table, coefficients: Coefficients) -> Sample:
    """Return products that a limit slowed, at the clock that their time tells, power at the limit.

    For boards whose power nobody recorded: latency alone says at which clock they met the limit.
    """
    seconds = found.column("latency_us") * 1e-6
    wide = (found.frame["dtype"] == "bfloat16").to_numpy() & near_limit(found)
    rows = wide & (found.frame["family"] == "gemm").to_numpy() & (seconds > _SUSTAINED_S)
    runs, seconds = found.runs.select(rows), seconds[rows]
    clock, slowed = throttled_clock(runs, coefficients, seconds)
    limit = np.full(len(seconds), found.gpu.power_limit_w)
    return Sample(replace(runs, clock_hz=clock), seconds, limit, slowed.astype(np.float64))


def _soft(error: FloatArray) -> FloatArray:
    found: FloatArray = np.sqrt(1.0 + (error / _NOISE) ** 2) - 1.0
    return found


def predict(found: Table, coefficients: Coefficients) -> problem.Predicted:
    """Return time and power of all rows under the board's limit."""
    return problem.predict(found.runs, coefficients, NO_HOST)
