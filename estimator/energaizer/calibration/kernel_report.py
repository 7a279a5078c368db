"""Single kernels on the accuracy page: unseen shapes, operations, GPUs, and each library."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from energaizer.calibration import baselines, chips, dataset, kernel_fit, library_errors
from energaizer.calibration.chips import Chip
from energaizer.calibration.libraries import HeldOut, Libraries
from energaizer.calibration.pages import table
from energaizer.calibration.residuals import Errors, coverage, errors, spread
from energaizer.coefficients import Coefficients

_GOALS = {"time": 10.0, "power": 8.0, "energy": 13.0}


def shapes(fitted: Sequence[Chip]) -> str:
    """Return the section on shapes left out."""
    time_rows = [row for chip in fitted for row in _latency(chip)]
    power_rows = [row for chip in fitted if chip.power is not None for row in _power(chip)]
    usual = ("rows", "median", "mean", "p90", "bias")
    return "\n".join(
        (
            "## Single kernels, unseen shapes\n",
            "vLLM kernels; a fifth of the weight shapes, and of head layouts with their length,",
            "left out at a time. Goal: median latency error at most 10 %. The scaled roofline, and",
            "the intervals, are in sample.\n",
            table(("GPU", "kernels", *usual, "scaled roofline, median", "inside 90 %"), time_rows),
            "Recorded power, predicted through the one-second window of its sensor with the mean",
            "warm share of each table. Goal: median at most 8 %.\n",
            table(("GPU", "which", *usual, "constant, median"), power_rows),
        )
    )


def unseen(data: Path, fitted: Mapping[str, Chip], streams: Coefficients) -> str:
    """Return the section on operations and GPUs left out."""
    rows = []
    for name in chips.FLOOR_W:
        rows_of = fitted[name].table
        watts, told = rows_of.column("power_w"), kernel_fit.scorable(rows_of)
        capped = kernel_fit.at_limit(rows_of)
        others = [fitted[other] for other in chips.FLOOR_W if other != name]
        for rule, seen in chips.unseen(data, name, streams, others).items():
            for part, own in (("all", told), ("below the limit", told & ~capped)):
                found = errors(seen.recorded_w[own], watts[own])
                trivial = errors(np.full(int(own.sum()), np.median(watts[own])), watts[own])
                rows.append((rows_of.gpu.name, rule, part, *_cells(found), f"{trivial.median:.1f}"))
    head = ("GPU", "rule", "rows of tiers A, A+", "n", "median", "mean", "p90", "bias",
            "constant, median")  # fmt: skip
    return (
        "### Recorded power of an unseen operation, or on an unseen GPU\n\nGoal: median at most "
        "15 %. Time is predicted by the same fit; how much of the second before a reading was like "
        "the kernel is the mean over the other GPU's rows, those of the operation aside. A "
        "constant is that of the scored rows, in its favour.\n\n" + table(head, rows)
    )


def libraries() -> str:
    """Return the section on the shipped fits of libraries."""
    known = {name: Libraries.shipped(name) for name in dataset.CHIPS.values()}
    rows = [
        (name, each.framework, each.op, each.quantity, str(each.n), f"{each.median:.1f}",
         f"{each.mean:.1f}", f"{each.p90:.0f}", f"{each.bias:.1f}")
        for name, found in known.items() if found is not None
        for each in found.held_out
    ]  # fmt: skip
    head = ("GPU", "framework", "operation", "quantity", "rows", "median", "mean", "p90", "bias")
    return (
        "### Library by library, unseen shapes\n\nOne shape in several frameworks is several "
        "kernels. `energaizer validate` predicts a row that names its framework, operation and "
        "formats with the fit of those kernels (attention: of that head size too); an estimate "
        "keeps the common coefficients. A fifth of the shapes is left out at a time, at most 400 "
        "rows of a library drawn. Power and energy: recorded, tiers A and A+. Goals: 10, 8 and 13 "
        "% in the median.\n\n" + table(head, rows)
    )


def together(fitted: Sequence[Chip]) -> str:
    """Return the section on all kernels whose power tells, whatever their kind.

    Args:
        fitted: GPUs of the kernel table; those without recorded power have no part in it.
    """
    told = [chip for chip in fitted if chip.power is not None]
    known = {chip.table.gpu.name: Libraries.shipped(chip.table.gpu.name) for chip in told}
    rows = []
    for names in (*((name,) for name in known), tuple(known)):
        parts = [known[name] for name in names]
        chips_ = [chip for chip in told if chip.table.gpu.name in names]
        where = names[0] if len(names) == 1 else "together"
        for quantity, goal in _GOALS.items():
            by_library = [
                each for own in parts if own is not None
                for each in own.together if each.quantity == quantity
            ]  # fmt: skip
            if by_library:
                rows.append((where, quantity, "their library", *joined(by_library, goal)))
            rows.append((where, quantity, "common, vLLM", *_common(chips_, quantity, goal)))
    head = ("GPU", "quantity", "coefficients", "rows", "median", "goal", "", "mean", "p90")
    return (
        "### All rows of tiers A and A+\n\nOne median over all rows whose recorded power tells, "
        "operations with a method: products, attention, quantisation. *Their library*: predicted "
        "as `energaizer validate` does, by the fit of that framework's kernels; *common*: by the "
        "coefficients of an estimate, vLLM kernels alone. The tables of kinds are the stricter "
        "reading: a median over all rows is met while a kind misses.\n\n" + table(head, rows)
    )


def joined(parts: Sequence[HeldOut], goal: float) -> tuple[str, ...]:
    """Return the cells of errors of several GPUs, from their percentiles."""
    count = np.array([each.n for each in parts], dtype=np.float64)
    grid = np.sort(np.concatenate([each.percentiles for each in parts]))
    below = np.stack(
        [np.interp(grid, each.percentiles, library_errors.PERCENTS, 0.0, 100.0) for each in parts],
        axis=1,
    )
    share = below @ count / count.sum()
    median, p90 = np.interp((50.0, 90.0), share, grid)
    mean = float(np.average([each.mean for each in parts], weights=count))
    if len(parts) == 1:
        median, p90 = parts[0].median, parts[0].p90
    return _judged(int(count.sum()), float(median), goal, mean, float(p90))


def _common(fitted: Sequence[Chip], quantity: str, goal: float) -> tuple[str, ...]:
    """Return the cells of the common coefficients, shapes left out."""
    every = []
    for chip in fitted:
        own, out = kernel_fit.scorable(chip.table), chip.held_out
        seen = library_errors.Seen(out.duration_s[own], out.recorded_w[own])
        seconds = chip.table.column("latency_us")[own] * 1e-6
        watts = chip.table.column("power_w")[own]
        every.append(library_errors.pairs(seen, seconds, watts)[quantity])
    predicted, measured = (np.concatenate(each) for each in zip(*every, strict=True))
    found = errors(predicted, measured)
    return _judged(found.n, found.median, goal, found.mean, found.p90)


def _judged(n: int, median: float, goal: float, mean: float, p90: float) -> tuple[str, ...]:
    verdict = "met" if median <= goal else "missed"
    return str(n), f"{median:.1f}", f"{goal:g}", verdict, f"{mean:.1f}", f"{p90:.0f}"


def _cells(found: Errors) -> tuple[str, ...]:
    return (
        str(found.n), f"{found.median:.1f}", f"{found.mean:.1f}", f"{found.p90:.0f}",
        f"{found.bias:.1f}",
    )  # fmt: skip


def kinds(chip: Chip) -> npt.NDArray[np.str_]:
    """Return family and format of each row."""
    frame = chip.table.frame
    return (frame["family"] + " " + frame["dtype"]).to_numpy(dtype=np.str_)


def _latency(chip: Chip) -> Iterable[tuple[str, ...]]:
    seconds, predicted = chip.table.column("latency_us") * 1e-6, chip.held_out.duration_s
    bound, kind_of = baselines.roofline(chip.table.runs), kinds(chip)
    for kind in np.unique(kind_of):
        own = kind_of == kind
        trivial = errors(baselines.scaled(bound, seconds, own)[own], seconds[own])
        factor = spread(np.log(seconds[own] / predicted[own])).factor
        inside = coverage(predicted[own] / factor, predicted[own] * factor, seconds[own])
        found = errors(predicted[own], seconds[own])
        yield (
            chip.table.gpu.name, kind, *_cells(found), f"{trivial.median:.0f}",
            f"{100 * inside:.0f}",
        )  # fmt: skip


def _power(chip: Chip) -> Iterable[tuple[str, ...]]:
    watts, predicted, kind_of = chip.table.column("power_w"), chip.held_out.recorded_w, kinds(chip)
    rows, capped = kernel_fit.scorable(chip.table), kernel_fit.at_limit(chip.table)
    slices = {
        "all of tiers A and A+": rows, "below the limit": rows & ~capped,
        "at the limit": rows & capped,
    }  # fmt: skip
    slices |= {f"below, {kind}": rows & ~capped & (kind_of == kind) for kind in np.unique(kind_of)}
    for name, own in slices.items():
        if own.any():
            found = errors(predicted[own], watts[own])
            trivial = errors(np.full(int(own.sum()), np.median(watts[own])), watts[own])
            yield chip.table.gpu.name, name, *_cells(found), f"{trivial.median:.1f}"
