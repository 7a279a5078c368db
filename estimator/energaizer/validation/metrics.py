"""Errors of predictions: per group and overall, beside baselines (method, data section 8)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energaizer.validation.scores import BoolArray, Column, FloatArray, Scores


@dataclass(frozen=True)
class Figures:
    """Errors `100 |p/y - 1|` of n predictions, %; `bias` is the median of `100 (p/y - 1)`."""

    mape: float
    median: float
    p90: float
    max: float
    bias: float


@dataclass(frozen=True)
class Line:
    """One line of a report.

    Attributes:
        group: Values of the columns that name the group; empty: the whole table.
        quantity: time, power, energy, ...
        unit: Its unit.
        n: Rows.
        figures: Errors of the model, %.
        coverage: Share of measurements inside the 90 % interval.
        log_width: Mean of ln(high/low).
        baselines: Errors of the trivial predictions, %.
        aggregate: `rows`: every row counts the same; `group_mean`: every group does.
        groups: Groups behind a mean over groups.
    """

    group: dict[str, str]
    quantity: str
    unit: str
    n: int
    figures: Figures
    coverage: float
    log_width: float
    baselines: dict[str, Figures]
    aggregate: str
    groups: int = 0

    def skill(self) -> dict[str, float]:
        """Return `1 - error/error of the baseline` of mean errors, by baseline."""
        return {
            name: 1.0 - self.figures.mape / figures.mape
            for name, figures in self.baselines.items()
            if figures.mape > 0
        }


def figures(predicted: FloatArray, measured: FloatArray) -> Figures:
    """Return the errors of at least one prediction, %."""
    signed = 100.0 * (predicted / measured - 1.0)
    size = np.abs(signed)
    return Figures(
        mape=float(size.mean()),
        median=float(np.median(size)),
        p90=float(np.quantile(size, 0.9)),
        max=float(size.max()),
        bias=float(np.median(signed)),
    )


def line(column: Column, rows: BoolArray, group: dict[str, str]) -> Line | None:
    """Return the figures of some rows of a quantity; None if none of them is scored."""
    chosen = rows & column.scored
    if not chosen.any():
        return None
    measured = column.measured[chosen]
    low, high = column.low[chosen], column.high[chosen]
    beside = {}
    for name, values in column.baselines.items():
        usable = chosen & np.isfinite(values)
        if usable.any():
            beside[name] = figures(values[usable], column.measured[usable])
    return Line(
        group=group,
        quantity=column.quantity,
        unit=column.unit,
        n=int(chosen.sum()),
        figures=figures(column.predicted[chosen], measured),
        coverage=float(np.mean((low <= measured) & (measured <= high))),
        log_width=float(np.mean(np.log(high / low))),
        baselines=beside,
        aggregate="rows",
    )


def mean_of(lines: Sequence[Line]) -> Line | None:
    """Return the mean over groups, each counting the same; None without groups."""
    if not lines:
        return None

    def mean(items: Sequence[Figures]) -> Figures:
        return Figures(
            mape=float(np.mean([item.mape for item in items])),
            median=float(np.mean([item.median for item in items])),
            p90=float(np.mean([item.p90 for item in items])),
            max=float(np.max([item.max for item in items])),
            bias=float(np.mean([item.bias for item in items])),
        )

    names = [name for name in lines[0].baselines if all(name in one.baselines for one in lines)]
    return Line(
        group={},
        quantity=lines[0].quantity,
        unit=lines[0].unit,
        n=sum(one.n for one in lines),
        figures=mean([one.figures for one in lines]),
        coverage=float(np.mean([one.coverage for one in lines])),
        log_width=float(np.mean([one.log_width for one in lines])),
        baselines={name: mean([one.baselines[name] for one in lines]) for name in names},
        aggregate="group_mean",
        groups=len(lines),
    )


def groups_of(table: Scores, by: Sequence[str]) -> list[tuple[dict[str, str], BoolArray]]:
    """Return the groups of a table by some columns, in order of appearance of their values."""
    known = [name for name in by if name in table.groups]
    if not known:
        return []
    keys = list(zip(*(table.groups[name] for name in known), strict=True))
    place = {key: index for index, key in enumerate(sorted(set(keys), key=_natural))}
    index = np.array([place[key] for key in keys], dtype=np.intp)
    return [(dict(zip(known, key, strict=True)), index == number) for key, number in place.items()]


def _natural(key: tuple[str, ...]) -> list[tuple[int, float, str]]:
    """Order numbers as numbers and texts as texts."""
    order = []
    for value in key:
        try:
            order.append((0, float(value), ""))
        except ValueError:
            order.append((1, 0.0, value))
    return order


def lines(table: Scores, by: Sequence[Sequence[str]]) -> list[Line]:
    """Return all lines of a table: overall, its mean over groups, then each group."""
    every = np.ones(len(table.failed), dtype=np.bool_)
    found: list[Line] = []
    for column in table.columns:
        whole = line(column, every, {})
        if whole is None:
            continue
        found.append(whole)
        parts = [line(column, rows, group) for group, rows in groups_of(table, (table.means,))]
        mean = mean_of([part for part in parts if part is not None])
        if mean is not None:
            found.append(mean)
    for names in by:
        for group, rows in groups_of(table, names):
            parts = [line(column, rows, group) for column in table.columns]
            found.extend(part for part in parts if part is not None)
    return found
