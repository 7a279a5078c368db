"""Fits: timing parameters by robust least squares, energies by non-negative least squares.

Latency minimises `sum rho((ln T^ - ln T)/.1) + sum(((theta - mu)/sd)^2)` over log parameters, rho
soft-L1; power solves relative residuals with a ridge to its prior (5.1). Both see the physics of an
estimate and nothing else, and both are deterministic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, nnls

from energaizer import machine, power
from energaizer.calibration import problem
from energaizer.coefficients import Coefficients
from energaizer.host import LaunchCost
from energaizer.precision import RATE_KEYS

FloatArray = npt.NDArray[np.float64]
POWER_NOISE = 0.04  # relative error of a power label
_NOISE = 0.1  # log error from which residuals count linearly
_STARTS = (1.0e-5, 2.5e-5)  # launch times to start from: a single start can diverge
_MOST_EVALUATIONS = 40
_PREFIX_HOST = "host."


@dataclass(frozen=True)
class Parameter:
    """A log-normal prior: a dotted path of the coefficients (or `host.*`), its mean and log-sd.

    `most` is the largest value that has a meaning; a fit that asks for more gets that.
    """

    path: str
    mean: float
    log_sd: float
    most: float = float("inf")


@dataclass(frozen=True)
class Sample:
    """Measured runs of one board with their labels; all arrays of shape (n,).

    Attributes:
        runs: The runs.
        time_s: Measured seconds.
        power_w: Measured watts.
        weight: Weight of each, 0 leaves it out.
    """

    runs: problem.Runs
    time_s: FloatArray
    power_w: FloatArray
    weight: FloatArray


@dataclass(frozen=True)
class Timed:
    """A latency fit: coefficients, host, and the log parameters for a warm start."""

    coefficients: Coefficients
    host: LaunchCost
    theta: FloatArray
    cost: float


def apply(
    coefficients: Coefficients,
    host: LaunchCost,
    parameters: Sequence[Parameter],
    values: npt.ArrayLike,
) -> tuple[Coefficients, LaunchCost]:
    """Return coefficients and host with some parameters set."""
    inner: dict[str, float] = {}
    outer: dict[str, float] = {}
    for parameter, value in zip(parameters, np.asarray(values, dtype=np.float64), strict=True):
        path, own = parameter.path, min(float(value), parameter.most)
        if path.startswith(_PREFIX_HOST):
            outer[path.removeprefix(_PREFIX_HOST)] = own
        else:
            inner[path] = own
    return (
        coefficients.with_values(inner) if inner else coefficients,
        host.model_copy(update=outer) if outer else host,
    )


def fit_time(
    samples: Sequence[Sample],
    coefficients: Coefficients,
    host: LaunchCost,
    parameters: Sequence[Parameter],
    start: FloatArray | None = None,
) -> Timed:
    """Return the coefficients that explain measured times, with priors on all of them.

    Args:
        samples: Runs on one kind of board.
        coefficients: Values of everything that is not fitted.
        host: Launch cost of the machine that measured.
        parameters: What is fitted.
        start: Log parameters to start from; None: the priors, with two launch times.
    """
    mean = np.log([parameter.mean for parameter in parameters])
    sd = np.array([parameter.log_sd for parameter in parameters])
    kept = [sample.weight > 0 for sample in samples]
    chosen = [sample.runs.select(keep) for sample, keep in zip(samples, kept, strict=True)]
    label = [np.log(sample.time_s[keep]) for sample, keep in zip(samples, kept, strict=True)]
    root = [np.sqrt(sample.weight[keep]) for sample, keep in zip(samples, kept, strict=True)]

    def residuals(theta: FloatArray) -> FloatArray:
        own, at = apply(coefficients, host, parameters, np.exp(theta))
        parts = []
        for runs, target, weight in zip(chosen, label, root, strict=True):
            z = (np.log(problem.evaluate(runs, own, at).duration_s) - target) / _NOISE
            soft = np.sign(z) * np.sqrt(2.0 * (np.sqrt(1.0 + z * z) - 1.0))
            parts.append(weight * soft)
        parts.append((theta - mean) / sd)
        return np.concatenate(parts)

    launch = [parameter.path for parameter in parameters].count("host.launch_s")
    starts = [start] if start is not None else [mean.copy() for _ in _STARTS[: 1 + launch]]
    if start is None and launch:
        index = [parameter.path for parameter in parameters].index("host.launch_s")
        for theta, seconds in zip(starts, _STARTS, strict=True):
            theta[index] = np.log(seconds)
    best = min(
        (
            least_squares(
                residuals,
                theta,
                x_scale=np.maximum(sd, _NOISE),
                diff_step=np.full(len(theta), 1e-3),
                max_nfev=_MOST_EVALUATIONS,
            )
            for theta in starts
        ),
        key=lambda found: float(found.cost),
    )
    own, at = apply(coefficients, host, parameters, np.exp(best.x))
    return Timed(own, at, np.asarray(best.x), float(best.cost))


def columns(
    sample: Sample, coefficients: Coefficients, host: LaunchCost
) -> tuple[dict[str, FloatArray], FloatArray]:
    """Return watts per unit of each energy coefficient, shape (n,) each, and idle power.

    Predicted time is inside, so that a fit of energies knows nothing of measured times.
    """
    runs = sample.runs
    board = machine.build(runs.gpu, coefficients)
    seen = problem.evaluate(runs, coefficients, host)
    work = seen.work
    scale = power.supply_factor(board, runs.clock_hz)
    factor = board.energy[work.family]

    def rate(amounts: FloatArray) -> FloatArray:
        return 1e-12 * runs.sums(amounts * factor)[runs.row] / seen.duration_s

    found = {
        "power.sm_active_w_per_ghz": scale
        * board.units
        * (runs.clock_hz / 1e9)
        * seen.active_s
        / seen.duration_s,
        "power.l2_pj_per_byte": scale * rate(work.l2_bytes * work.toggle),
        "power.special_pj": scale * rate(work.special),
        "power.dram_pj_per_byte": rate(work.dram_bytes),
    }
    for index, key in enumerate(RATE_KEYS):
        if work.flops[:, index].any():
            found[f"power.flop_pj.{key}"] = scale * rate(work.switched[:, index])
    return found, power.idle_power(board, runs.clock_hz)


def fit_power(
    samples: Sequence[Sample],
    coefficients: Coefficients,
    host: LaunchCost,
    spread: Mapping[str, float],
    fit_idle: bool = False,
) -> Coefficients:
    """Return the energies that explain measured power, non-negative, with a prior on each.

    Args:
        samples: Runs on one kind of board; runs with weight 0 are left out.
        coefficients: Timing as fitted; its energies are the prior.
        host: Launch cost of the machine that measured.
        spread: Relative spread of the prior by path; the longest prefix of a path counts.
        fit_idle: Fit the constant part of idle too, where no idle reading exists.
    """
    prior = coefficients.values()
    parts = [columns(sample, coefficients, host) for sample in samples]
    paths = sorted({path for found, _ in parts for path in found})
    weight = np.concatenate([sample.weight for sample in samples])
    watts = np.concatenate([sample.power_w for sample in samples])
    idle = np.concatenate([each for _, each in parts])
    matrix = np.stack(
        [
            np.concatenate([found.get(path, np.zeros_like(each)) for found, each in parts])
            for path in paths
        ],
        axis=1,
    )
    target = watts - idle
    if fit_idle:
        paths = [*paths, "power.idle_w"]
        matrix = np.column_stack([matrix, np.ones(len(watts))])
        target = target + prior["power.idle_w"]
    kept = weight > 0
    told = np.any(matrix[kept] > 0, axis=0)
    matrix, paths = matrix[:, told], [path for path, seen in zip(paths, told, strict=True) if seen]
    root = np.sqrt(weight[kept])[:, None]
    relative = matrix[kept] / watts[kept, None]
    before = np.array([prior.get(path, 0.0) for path in paths])
    # In units of the prior: one relative residual of POWER_NOISE weighs as much as one spread.
    pull = POWER_NOISE / np.array([spread_of(spread, path) for path in paths])
    left = np.vstack([root * relative * before, np.diag(pull)])
    right = np.concatenate([root[:, 0] * target[kept] / watts[kept], pull])
    solved, _ = nnls(left, right)
    return with_energies(coefficients, dict(zip(paths, solved * before, strict=True)))


def with_energies(coefficients: Coefficients, energies: Mapping[str, float]) -> Coefficients:
    """Return coefficients with fitted energies; formats that were not seen follow bf16.

    They run in the same tensor cores, and what a fit moves to or from the busy SM is theirs too.
    """
    prior = coefficients.power.flop_pj
    ratio = energies.get("power.flop_pj.bf16", prior["bf16"]) / prior["bf16"]
    others = {
        f"power.flop_pj.{key}": value * ratio
        for key, value in prior.items()
        if key != "fp32" and f"power.flop_pj.{key}" not in energies
    }
    return coefficients.with_values({**others, **energies})


def spread_of(spread: Mapping[str, float], path: str) -> float:
    """Return the relative spread of the prior of a path: that of its longest known prefix."""
    known = [prefix for prefix in spread if path.startswith(prefix)]
    if not known:
        raise KeyError(f"no prior spread for {path}")
    return spread[max(known, key=len)]


def values(parameters: Sequence[Parameter], timed: Timed) -> Mapping[str, float]:
    """Return fitted values by path, for reports."""
    return {
        parameter.path: float(value)
        for parameter, value in zip(parameters, np.exp(timed.theta), strict=True)
    }
