"""What a fit leaves behind: a profile that estimates load, a host, and figures for a person."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from energaizer import __version__
from energaizer.calibration import boards, residuals
from energaizer.calibration.heldout import Outcome
from energaizer.coefficients import Coefficients, FittedOn
from energaizer.gpu import Gpu, Source
from energaizer.host import Host, LaunchCost
from energaizer.result import Provenance
from energaizer.tables import Document, Table
from energaizer.tuning.fitting import Result, families
from energaizer.tuning.measured import Measured, Tables
from energaizer.validation.scores import Labels

HELD_OUT = "whole model left out"
_IN_SAMPLE = "rows of the fit itself"
_CITATION = "fit of the user's own measurements by energaizer {}; effective numbers"


@dataclass(frozen=True)
class Calibrated:
    """A finished calibration.

    Attributes:
        gpu: The board.
        coefficients: Its profile, as it is written.
        host: Launch cost of the machine that measured, as a host profile.
        result: The fit behind both.
        measured: Its rows.
        tables: The tables behind the rows.
        labels: Which labels were fitted.
    """

    gpu: Gpu
    coefficients: Coefficients
    host: Host
    result: Result
    measured: Measured
    tables: Tables
    labels: Labels


def finished(
    gpu: Gpu, result: Result, measured: Measured, tables: Tables, labels: Labels, today: date
) -> Calibrated:  # fmt: skip
    """Return the profile of a fit, with its residuals, hull and provenance."""
    board = measured.board
    tree = result.fitted.coefficients.model_dump()
    ran = set(families(board))
    tree["families"] = {
        name: {**tree["families"].get(name, {}), "provenance": Provenance.CALIBRATED}
        if name in ran
        else tree["families"][name]
        for name in sorted(ran | set(tree["families"]))
    }
    held = result.held_out is not None
    if result.held_out is not None:
        found = boards.residual_rows([board], [result.held_out])
        tree["residuals"] = [row.model_dump() for row in found]
    used = int(np.count_nonzero(board.sample.weight > 0))
    tree.update(
        gpu=gpu.name,
        provenance=Provenance.CALIBRATED if held else Provenance.ANALYTICAL,
        hull=_hull(measured),
        notes=(f"calibrated on {used} rows of the user's own, from: {result.start.told}",
               *result.missing),
        fitted_on=[
            FittedOn(
                dataset=f"{name} sha256:{digest}", date=today.isoformat(), rows=used,
                held_out=HELD_OUT if held else "",
            ).model_dump()
            for name, digest in tables.digests.items()
        ],
        source=Source(
            citation=_CITATION.format(__version__), date=today.isoformat(), licence="the user's own"
        ).model_dump(),
    )  # fmt: skip
    host = Host(
        name=f"eager-{gpu.name}"[:63], prefill=_short(result.fitted.host),
        decode=_short(result.fitted.host), log_sd=0.2 if held else 0.7,
        source=Source(
            citation=_CITATION.format(__version__), date=today.isoformat(), licence="the user's own"
        ),
    )  # fmt: skip
    coefficients = boards.rounded(Coefficients.model_validate(tree))
    return Calibrated(gpu, coefficients, host, result, measured, tables, labels)


def figures(done: Calibrated) -> dict[str, dict[str, Any]]:
    """Return errors of time, power and energy in percent: of the fit, and of models left out."""
    found = {_IN_SAMPLE: _errors(done, done.result.seen)}
    if done.result.held_out is not None:
        found[HELD_OUT] = _errors(done, done.result.held_out)
    return found


def document(done: Calibrated, usage: tuple[str, ...]) -> Document:
    """Return what a person reads of a calibration."""
    rows = [
        (rule, quantity, str(each["n"]), *(f"{each[name]:.1f}" for name in _FIGURES))
        for rule, group in figures(done).items()
        for quantity, each in group.items()
    ]
    table = Table((*_HEADINGS[:3], *(f">{name} %" for name in _HEADINGS[3:])), rows)
    left_out = tuple(
        f"left out: {n} x {reason}" for reason, n in done.measured.left_out.items()
    )  # fmt: skip
    capped = int(np.count_nonzero(done.measured.board.frame["capped"]))
    told = (f"at the power limit: {capped} rows are scored, not fitted",) if capped else ()
    return Document(
        f"calibration of {done.gpu.name}",
        (table,),
        f"{done.result.method}; start: {done.result.start.told}; {done.labels} labels",
        (
            *done.tables.notes, *left_out, *told,
            *(f"not identified: {each}" for each in done.result.missing), *usage,
        ),
    )  # fmt: skip


def as_json(done: Calibrated, usage: tuple[str, ...]) -> dict[str, Any]:
    """Return a calibration in full."""
    return {
        "gpu": done.gpu.name,
        "method": done.result.method,
        "start": done.result.start.told,
        "labels": done.labels,
        "errors_percent": figures(done),
        "not_identified": list(done.result.missing),
        "left_out": dict(done.measured.left_out),
        "notes": list(done.tables.notes),
        "usage": list(usage),
        "coefficients": done.coefficients.model_dump(mode="json"),
        "host": done.host.model_dump(mode="json"),
    }


def usage(done: Calibrated, out: Path, gpu: str) -> tuple[str, ...]:
    """Return how to use the written file, word by word."""
    if out.parent.name == "calibrations":
        folder = out.parent.parent
        first = f"use it: energaizer estimate --profiles {folder}"
    else:
        folder = out.parent / "energaizer-profiles"
        first = (
            f"use it: mkdir -p {folder}/calibrations && cp {out} {folder}/calibrations/ && "
            f"energaizer estimate --profiles {folder}"
        )
    return (
        f"{first} --gpu {gpu} --model NAME",
        "or copy it into ~/.config/energaizer/calibrations/, which every command reads",
        f"launch cost of this host: {done.host.prefill.launch_s * 1e6:.1f} us a kernel, "
        f"{done.host.prefill.call_s * 1e6:.1f} us a call; --host-out FILE writes it for "
        "DIR/hosts/, and estimate takes it as "
        f"--host {done.host.name}",
    )


_FIGURES = ("mean", "median", "p90", "worst", "bias")
_HEADINGS = ("errors of", "quantity", ">n", "mean", "median", "p90", "max", "bias")


def _errors(done: Calibrated, seen: Outcome) -> dict[str, Any]:
    frame = done.measured.board.frame
    time_s, watts = frame["time_s"].to_numpy(np.float64), frame["power"].to_numpy(np.float64)
    pairs = {
        "time": (seen.duration_s, time_s),
        "power": (seen.power_w, watts),
        "energy": (seen.duration_s * seen.power_w, time_s * watts),
    }
    return {
        name: {
            key: value if key == "n" else round(value, 3)
            for key, value in residuals.errors(*pair)._asdict().items()
        }
        for name, pair in pairs.items()
    }


def _hull(measured: Measured) -> dict[str, tuple[float, float]]:
    frame, found = measured.board.frame, {}
    for name, column in (("clock_hz", "clock_hz"), ("batch", "batch"), ("input_tokens", "seq")):
        values = frame[column].to_numpy(np.float64)
        values = values[values > 0]
        if len(values):
            found[name] = (float(values.min()), float(values.max()))
    return found


def _short(host: LaunchCost) -> LaunchCost:
    values = {name: float(f"{value:.4g}") for name, value in host.model_dump().items()}
    return LaunchCost.model_validate(values)
