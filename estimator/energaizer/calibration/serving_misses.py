"""Why goals of serving are missed: who carries the error, and what a better fit could reach."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer.calibration import serving_fit
from energaizer.calibration.misses import levelled
from energaizer.calibration.pages import table
from energaizer.calibration.residuals import absolute_errors, errors
from energaizer.calibration.serving_fit import Fitted, Rows, Said

FloatArray = npt.NDArray[np.float64]
GOALS = {
    ("dense", "J/token"): 10.0, ("MoE", "J/token"): 14.0, ("hybrid", "J/token"): 14.0,
    **{(kind, what): 10.0 for kind in serving_fit.KINDS.values() for what in ("ITL", "power")},
}  # fmt: skip
"""Median error by kind of model and quantity, percent."""
_CARRIERS = 4
_SETTING = ["gpu_model", "model", "task", "num_gpus"]


def markdown(
    frame: pd.DataFrame, measured: Mapping[str, Rows], left_out: Mapping[str, Said], fitted: Fitted
) -> str:
    """Return the section on missed goals; "" where none is.

    Args:
        frame: The table behind the rows.
        measured: Rows by board.
        left_out: Predictions by fits without each row's shape group.
        fitted: The fit of all rows.
    """
    inside = {
        name: serving_fit.predict(own, fitted.coefficients[name], fitted.host)
        for name, own in measured.items()
    }
    boards = np.concatenate([np.full(len(own.step_s), name) for name, own in measured.items()])
    kind = np.concatenate([own.kind for own in measured.values()])
    group = np.concatenate([own.group for own in measured.values()])
    place = np.char.add(np.char.add(group, " on "), np.char.upper(_short(boards)))
    seen, out, whole = (_columns(measured, each) for each in (None, left_out, inside))
    lines: list[tuple[str, ...]] = []
    carriers: list[tuple[str, ...]] = []
    for (name, what), goal in GOALS.items():
        own = kind == name
        truth, told = seen[what][own], out[what][own]
        found = errors(told, truth)
        if found.median <= goal:
            continue
        other = "-"
        if what == "J/token":
            # J/token is a product: each factor in turn as it was measured.
            timed = errors(out["power"][own], seen["power"][own]).median
            powered = errors(out["step time"][own], seen["step time"][own]).median
            other = f"{timed:.1f} / {powered:.1f}"
        lines.append(
            (name, what, f"{found.median:.1f}", f"{goal:g}", f"{found.median - goal:.1f}",
             f"{errors(whole[what][own], truth).median:.1f}",
             f"{errors(levelled(told, truth, place[own]), truth).median:.1f}", other)
        )  # fmt: skip
        carriers += _carriers((name, what), (told, truth), place[own], goal)
    if not lines:
        return ""
    return (
        _TEXT
        + table(("rows", "quantity", "median", "goal", "off by", "rows inside the fit",
                 "a factor for each group and board", "measured time / measured power"), lines)
        + "\nGroups that hold most of the error above the goal:\n\n"
        + table(("rows", "quantity", "group", "n", "median", "bias", "share"), carriers)
        + _floor(frame)
    )  # fmt: skip


def _short(boards: npt.NDArray[np.str_]) -> npt.NDArray[np.str_]:
    return np.array([str(name).split("-", 1)[0] for name in boards])


def _columns(
    measured: Mapping[str, Rows], said: Mapping[str, Said] | None
) -> dict[str, FloatArray]:
    """Return quantities of all rows: as measured, or as said."""
    parts: dict[str, list[FloatArray]] = {"step time": [], "ITL": [], "power": [], "J/token": []}
    for name, own in measured.items():
        if said is None:
            token = own.boards * own.power_w * own.step_s / own.batch
            four = (own.step_s, own.gap_s, own.power_w, token)
        else:
            told = said[name]
            four = (told.step_s, told.gap_s, told.power_w, told.token_j)
        for each, values in zip(parts.values(), four, strict=True):
            each.append(values)
    return {name: np.concatenate(each) for name, each in parts.items()}


def _carriers(
    where: tuple[str, str], both: tuple[FloatArray, FloatArray], groups: npt.NDArray[np.str_],
    goal: float,
) -> Sequence[tuple[str, ...]]:  # fmt: skip
    predicted, measured = both
    each = absolute_errors(predicted, measured)
    above = {str(name): float(np.sum(each[groups == name] - goal)) for name in np.unique(groups)}
    whole = sum(value for value in above.values() if value > 0)
    found = []
    for name in sorted(above, key=lambda key: -above[key])[:_CARRIERS]:
        if above[name] > 0:
            own = groups == name
            one = errors(predicted[own], measured[own])
            found.append((*where, name, str(one.n), f"{one.median:.1f}", f"{one.bias:+.1f}",
                          f"{100.0 * above[name] / whole:.0f} %"))  # fmt: skip
    return found


def _floor(frame: pd.DataFrame) -> str:
    """Return how rough measurements are: each row against the line through its neighbours.

    Neighbours are runs of one model, task, board and split at the next smaller and larger batch.
    """
    rough: dict[str, list[float]] = {
        "mean_step_ms": [],
        "avg_power_w": [],
        "energy_per_token_j": [],
    }
    for _, rows in frame.groupby(_SETTING):
        run = rows.sort_values("avg_batch_size")
        batch = np.log(run["avg_batch_size"].to_numpy(np.float64))
        for name, found in rough.items():
            value = np.log(run[name].to_numpy(np.float64))
            for at in range(1, len(run) - 1):
                if batch[at + 1] > batch[at - 1]:
                    line = np.interp(batch[at], batch[[at - 1, at + 1]], value[[at - 1, at + 1]])
                    found.append(100.0 * abs(np.expm1(value[at] - line)))
    step, watts, joules = (float(np.median(found)) for found in rough.values())
    return _FLOOR.format(step=step, watts=watts, joules=joules, n=len(rough["mean_step_ms"]))


_TEXT = """
### Why goals are missed

Median error of left-out rows beside what would be reached with the rows inside the fit (the most
that this structure can say), with one free factor for each shape group on each board (what a better
level of each model would leave), and, of J/token, with one of its two factors as it was measured.

"""
_FLOOR = """
Measurements are rough themselves: a row against the straight line (logarithms) through its
neighbours in batch, of the same model, task, board and split, is off by {step:.1f} % in step time,
{watts:.1f} % in power and {joules:.1f} % in J/token in the median of {n} rows.
"""
