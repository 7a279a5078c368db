"""What all dashboards share: variables, queries, panels with units, and the links between them.

Every panel is made here, so that all of them have a description, a unit and a legend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias, TypeVar

from grafana_foundation_sdk.builders import bargauge, dashboard, stat, table, timeseries
from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, prometheus
from grafana_foundation_sdk.models import dashboard as models

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "energaizer"
WATTS, JOULES, SECONDS, SHARE, COUNT = "watt", "joule", "s", "percentunit", "short"
JOULES_A_TOKEN, PER_SECOND = "suffix: J/token", "ops"
FULL, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4

LINES_MOST, BARS_MOST, ROWS_MOST = 10, 12, 20
"""Of a panel: what more there is goes into one line, or is left to kubectl."""

Panel: TypeAlias = Builder[models.Panel]

_EMPTY = (   # series: what it means that there are none, what to do about it; the first that fits
    ("ALERTS", "none fires", "all is well"),
    ("kube_resourcequota", "no quota of watts", "a ResourceQuota on requests.energaizer.io/watts"
     " makes one; kube-state-metrics must be scraped (docs/budgets.md)"),
    ("_candidate_", "no candidates", "set metrics.candidates=true in the chart, or ask"
     " kubectl energaizer explain -f FILE"),
    ("measured", "not measured", "scrape a GPU exporter and set feedback.prometheusURL in the"
     " chart (docs/feedback.md)"),
    ("prediction_|mape", "not measured", "errors are told from 90 % coverage on"
     " (docs/feedback.md)"),
    ("budget|held", "no budget", "kubectl apply an EnergyBudget (docs/budgets.md)"),
    ("workload_|predicted", "no workload", "kubectl label namespace NAME"
     " energaizer.io/admission=enabled, then create GPU work or an AIWorkload"),
    ("node_gpu_profile", "no GPU node", "kubectl get gpuprofiles; which labels do nodes carry?"),
    ("admission", "no review", "none since the webhook started, or Prometheus does not scrape it"),
    ("estimate", "no estimate", "none lately, or Prometheus does not scrape energaizer"),
    ("", "not scraped", "let Prometheus scrape the Service energaizer-metrics, or set"
     " serviceMonitor.enabled=true in the chart"),
)  # fmt: skip


@dataclass(frozen=True)
class Query:
    """One query: PromQL and how its series are called."""

    promql: str
    legend: str = ""


class _Drawn(Protocol):
    """What the panels of all kinds can be told."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: models.DataSourceRef) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...


P = TypeVar("P", bound=_Drawn)


def _introduce(panel: P, title: str, why: str, unit: str, width: int, height: int) -> P:
    """Give a panel what every panel has."""
    panel.title(title).description(why).datasource(SOURCE).unit(unit)
    return panel.span(width).height(height)


def _when_empty(promql: str) -> tuple[str, str]:
    """Return what a panel without data means, and what to do about it."""
    return next((means, remedy) for part, means, remedy in _EMPTY if re.search(part, promql))


def leading(selector: str, most: int = LINES_MOST) -> str:
    """Return the largest series of a selector as they are at the end of the time that is shown.

    The same ones all along, where `topk` alone would choose anew at each step.
    """
    return f"topk({most}, {selector} @ end())"


def _target(query: Query, number: int, *, instant: bool) -> prometheus_builders.Dataquery:
    target = prometheus_builders.Dataquery().ref_id(chr(ord("A") + number)).expr(query.promql)
    target.legend_format(query.legend or "__auto").datasource(SOURCE)
    return target.instant() if instant else target.range()


def traffic_light(*, warning: float, critical: float) -> dashboard.ThresholdsConfig:
    """Return thresholds that turn yellow, then red."""
    return steps((None, "green"), (warning, "yellow"), (critical, "red"))


def steps(*pairs: tuple[float | None, str]) -> dashboard.ThresholdsConfig:
    """Return thresholds from (lower end, colour); the first lower end is None."""
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value, colour) for value, colour in pairs])
    )


def number(
    title: str,
    why: str,
    promql: str,
    *,
    unit: str,
    width: int = SIXTH,
    thresholds: dashboard.ThresholdsConfig | None = None,
) -> Panel:
    """Return a panel with one number and its course in the background."""
    panel = _introduce(stat.Panel(), title, why, unit, width, 4)
    panel.no_value(_when_empty(promql)[0])
    panel.thresholds(thresholds or steps((None, "blue")))
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    panel.graph_mode(common.BigValueGraphMode.AREA).color_mode(common.BigValueColorMode.VALUE)
    return panel.with_target(_target(Query(promql), 0, instant=False))


def course(  # noqa: PLR0913 (a panel is its parts)
    title: str,
    why: str,
    queries: Sequence[Query],
    *,
    unit: str,
    width: int = HALF,
    stacked: bool = False,
    thresholds: dashboard.ThresholdsConfig | None = None,
) -> Panel:
    """Return a panel of lines over time, or of areas on top of each other."""
    panel = _introduce(timeseries.Panel(), title, why, unit, width, 9)
    panel.no_value(": ".join(_when_empty(queries[0].promql)))
    panel.min(0).line_width(2).fill_opacity(30 if stacked else 5)
    panel.legend(
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    panel.tooltip(
        common_builders.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if thresholds is not None:
        panel.thresholds(thresholds)
        panel.thresholds_style(
            common_builders.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.LINE)
        )
    for position, query in enumerate(queries):
        panel.with_target(_target(query, position, instant=False))
    return panel


def bars(  # noqa: PLR0913 (a panel is its parts)
    title: str,
    why: str,
    query: Query,
    *,
    unit: str,
    width: int = HALF,
    thresholds: dashboard.ThresholdsConfig | None = None,
    signed: bool = False,
) -> Panel:
    """Return a panel of horizontal bars, one a series, as things are now, the largest first."""
    panel = _introduce(bargauge.Panel(), title, why, unit, width, 9)
    panel.no_value(": ".join(_when_empty(query.promql)))
    panel.thresholds(thresholds or steps((None, "blue")))
    if not signed:
        panel.min(0)
    panel.orientation(common.VizOrientation.HORIZONTAL)
    panel.display_mode(common.BarGaugeDisplayMode.BASIC)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
    return panel.with_target(_target(query, 0, instant=True))


@dataclass(frozen=True)
class Column:
    """A column of numbers in a table: its query, heading and unit."""

    promql: str
    heading: str
    unit: str


def rows(  # noqa: PLR0913 (a panel is its parts)
    title: str,
    why: str,
    columns: Sequence[Column],
    *,
    labels: dict[str, str],
    width: int = FULL,
    height: int = 9,
    links: Sequence[Builder[models.DashboardLink]] = (),
) -> Panel:
    """Return a table: a row for each set of labels, a column a query, as things are now.

    Args:
        title: Of the panel.
        why: What it says and what to do about it.
        columns: Its numbers.
        labels: Labels that are shown, with their headings, in order; all others are hidden.
        width: Of 24.
        height: In the same units.
        links: Where a row leads.
    """
    panel = _introduce(table.Panel(), title, why, COUNT, width, height)
    panel.no_value(": ".join(_when_empty(columns[0].promql)))
    for position, column in enumerate(columns):
        query = _target(Query(column.promql), position, instant=True)
        panel.with_target(query.format(prometheus.PromQueryFormat.TABLE))
        value = f"Value #{chr(ord('A') + position)}" if len(columns) > 1 else "Value"
        panel.override_by_name(column.heading, [models.DynamicConfigValue("unit", column.unit)])
        labels = {**labels, value: column.heading}
    panel.with_transformation(models.DataTransformerConfig("merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(
            "filterFieldsByName", options={"include": {"names": list(labels)}}
        )
    )
    panel.with_transformation(
        models.DataTransformerConfig(
            "organize",
            options={
                "indexByName": {name: place for place, name in enumerate(labels)},
                "renameByName": labels,
            },
        )
    )
    if links:
        panel.data_links(list(links))
    return panel


def variable(
    name: str, label: str, promql: str, *, several: bool = True
) -> dashboard.QueryVariable:
    """Return a variable that lists a label's values; `several` allows more than one and all."""
    chosen = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(promql)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
    if several:
        everything = models.VariableOption(selected=True, text="All", value="$__all")
        chosen.multi(True).include_all(True).all_value(".*").current(everything)
    return chosen


def link(title: str, url: str) -> dashboard.DashboardLink:
    """Return a link of a table's row; `${__data.fields.X}` in the url is the row's X."""
    return dashboard.DashboardLink(title).url(url).target_blank(False)


OPEN_WORKLOAD = link(
    "Open the workload",
    "/d/energaizer-workload?var-namespace=${__data.fields.Namespace}"
    "&var-workload=${__data.fields.Workload}",
)


def board(
    title: str,
    uid: str,
    why: str,
    *,
    parts: Mapping[str, Sequence[Panel]],
    variables: Sequence[dashboard.QueryVariable] = (),
    hours: int = 6,
) -> dashboard.Dashboard:
    """Return a dashboard.

    Args:
        title: Behind "energaizer / ".
        uid: Behind "energaizer-"; links name it.
        why: What it is for.
        parts: Panels by the heading of their row.
        variables: What can be chosen.
        hours: How far back it looks at first.
    """
    made = (
        dashboard.Dashboard(f"energaizer / {title}")
        .uid(f"energaizer-{uid}")
        .description(why)
        .tags([TAG])
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .refresh("1m")
        .time(f"now-{hours}h", "now")
        .timezone("browser")
        .link(
            dashboard.DashboardLink("energaizer")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .as_dropdown(True)
            .include_vars(True)
            .keep_time(True)
        )
        .with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
    )
    for one in variables:
        made.with_variable(one)
    for heading, panels in parts.items():
        made.with_row(dashboard.Row(heading))
        for panel in panels:
            made.with_panel(panel)
    return made
