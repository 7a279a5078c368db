"""Why a goal is missed: which rows carry the error, and what no better fit could take away.

Each missed figure stands beside three that cheat: the fit refitted with the scored rows inside
(what the structure can say at most), one free factor for each family and precision (what a missing
kernel or another library would explain), and, for power, the measured time inside.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from energaizer import machine, power
from energaizer.calibration import kernel_fit, single_kernels
from energaizer.calibration.chips import Chip
from energaizer.calibration.heldout import Fitted
from energaizer.calibration.kernel_report import kinds as kernel_kinds
from energaizer.calibration.pages import table
from energaizer.calibration.residuals import absolute_errors, errors
from energaizer.calibration.scoring import Scored

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
TextArray = npt.NDArray[np.str_]
Goals = tuple[float, float, float]
QUANTITIES = ("time", "power", "energy")
_COLUMNS = ("time_s", "power", "energy")
_CARRIERS = 3
_GOAL_TIME, _GOAL_POWER = 10.0, 8.0


def passes(named: Sequence[tuple[str, Scored, Goals]], own: Mapping[str, Fitted]) -> str:
    """Return the section on forward passes.

    Args:
        named: Title, predictions and goals of what was left out.
        own: By title, the fit of all rows of the scored GPU: in sample.
    """
    bounds, carriers = [], []
    for title, scored, goals in named:
        for index, (quantity, goal) in enumerate(zip(QUANTITIES, goals, strict=True)):
            measured, predicted = scored.label(_COLUMNS[index]), _predicted(scored)[index]
            mean = errors(predicted, measured).mean
            if mean <= goal:
                continue
            with_rows = _refitted(scored, own[title])[index]
            timed = _with_measured_time(scored, own[title]) if quantity == "power" else None
            bounds.append(
                (title, quantity, f"{mean:.1f}", f"{goal:g}", f"{mean - goal:.1f}",
                 f"{errors(with_rows, measured).mean:.1f}",
                 f"{errors(levelled(predicted, measured, _kinds(scored)), measured).mean:.1f}",
                 "-" if timed is None else f"{errors(timed, measured).mean:.1f}")
            )  # fmt: skip
            carriers += [
                (title, quantity, *cells)
                for cells in _carriers(predicted, measured, _kinds(scored), goal)
            ]
    if not bounds:
        return ""
    return "\n".join(
        (
            "### Why goals are missed\n",
            "Each missed mean, and what it would be with knowledge that a prediction cannot have:",
            "the scored rows inside the fit; one factor for each family and precision; for power,",
            "the measured time.\n",
            table(
                ("what was left out", "quantity", "error", "goal", "misses by", "rows in the fit",
                 "a factor per family and precision", "measured time"), bounds,
            ),
            "Families and precisions that carry most of what is above the goal:\n",
            table(
                ("what was left out", "quantity", "rows of", "n", "error", "bias",
                 "share of the excess"), carriers,
            ),
        )
    )  # fmt: skip


def repeats(scored: Scored) -> str:
    """Return what no model of a GPU can tell of a table: workloads measured twice, and tile choice.

    Args:
        scored: Predictions of a table that holds both.
    """
    workload, precision = scored.board.workload[scored.rows], _column(scored, "precision")
    time_s, watts = np.log(scored.label("time_s")), np.log(scored.label("power"))
    apart = [
        (abs(float(np.diff(time_s[own])[0])), abs(float(np.diff(watts[own])[0])))
        for name in np.unique(workload)
        if np.count_nonzero(own := workload == name) == 2  # noqa: PLR2004
    ]
    frame = scored.board.frame[scored.rows]
    tokens = (frame["batch"] * frame["seq"]).to_numpy(np.int_)
    family = _column(scored, "model")
    chosen = (family == "opt") & (precision == "fp32")
    predicted = _predicted(scored)[1]
    rows = []
    for count in np.unique(tokens[chosen]):
        own = chosen & (tokens == count)
        seen = np.exp(watts[own])
        rows.append(
            (str(count), str(len(seen)), f"{seen.min():.0f} to {seen.max():.0f}",
             f"{predicted[own].mean():.0f}")
        )  # fmt: skip
    twice = np.array(apart) * 100.0
    return "\n".join(
        (
            f"{len(apart)} workloads of that table were measured twice: their two times differ by "
            f"{twice[:, 0].mean():.1f} % in the mean ({twice[:, 0].max():.0f} at most), their "
            f"powers by {twice[:, 1].mean():.1f} % ({twice[:, 1].max():.0f} at most).\n",
            "Power of fp32 products goes up and down with the number of tokens, alike for every "
            "batch: the library takes another kernel, which no shape tells. OPT on that board:\n",
            table(("tokens", "rows", "measured, W", "predicted, W"), rows),
        )
    )


def kernels(fitted: Iterable[Chip]) -> str:
    """Return the section on single kernels: kinds whose median misses, and what bounds them."""
    rows = [row for chip in fitted for row in _of_chip(chip)]
    return "\n".join(
        (
            "### Why kernels miss\n",
            "Kinds of kernels whose median misses, beside the same with the rows in the fit, with",
            "one factor for the kind, and with one for each weight shape or head layout.\n",
            table(
                ("GPU", "kernels", "quantity", "rows", "median", "goal", "rows in the fit",
                 "a factor per kind", "a factor per shape"), rows,
            ),
        )
    )  # fmt: skip


def _of_chip(chip: Chip) -> Iterable[tuple[str, ...]]:
    seen = kernel_fit.predict(chip.table, chip.coefficients)
    kind_of = kernel_kinds(chip)
    shape = np.char.add(kind_of, single_kernels.shape_of(chip.table.frame).astype(np.str_))
    everything = np.ones(len(kind_of), dtype=np.bool_)
    seconds = chip.table.column("latency_us") * 1e-6
    cases = [("time", chip.held_out.duration_s, seen.duration_s, seconds, _GOAL_TIME, everything)]
    if chip.power is not None:
        told = kernel_fit.scorable(chip.table) & ~kernel_fit.at_limit(chip.table)
        inside = chip.power.recorded(chip.table, seen.power_w)
        watts = chip.table.column("power_w")
        cases.append(
            ("power below the limit", chip.held_out.recorded_w, inside, watts, _GOAL_POWER, told)
        )
    for quantity, left_out, inside, measured, goal, told in cases:
        for kind in np.unique(kind_of[told]):
            own = told & (kind_of == kind)
            target = measured[own]
            found = errors(left_out[own], target).median
            if found > goal:
                factored = [levelled(left_out[own], target, each[own]) for each in (kind_of, shape)]
                medians = [errors(each, target).median for each in (inside[own], *factored)]
                yield (
                    chip.table.gpu.name, kind, quantity, str(len(target)), f"{found:.1f}",
                    f"{goal:g}", *(f"{each:.1f}" for each in medians),
                )  # fmt: skip


def _predicted(scored: Scored) -> tuple[FloatArray, FloatArray, FloatArray]:
    time_s, watts = scored.outcome.duration_s[scored.rows], scored.outcome.power_w[scored.rows]
    return time_s, watts, time_s * watts


def _refitted(scored: Scored, own: Fitted) -> tuple[FloatArray, FloatArray, FloatArray]:
    seen = own.predict(scored.board.sample.runs)
    time_s, watts = seen.duration_s[scored.rows], seen.power_w[scored.rows]
    return time_s, watts, time_s * watts


def _with_measured_time(scored: Scored, own: Fitted) -> FloatArray:
    """Return power with predicted joules above idle spread over the measured time, W."""
    runs = scored.board.sample.runs
    board = machine.build(runs.gpu, own.coefficients)
    idle = power.idle_power(board, runs.clock_hz)[scored.rows]
    time_s, watts, _ = _predicted(scored)
    found = idle + (watts - idle) * time_s / scored.label("time_s")
    return np.minimum(found, runs.gpu.power_limit_w)


def _column(scored: Scored, name: str) -> TextArray:
    return scored.board.frame[name].to_numpy(dtype=np.str_)[scored.rows]


def _kinds(scored: Scored) -> TextArray:
    return np.char.add(np.char.add(_column(scored, "model"), " "), _column(scored, "precision"))


def levelled(predicted: FloatArray, measured: FloatArray, groups: TextArray) -> FloatArray:
    """Return predictions with one free factor for each group: the median of its ratios."""
    found = predicted.copy()
    for name in np.unique(groups):
        own = groups == name
        found[own] *= np.exp(np.median(np.log(measured[own] / predicted[own])))
    return found


def _carriers(
    predicted: FloatArray, measured: FloatArray, groups: TextArray, goal: float
) -> Iterable[tuple[str, ...]]:
    """Yield the groups that hold most of the error above the goal."""
    each = absolute_errors(predicted, measured)
    above = {str(name): float(np.sum(each[groups == name] - goal)) for name in np.unique(groups)}
    whole = sum(value for value in above.values() if value > 0)
    for name in sorted(above, key=lambda key: -above[key])[:_CARRIERS]:
        if above[name] > 0:
            own = groups == name
            found = errors(predicted[own], measured[own])
            yield (name, str(found.n), f"{found.mean:.1f}", f"{found.bias:.1f}",
                   f"{100.0 * above[name] / whole:.0f} %")  # fmt: skip
