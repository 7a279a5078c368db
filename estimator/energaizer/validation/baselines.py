"""Trivial predictions beside which a figure means something: constants, limits, rooflines.

Constants come from the scored table itself, in its favour, or from another table.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energaizer.validation.scores import FloatArray, Scores, TextArray, nowhere

_ALL = ""


@dataclass(frozen=True)
class Constants:
    """What a baseline knows of measurements, by group; the key "" is that of all rows.

    Attributes:
        power_w: Mean power of one board, by board and clock (by board, by all).
        limit_share: Mean of power over limit.
        roofline_factor: Median of time over the roofline by board.
    """

    power_w: dict[str, float]
    limit_share: float
    roofline_factor: dict[str, float]


def constants(tables: Sequence[Scores]) -> Constants:
    """Return the constants of the measurements of some tables of one kind."""
    power: dict[str, list[float]] = {}
    factor: dict[str, list[float]] = {}
    share: list[float] = []
    for table in tables:
        watts, seconds = table.column("power"), table.column("time")
        if watts is not None:
            # A column's own exclusions apply; whether the model has an answer does not matter.
            usable = np.isfinite(watts.measured) & (watts.reason == "") & (watts.measured > 0)
            for row in np.flatnonzero(usable):
                value = float(watts.measured[row] / table.boards_of[row])
                for key in _keys(table, int(row)):
                    power.setdefault(key, []).append(value)
            known = usable & np.isfinite(table.limit_w)
            share.extend(watts.measured[known] / table.limit_w[known])
        if seconds is not None:
            usable = (
                np.isfinite(seconds.measured) & (seconds.reason == "")
                & np.isfinite(table.roofline_s) & (table.roofline_s > 0) & (seconds.measured > 0)
            )  # fmt: skip
            for row in np.flatnonzero(usable):
                ratio = float(seconds.measured[row] / table.roofline_s[row])
                for key in (table.groups["gpu"][row], _ALL):
                    factor.setdefault(key, []).append(ratio)
    return Constants(
        power_w={key: float(np.mean(values)) for key, values in power.items()},
        limit_share=float(np.mean(share)) if share else np.nan,
        roofline_factor={key: float(np.median(values)) for key, values in factor.items()},
    )


def _keys(table: Scores, row: int) -> tuple[str, ...]:
    names = dict.fromkeys((table.constants_by, table.finer_by or "gpu", "gpu"))
    return tuple(dict.fromkeys([*(str(table.groups[name][row]) for name in names), _ALL]))


def apply(table: Scores, known: Constants) -> None:
    """Fill in the baselines of each quantity of a table."""
    n = len(table.failed)
    constant_w = _looked_up(table, known.power_w, table.constants_by) * table.boards_of
    share_w = known.limit_share * table.limit_w
    factor = _looked_up(table, known.roofline_factor, "gpu")
    scaled_s = factor * table.roofline_s
    seconds = table.column("time")
    measured_s = seconds.measured if seconds is not None else nowhere(n)
    for column in table.columns:
        if column.quantity == "power":
            column.baselines = {
                "constant": constant_w, "limit_share": share_w, "limit": table.limit_w,
            }  # fmt: skip
            if table.finer_by:
                finer_w = _looked_up(table, known.power_w, table.finer_by) * table.boards_of
                column.baselines[f"constant_per_{table.means}"] = finer_w
        elif column.quantity in {"time", "itl"}:
            column.baselines = {"roofline": table.roofline_s, "scaled_roofline": scaled_s}
        elif column.quantity in table.per_time:
            scale = table.per_time[column.quantity]
            column.baselines = {
                "scaled_roofline_x_constant": scaled_s * constant_w * scale,
                "constant_x_measured_time": constant_w * measured_s * scale,
                "limit_x_measured_time": table.limit_w * measured_s * scale,
            }


def _looked_up(table: Scores, known: dict[str, float], by: str) -> FloatArray:
    """Return the constant of each row: of its finest group that is known."""

    def of(finest: str, gpu: str) -> float:
        return known.get(finest, known.get(gpu, known.get(_ALL, np.nan)))

    groups: tuple[TextArray, TextArray] = (table.groups[by], table.groups["gpu"])
    return np.array([of(str(a), str(b)) for a, b in zip(*groups, strict=True)], dtype=np.float64)
