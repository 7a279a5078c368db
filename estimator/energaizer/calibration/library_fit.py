"""Fits of kernels library by library: time by family parameters, then energy and warm share.

Shapes are left out a fifth at a time for the residuals, as in the fit of a whole GPU.
"""

import itertools
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer import catalog
from energaizer.calibration import (
    dataset,
    fit,
    kernel_fit,
    libraries,
    problem,
    residuals,
    single_kernels,
)
from energaizer.calibration.chips import HOLD_OUT
from energaizer.calibration.fit import Parameter, Sample
from energaizer.calibration.kernel_shapes import METHODS, SIZES, Shape
from energaizer.calibration.libraries import HeldOut, Libraries, Library
from energaizer.coefficients import Coefficients, FamilyCoefficients, FittedOn, Residual
from energaizer.errors import EnergaizerError
from energaizer.gpu import Gpu, Source
from energaizer.kernels import Kernel
from energaizer.precision import RATE_KEYS
from energaizer.result import Provenance

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
FAMILY = {
    "gemm": "gemm", "attn_ctx": "attention-prefill", "attn_enc": "attention-prefill",
    "attn_gen": "attention-decode", "quant_computescale": "elementwise",
    "quant_scalematrix": "elementwise",
}  # fmt: skip
"""Kernel family of each operation that has a method."""
_FEWEST = 60
_MOST = 400
_MOST_POWERED = 120
_TIERS = ("A", "A+")
_QUANTITIES = ("time", "power", "energy")
_ENERGY_STEPS = np.geomspace(0.3, 2.0, 9)
_BUSY_STEPS = (0.25, 0.5, 1.0, 2.0)
_ENERGY_SD = 0.5
_WARM_SHARES = np.linspace(0.0, 1.0, 21)
_NOISE = 0.1
_FIXED_S, _BLOCK_CYCLES = 1e-6, 500.0  # where the common coefficients hold none
_CITATION = (
    "fit of single kernels, library by library: tables of ai-dynamo/aiconfigurator (Apache-2.0, "
    "(c) 2025-2026 NVIDIA CORPORATION & AFFILIATES); effective numbers, not properties of silicon"
)


@dataclass(frozen=True)
class Group:
    """Measured kernels of one library; arrays of shape (n,), NaN where a power tells nothing.

    Attributes:
        family: Their kernel family.
        table: Rows and runs.
        seconds: Measured latency.
        watts: Recorded power of rows whose sensor saw enough of the kernel.
        share: Share of a recorded power that is the kernel's own.
        fold: Which fifth leaves each row out.
    """

    family: str
    table: single_kernels.Table
    seconds: FloatArray
    watts: FloatArray
    share: FloatArray
    fold: npt.NDArray[np.int_]


def parameters(family: str, common: Coefficients) -> tuple[Parameter, ...]:
    """Return what is fitted of a library's kernels, with priors around the common values."""
    default = FamilyCoefficients(provenance=Provenance.ANALYTICAL)
    own, time = common.families.get(family, default), common.time
    place = f"families.{family}"
    found = [
        Parameter(f"{place}.memory_efficiency", own.memory_efficiency, 0.5),
        Parameter(f"{place}.fixed_s", max(own.fixed_s, _FIXED_S), 1.5),
    ]
    if family == "elementwise":
        return (*found, Parameter("time.elements_per_cycle", time.elements_per_cycle or 4.0, 1.0))
    found += [
        Parameter(f"{place}.compute_efficiency", own.compute_efficiency, 0.5),
        Parameter(f"{place}.block_cycles", max(own.block_cycles, _BLOCK_CYCLES), 1.5),
    ]
    if family == "attention-prefill":
        found += [
            Parameter("time.stream_bytes_per_cycle", time.stream_bytes_per_cycle, 0.7),
            Parameter("time.special_per_cycle", time.special_per_cycle, 0.5),
        ]
    if family == "attention-decode":
        found.append(Parameter(f"{place}.reduction_s", max(own.reduction_s, _FIXED_S), 1.0))
    if family == "gemm":
        operands = time.operand_bytes_per_cycle or 2.0 * time.stream_bytes_per_cycle
        found += [
            Parameter("time.operand_bytes_per_cycle", operands, 0.5),
            Parameter("time.tail_overhead", max(time.tail_overhead, 0.02), 0.7),
            Parameter("time.split_overhead", max(time.split_overhead, 0.02), 0.7),
            Parameter("time.tile_edge", max(time.tile_edge, 0.02), 0.7),
            Parameter("time.tile_prologue", time.tile_prologue, 0.7),
        ]
    return tuple(found)


def groups(frame: pd.DataFrame, gpu: Gpu, common: Coefficients) -> Iterator[tuple[str, Group]]:
    """Yield the libraries of a GPU by key: each format, and of attention each head size too."""
    names = ["framework", "op", "dtype", "kv_dtype", "head_dim"]
    told = [tuple(row) for row in frame[names].itertuples(index=False)]
    known: dict[str, list[int]] = {}
    for place, row in enumerate(told):
        for key in libraries.keys(row):
            known.setdefault(key, []).append(place)
    for key, places in known.items():
        found = _group(frame.iloc[places].reset_index(drop=True), gpu, common)
        if found is not None:
            yield key, found


def _group(frame: pd.DataFrame, gpu: Gpu, common: Coefficients) -> Group | None:
    return _rows(frame.sample(min(_MOST, len(frame)), random_state=1), gpu, common, _FEWEST)


def _rows(frame: pd.DataFrame, gpu: Gpu, common: Coefficients, fewest: int = 1) -> Group | None:
    """Return rows that have a kernel; None: fewer of them than asked for."""
    built = [_kernel(row, gpu) for row in frame.to_dict("records")]
    kept = np.array([kernel is not None for kernel in built], dtype=np.bool_)
    kernels = [kernel for kernel in built if kernel is not None]
    if len(kernels) < fewest:
        return None
    frame = frame[kept].reset_index(drop=True)
    runs = problem.runs(
        gpu, common, [([(kernel, 1.0)], 0.0) for kernel in kernels], np.arange(len(kernels)),
        np.full(len(kernels), gpu.max_clock_hz),
    )  # fmt: skip
    family = FAMILY[str(frame["op"].iloc[0])]
    table = single_kernels.Table(gpu, frame, runs)
    seen = frame["power_tier"].isin(_TIERS).to_numpy()
    return Group(
        family=family,
        table=table,
        seconds=table.column("latency_us") * 1e-6,
        watts=np.where(seen, table.column("power_w"), np.nan),
        share=table.column("obs_weight_g"),
        fold=_folds(frame, family),
    )


def _kernel(row: Mapping[Hashable, Any], gpu: Gpu) -> Kernel | None:
    sizes = Shape(*(float(row[name]) for name in SIZES))
    try:
        found = METHODS[str(row["op"])][0](sizes, str(row["dtype"]), str(row["kv_dtype"]))
    except EnergaizerError:
        return None
    key = RATE_KEYS[int(found.rate)]
    return found if not found.flops or key in gpu.peak_flops else None


def _folds(frame: pd.DataFrame, family: str) -> npt.NDArray[np.int_]:
    if family != "elementwise":
        return single_kernels.fold_of(frame)
    hashed = np.floor((frame["k"].to_numpy(np.float64) * 0.6180339887) % 1.0 * single_kernels.FOLDS)
    return hashed.astype(np.int_)


@dataclass(frozen=True)
class Fitted:
    """Coefficients of a library, and the log parameters from which a like fit may start."""

    coefficients: Coefficients
    theta: FloatArray


def fit_rows(
    group: Group, common: Coefficients, kept: BoolArray, start: FloatArray | None = None
) -> Fitted:
    """Return the fit of a library to the rows kept: time, then energy and warm share."""
    hot = single_kernels.near_limit(group.table)
    cool = kept & ~hot
    used = cool if np.count_nonzero(cool) >= _FEWEST // 2 else kept
    sample = Sample(group.table.runs, group.seconds, group.seconds, used.astype(np.float64))
    chosen = parameters(group.family, common)
    timed = fit.fit_time([sample], common, kernel_fit.NO_HOST, chosen, start)
    found = timed.coefficients
    if (hot | np.isfinite(group.watts))[kept].any():  # else nothing tells energy
        found = _powered(group, found, kept)
    return Fitted(found, timed.theta)


def _powered(group: Group, timed: Coefficients, kept: BoolArray) -> Coefficients:
    """Return coefficients with the energy factor and warm share that explain power and throttling.

    A kernel that meets the limit tells its energy by its time, too.
    """
    rows = np.flatnonzero(kept)
    rows = rows[:: max(1, len(rows) // _MOST_POWERED)]
    chosen = np.zeros(len(kept), dtype=np.bool_)
    chosen[rows] = True
    runs = group.table.runs.select(chosen)
    seconds, watts, share = group.seconds[chosen], group.watts[chosen], group.share[chosen]
    told = np.isfinite(watts)
    path, busy = f"families.{group.family}.energy_factor", "power.sm_active_w_per_ghz"
    before, busy_w = timed.values().get(path, 1.0), timed.power.sm_active_w_per_ghz
    floor_w = floor(group.table.gpu, timed)
    best, least = timed, np.inf
    # Time alone tells one number of a kernel that met the limit; power tells busy SMs apart.
    shares = _BUSY_STEPS if told.any() else (1.0,)
    for step, active in itertools.product(_ENERGY_STEPS, shares):
        values = {path: before * float(step), busy: busy_w * active}
        own = timed.with_values(values)
        seen = problem.predict(runs, own, kernel_fit.NO_HOST)
        cost = float(np.sum(_soft(np.log(seen.duration_s / seconds))))
        cost += (np.log(step) / _ENERGY_SD) ** 2 + (np.log(active) / _ENERGY_SD) ** 2
        warm: dict[str, float] = {}
        if told.any():
            part = share[told] + (1.0 - share[told]) * _WARM_SHARES[:, None]
            recorded = floor_w + (seen.power_w[told] - floor_w) * part
            each = np.sum(_soft(np.log(recorded / watts[told])), axis=1)
            cost += float(each.min())
            warm = {"power.warm_share": float(_WARM_SHARES[np.argmin(each)])}
        if cost < least:
            best, least = own.with_values(warm), cost
    return best


def floor(gpu: Gpu, found: Coefficients) -> float:
    """Return power with a live context at the boost clock, W."""
    from energaizer import machine, power  # noqa: PLC0415

    board = machine.build(gpu, found)
    return float(power.idle_power(board, np.array([gpu.max_clock_hz]))[0])


def _soft(log_error: FloatArray) -> FloatArray:
    found: FloatArray = np.sqrt(1.0 + (log_error / _NOISE) ** 2) - 1.0
    return found


@dataclass(frozen=True)
class Seen:
    """Predictions of rows by fits that did not see their shapes; arrays of shape (n,)."""

    duration_s: FloatArray
    recorded_w: FloatArray


def without(
    group: Group, common: Coefficients, start: FloatArray | None = None
) -> tuple[Coefficients | None, ...]:
    """Return the fits that leave out a fifth of the shapes each; None: too few rows are left."""
    found: list[Coefficients | None] = []
    for index in range(single_kernels.FOLDS):
        kept = group.fold != index
        enough = np.count_nonzero(kept) >= _FEWEST // 2
        found.append(fit_rows(group, common, kept, start).coefficients if enough else None)
    return tuple(found)


def held_out(group: Group, fits: Sequence[Coefficients | None]) -> Seen:
    """Return predictions of each row by the fit that left its shape out.

    Args:
        group: Rows of one library: those that were fitted, or others.
        fits: Of the library, as `without` returns them.
    """
    found = np.full((2, len(group.seconds)), np.nan)
    for index, own in enumerate(fits):
        out = group.fold == index
        if own is None or not out.any():
            continue
        seen = problem.predict(group.table.runs.select(out), own, kernel_fit.NO_HOST)
        floor_w, warm = floor(group.table.gpu, own), own.power.warm_share or 0.0
        part = group.share[out] + (1.0 - group.share[out]) * warm
        found[:, out] = seen.duration_s, floor_w + (seen.power_w - floor_w) * part
    return Seen(found[0], found[1])


def residual_rows(group: Group, seen: Seen) -> tuple[Residual, ...]:
    """Return the spreads of time, power and energy of shapes left out."""
    duration = np.log(group.seconds / seen.duration_s)
    power = np.log(group.watts / seen.recorded_w)
    found = []
    for quantity, logs in (("duration", duration), ("power", power), ("energy", duration + power)):
        known = logs[np.isfinite(logs)]
        if len(known) >= _FEWEST // 2:
            spread = residuals.spread(known)
            found.append(
                Residual.model_validate(
                    {
                        "quantity": quantity, "family": "any", "log_sd": round(spread.log_sd, 4),
                        "bias": round(spread.bias, 4), "n": spread.n,
                    }
                )
            )  # fmt: skip
    return tuple(found)


def library(
    group: Group, common: Coefficients
) -> tuple[Library, Seen, tuple[Coefficients | None, ...]]:
    """Return a library as it ships, predictions of its rows left out, and the fits behind them."""
    whole = fit_rows(group, common, np.ones(len(group.seconds), dtype=np.bool_))
    before = common.values()
    changed = {
        path: float(f"{value:.5g}")
        for path, value in whole.coefficients.values().items()
        if before.get(path) != value
    }
    fits = without(group, common, whole.theta)
    seen = held_out(group, fits)
    rows = residual_rows(group, seen)
    return Library(values=changed, residuals=rows, rows=len(group.seconds)), seen, fits


Parts = Sequence[tuple[Group, Seen]]
Pairs = Sequence[tuple[FloatArray, FloatArray]]


def errors_of(parts: Parts) -> tuple[HeldOut, ...]:
    """Return the errors of left-out rows by framework and operation."""
    columns: dict[tuple[str, str, str], list[tuple[FloatArray, FloatArray]]] = {}
    for group, seen in parts:
        frame = group.table.frame
        where = (str(frame["framework"].iloc[0]), str(frame["op"].iloc[0]))
        for quantity, pair in _pairs(group, seen).items():
            columns.setdefault((*where, quantity), []).append(pair)
    found = [_errors(*where, pairs) for where, pairs in sorted(columns.items())]
    return tuple(each for each in found if each is not None)


def together(
    frame: pd.DataFrame, gpu: Gpu, common: Coefficients,
    fits: Mapping[str, Sequence[Coefficients | None]],
) -> tuple[HeldOut, ...]:  # fmt: skip
    """Return the errors of all left-out rows whose power tells, of every library at once.

    Args:
        frame: Rows of the board, those that no fit drew among them.
        gpu: The board.
        common: Its coefficients.
        fits: By key of a library, as `without` returns them.
    """
    telling = frame[frame["power_tier"].isin(_TIERS)]
    told = telling[["framework", "op", "dtype", "kv_dtype", "head_dim"]].itertuples(index=False)
    key = np.array([libraries.narrowest(tuple(row), fits) for row in told], dtype=np.str_)
    parts = [(_rows(telling[key == name], gpu, common), fits[name])
             for name in dict.fromkeys(key) if name]  # fmt: skip
    seen = [_pairs(rows, held_out(rows, own)) for rows, own in parts if rows is not None]
    found = []
    for quantity in _QUANTITIES:
        pairs = [each[quantity] for each in seen]
        whole = _errors("", "", quantity, pairs)
        if whole is not None:
            spread = tuple(round(float(own), 1) for own in _percentiles(pairs))
            found.append(whole.model_copy(update={"percentiles": spread}))
    return tuple(found)


def _pairs(group: Group, seen: Seen) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Return predictions beside measurements by quantity, NaN where nothing tells."""
    return {
        "time": (seen.duration_s, group.seconds), "power": (seen.recorded_w, group.watts),
        "energy": (seen.recorded_w * seen.duration_s, group.watts * group.seconds),
    }  # fmt: skip


def _percentiles(pairs: Pairs) -> FloatArray:
    each = np.concatenate([residuals.absolute_errors(*pair) for pair in pairs])
    found: FloatArray = np.nanpercentile(each, np.arange(1, 100))
    return found


def _errors(framework: str, op: str, quantity: str, pairs: Pairs) -> HeldOut | None:
    if not pairs:
        return None
    predicted, measured = (np.concatenate(each) for each in zip(*pairs, strict=True))
    known = np.isfinite(predicted) & np.isfinite(measured)
    if not known.any():
        return None
    each = residuals.errors(predicted[known], measured[known])
    numbers = {
        name: round(float(getattr(each, name)), 1) for name in ("median", "mean", "p90", "bias")
    }
    return HeldOut.model_validate(
        {"framework": framework, "op": op, "quantity": quantity, "n": each.n, **numbers}
    )


def fit_gpu(data: Path, chip: str, common: Coefficients, today: date) -> Libraries:
    """Return the libraries of one GPU of the kernel table."""
    gpu = catalog.gpu(dataset.CHIPS[chip])
    frame = dataset.kernel_table(data, tuple(METHODS))
    frame = frame[frame["gpu"] == chip].reset_index(drop=True)
    known: dict[str, Library] = {}
    fits: dict[str, tuple[Coefficients | None, ...]] = {}
    narrow = []
    for key, group in groups(frame, gpu, common):
        known[key], seen, fits[key] = library(group, common)
        one_size = group.table.frame["head_dim"].nunique() == 1
        if one_size:  # a row counts once, by its narrowest library
            narrow.append((group, seen))
    return Libraries(
        gpu=gpu.name,
        kernels=known,
        held_out=errors_of(narrow),
        together=together(frame, gpu, common, fits),
        fitted_on=FittedOn(
            dataset=f"{dataset.KERNELS} sha256:{dataset.digest(data / dataset.KERNELS)}",
            date=today.isoformat(), rows=len(frame), held_out=HOLD_OUT,
        ),
        source=Source(citation=_CITATION, date=today.isoformat(), licence="Apache-2.0"),
    )  # fmt: skip


def write(data: Path, profiles: Path, today: date) -> Iterator[str]:
    """Fit the libraries of every GPU of the kernel table, yield what was written.

    Args:
        data: Folder of the tables.
        profiles: Folder that is written; coefficients of GPUs are read from it, or else the
            package's.
        today: Date of the fit.
    """
    for chip, name in dataset.CHIPS.items():
        common = catalog.coefficients(catalog.gpu(name), profiles)
        path = profiles / libraries.FOLDER / f"{name}.json"
        found = fit_gpu(data, chip, common, today)
        path.write_text(found.model_dump_json(exclude_defaults=True) + "\n", encoding="utf-8")
        yield str(path)
