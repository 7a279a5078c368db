"""Asks a Prometheus what a dashboard would ask it, with its variables filled in."""

from __future__ import annotations

import json
import math
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Dashboard = dict[str, Any]
_STEPS_MOST = 200
GOOD_WHEN_EMPTY = ("Alerts that fire",)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Series:
    """One series of an answer: its labels, its name in the legend, its samples."""

    labels: Mapping[str, str]
    legend: str
    times: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The newest value that is a number."""
        return next((value for value in reversed(self.values) if math.isfinite(value)), math.nan)


@dataclass(frozen=True)
class Prometheus:
    """The query API of a Prometheus at `url`."""

    url: str

    def instant(self, promql: str) -> list[dict[str, Any]]:
        """Return the series of a query as they are now.

        Raises:
            urllib.error.HTTPError: The query is wrong; the body says why.
        """
        return self._get("query", {"query": promql})

    def span(self, promql: str, minutes: float) -> list[dict[str, Any]]:
        """Return the series of a query over the last `minutes`."""
        step = max(1, round(60 * minutes / _STEPS_MOST))
        now = time.time() // step * step  # as Grafana does, so that all lines share their moments
        span = {"start": now - 60 * minutes, "end": now, "step": step}
        return self._get("query_range", {"query": promql, **span})

    def _get(self, path: str, parameters: Mapping[str, object]) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({key: str(value) for key, value in parameters.items()})
        url = f"{self.url}/api/v1/{path}?{query}"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 (the caller's own)
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """Yield the panels that ask something, rows opened."""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or ()
        else:
            yield panel


def values(dashboard: Dashboard, source: Prometheus, chosen: Mapping[str, str]) -> dict[str, str]:
    """Return a value of each variable: the chosen one, all, or the first that there is."""
    result: dict[str, str] = {}
    for variable in dashboard["templating"]["list"]:
        name = variable["name"]
        if variable["type"] != "query":
            continue
        if name in chosen:
            result[name] = chosen[name]
        elif variable.get("includeAll"):
            result[name] = variable["allValue"]
        else:
            result[name] = next(iter(_label_values(variable["query"], source, result)), "")
    return result


def _label_values(query: str, source: Prometheus, known: Mapping[str, str]) -> list[str]:
    found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
    if found is None:
        raise ValueError(f"{query}: only label_values(SERIES, LABEL) is understood")
    answer = source.instant(fill(found[1], known))
    return sorted({one["metric"][found[2]] for one in answer if found[2] in one["metric"]})


def fill(promql: str, known: Mapping[str, str]) -> str:
    """Return a query with its variables filled in."""
    return _VARIABLE.sub(lambda found: known.get(found[1], found[0]), promql)


def ask(
    panel: Mapping[str, Any], source: Prometheus, known: Mapping[str, str], minutes: float
) -> list[list[Series]]:
    """Return the answer to each query of a panel."""
    answers = []
    for target in panel["targets"]:
        promql, legend = fill(target["expr"], known), target.get("legendFormat", "__auto")
        found = source.instant(promql) if target.get("instant") else source.span(promql, minutes)
        answers.append([_series(one, legend) for one in found])
    return answers


def blank(
    dashboard: Dashboard, source: Prometheus, chosen: Mapping[str, str], minutes: float = 1.0
) -> list[str]:
    """Return the titles of the panels that have no data, those of what should be empty aside."""
    known = values(dashboard, source, chosen)
    return [
        panel["title"]
        for panel in panels(dashboard)
        if panel["title"] not in GOOD_WHEN_EMPTY and not any(ask(panel, source, known, minutes))
    ]


def _series(answer: Mapping[str, Any], legend: str) -> Series:
    labels = {key: value for key, value in answer["metric"].items() if key != "__name__"}
    pairs = answer["values"] if "values" in answer else [answer["value"]]
    plain = ", ".join(labels.values()) or "value"
    name = (
        plain
        if legend == "__auto"
        else re.sub(r"{{\s*(\w+)\s*}}", lambda found: labels.get(found[1], ""), legend).strip()
    )
    return Series(
        labels,
        name,
        tuple(float(when) for when, _ in pairs),
        tuple(float(value) for _, value in pairs),
    )
