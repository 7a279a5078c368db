"""Scores as JSON, as tables for a person, and as one CSV row a prediction."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from energaizer import __version__, machine
from energaizer.errors import InputError
from energaizer.tables import Document, Table
from energaizer.validation import metrics
from energaizer.validation.metrics import Figures, Line
from energaizer.validation.run import Outcome
from energaizer.validation.scores import Column, Scores

_SHOWN_REASONS = 12
_SHA = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]+")  # a person compares the first digits
_UNMEASURED = "no measurement"
_TOLD = {"rows": "all rows", "group_mean": "mean over groups"}
Lines = dict[str, list[Line]]


def lines_of(outcome: Outcome, by: Sequence[str]) -> Lines:
    """Return the lines of each table by its name.

    Args:
        outcome: Tables, scored.
        by: Columns that group rows together; empty: each table's own groupings.

    Raises:
        InputError: No table has such a column.
    """
    known = {name for table in outcome.tables for name in table.groups}
    wrong = [name for name in by if name not in known]
    if wrong and known:
        raise InputError(
            f"--by {', '.join(wrong)}: no such column; known are {', '.join(sorted(known))}"
        )
    found = {}
    for table in outcome.tables:
        own = [names for names in table.slices if set(names) <= set(table.groups)]
        found[table.dataset] = metrics.lines(table, [tuple(by)] if by else own)
    return found


def as_json(outcome: Outcome, lines: Lines) -> dict[str, Any]:
    """Return the whole outcome for a program; errors in percent, shares in [0, 1]."""
    return {
        "version": __version__,
        "labels": outcome.labels,
        "fitted_on": [*_fits(outcome)],
        "tables": [
            {"dataset": dataset, **_line_json(line)}
            for dataset, found in lines.items() for line in found
        ],
        "skipped": [
            {"dataset": table.dataset, "row": int(row), "reason": str(table.failed[row])}
            for table in outcome.tables for row in np.flatnonzero(table.failed != "")
        ],
        "notes": [*_notes(outcome)],
        "elapsed_s": round(outcome.elapsed_s, 3),
    }  # fmt: skip


def _line_json(line: Line) -> dict[str, Any]:
    return {
        "group": line.group,
        "quantity": line.quantity,
        "unit": line.unit,
        "n": line.n,
        **_figures_json(line.figures),
        "interval_coverage": round(line.coverage, 4),
        "interval_log_width": round(line.log_width, 4),
        "baselines": {name: _figures_json(found) for name, found in line.baselines.items()},
        "skill": {name: round(value, 4) for name, value in line.skill().items()},
        "aggregate": line.aggregate,
    } | ({"groups": line.groups} if line.groups else {})


def _figures_json(found: Figures) -> dict[str, float]:
    return {name: round(value, 4) for name, value in vars(found).items()}


def _fits(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Yield what the coefficients of each board that was used were fitted on."""
    seen = set()
    for table in outcome.tables:
        for gpu, coefficients in table.boards.values():
            if gpu.name in seen:
                continue
            seen.add(gpu.name)
            yield {
                "gpu": gpu.name,
                "provenance": coefficients.provenance.value,
                "profile_hash": machine.digest(gpu, coefficients),
                "datasets": [found.model_dump() for found in coefficients.fitted_on],
            }


def _notes(outcome: Outcome) -> Iterator[str]:
    yield from outcome.remarks
    for table in outcome.tables:
        yield from (f"{table.dataset}: {note}" for note in dict.fromkeys(table.notes))


def document(outcome: Outcome, lines: Lines) -> Document:
    """Return the outcome for a person."""
    tables: list[Table] = []
    for dataset, found in lines.items():
        if found:
            tables += [_errors(dataset, found), _beside(dataset, found)]
    failed = [
        (table.dataset, str(reason), f"{count}")
        for table in outcome.tables
        for reason, count in Counter(table.failed[table.failed != ""]).most_common(_SHOWN_REASONS)
    ]
    if failed:
        tables.append(Table(("Dataset", "Reason", ">Rows"), failed, "Rows without an estimate"))
    remarks = [
        *_notes(outcome),
        "errors are 100 |predicted/measured - 1| in %, bias is the median of the signed error; "
        "skill is 1 - MAPE/MAPE of the baseline; inside: share of measurements in the 90 % "
        "interval",
    ]
    head = [f"scored in {outcome.elapsed_s:.1f} s; nothing was fitted"]
    head += [_fit_told(fit) for fit in _fits(outcome)]
    return Document(
        f"energaizer {__version__} against measurements, {outcome.labels} labels",
        tuple(tables),
        subheading=_SHA.sub(r"\1", "\n".join(head)),
        remarks=tuple(_SHA.sub(r"\1", remark) for remark in remarks),
    )


def _fit_told(fit: dict[str, Any]) -> str:
    sets = [
        f"{one['dataset']} ({one['rows']} rows"
        + (f", residuals with {one['held_out']})" if one["held_out"] else ")")
        for one in fit["datasets"]
    ]
    on = "; ".join(sets) or "nothing: datasheet and priors"
    return f"{fit['gpu']} [{fit['provenance']}, {fit['profile_hash'][:12]}] was fitted on {on}"


def _named(line: Line) -> str:
    if not line.group:
        told = _TOLD[line.aggregate]
        return f"{told} ({line.groups})" if line.groups else told
    return ", ".join(f"{value or '-'}" for value in line.group.values())


def _errors(dataset: str, lines: Sequence[Line]) -> Table:
    rows = [
        (
            _named(line), line.quantity, f"{line.n}", f"{line.figures.mape:.1f}",
            f"{line.figures.median:.1f}", f"{line.figures.p90:.1f}", f"{line.figures.max:.0f}",
            f"{line.figures.bias:+.1f}", f"{100 * line.coverage:.0f} %",
        )
        for line in lines
    ]  # fmt: skip
    headings = ("Group", "Quantity", ">n", ">MAPE %", ">Median", ">p90", ">Max", ">Bias", ">Inside")
    return Table(headings, rows, f"{dataset}: errors")


def _beside(dataset: str, lines: Sequence[Line]) -> Table:
    rows = [
        (
            _named(line), line.quantity, name.replace("_", " "), f"{found.mape:.1f}",
            f"{found.median:.1f}", f"{found.p90:.1f}",
            f"{skill[name]:+.2f}" if name in skill else "-",
        )
        for line in lines if not line.group
        for skill in (line.skill(),)
        for name, found in line.baselines.items()
    ]  # fmt: skip
    headings = ("Group", "Quantity", "Baseline", ">MAPE %", ">Median", ">p90", ">Skill")
    return Table(headings, rows, f"{dataset}: trivial baselines")


def rows_frame(outcome: Outcome) -> pd.DataFrame:
    """Return every prediction and every measurement as one row each."""
    parts = [
        _rows(table, column) for table in outcome.tables for column in table.columns
    ]  # fmt: skip
    names = ("row", "quantity", "unit", "measured", "predicted", "low", "high", "provenance",
             "scored", "reason", "dataset")  # fmt: skip
    if not parts:
        return pd.DataFrame(columns=list(names))
    found = pd.concat(parts, ignore_index=True)
    return found.sort_values(["dataset", "row"], kind="stable")[list(names)]


def _rows(table: Scores, column: Column) -> pd.DataFrame:
    scored = column.scored
    reason = np.where(table.failed != "", table.failed, column.reason)
    reason = np.where(~scored & (reason == ""), _UNMEASURED, reason)
    told = np.isfinite(column.measured) | np.isfinite(column.predicted) | (table.failed != "")
    frame = pd.DataFrame(
        {
            "row": np.arange(len(scored)), "quantity": column.quantity, "unit": column.unit,
            "measured": column.measured, "predicted": column.predicted, "low": column.low,
            "high": column.high, "provenance": table.provenance,
            "scored": np.where(scored, "true", "false"),
            "reason": np.where(scored, "", reason), "dataset": table.dataset,
        }
    )  # fmt: skip
    kept: pd.DataFrame = frame.loc[told]
    return kept
