"""The measured GPUs: what each fit starts from, and what it becomes as a profile."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np

from energaizer import catalog
from energaizer.calibration import dataset, forward, plan, residuals
from energaizer.calibration.forward import Board
from energaizer.calibration.heldout import Fitted, Outcome, Setup
from energaizer.coefficients import Coefficients, FittedOn, Residual
from energaizer.gpu import Gpu, Source
from energaizer.host import LaunchCost
from energaizer.priors import from_specification
from energaizer.result import Provenance

HOLD_OUT = "whole model family left out"
_A10_IDLE_W = 50.0
_A10_CLOCK_HZ = 900e6
_H100_IDLE_W = 95.0
_FITTED = ("gemm", "convolution", "softmax", "norm", "elementwise", "copy", "gather")


@dataclass(frozen=True)
class Job:
    """Tables of one GPU and the set-up of its fit."""

    gpu: Gpu
    boards: tuple[Board, ...]
    setup: Setup


def idle_of(data: Path, board: str) -> dataset.Idle:
    """Return the fitted idle power of a board with both an idle and a supply table."""
    table = dataset.idle_table(data)
    own = table[table["gpu"] == board]
    clock = own["clock_hz"].to_numpy(np.float64)
    volt = dataset.supply(dataset.voltage_table(data), board, clock)
    return dataset.fit_idle(clock, volt, own["idle_w"].to_numpy(np.float64))


def with_idle(coefficients: Coefficients, idle: dataset.Idle) -> Coefficients:
    """Return coefficients with the idle power of a table."""
    return coefficients.with_values(
        {
            "power.idle_w": idle.constant_w,
            "power.idle_w_per_v2_ghz": idle.per_v2_ghz,
            "power.idle_w_per_v3": idle.per_v3,
        }
    )


def idle_labels(data: Path) -> dict[str, dataset.Idle | float]:
    """Return idle power by board of the single-GPU table, for the start-up correction."""
    a100 = idle_of(data, "a100")
    return {"a100": a100, "a100_dvfs": a100, "a10": _A10_IDLE_W, "h100": _H100_IDLE_W}


def start(gpu: Gpu, data: Path) -> Coefficients:
    """Return what a fit of forward passes starts from: datasheet, priors, idle readings."""
    found = from_specification(gpu, catalog.prior()).with_values(plan.starting(gpu))
    if gpu.name == dataset.BOARDS["a100"]:
        return with_idle(found, idle_of(data, "a100"))
    if gpu.name == dataset.BOARDS["a10"]:
        from energaizer import machine, power  # noqa: PLC0415

        board = machine.build(gpu, found)
        now = float(power.idle_power(board, np.array([_A10_CLOCK_HZ]))[0])
        constant = found.power.idle_w + _A10_IDLE_W - now
        return found.with_values({"power.idle_w": constant})
    return found


def job(data: Path, names: Sequence[str]) -> Job:
    """Return the tables of some boards that carry the same GPU, ready to be fitted."""
    gpu = catalog.gpu(dataset.BOARDS[names[0]])
    coefficients = start(gpu, data)
    found = forward.boards(data, names, gpu, coefficients, idle_labels(data))
    host = LaunchCost(launch_s=1.5e-5, step_s=2e-4)
    return Job(gpu, found, Setup(coefficients, host, plan.forward(gpu)))


def residual_rows(boards: Sequence[Board], outcomes: Sequence[Outcome]) -> tuple[Residual, ...]:
    """Return spreads of time, power and energy of rows left out, by regime."""
    parts: dict[str, list[np.ndarray]] = {"duration": [], "power": [], "energy": [], "regime": []}
    for board, outcome in zip(boards, outcomes, strict=True):
        time_s = board.frame["time_s"].to_numpy(np.float64)
        watts = board.frame["power"].to_numpy(np.float64)
        parts["duration"].append(np.log(time_s / outcome.duration_s))
        parts["power"].append(np.log(watts / outcome.power_w))
        parts["energy"].append(np.log(time_s * watts / (outcome.duration_s * outcome.power_w)))
        parts["regime"].append(outcome.regime)
    regime = np.concatenate(parts.pop("regime"))
    workload = np.concatenate([board.workload for board in boards])
    rows = []
    for quantity, logs in parts.items():
        every = residuals.grouped(np.concatenate(logs), regime, workload)
        for name in ("any", "launch", "capped"):
            if name in every:
                spread = every[name]
                rows.append(
                    Residual.model_validate(
                        {
                            "quantity": quantity, "family": "any", "regime": name,
                            "log_sd": round(spread.log_sd, 4), "bias": round(spread.bias, 4),
                            "n": spread.n,
                        }
                    )
                )  # fmt: skip
    return tuple(rows)


def hull(boards: Sequence[Board]) -> dict[str, tuple[float, float]]:
    """Return fitted ranges of inputs."""

    def span(name: str) -> tuple[float, float]:
        values = np.concatenate([board.frame[name].to_numpy(np.float64) for board in boards])
        values = values[values > 0]
        return float(values.min()), float(values.max())

    return {"clock_hz": span("clock_hz"), "batch": span("batch"), "input_tokens": span("seq")}


def profile(
    work: Job, fitted: Fitted, outcomes: Sequence[Outcome], data: Path, today: date
) -> Coefficients:
    """Return the calibration of a GPU as it ships."""
    families = {
        name: {**family.model_dump(), "provenance": Provenance.CALIBRATED}
        if name in _FITTED
        else family.model_dump()
        for name, family in fitted.coefficients.families.items()
    }
    for name in _FITTED:
        families.setdefault(name, {"provenance": Provenance.CALIBRATED})
    rows = sum(len(board.frame) for board in work.boards)
    tree = fitted.coefficients.model_dump()
    tree.update(
        provenance=Provenance.CALIBRATED,
        families=families,
        residuals=[row.model_dump() for row in residual_rows(work.boards, outcomes)],
        hull=hull(work.boards),
        notes=(),
        fitted_on=[
            FittedOn(
                dataset=f"{dataset.SINGLE_GPU} sha256:{dataset.digest(data / dataset.SINGLE_GPU)}",
                date=today.isoformat(),
                rows=rows,
                held_out=HOLD_OUT,
            ).model_dump()
        ],
        source=Source(
            citation="fit of measured forward passes, idle power, supply: data of the EnergAIzer "
            "artifact (ISPASS 2026, MIT, (c) 2026 Kyungmi Lee); effective numbers, not properties "
            "of silicon",
            date=today.isoformat(),
            licence="Apache-2.0",
        ).model_dump(),
    )
    return rounded(Coefficients.model_validate(tree))


def rounded(found: Coefficients) -> Coefficients:
    """Return coefficients with five significant digits: more would claim more than is known."""
    short = {path: float(f"{value:.5g}") for path, value in found.values().items()}
    return found.with_values(short)
