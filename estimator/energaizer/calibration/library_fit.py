"""Fits of kernels library by library: time by family parameters, then energy and warm share.

Shapes are left out a fifth at a time for the residuals, as in the fit of a whole GPU.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from energaizer import catalog
from energaizer.calibration import (
    dataset,
    fit,
    kernel_fit,
    libraries,
    library_errors,
    problem,
    single_kernels,
)
from energaizer.calibration.chips import HOLD_OUT
from energaizer.calibration.fit import Parameter, Sample
from energaizer.calibration.kernel_shapes import METHODS
from energaizer.calibration.libraries import Libraries, Library
from energaizer.calibration.library_errors import Seen
from energaizer.calibration.library_rows import FEWEST, Group, floor, groups
from energaizer.coefficients import Coefficients, FamilyCoefficients, FittedOn
from energaizer.gpu import Source
from energaizer.result import Provenance

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_MOST_POWERED = 120
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
    used = cool if np.count_nonzero(cool) >= FEWEST // 2 else kept
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


def _soft(log_error: FloatArray) -> FloatArray:
    found: FloatArray = np.sqrt(1.0 + (log_error / _NOISE) ** 2) - 1.0
    return found


def without(
    group: Group, common: Coefficients, start: FloatArray | None = None
) -> tuple[Coefficients | None, ...]:
    """Return the fits that leave out a fifth of the shapes each; None: too few rows are left."""
    found: list[Coefficients | None] = []
    for index in range(single_kernels.FOLDS):
        kept = group.fold != index
        enough = np.count_nonzero(kept) >= FEWEST // 2
        found.append(fit_rows(group, common, kept, start).coefficients if enough else None)
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
    seen = library_errors.held_out(group, fits)
    rows = library_errors.residual_rows(group, seen)
    return Library(values=changed, residuals=rows, rows=len(group.seconds)), seen, fits


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
        held_out=library_errors.errors_of(narrow),
        together=library_errors.together(frame, gpu, common, fits),
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
