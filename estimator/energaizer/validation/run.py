"""From a path to scores: reads tables, scores each by its kind, and adds baselines."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from energaizer.errors import InputError
from energaizer.validation import (
    baselines,
    diffusion_rows,
    kernel_rows,
    node_rows,
    reading,
    serving_rows,
    single_gpu,
)
from energaizer.validation.reading import Table
from energaizer.validation.scores import Labels, Progress, Scores, nowhere, texts

Scorer = Callable[[Table, Labels, Progress], Scores]
_SCORERS: dict[str, Scorer] = {
    "single_gpu": single_gpu.score,
    "kernels": kernel_rows.score,
    "node_power": node_rows.score,
    "serving": serving_rows.score,
    diffusion_rows.KIND: diffusion_rows.score,
    "serving_2024": serving_rows.score_2024,
}


@dataclass
class Outcome:
    """All tables of a path, scored.

    Attributes:
        tables: Scores, one a table.
        remarks: Files and tables that are not scored, and why.
        labels: Labels as recorded, or corrected.
        elapsed_s: Time that it took.
    """

    tables: list[Scores]
    remarks: list[str] = field(default_factory=list)
    labels: Labels = "raw"
    elapsed_s: float = 0.0


def silent(dataset: str, done: int, total: int) -> None:
    """Report no progress."""


def validate(
    path: Path, labels: Labels = "raw", other: Path | None = None, progress: Progress = silent
) -> Outcome:
    """Score the shipped model against the tables of a file or folder.

    Args:
        path: Measured tables.
        labels: `raw`, as recorded, or `corrected` for what the recording is known to add.
        other: Tables from which the constants of the baselines are taken; None: `path` itself.
        progress: Called now and then with table, rows done, rows in all.

    Raises:
        InputError: There is no table, or none with recognised columns.
        TableError: A file is unreadable.
    """
    started = time.perf_counter()
    outcome = _scored(path, labels, progress)
    source = outcome if other is None else _scored(other, labels, progress)
    for table in outcome.tables:
        alike = [one for one in source.tables if one.kind == table.kind]
        if other is None:
            alike = [table]
        if not alike:
            raise InputError(
                f"{other}: no {table.kind} table, from which baselines of {table.dataset} could "
                "take their constants; give another"
            )
        baselines.apply(table, baselines.constants(alike))
    outcome.elapsed_s = time.perf_counter() - started
    return outcome


def _scored(path: Path, labels: Labels, progress: Progress) -> Outcome:
    found = Outcome([], labels=labels)
    for table in reading.tables(path):
        if isinstance(table, str):
            found.remarks.append(table)
        elif table.kind.name in _SCORERS:
            if not len(table):
                found.remarks.append(f"{table.dataset}: holds no row")
            found.tables.extend(
                _SCORERS[part.kind.name](part, labels, progress)
                for part in diffusion_rows.split(table)
            )
        else:
            found.remarks.append(f"{table.dataset}: {table.kind.unscored}")
            if not table.kind.input:
                found.tables.append(_unscored(table))
    return found


def _unscored(table: Table) -> Scores:
    n = len(table)
    reason = texts([table.kind.unscored] * n)
    nothing: Sequence[tuple[str, ...]] = ()
    return Scores(
        dataset=table.dataset, kind=table.kind.name, columns=[], groups={"gpu": texts([""] * n)},
        slices=tuple(nothing), means="gpu", failed=reason, provenance=texts([""] * n),
        limit_w=nowhere(n), roofline_s=np.full(n, np.nan),
    )  # fmt: skip
