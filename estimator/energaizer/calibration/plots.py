"""Figures of the accuracy page: predicted against measured, residuals by regime, coverage.

The only room that draws. Same numbers, same bytes: no date, no random jitter, fixed size and font.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from energaizer.calibration.chips import Chip
from energaizer.calibration.scoring import Scored

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_DOTS_PER_INCH = 90
_QUANTITIES = (("time", "s"), ("power", "W"), ("energy", "J"))
_AIM = (85.0, 95.0)
_MOST_DOTS = 700  # of a kind in one panel: more would hide each other


class Shown(NamedTuple):
    """A table of left-out predictions under a short name."""

    name: str
    scored: Scored


def draw(
    folder: Path, tables: Sequence[Shown], coverage: Mapping[str, Sequence[float]],
    chips: Sequence[Chip],
) -> tuple[str, ...]:  # fmt: skip
    """Write all figures, return their names.

    Args:
        folder: Where they go; made if it is not there.
        tables: Forward passes, each predicted by a fit that left it out.
        coverage: Share inside the 90 % interval of time, power and energy, percent, by table.
        chips: GPUs known by single kernels, with predictions of shapes left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "predicted-measured.png": _predicted(tables),
        "residuals-by-regime.png": _residuals(tables),
        "interval-coverage.png": _coverage(coverage),
        "kernels-predicted-measured.png": _kernels(chips),
    }
    for name, figure in figures.items():
        figure.savefig(folder / name, dpi=_DOTS_PER_INCH, metadata={"Software": ""})
    return tuple(figures)


def _figure(columns: int, height: float = 3.4) -> Figure:
    mpl.rc("font", family="DejaVu Sans", size=9)
    mpl.rc("axes.spines", top=False, right=False)
    mpl.rc("legend", frameon=False)
    figure = Figure(figsize=(3.3 * columns, height), layout="constrained")
    figure.subplots(1, columns)
    return figure


def _pairs(scored: Scored) -> tuple[tuple[FloatArray, FloatArray], ...]:
    """Return measured and predicted time, power and energy, corrected labels."""
    time_s, watts = scored.outcome.duration_s[scored.rows], scored.outcome.power_w[scored.rows]
    measured_s, measured_w = scored.label("time_s"), scored.label("power")
    return (
        (measured_s, time_s), (measured_w, watts), (measured_s * measured_w, time_s * watts),
    )  # fmt: skip


def _predicted(tables: Sequence[Shown]) -> Figure:
    figure = _figure(len(_QUANTITIES))
    for index, (axes, (quantity, unit)) in enumerate(zip(figure.axes, _QUANTITIES, strict=True)):
        ends = []
        for shown in tables:
            measured, predicted = _pairs(shown.scored)[index]
            axes.plot(measured, predicted, ".", markersize=3, alpha=0.6, label=shown.name)
            ends += [measured.min(), measured.max()]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "k-", linewidth=0.7)
        if quantity != "power":
            axes.set(xscale="log", yscale="log")
        axes.set(xlabel=f"measured {quantity}, {unit}", ylabel=f"predicted {quantity}, {unit}")
    figure.axes[0].legend(fontsize=7)
    return figure


def _residuals(tables: Sequence[Shown]) -> Figure:
    figure = _figure(len(_QUANTITIES), 3.0 + 0.25 * len(tables))
    for index, (axes, (quantity, _)) in enumerate(zip(figure.axes, _QUANTITIES, strict=True)):
        names, errors = [], []
        for shown in tables:
            measured, predicted = _pairs(shown.scored)[index]
            signed = 100.0 * (predicted / measured - 1.0)
            regime = shown.scored.outcome.regime[shown.scored.rows]
            for name, told in (("launch", "launch-bound"), ("capped", "capped"), ("any", "other")):
                if (regime == name).any():
                    names.append(f"{shown.name}, {told}")
                    errors.append(signed[regime == name])
        axes.boxplot(errors, orientation="horizontal", whis=(5, 95), widths=0.6,
                     flierprops={"marker": ".", "markersize": 3})  # fmt: skip
        axes.set_yticks(range(1, len(names) + 1), names if index == 0 else [""] * len(names))
        axes.axvline(0.0, color="k", linewidth=0.7)
        axes.set(xlabel=f"error of {quantity}, %")
        axes.invert_yaxis()
    return figure


def _coverage(coverage: Mapping[str, Sequence[float]]) -> Figure:
    figure = _figure(2, 0.9 + 0.42 * len(coverage))
    figure.delaxes(figure.axes[1])
    axes = figure.axes[0]
    place = np.arange(len(coverage))
    axes.axvspan(*_AIM, color="0.9")
    for index, (quantity, _) in enumerate(_QUANTITIES):
        shares = [each[index] for each in coverage.values()]
        axes.plot(shares, place + 0.18 * (index - 1), "o", markersize=4, label=quantity)
    axes.set_yticks(place, list(coverage))
    axes.set(xlim=(70, 101), xlabel="inside the 90 % interval, %")
    axes.invert_yaxis()
    axes.legend(fontsize=7, loc="lower left")
    return figure


def _kernels(chips: Sequence[Chip]) -> Figure:
    figure = _figure(3)
    families = ("gemm", "attention-prefill", "attention-decode")
    for axes, family in zip(figure.axes, families, strict=True):
        ends = []
        for chip in chips:
            own = np.flatnonzero((chip.table.frame["family"] == family).to_numpy())
            own = own[:: max(1, len(own) // _MOST_DOTS)]
            measured = chip.table.column("latency_us")[own]
            predicted = 1e6 * chip.held_out.duration_s[own]
            axes.plot(measured, predicted, ".", markersize=1.5, alpha=0.5,
                      label=chip.table.gpu.name)  # fmt: skip
            ends += [measured.min(), measured.max()]
        axes.plot([min(ends), max(ends)], [min(ends), max(ends)], "k-", linewidth=0.7)
        axes.set(xscale="log", yscale="log", title=family, xlabel="measured latency, us",
                 ylabel="predicted latency, us")  # fmt: skip
    figure.axes[0].legend(fontsize=7, markerscale=4)
    return figure
