"""GPUs known by single kernels: what each fit starts from, and what it becomes as a profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt

from energaizer import catalog
from energaizer.calibration import boards, dataset, kernel_fit, plan, residuals, single_kernels
from energaizer.calibration.boards import rounded
from energaizer.calibration.kernel_fit import PowerFit
from energaizer.calibration.single_kernels import FOLDS, Table
from energaizer.coefficients import Coefficients, FittedOn, Residual
from energaizer.gpu import Gpu, Source
from energaizer.priors import from_specification
from energaizer.result import Provenance

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

FLOOR_W = {"h200_sxm": 128.0, "b200_sxm": 245.0}
"""Board power of the kernel table with a live context and no work: only these were read."""
HOLD_OUT = "whole weight shapes, and head layouts with their length, left out (a fifth at a time)"
_CITATION = (
    "fit of single kernels: tables of ai-dynamo/aiconfigurator (Apache-2.0, (c) 2025-2026 NVIDIA "
    "CORPORATION & AFFILIATES); effective numbers, not properties of silicon"
)
CARRIED = "energies of {} carried over: no power of this board was read"
_KNEE_V = 0.70
_PROCESS = 0.75  # energy of logic, 4 nm class over 7 nm class
_NEVER_SINGLE = (
    "time.core_prologue", "time.core_split_overhead", "time.misaligned_factor",
    "rate_efficiency.fp32", "rate_efficiency.tf32",
)  # fmt: skip
"""What no table of single kernels tells: products on CUDA cores, in TF32, or misaligned."""
_SUPPLY_POINTS = 12


@dataclass(frozen=True)
class Outcome:
    """Predictions of rows by fits that did not see them; arrays of shape (n,)."""

    duration_s: FloatArray
    power_w: FloatArray
    recorded_w: FloatArray


@dataclass(frozen=True)
class Chip:
    """One GPU with its kernels, the fit on all of them and predictions of rows left out."""

    table: Table
    coefficients: Coefficients
    power: PowerFit | None
    held_out: Outcome


def supply_from_idle(data: Path, board: str, units: float) -> tuple[tuple[float, float], ...]:
    """Return the supply over clock that explains an idle table (4.2).

    The clocked and the leaking term of the A100 are scaled by SM count, and the constant is set so
    that the lowest clock runs at a typical floor. Another process: a prior, not a reading.

    Args:
        data: Folder of the tables.
        board: Board of the idle table.
        units: SMs of that board.
    """
    known = boards.idle_of(data, "a100")
    table = dataset.idle_table(data)
    own = table[table["gpu"] == board].sort_values("clock_hz")
    clock = own["clock_hz"].to_numpy(np.float64)
    watts = own["idle_w"].to_numpy(np.float64)
    scale = units / _known_units()
    p1, p3 = known.per_v2_ghz * scale, known.per_v3 * scale
    constant = watts[0] - p1 * _KNEE_V**2 * clock[0] / 1e9 - p3 * _KNEE_V**3
    volts = np.linspace(0.4, 1.4, 2001)
    model = constant + p1 * volts**2 * clock[:, None] / 1e9 + p3 * volts**3
    found = volts[np.argmin(np.abs(model - watts[:, None]), axis=1)]
    found = np.maximum.accumulate(np.maximum(found, np.median(found[: len(found) // 3])))
    at = np.unique(np.linspace(0, len(clock) - 1, _SUPPLY_POINTS).astype(int))
    return tuple((float(clock[i]), round(float(found[i]), 4)) for i in at)


def _known_units() -> float:
    """SMs of the chip whose idle terms are known."""
    return float(catalog.gpu(dataset.BOARDS["a100"]).compute_units)


def constant_idle(data: Path, board: str, units: float) -> dict[str, float]:
    """Return the idle terms that go with `supply_from_idle`."""
    known = boards.idle_of(data, "a100")
    table = dataset.idle_table(data)
    lowest = table[table["gpu"] == board].sort_values("clock_hz").iloc[0]
    scale = units / _known_units()
    p1, p3 = known.per_v2_ghz * scale, known.per_v3 * scale
    floor = float(lowest["idle_w"])
    clock = float(lowest["clock_hz"]) / 1e9
    return {
        "power.idle_w": floor - p1 * _KNEE_V**2 * clock - p3 * _KNEE_V**3,
        "power.idle_w_per_v2_ghz": p1,
        "power.idle_w_per_v3": p3,
    }


def start(gpu: Gpu, data: Path, streams: Coefficients) -> Coefficients:
    """Return what a fit of single kernels starts from.

    Args:
        gpu: The board.
        data: Folder of the tables.
        streams: Coefficients of a board whose streaming kernels were measured: no table of single
            kernels has any, so that their issue rate is carried over.
    """
    found = from_specification(gpu, catalog.prior())
    usual = plan.starting(gpu)
    found = found.with_values({path: usual[path] for path in _NEVER_SINGLE})
    # One rate for all elements, between those of tensors in order and of others.
    rate = (streams.time.elements_per_cycle or 4.0) / streams.time.contiguous_issue**0.5
    found = found.with_values({"time.elements_per_cycle": rate})
    found = found.with_values(plan.attention(gpu))
    if gpu.name.startswith("a100"):
        tree = {**found.model_dump(), "power": streams.power.model_dump()}
        known = streams.values()
        found = Coefficients.model_validate(tree).with_values(
            {path: known[path] for path in plan.STREAM_ENERGIES}
        )
        found = boards.with_idle(found, boards.idle_of(data, "a100_80gb"))
    if gpu.architecture.lower() == "hopper":
        curve = supply_from_idle(data, "h100", float(gpu.compute_units))
        tree = {**found.model_dump(), "voltage": curve}
        found = Coefficients.model_validate(tree).with_values(
            constant_idle(data, "h100", float(gpu.compute_units))
        )
        # By process, from the nearest chip that was read (5.7); its energies hold at 1 V.
        scale = _PROCESS * found.power.reference_v**found.power.voltage_exponent
        energies = {
            f"power.flop_pj.{key}": scale * streams.power.flop_pj[key] for key in ("fp32", "tf32")
        }
        found = found.with_values(energies)
    return found


def fit(data: Path, name: str, streams: Coefficients) -> Chip:
    """Return the fit of one GPU of the kernel table, and predictions of rows left out."""
    gpu = catalog.gpu(dataset.CHIPS[name])
    begin = start(gpu, data, streams)
    found = single_kernels.table(data, gpu, begin, name)
    everything = np.ones(len(found.frame), dtype=np.bool_)
    whole, power = _once(found, begin, everything, FLOOR_W.get(name))
    outcome = np.empty((3, len(found.frame)))
    fold = found.frame["fold"].to_numpy()
    for index in range(FOLDS):
        out = fold == index
        timed, sensed = _once(found, begin, ~out, FLOOR_W.get(name))
        seen = kernel_fit.predict(found, timed)
        recorded = seen.power_w if sensed is None else sensed.recorded(found, seen.power_w)
        outcome[:, out] = np.stack([seen.duration_s, seen.power_w, recorded])[:, out]
    return Chip(found, whole, power, Outcome(*outcome))


def unseen(
    data: Path, name: str, streams: Coefficients, others: Sequence[Chip]
) -> dict[str, Outcome]:
    """Return predictions of kernels by fits that saw none of their operation, or none at all.

    Keys are `operation left out` and `GPU left out`; of the latter the datasheet, its idle floor
    and priors are known. How warm the second before a reading was belongs to the program that
    measured, and is taken from other GPUs, their rows of the operation aside.

    Args:
        data: Folder of the tables.
        name: Chip in the table.
        streams: As `start` takes them.
        others: Other GPUs that the same program measured.
    """
    gpu = catalog.gpu(dataset.CHIPS[name])
    begin = start(gpu, data, streams)
    found = single_kernels.table(data, gpu, begin, name)
    floor_w = FLOOR_W[name]
    ops = found.frame["op"].to_numpy(dtype=np.str_)
    by_op = np.full((3, len(ops)), np.nan)
    for op in np.unique(ops):
        timed, _ = _once(found, begin, ops != op, floor_w)
        seen = kernel_fit.predict(found, timed)
        sensor = kernel_fit.PowerFit(timed, floor_w, {}, _common_warm_share(others, op))
        out = ops == op
        recorded = sensor.recorded(found, seen.power_w)
        by_op[:, out] = np.stack([seen.duration_s, seen.power_w, recorded])[:, out]
    nothing = kernel_fit.PowerFit(begin, floor_w, {}, _common_warm_share(others))
    seen = kernel_fit.predict(found, begin)
    return {
        "operation left out": Outcome(*by_op),
        "GPU left out": Outcome(
            seen.duration_s, seen.power_w, nothing.recorded(found, seen.power_w)
        ),
    }


def _common_warm_share(others: Sequence[Chip], without: str = "") -> float:
    """Return the warm share of other GPUs' rows, those of one operation left out."""
    shares = [
        mean_warm_share(chip.table, chip.power, without)
        for chip in others
        if chip.power is not None
    ]
    return float(np.mean(shares))


def kernels_alone(data: Path, fitted: Mapping[str, Chip], today: date) -> dict[str, Coefficients]:
    """Return the boards of the serving table as kernels tell them, without any other row.

    Args:
        data: Folder of the tables.
        fitted: Fits of h100_sxm, h200_sxm and b200_sxm by name in the table.
        today: Date of the fit.
    """
    h200 = profile(fitted["h200_sxm"], data, today, None, ())
    h100 = profile(fitted["h100_sxm"], data, today, h200, (CARRIED.format(h200.gpu),))
    b200 = profile(fitted["b200_sxm"], data, today, None, ())
    return {h100.gpu: h100, b200.gpu: b200}


def _once(
    found: Table, begin: Coefficients, kept: BoolArray, floor_w: float | None
) -> tuple[Coefficients, PowerFit | None]:
    timed = kernel_fit.fit_time(found, begin, kept)
    if floor_w is None:
        return timed, None
    power = kernel_fit.fit_power(found, timed, kept, floor_w)
    return power.coefficients, power


def mean_warm_share(found: Table, power: PowerFit, without: str = "") -> float:
    """Return how like the kernel itself the second before a reading was.

    The mean over scored rows: a table of few rows tells its share badly.

    Args:
        found: The rows.
        power: Their fit, with a share for each table.
        without: Operation that is left out.
    """
    shares = np.array([power.warm_share.get(name, np.nan) for name in kernel_fit.tables(found)])
    other = (found.frame["op"] != without).to_numpy()
    return float(np.nanmean(shares[kernel_fit.scorable(found) & other]))


def residual_rows(chip: Chip) -> tuple[Residual, ...]:
    """Return spreads of rows left out, by family, one weight a row."""
    family = chip.table.frame["family"].to_numpy(dtype=np.str_)
    seconds = chip.table.column("latency_us") * 1e-6
    duration = np.log(seconds / chip.held_out.duration_s)
    parts = {"duration": (duration, family)}
    if chip.power is not None:
        rows = kernel_fit.scorable(chip.table)
        power = np.log(chip.table.column("power_w") / chip.held_out.recorded_w)
        parts["power"] = (power[rows], family[rows])
        parts["energy"] = ((duration + power)[rows], family[rows])
    found = []
    for quantity, (logs, groups) in parts.items():
        for name, spread in residuals.grouped(logs, groups).items():
            found.append(
                Residual.model_validate(
                    {
                        "quantity": quantity, "family": name, "log_sd": round(spread.log_sd, 4),
                        "bias": round(spread.bias, 4), "n": spread.n,
                    }
                )
            )  # fmt: skip
    if chip.power is None:
        prior = catalog.prior().residuals
        found.extend(row for row in prior if row.quantity != "duration" and row.family == "any")
    return tuple(found)


def profile(
    chip: Chip, data: Path, today: date, carried: Coefficients | None, notes: tuple[str, ...]
) -> Coefficients:
    """Return the calibration of a GPU as it ships.

    Args:
        chip: The fit.
        data: Folder of the tables.
        today: Date of the fit.
        carried: Coefficients of the same die whose energies stand in where no power was read.
        notes: Shown beside every estimate.
    """
    tree = chip.coefficients.model_dump()
    if carried is not None:
        own = chip.coefficients.power
        energies = carried.power.model_dump()
        idle = {key: getattr(own, key) for key in ("idle_w", "idle_w_per_v2_ghz", "idle_w_per_v3")}
        # An idle table of the board itself replaces the floor of another board's kernels.
        tree["power"] = {**energies, **idle, "held_idle_w": None}
    measured = set(chip.table.frame["family"])
    for name, family in tree["families"].items():
        known = name in measured
        family["provenance"] = Provenance.CALIBRATED if known else Provenance.ANALYTICAL
    whole = chip.power is not None
    if chip.power is not None:
        tree["power"]["warm_share"] = mean_warm_share(chip.table, chip.power)
    tree.update(
        provenance=Provenance.CALIBRATED if whole else Provenance.ANALYTICAL,
        residuals=[row.model_dump() for row in residual_rows(chip)],
        notes=notes,
        fitted_on=[
            FittedOn(
                dataset=f"{dataset.KERNELS} sha256:{dataset.digest(data / dataset.KERNELS)}",
                date=today.isoformat(),
                rows=len(chip.table.frame),
                held_out=HOLD_OUT,
            ).model_dump()
        ],
        source=Source(
            citation=_CITATION, date=today.isoformat(), licence="Apache-2.0"
        ).model_dump(),
    )
    return rounded(Coefficients.model_validate(tree))
