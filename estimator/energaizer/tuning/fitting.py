"""The fit of one GPU: where it starts, what its rows can tell, and what they cannot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from energaizer import catalog, machine, power
from energaizer.calibration import anchors, heldout, plan, problem
from energaizer.calibration import fit as fits
from energaizer.calibration.fit import Parameter
from energaizer.calibration.forward import Board
from energaizer.calibration.heldout import Fitted, Outcome, Setup
from energaizer.coefficients import FAMILIES, Coefficients
from energaizer.errors import InputError
from energaizer.gpu import Gpu
from energaizer.host import LaunchCost
from energaizer.kernels import COLUMN
from energaizer.priors import from_specification
from energaizer.result import Provenance
from energaizer.validation import names
from energaizer.validation.scores import FloatArray

FEW = 6  # rows below which two readings set scales and nothing else is fitted
_MANY = 12  # rows from which the constant part of idle can be told from work
_LAUNCH_SHARE = 0.6
_STEP = 0.05  # of a log parameter, for its derivative
_NOISE = 0.1
_TOLD = 0.8  # of the prior's spread left after the fit: above, the rows told nothing
_IDLE_CLOCKS = 3
_DEFAULT_HOST = LaunchCost(launch_s=1.5e-5, call_s=1.0e-5, step_s=2e-4)


@dataclass(frozen=True)
class Start:
    """Where a fit starts, with the words that say so."""

    coefficients: Coefficients
    host: LaunchCost
    parameters: tuple[Parameter, ...]
    told: str
    own: bool


@dataclass(frozen=True)
class Result:
    """A fit with its predictions.

    Attributes:
        start: Where it started.
        fitted: Coefficients and host.
        seen: Predictions of the rows by this fit.
        held_out: Predictions of each model by a fit without it; None: one model, or too few rows.
        method: What was done, in words.
        missing: What the rows could not tell, in words.
    """

    start: Start
    fitted: Fitted
    seen: Outcome
    held_out: Outcome | None
    method: str
    missing: tuple[str, ...]


def start(gpu: Gpu, chosen: str = "auto") -> Start:
    """Return the coefficients to start from.

    Args:
        gpu: The user's board.
        chosen: `auto`: the shipped fit of this GPU, else of its nearest relative, else the prior;
            `prior`: the datasheet alone; or the name of a GPU with a shipped fit.

    Raises:
        InputError: The named GPU has no shipped fit.
    """
    host = names.eager_host(gpu).prefill
    prior = from_specification(gpu, catalog.prior()).with_values(plan.starting(gpu))
    if chosen == "prior":
        return Start(prior, _DEFAULT_HOST, plan.forward(gpu), "datasheet and priors", False)
    other = nearest(gpu) if chosen == "auto" else catalog.gpu(chosen)
    if other is None:
        return Start(prior, _DEFAULT_HOST, plan.forward(gpu), "datasheet and priors", False)
    shipped = catalog.coefficients(other)
    if not shipped.fitted_on:
        raise InputError(f"--start {other.name}: nothing was fitted for it; use auto or prior")
    if other.name == gpu.name:
        return Start(shipped, host, _around(shipped, host, gpu), f"shipped fit of {gpu.name}", True)
    scale = gpu.compute_units / other.compute_units
    values = {
        path: value
        for path, value in shipped.values().items()
        if path.startswith(("time.", "rate_efficiency.", "families."))
        or path in {"power.l2_pj_per_byte", "power.special_pj", "power.sm_active_w_per_ghz"}
        or path.removeprefix("power.flop_pj.") in prior.power.flop_pj
        or (path == "power.dram_pj_per_byte" and gpu.memory_type == other.memory_type)
    }
    for path in ("power.idle_w_per_v2_ghz", "power.idle_w_per_v3"):
        values[path] = shipped.values()[path] * scale  # these belong to the SMs
    tree = prior.model_dump() | {
        name: shipped.model_dump()[name] for name in ("time", "families", "rate_efficiency")
    }
    found = Coefficients.model_validate(tree).with_values(values)
    why = ", the nearest relative" if chosen == "auto" else ""
    told = f"shipped fit of {other.name}{why}, scaled by SM count"
    return Start(found, host, _around(found, host, gpu), told, False)


def nearest(gpu: Gpu) -> Gpu | None:
    """Return the GPU with a shipped fit that is most alike: itself, else of its architecture."""
    fitted = [
        other for other in catalog.gpus()
        if (found := catalog.coefficients(other)).fitted_on
        and found.provenance is Provenance.CALIBRATED
    ]  # fmt: skip
    for other in fitted:
        if other.name == gpu.name:
            return other
    same = [other for other in fitted if other.architecture == gpu.architecture]

    def distance(other: Gpu) -> tuple[bool, float]:
        width = np.log(other.memory_bandwidth / gpu.memory_bandwidth)
        units = np.log(other.compute_units / gpu.compute_units)
        return other.memory_type != gpu.memory_type, float(width**2 + units**2)

    return min(same, key=distance) if same else None


def with_idle(coefficients: Coefficients, gpu: Gpu, idle: pd.DataFrame) -> Coefficients:
    """Return coefficients with measured idle power: three terms, or the constant alone."""
    board = machine.build(gpu, coefficients)
    clock = idle["clock_hz"].to_numpy(np.float64)
    watts = idle["idle_w"].to_numpy(np.float64)
    if len(np.unique(clock)) < _IDLE_CLOCKS:
        shift = float(np.mean(watts - power.idle_power(board, clock)))
        constant = max(0.0, coefficients.power.idle_w + shift)
        return coefficients.with_values({"power.idle_w": constant})
    curve = np.array(gpu.voltage or coefficients.voltage, dtype=np.float64)
    volt = np.interp(clock, curve[:, 0], curve[:, 1])
    columns = np.stack([np.ones_like(volt), volt**2 * clock / 1e9, volt**3], axis=1)
    found, _ = nnls(columns / watts[:, None], np.ones_like(watts))
    terms = ("power.idle_w", "power.idle_w_per_v2_ghz", "power.idle_w_per_v3")
    return coefficients.with_values(dict(zip(terms, map(float, found), strict=True)))


def fit(board: Board, begun: Start, idle: pd.DataFrame | None) -> Result:
    """Return the fit of a board's rows, and what they could not tell.

    Raises:
        InputError: Every row ran at the power limit, or there is one row only.
    """
    usable = board.sample.weight > 0
    if np.count_nonzero(usable) < 2:  # noqa: PLR2004
        raise InputError(
            f"{np.count_nonzero(usable)} of {len(usable)} rows are usable below the power limit; "
            "measure at least two, one of a small and one of a large batch"
        )
    gpu = board.sample.runs.gpu
    if idle is not None:
        begun = replace(begun, coefficients=with_idle(begun.coefficients, gpu, idle))
    missing = _missing(board, begun, idle)
    launch = _launch_bound(board, begun)
    setup = _setup(begun, launch[usable], idle)
    held = None
    if np.count_nonzero(usable) < FEW:
        found, method = _anchored(board, begun, setup, launch, missing)
    else:
        found, method = _fitted(board, setup, missing)
        if len(set(board.family[usable])) > 1:
            (held,) = heldout.leave_out([board], setup, found)
    seen = found.predict(board.sample.runs)
    outcome = Outcome(seen.duration_s, seen.power_w, seen.host_s, seen.gpu_s, seen.throttled)
    return Result(begun, found, outcome, held, method, tuple(missing))


def families(board: Board) -> list[str]:
    """Return the kernel families that the rows contain."""
    index = board.sample.runs.found.rows[:, COLUMN["family"]].astype(np.intp)
    return [FAMILIES[place] for place in np.unique(index)]


def _around(found: Coefficients, host: LaunchCost, gpu: Gpu) -> tuple[Parameter, ...]:
    """Return the parameters of a fit of passes with priors around known values."""
    known = found.values() | {f"host.{name}": value for name, value in host.model_dump().items()}
    return tuple(replace(own, mean=known.get(own.path) or own.mean) for own in plan.forward(gpu))


def _launch_bound(board: Board, begun: Start) -> np.ndarray:
    seen = problem.evaluate(board.sample.runs, begun.coefficients, begun.host)
    return np.asarray(seen.host_s > _LAUNCH_SHARE * seen.gpu_s, dtype=np.bool_)


def _anchored(
    board: Board, begun: Start, setup: Setup, launch: np.ndarray, missing: list[str]
) -> tuple[Fitted, str]:
    sample = board.sample
    usable = np.flatnonzero(sample.weight > 0)
    large = int(usable[np.argmax(sample.time_s[usable])])
    small = int(usable[np.argmin(sample.time_s[usable])])
    half = board.frame["precision"].iloc[large] in {"bf16", "bfloat16"}
    if launch[large] or not launch[small] or not half:
        missing.append(
            "too few rows for anchors (one launch-bound, one compute-bound in bf16): only what "
            "they tell was moved from the start"
        )
        return _fitted(board, setup, missing)
    found, host = anchors.anchored(board, begun.coefficients, small, large, begun.host)
    missing.append(
        "scales only: one of the host, one of rates and one of dynamic energies; shapes, "
        "precisions and clocks are carried over"
    )
    theta = np.log([own.mean for own in begun.parameters])
    return Fitted(found, host, theta), "two anchors: a launch-bound and a compute-bound row"


def _setup(begun: Start, launch: np.ndarray, idle: pd.DataFrame | None) -> Setup:
    """Return what is fitted: the host where a row shows it, idle where many rows stand for it."""
    parameters = begun.parameters
    if not launch.any():
        parameters = tuple(own for own in parameters if not own.path.startswith("host."))
    fit_idle = idle is None and not begun.own and len(launch) >= _MANY
    return Setup(begun.coefficients, begun.host, parameters, fit_idle=fit_idle)


def _fitted(board: Board, setup: Setup, missing: list[str]) -> tuple[Fitted, str]:
    found = heldout.fit_boards([board.sample], setup)
    kept = _untold(board, found, setup.parameters)
    if kept:
        missing.append(f"the rows moved little, kept near the start: {', '.join(kept)}")
    used = np.count_nonzero(board.sample.weight > 0)
    return found, f"robust least squares on {used} rows, priors around the start"


def _untold(board: Board, found: Fitted, parameters: Sequence[Parameter]) -> list[str]:
    """Return the paths whose spread the rows left as the prior had it."""
    chosen = board.sample.weight > 0
    runs, root = board.sample.runs.select(chosen), np.sqrt(board.sample.weight[chosen])

    def logs(theta: FloatArray) -> FloatArray:
        own, host = fits.apply(found.coefficients, found.host, parameters, np.exp(theta))
        return np.asarray(np.log(problem.evaluate(runs, own, host).duration_s))

    base = logs(found.theta)
    columns = []
    for index in range(len(parameters)):
        moved = found.theta.copy()
        moved[index] += _STEP
        columns.append(root * (logs(moved) - base) / _STEP / _NOISE)
    slope = np.stack(columns, axis=1)
    sd = np.array([own.log_sd for own in parameters])
    left = np.sqrt(np.diag(np.linalg.inv(slope.T @ slope + np.diag(sd**-2.0)))) / sd
    return [own.path for own, share in zip(parameters, left, strict=True) if share > _TOLD]


def _missing(board: Board, begun: Start, idle: pd.DataFrame | None) -> list[str]:
    frame = board.frame[board.sample.weight > 0]
    found = []
    if frame["clock_hz"].nunique() == 1:
        mhz = frame["clock_hz"].iloc[0] / 1e6
        found.append(
            f"one clock ({mhz:.0f} MHz): supply, voltage exponent and idle by clock are carried "
            "over; estimates at other clocks extrapolate"
        )
    if idle is None:
        found.append("no idle readings: idle power by clock is carried over; give --idle FILE")
    for name, told in (("batch", "batch size"), ("seq", "sequence length")):
        if frame[name].nunique() == 1:
            found.append(f"one {told} ({frame[name].iloc[0]:.0f}): others extrapolate")
    if frame["model"].nunique() == 1:
        found.append("one model: residuals cannot be held out; the intervals of the start remain")
    launch = _launch_bound(board, begun)[board.sample.weight > 0]
    if not launch.any():
        found.append("no launch-bound row: launch cost of the host is carried over")
    if launch.all():
        found.append("launch-bound rows only: rates and energies of the GPU are carried over")
    absent = [name for name in FAMILIES if name not in families(board)]
    found.append(f"kernels that no row runs, carried over: {', '.join(absent)}")
    return found
