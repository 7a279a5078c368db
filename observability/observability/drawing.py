"""Draws a dashboard as Grafana would lay it out, from a live Prometheus, into a picture.

There is no Grafana to test with everywhere; a picture shows what an admin would see: whether every
panel has data, whether units and legends make sense, whether a thousand workloads still fit.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from observability.pages import FILES
from observability.querying import Prometheus, Series, ask, panels, values

COLUMNS = 24
_UNIT_IN = 0.62
"""Inches of one unit of Grafana's grid, in width; a unit of height is half of it."""
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
_SI = {"watt": "W", "joule": "J", "suffix: J/token": "J/token"}
_TIMES = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_ROWS_MOST = 12
_LEGEND_ROWS, _LEGEND_IN = 6, 3.4
"""Most rows of a legend, and the width of one of its columns."""
_COLOURS = {"green": "#3a9d4f", "yellow": "#c99a06", "red": "#c4162a", "blue": "#1f60c4"}
_GREY = "#777777"
_DPI, _SHADES = 80, 128
Answers = Sequence[Sequence[Series]]


@dataclass(frozen=True)
class _Frame:
    """A panel's place in the figure, inches from its lower left corner."""

    figure: Figure
    left: float
    bottom: float
    width: float
    height: float

    def axes(self, left: float, bottom: float, right: float, top: float) -> Axes:
        """Return axes with these margins, in inches."""
        wide, tall = self.figure.get_size_inches()
        return self.figure.add_axes(
            (
                (self.left + left) / wide,
                (self.bottom + bottom) / tall,
                (self.width - left - right) / wide,
                (self.height - bottom - top) / tall,
            )
        )

    def text(self, x: float, y: float, text: str, **style: Any) -> None:
        """Write at a place given in inches from the panel's left and top."""
        wide, tall = self.figure.get_size_inches()
        place = ((self.left + x) / wide, (self.bottom + self.height - y) / tall)
        self.figure.text(*place, text, va="top", **style)


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
        picture, drawn = out / f"{path.stem}.png", BytesIO()
        draw(json.loads(path.read_text()), Prometheus(url), minutes, chosen).savefig(
            drawn, dpi=_DPI, metadata={"Software": None}
        )
        small = Image.open(drawn).convert("RGB").quantize(_SHADES, dither=Image.Dither.NONE)
        small.save(picture, optimize=True)
        written.append(picture)
    return written


def draw(
    dashboard: dict[str, Any], source: Prometheus, minutes: float, chosen: Mapping[str, str]
) -> Figure:
    """Return the picture of one dashboard."""
    known = values(dashboard, source, chosen)
    height = max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in dashboard["panels"])
    tall = (height + 2) * _UNIT_IN / 2
    figure = Figure(figsize=(COLUMNS * _UNIT_IN, tall), facecolor="#f4f5f5")
    top = _Frame(figure, 0.0, 0.0, COLUMNS * _UNIT_IN, tall)
    shown = {name: "All" if value == ".*" else value for name, value in known.items()}
    which = "    ".join(f"{name}: {value}" for name, value in shown.items())
    top.text(0.1, 0.12, f"{dashboard['title']}    {which}", fontsize=14)
    for one in dashboard["panels"]:
        place = one["gridPos"]
        y = (place["y"] + 2) * _UNIT_IN / 2
        if one["type"] == "row":
            top.text(0.1, y + 0.08, one["title"], fontsize=11, color=_GREY)
    for panel in panels(dashboard):
        place = panel["gridPos"]
        wide, high = place["w"] * _UNIT_IN, place["h"] * _UNIT_IN / 2
        bottom = tall - (place["y"] + 2) * _UNIT_IN / 2 - high
        frame = _Frame(figure, place["x"] * _UNIT_IN + 0.05, bottom + 0.05, wide - 0.1, high - 0.1)
        _panel(frame, panel, ask(panel, source, known, minutes))
    return figure


def _panel(frame: _Frame, panel: Mapping[str, Any], answers: Answers) -> None:
    card = frame.axes(0.0, 0.0, 0.0, 0.0)
    card.set_axis_off()
    card.add_patch(Rectangle((0, 0), 1, 1, transform=card.transAxes, fc="white", ec="#dddddd"))
    frame.text(0.1, 0.08, panel["title"], fontsize=9, fontweight="bold")
    defaults = panel["fieldConfig"]["defaults"]
    if any(answers):
        _KINDS[panel["type"]](frame, panel, answers, defaults.get("unit", "short"))
    else:
        said = "\n".join(textwrap.wrap(defaults["noValue"], max(12, int(frame.width * 11))))
        size = 14 if panel["type"] == "stat" else 9
        card.text(0.5, 0.45, said, ha="center", va="center", color=_GREY, fontsize=size)


def _number(frame: _Frame, panel: Mapping[str, Any], answers: Answers, unit: str) -> None:
    series = answers[0][0]
    colour = _threshold(panel, series.last)
    axes = frame.axes(0.02, 0.02, 0.02, 0.3)
    axes.set_axis_off()
    axes.fill_between(series.times, series.values, alpha=0.15, color=colour)
    axes.set_ylim(0, 1.6 * max([value for value in series.values if math.isfinite(value)] + [1e-9]))
    axes.text(
        0.5, 0.55, readable(series.last, unit), fontsize=20, color=colour,
        ha="center", va="center", transform=axes.transAxes,
    )  # fmt: skip


def _course(frame: _Frame, panel: Mapping[str, Any], answers: Answers, unit: str) -> None:
    lines = [series for answer in answers for series in answer]
    axes = frame.axes(0.75, 0.35 + 0.15 * _legend_rows(frame, len(lines)), 0.15, 0.35)
    custom = panel["fieldConfig"]["defaults"].get("custom", {})
    end = max(when for line in lines for when in line.times)
    if custom.get("stacking", {}).get("mode") == "normal":
        times = sorted({when for line in lines for when in line.times})
        stacks = [
            [dict(zip(line.times, line.values, strict=True)).get(when, 0.0) for when in times]
            for line in lines
        ]
        drawn = axes.stackplot([when - end for when in times], stacks, alpha=0.7)
        colours = [one.get_facecolor()[0] for one in drawn]
    else:
        colours = []
        for line in lines:
            (one,) = axes.plot([when - end for when in line.times], line.values)
            colours.append(one.get_color())
    highest = axes.get_ylim()[1]
    if custom.get("thresholdsStyle", {}).get("mode") == "line":
        for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]:
            axes.axhline(step["value"], color=_COLOURS[step["color"]], linewidth=1, linestyle="--")
    axes.set_ylim(0, 1.05 * highest if highest > 0 else 1)
    axes.yaxis.set_major_formatter(lambda value, _: readable(value, unit))
    axes.xaxis.set_major_formatter(lambda value, _: readable(value, "s"))
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    _legend(frame, lines, colours, unit)


def _legend(frame: _Frame, lines: Sequence[Series], colours: Sequence[Any], unit: str) -> None:
    """Write the table below a course: name, last and highest value."""
    rows, columns = _legend_rows(frame, len(lines)), _legend_columns(frame)
    most = _LEGEND_ROWS * columns
    for place, (line, colour) in enumerate(zip(lines[:most], colours, strict=False)):
        column, row = divmod(place, rows)
        x = 0.15 + column * frame.width / columns
        y = frame.height - 0.15 * (rows - row) - 0.03
        known = [value for value in line.values if math.isfinite(value)]
        highest = readable(max(known, default=math.nan), unit)
        said = f"{line.legend}   last {readable(line.last, unit)}, max {highest}"
        if place == most - 1 and len(lines) > most:
            said = f"and {len(lines) - most + 1} more"
        frame.text(x, y, "\u25a0", fontsize=7, color=colour)
        frame.text(x + 0.12, y, said, fontsize=7)


def _legend_columns(frame: _Frame) -> int:
    return max(1, int(frame.width / _LEGEND_IN))


def _legend_rows(frame: _Frame, lines: int) -> int:
    return min(_LEGEND_ROWS, math.ceil(lines / _legend_columns(frame)))


def _bars(frame: _Frame, panel: Mapping[str, Any], answers: Answers, unit: str) -> None:
    shown = answers[0][:_ROWS_MOST]
    longest = max(len(bar.legend) for bar in shown)
    axes = frame.axes(min(0.15 + 0.068 * longest, 0.5 * frame.width), 0.1, 0.8, 0.35)
    places = range(len(shown), 0, -1)
    colours = [_threshold(panel, bar.last) for bar in shown]
    axes.barh(places, [bar.last for bar in shown], color=colours, alpha=0.7)
    axes.set_yticks(places, [bar.legend for bar in shown], fontsize=7)
    axes.set_ylim(len(shown) - max(len(shown), 5) + 0.4, len(shown) + 0.6)
    for place, bar in zip(places, shown, strict=True):
        axes.text(
            1.02, place, readable(bar.last, unit), va="center", fontsize=8,
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.axvline(0, color=_GREY, linewidth=0.8)


def _table(frame: _Frame, panel: Mapping[str, Any], answers: Answers, unit: str) -> None:
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
    if len(cells) > len(shown):
        shown[-1] = [f"and {len(cells) - len(shown) + 1} more"] + [""] * (len(shown[-1]) - 1)
    names = [*labels.values(), *headings]
    widths = [
        max([len(name), *(len(row[place]) for row in shown if "more" not in row[0])]) + 2
        for place, name in enumerate(names)
    ]
    scale = (frame.width - 0.2) / sum(widths)
    for number, row in enumerate([names, *shown]):
        x = 0.1
        for text, width in zip(row, widths, strict=True):
            weight = "bold" if number == 0 else "normal"
            frame.text(x, 0.38 + 0.185 * number, text, fontsize=7.5, fontweight=weight)
            x += width * scale


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
