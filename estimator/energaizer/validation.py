# NOTE FROM THE LEAD (16:52): `energaizer validate` is already done and merged on branch `main`
# (package estimator/energaizer/validation/, serving.py, docs/validation.md). Please `git checkout`
# your cli.py and pyproject.toml, delete THIS file, `git merge main`, and spend the time on accuracy
# (A100/A10 held-out power, kernels of unseen shapes: fp8 gemm, attention at seq 1; H100 transfer).
# The engineer of branch `serving` fits power of H100/B200 on the serving table meanwhile.
"""Shipped coefficients against a measured table of forward passes: errors, baselines, rows.

Nothing is fitted here. A table has the columns of `single_gpu/measurements.csv`: gpu, model, size,
precision, batch, seq, sm_mhz_set, energy_j, time_ms, power_w, iters, run_s. Recorded labels begin
with a second or two near idle; `corrected` takes that out of the labels, `raw` scores them as they
are, beside what a sensor would record of the predictions.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer import catalog, machine, power
from energaizer.calibration import baselines, dataset, forward, problem
from energaizer.calibration.residuals import Errors, coverage, errors, skill
from energaizer.coefficients import Residual
from energaizer.errors import EnergaizerError, InputError
from energaizer.gpu import Gpu
from energaizer.host import LaunchCost

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Labels = Literal["raw", "corrected"]

_NEEDED = (
    "gpu", "model", "precision", "batch", "seq", "sm_mhz_set", "energy_j", "time_ms", "power_w",
    "iters", "run_s",
)  # fmt: skip
_QUANTITIES = ("duration", "power", "energy")
_STARTUP_S = 1.5
_BEFORE = 1.25
_RUN_S = 30.0
_LAUNCH_SHARE = 0.6
_SHRINK = 10.0
_NINETY = 1.645
_HOSTS = {"h100-sxm5-80gb": "pytorch-eager-h100"}


@dataclass(frozen=True)
class Report:
    """Rows with predictions, and what could not be predicted.

    Attributes:
        frame: One row a measurement: labels, predictions, intervals, baselines.
        skipped: A line for each kind of row that has no prediction, with the reason.
    """

    frame: pd.DataFrame
    skipped: tuple[str, ...]


def validate(path: Path) -> Report:
    """Return predictions beside the labels of a table.

    Args:
        path: A CSV file, or a folder that holds `single_gpu/measurements.csv`.

    Raises:
        InputError: The table lacks a column, or no row can be predicted.
    """
    table = _read(path)
    parts, skipped = [], []
    for name, rows in table.groupby("gpu", sort=False):
        try:
            gpu = catalog.gpu(dataset.BOARDS.get(str(name), str(name)))
        except EnergaizerError as error:
            skipped.append(f"{len(rows)} rows of {name}: {error}")
            continue
        known = np.ones(len(rows), dtype=np.bool_)
        for place, key in enumerate(_keys(rows)):
            try:
                forward.program(*key)
            except (EnergaizerError, KeyError, ValueError) as error:
                known[place] = False
                skipped.append(f"{name} {key}: {error}")
        if known.any():
            parts.append(_predicted(rows[known].reset_index(drop=True), gpu))
    if not parts:
        raise InputError(f"{path}: no row can be predicted: " + "; ".join(skipped[:3]))
    return Report(pd.concat(parts, ignore_index=True), tuple(dict.fromkeys(skipped)))


def _read(path: Path) -> pd.DataFrame:
    file = path / dataset.SINGLE_GPU if path.is_dir() else path
    if not file.is_file():
        raise InputError(f"{file}: no such table; give a CSV file of forward passes")
    table = pd.read_csv(file)
    missing = [name for name in _NEEDED if name not in table.columns]
    if missing:
        raise InputError(f"{file}: no column {', '.join(missing)}; see `energaizer validate -h`")
    return table


def _keys(rows: pd.DataFrame) -> list[tuple[str, str, int, int]]:
    names = [str(name) for name in rows["model"]]
    if "size" in rows:
        sizes = [str(size) for size in rows["size"]]
        names = [forward.name_of(*pair) for pair in zip(names, sizes, strict=True)]
    return [
        (str(model), str(math), int(batch), int(tokens))
        for model, math, batch, tokens in zip(
            names, rows["precision"], rows["batch"], rows["seq"], strict=True
        )
    ]


def _predicted(rows: pd.DataFrame, gpu: Gpu) -> pd.DataFrame:
    """Return rows of one board with predictions of the shipped coefficients."""
    coefficients = catalog.coefficients(gpu)
    host: LaunchCost = catalog.host(_HOSTS.get(gpu.name, forward.HOST)).prefill
    keys = _keys(rows)
    distinct = list(dict.fromkeys(keys))
    clock = rows["sm_mhz_set"].to_numpy(np.float64) * 1e6
    runs = problem.runs(
        gpu,
        coefficients,
        [forward.groups(forward.program(*key)) for key in distinct],
        np.array([distinct.index(key) for key in keys], dtype=np.intp),
        clock,
    )
    seen = problem.predict(runs, coefficients, host)
    regime = np.where(seen.host_s > _LAUNCH_SHARE * seen.gpu_s, "launch", "any")
    regime = np.where(seen.throttled, "capped", regime)
    idle = power.idle_power(machine.build(gpu, coefficients), clock)
    startup = np.array([dataset.STARTUP_S.get(str(name), _STARTUP_S) for name in rows["gpu"]])
    iterations = np.asarray(rows["iters"], dtype=np.float64)
    recorded_s = np.asarray(rows["time_ms"], dtype=np.float64) / 1e3
    recorded_j = np.asarray(rows["energy_j"], dtype=np.float64)
    before_j = _BEFORE * idle * startup
    time_s = dataset.startup_time(recorded_s, startup, iterations)
    energy = recorded_j - before_j / iterations
    mine = np.ceil(_RUN_S / seen.duration_s)
    law_s = seen.duration_s + startup / mine
    law_j = seen.energy_j + before_j / mine
    found = rows.assign(
        profile=gpu.name, regime=regime, raw_duration=recorded_s, raw_energy=recorded_j,
        raw_power=rows["power_w"], corrected_duration=time_s, corrected_energy=energy,
        corrected_power=energy / time_s, duration=seen.duration_s, power=seen.power_w,
        energy=seen.energy_j, law_duration=law_s, law_energy=law_j, law_power=law_j / law_s,
        roofline_s=baselines.roofline(runs), limit_w=gpu.power_limit_w,
    )  # fmt: skip
    for quantity in _QUANTITIES:
        half = _half_widths(coefficients.residuals, quantity, regime)
        found[f"{quantity}_low"] = found[quantity] * np.exp(-half)
        found[f"{quantity}_high"] = found[quantity] * np.exp(half)
    return found


def _half_widths(
    residuals: tuple[Residual, ...], quantity: str, regime: npt.NDArray[np.str_]
) -> FloatArray:
    """Return half-widths of ln of 90 % intervals, small groups shrunk to their parent."""
    rows: dict[str, Residual] = {
        row.regime: row for row in residuals if row.quantity == quantity and row.family == "any"
    }

    def half(name: str) -> float:
        root, own = rows.get("any"), rows.get(name)
        base = _NINETY * root.log_sd + abs(root.bias) if root else math.log(2.0)
        if own is None:
            return base
        share = own.n / (own.n + _SHRINK) if own.n else 1.0
        return share * (_NINETY * own.log_sd + abs(own.bias)) + (1.0 - share) * base

    return np.array([half(name) for name in regime])


def score(
    frame: pd.DataFrame, quantity: str, labels: Labels, predicted: str = ""
) -> tuple[Errors, float, float]:
    """Return errors of one quantity, the mean error of its baseline, and interval coverage.

    Baselines leave the scored family out where there is another: a roofline times one factor, the
    mean power at each clock, their product.

    Args:
        frame: Rows of a report.
        quantity: duration, power or energy.
        labels: Which labels.
        predicted: Prefix of the predictions: "" as estimated, "law_" as a sensor records them.
    """
    measured = frame[f"{labels}_{quantity}"].to_numpy(np.float64)
    found = errors(frame[f"{predicted}{quantity}"].to_numpy(np.float64), measured)
    trivial = _trivial(frame, labels)[quantity]
    scale = frame[f"{predicted}{quantity}"] / frame[quantity]
    low, high = frame[f"{quantity}_low"] * scale, frame[f"{quantity}_high"] * scale
    inside = coverage(low, high, measured)
    return found, errors(trivial, measured).mean, inside


def _trivial(frame: pd.DataFrame, labels: Labels) -> dict[str, FloatArray]:
    time_s = frame[f"{labels}_duration"].to_numpy(np.float64)
    watts = frame[f"{labels}_power"].to_numpy(np.float64)
    bound, clock = frame["roofline_s"].to_numpy(np.float64), frame["sm_mhz_set"].to_numpy()
    duration, constant = np.empty(len(frame)), np.empty(len(frame))
    board, family = frame["profile"].to_numpy(dtype=np.str_), frame["model"].to_numpy(dtype=np.str_)
    for own in (
        (board == left) & (family == name)
        for left in np.unique(board)
        for name in np.unique(family)
    ):
        others = (board == board[own][0]) & ~own if own.any() else own
        trained = others if others.any() else own
        if own.any():
            duration[own] = baselines.scaled(bound, time_s, trained)[own]
            constant[own] = baselines.constant(watts, trained, clock.astype(np.float64))[own]
    return {"duration": duration, "power": constant, "energy": duration * constant}


def text(report: Report, labels: Labels) -> str:
    """Return the scores as text: for each board, and for the launch-bound rows apart."""
    frame = report.frame
    lines = [f"labels {labels}; errors in %, of coefficients as shipped (they may have seen these)"]
    head = "n mean median p90 max bias baseline skill inside-90%"
    ways = [("", "as estimated")]
    if labels == "raw":
        ways.append(("law_", "as a sensor records it"))
    slices: dict[str, BoolArray] = {
        str(name): (frame["gpu"] == name).to_numpy() for name in frame["gpu"].unique()
    }
    slices["launch-bound"] = (frame["regime"] == "launch").to_numpy()
    for name, own in slices.items():
        for prefix, way in ways:
            if not own.any():
                continue
            lines.append(
                f"\n{name}, {way}\n{'':10}" + "".join(f"{word:>11}" for word in head.split())
            )
            for quantity in _QUANTITIES:
                found, base, inside = score(frame[own], quantity, labels, prefix)
                numbers = (found.mean, found.median, found.p90, found.worst, found.bias, base)
                cells = "".join(f"{value:11.1f}" for value in numbers)
                lines.append(
                    f"{quantity:10}{found.n:11d}{cells}{skill(found.mean, base):11.2f}"
                    f"{100.0 * inside:11.0f}"
                )
    lines.extend(f"not predicted: {line}" for line in report.skipped)
    return "\n".join(lines)


def run(path: Path, labels: Labels = "raw", rows: Path | None = None) -> str:
    """Score a table and return the text; `rows` is a CSV file for predictions row by row."""
    report = validate(path)
    if rows is not None:
        report.frame.to_csv(rows, index=False, float_format="%.6g")
    return text(report, labels)
