"""Predictions beside measurements: what a scorer of one kind of table hands to the report."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu

FloatArray = npt.NDArray[np.float64]
TextArray = npt.NDArray[np.object_]
IntArray = npt.NDArray[np.intp]
BoolArray = npt.NDArray[np.bool_]
Progress = Callable[[str, int, int], None]
Labels = Literal["raw", "corrected"]


@dataclass
class Column:
    """One quantity of n rows; arrays of shape (n,), NaN where there is no value.

    Attributes:
        quantity: time, power, energy, itl, energy_per_token, ...
        unit: SI unit of all values.
        measured: What the table says.
        predicted: What the shipped model says.
        low: Lower end of its 90 % interval.
        high: Upper end.
        reason: Why a row is not scored; "": it is.
        baselines: Trivial predictions by name.
    """

    quantity: str
    unit: str
    measured: FloatArray
    predicted: FloatArray
    low: FloatArray
    high: FloatArray
    reason: TextArray
    baselines: dict[str, FloatArray] = field(default_factory=dict)

    @property
    def scored(self) -> BoolArray:
        """Rows that count: measured, predicted and not excluded."""
        usable = np.isfinite(self.measured) & np.isfinite(self.predicted) & (self.measured > 0)
        found: BoolArray = usable & (self.reason == "")
        return found


@dataclass
class Scores:
    """A table, scored.

    Attributes:
        dataset: Name of the table.
        kind: Its schema.
        columns: Quantities.
        groups: Columns by which rows may be grouped, shape (n,) each.
        slices: Groupings that a report shows by default.
        means: Column whose groups count equally in the second average.
        failed: Why a row could not be estimated; "": it was.
        provenance: Weakest provenance of each row's numbers.
        limit_w: Limit of all boards of a row.
        roofline_s: Datasheet roofline of each row, s.
        constants_by: Column that splits the constants of power, e.g. by board and clock.
        finer_by: Column of a finer constant of power, e.g. by board and operation; "": none.
        gpu_count: Boards of each row, whose power and limits are sums; None: one each.
        per_time: Quantities that are power x time x a factor, with that factor, shape (n,) each.
        boards: GPUs that were used, with their coefficients.
        notes: What a reader must know.
    """

    dataset: str
    kind: str
    columns: list[Column]
    groups: dict[str, TextArray]
    slices: tuple[tuple[str, ...], ...]
    means: str
    failed: TextArray
    provenance: TextArray
    limit_w: FloatArray
    roofline_s: FloatArray
    constants_by: str = "gpu"
    finer_by: str = ""
    gpu_count: FloatArray | None = None
    per_time: dict[str, FloatArray] = field(default_factory=dict)
    boards: dict[str, tuple[Gpu, Coefficients]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def boards_of(self) -> FloatArray:
        """Boards of each row, shape (n,)."""
        return np.ones(len(self.failed)) if self.gpu_count is None else self.gpu_count

    def column(self, quantity: str) -> Column | None:
        """Return a quantity, None if the table does not have it."""
        return next((column for column in self.columns if column.quantity == quantity), None)


def nowhere(count: int) -> FloatArray:
    """Return an array of NaN, shape (count,)."""
    return np.full(count, np.nan)


def texts(values: Sequence[Any]) -> TextArray:
    """Return texts as an array of objects, shape (n,)."""
    found = np.empty(len(values), dtype=object)
    found[:] = [str(value) for value in values]
    return found


def both(first: Iterable[Any], second: Iterable[Any]) -> TextArray:
    """Return two columns as one, shape (n,)."""
    return texts([f"{a} {b}" for a, b in zip(first, second, strict=True)])


def first_reason(count: int, rules: Mapping[str, BoolArray]) -> TextArray:
    """Return the first rule that excludes each row, "" where none does.

    Args:
        count: Rows.
        rules: Reason -> rows that it excludes.
    """
    found = np.full(count, "", dtype=object)
    for reason, excluded in rules.items():
        found[(found == "") & excluded] = reason
    return found
