"""Errors of fits of libraries: rows whose shapes they did not see, by library and all together.

By library they become the spreads of residuals; together they are every row of the tiers whose
power tells, those that no fit drew among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer.calibration import kernel_fit, libraries, problem, residuals
from energaizer.calibration.libraries import HeldOut
from energaizer.calibration.library_rows import FEWEST, TIERS, Group, floor, rows_of
from energaizer.coefficients import Coefficients, Residual
from energaizer.gpu import Gpu

FloatArray = npt.NDArray[np.float64]
Pairs = Sequence[tuple[FloatArray, FloatArray]]
PERCENTS = np.arange(1, 100)
"""Of the percentiles of `HeldOut`."""
_QUANTITIES = ("time", "power", "energy")


@dataclass(frozen=True)
class Seen:
    """Predictions of rows by fits that did not see their shapes; arrays of shape (n,)."""

    duration_s: FloatArray
    recorded_w: FloatArray


def held_out(group: Group, fits: Sequence[Coefficients | None]) -> Seen:
    """Return predictions of each row by the fit that left its shape out.

    Args:
        group: Rows of one library: those that were fitted, or others.
        fits: Of the library, as `without` returns them.
    """
    found = np.full((2, len(group.seconds)), np.nan)
    for index, own in enumerate(fits):
        out = group.fold == index
        if own is None or not out.any():
            continue
        seen = problem.predict(group.table.runs.select(out), own, kernel_fit.NO_HOST)
        floor_w, warm = floor(group.table.gpu, own), own.power.warm_share or 0.0
        part = group.share[out] + (1.0 - group.share[out]) * warm
        found[:, out] = seen.duration_s, floor_w + (seen.power_w - floor_w) * part
    return Seen(found[0], found[1])


def residual_rows(group: Group, seen: Seen) -> tuple[Residual, ...]:
    """Return the spreads of time, power and energy of shapes left out."""
    duration = np.log(group.seconds / seen.duration_s)
    power = np.log(group.watts / seen.recorded_w)
    found = []
    for quantity, logs in (("duration", duration), ("power", power), ("energy", duration + power)):
        known = logs[np.isfinite(logs)]
        if len(known) >= FEWEST // 2:
            spread = residuals.spread(known)
            found.append(
                Residual.model_validate(
                    {
                        "quantity": quantity, "family": "any", "log_sd": round(spread.log_sd, 4),
                        "bias": round(spread.bias, 4), "n": spread.n,
                    }
                )
            )  # fmt: skip
    return tuple(found)


def errors_of(parts: Sequence[tuple[Group, Seen]]) -> tuple[HeldOut, ...]:
    """Return the errors of left-out rows by framework and operation."""
    columns: dict[tuple[str, str, str], list[tuple[FloatArray, FloatArray]]] = {}
    for group, seen in parts:
        frame = group.table.frame
        where = (str(frame["framework"].iloc[0]), str(frame["op"].iloc[0]))
        for quantity, pair in pairs(seen, group.seconds, group.watts).items():
            columns.setdefault((*where, quantity), []).append(pair)
    found = [_errors(*where, pairs) for where, pairs in sorted(columns.items())]
    return tuple(each for each in found if each is not None)


def together(
    frame: pd.DataFrame, gpu: Gpu, common: Coefficients,
    fits: Mapping[str, Sequence[Coefficients | None]],
) -> tuple[HeldOut, ...]:  # fmt: skip
    """Return the errors of all left-out rows whose power tells, of every library at once.

    Args:
        frame: Rows of the board, those that no fit drew among them.
        gpu: The board.
        common: Its coefficients.
        fits: By key of a library, as `without` returns them.
    """
    telling = frame[frame["power_tier"].isin(TIERS)]
    told = telling[["framework", "op", "dtype", "kv_dtype", "head_dim"]].itertuples(index=False)
    key = np.array([libraries.narrowest(tuple(row), fits) for row in told], dtype=np.str_)
    parts = [(rows_of(telling[key == name], gpu, common), fits[name])
             for name in dict.fromkeys(key) if name]  # fmt: skip
    seen = [pairs(held_out(rows, own), rows.seconds, rows.watts)
            for rows, own in parts if rows is not None]  # fmt: skip
    found = []
    for quantity in _QUANTITIES:
        every = [each[quantity] for each in seen]
        whole = _errors("", "", quantity, every)
        if whole is not None:
            spread = tuple(round(float(own), 1) for own in _percentiles(every))
            found.append(whole.model_copy(update={"percentiles": spread}))
    return tuple(found)


def pairs(
    seen: Seen, seconds: FloatArray, watts: FloatArray
) -> dict[str, tuple[FloatArray, FloatArray]]:  # fmt: skip
    """Return predictions beside measurements by quantity, NaN where nothing tells."""
    return {
        "time": (seen.duration_s, seconds), "power": (seen.recorded_w, watts),
        "energy": (seen.recorded_w * seen.duration_s, watts * seconds),
    }  # fmt: skip


def _percentiles(pairs: Pairs) -> FloatArray:
    each = np.concatenate([residuals.absolute_errors(*pair) for pair in pairs])
    found: FloatArray = np.nanpercentile(each, PERCENTS)
    return found


def _errors(framework: str, op: str, quantity: str, pairs: Pairs) -> HeldOut | None:
    if not pairs:
        return None
    predicted, measured = (np.concatenate(each) for each in zip(*pairs, strict=True))
    known = np.isfinite(predicted) & np.isfinite(measured)
    if not known.any():
        return None
    each = residuals.errors(predicted[known], measured[known])
    numbers = {
        name: round(float(getattr(each, name)), 1) for name in ("median", "mean", "p90", "bias")
    }
    return HeldOut.model_validate(
        {"framework": framework, "op": op, "quantity": quantity, "n": each.n, **numbers}
    )
