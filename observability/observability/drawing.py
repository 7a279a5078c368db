"""Draws a dashboard as Grafana would lay it out, from a live Prometheus, into a picture.

There is no Grafana to test with everywhere; a picture shows what an admin would see: whether every
panel has data, whether units and legends make sense, whether a thousand workloads still fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from observability.pages import FILES
from observability.querying import Prometheus, Series, ask, panels, values

COLUMNS = 24
_UNIT_IN = 0.62
"""Inches of one unit of Grafana's grid, in width; a unit of height is half of it."""
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
_SI = {"watt": "W", "joule": "J", "suffix: J/token": "J/token"}
_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_ROWS_MOST = 9
_LEGEND_MOST = 12
_COLOURS = {"green": "#3a9d4f", "yellow": "#c99a06", "red": "#c4162a", "blue": "#1f60c4"}


def draw_all(url: str, out: Path, minutes: float, chosen: Mapping[str, str]) -> list[Path]:
    """Draw each dashboard into `out`; return the pictures.

    Args:
        url: Of the Prometheus.
        out: Folder of the pictures.
        minutes: How far back lines go.
        chosen: Value of each variable that shall not be all or the first.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for path in sorted((FILES / "dashboards").glob("*.json")):
        picture = out / f"{path.stem}.png"
        draw(json.loads(path.read_text()), Prometheus(url), minutes, chosen).savefig(
            picture, dpi=70, metadata={"Software": None}
        )
        written.append(picture)
    return written


def draw(
    dashboard: dict[str, Any], source: Prometheus, minutes: float, chosen: Mapping[str, str]
) -> Figure:
    """Return the picture of one dashboard."""
    known = values(dashboard, source, chosen)
    shown = list(panels(dashboard))
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in shown)
    size = (COLUMNS * _UNIT_IN, (height + 2) * _UNIT_IN / 2)
    figure = Figure(figsize=size, facecolor="#f4f5f5")
    which = ", ".join(f"{name} = {value}" for name, value in known.items())
    figure.suptitle(f"{dashboard['title']}    {which}", x=0.01, ha="left", fontsize=13)
    for panel in shown:
        place = panel["gridPos"]
        left, width = place["x"] / COLUMNS, place["w"] / COLUMNS
        top, tall = 1 - (place["y"] + 2) / (height + 2), place["h"] / (height + 2)
        names = 0.08 if panel["type"] == "bargauge" else 0.01
        axes = figure.add_axes(
            (
                left + 0.02 + names,
                top - (0.75 if panel["type"] == "timeseries" else 0.9) * tall,
                width - 0.03 - names,
                (0.6 if panel["type"] == "timeseries" else 0.75) * tall,
            )
        )
        axes.set_title(panel["title"], fontsize=9, loc="left", fontweight="bold")
        answers = ask(panel, source, known, minutes)
        unit = panel["fieldConfig"]["defaults"].get("unit", "short")
        if not any(answers):
            _nothing(axes)
        else:
            _KINDS[panel["type"]](axes, panel, answers, unit)
    return figure


def _nothing(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, "no data", ha="center", va="center", color="#888888")


def _number(
    axes: Axes, panel: Mapping[str, Any], answers: Sequence[Sequence[Series]], unit: str
) -> None:
    series = answers[0][0]
    colour = _threshold(panel, series.last)
    axes.set_axis_off()
    axes.fill_between(series.times, series.values, alpha=0.15, color=colour)
    axes.set_ylim(0, 1.6 * max([value for value in series.values if math.isfinite(value)] + [1e-9]))
    axes.text(
        0.5, 0.55, readable(series.last, unit), fontsize=22, color=colour,
        ha="center", va="center", transform=axes.transAxes,
    )  # fmt: skip


def _course(
    axes: Axes, panel: Mapping[str, Any], answers: Sequence[Sequence[Series]], unit: str
) -> None:
    lines = [series for answer in answers for series in answer]
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    if custom.get("stacking", {}).get("mode") == "normal":
        times = sorted({when for line in lines for when in line.times})
        stacks = [
            [dict(zip(line.times, line.values, strict=True)).get(when, 0.0) for when in times]
            for line in lines
        ]
        axes.stackplot(
            [when - times[-1] for when in times], stacks, labels=[line.legend for line in lines],
            alpha=0.6,
        )  # fmt: skip
    else:
        end = max(when for line in lines for when in line.times)
        for line in lines:
            axes.plot([when - end for when in line.times], line.values, label=line.legend)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: readable(value, unit))
    axes.xaxis.set_major_formatter(lambda value, _: readable(value, "s"))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    axes.legend(
        *_first(axes.get_legend_handles_labels()), fontsize=6, loc="upper left", ncols=4,
        bbox_to_anchor=(0, -0.12), frameon=False,
    )  # fmt: skip


def _first(legend: tuple[list[Artist], list[str]]) -> tuple[list[Artist], list[str]]:
    """Return the first entries of a legend: more would cover the picture."""
    handles, labels = legend
    return handles[:_LEGEND_MOST], labels[:_LEGEND_MOST]


def _bars(
    axes: Axes, panel: Mapping[str, Any], answers: Sequence[Sequence[Series]], unit: str
) -> None:
    bars = sorted(answers[0], key=lambda series: series.last)[-_ROWS_MOST:]
    colours = [_threshold(panel, bar.last) for bar in bars]
    axes.barh([bar.legend for bar in bars], [bar.last for bar in bars], color=colours, alpha=0.7)
    for place, bar in enumerate(bars):
        axes.text(0, place, f" {readable(bar.last, unit)}", va="center", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_visible(False)


def _table(
    axes: Axes, panel: Mapping[str, Any], answers: Sequence[Sequence[Series]], unit: str
) -> None:
    organized = _option(panel, "organize")
    places, renamed = organized["indexByName"], organized["renameByName"]
    renamed = {name: renamed[name] for name in sorted(renamed, key=places.__getitem__)}
    labels = {name: text for name, text in renamed.items() if not name.startswith("Value")}
    headings = [text for name, text in renamed.items() if name.startswith("Value")]
    units = {
        one["matcher"]["options"]: one["properties"][0]["value"]
        for one in panel["fieldConfig"]["overrides"]
    }
    cells: dict[tuple[str, ...], list[str]] = {}
    for place, answer in enumerate(answers):
        for series in answer:
            key = tuple(series.labels.get(name, "") for name in labels)
            row = cells.setdefault(key, [""] * len(headings))
            row[place] = readable(series.last, units.get(headings[place], unit))
    shown = [[*key, *row] for key, row in cells.items()][:_ROWS_MOST]
    axes.set_axis_off()
    if len(cells) > len(shown):
        shown[-1] = [f"and {len(cells) - len(shown) + 1} more"] + [""] * (len(shown[-1]) - 1)
    table = axes.table(shown, colLabels=[*labels.values(), *headings], loc="upper center")
    table.auto_set_font_size(False)
    table.set_fontsize(7)


_KINDS = {"stat": _number, "timeseries": _course, "bargauge": _bars, "table": _table}


def _option(panel: Mapping[str, Any], transformation: str) -> dict[str, Any]:
    options: dict[str, Any] = next(
        one["options"] for one in panel["transformations"] if one["id"] == transformation
    )
    return options


def _threshold(panel: Mapping[str, Any], value: float) -> str:
    """Return the colour of a value."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    passed = [step for step in steps if step.get("value") is None or value >= step["value"]]
    return _COLOURS[passed[-1]["color"]]


def readable(value: float, unit: str) -> str:
    """Return a number as Grafana writes it in this unit."""
    if not math.isfinite(value):
        return "no data"
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        return _scaled(value, _TIMES)
    if unit == "ops":
        return f"{value:.3g} /s"
    suffix = _SI.get(unit, "")
    return _scaled(value, tuple((size, f"{prefix}{suffix}") for size, prefix in _PREFIXES))


def _scaled(value: float, sizes: Sequence[tuple[float, str]]) -> str:
    if value == 0:
        return f"0 {dict(sizes)[1.0]}".strip()
    size, name = next(((s, n) for s, n in sizes if abs(value) >= s), sizes[-1])
    return f"{value / size:.4g} {name}".strip()
