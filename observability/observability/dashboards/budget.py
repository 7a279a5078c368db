"""Team budget: what a namespace may use, has used, and has promised; what waits."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from observability.dashboards.pieces import (
    COUNT,
    HALF,
    JOULES,
    QUARTER,
    SECONDS,
    SHARE,
    WATTS,
    Column,
    Query,
    begin,
    course,
    link,
    number,
    rows,
    steps,
    traffic_light,
    variable,
)

_WHICH = 'namespace=~"$namespace",budget=~"$budget"'
_LIMIT, _CONSUMED, _RESERVED, _PENDING = (
    f"max by (namespace, budget) (energaizer_budget_{name}{{{_WHICH}}})"
    for name in ("limit_joules", "consumed_joules", "reserved_joules", "pending_workloads")
)
_USED = f"budget:energaizer_used:ratio{{{_WHICH}}}"
_HIGH = 'energaizer_workload_predicted_energy_high_joules{namespace=~"$namespace"}'
_END = "energaizer_budget_window_end_timestamp_seconds"


def build() -> Dashboard:
    """Return the dashboard."""
    return (
        begin("Team budget", "budget", "Joules of a namespace's budgets, and its watts.", hours=24)
        .with_variable(
            variable("namespace", "Namespace", "label_values(energaizer_workload_info, namespace)")
        )
        .with_variable(
            variable(
                "budget",
                "Budget",
                'label_values(energaizer_budget_limit_joules{namespace=~"$namespace"}, budget)',
            )
        )
        .with_row(Row("Now"))
        .with_panel(
            number(
                "Fullest budget",
                "Consumed and reserved over the limit. New work is refused or held at 100 %.",
                f"max({_USED})",
                unit=SHARE,
                width=QUARTER,
                thresholds=traffic_light(warning=0.8, critical=0.95),
            )
        )
        .with_panel(
            number(
                "Least remaining",
                "Joules that the tightest budget has left.",
                f"min({_LIMIT} - {_CONSUMED} - {_RESERVED})",
                unit=JOULES,
                width=QUARTER,
            )
        )
        .with_panel(
            number(
                "Waiting workloads",
                "Held until a budget has room: kubectl get aiworkloads -n NAMESPACE.",
                f"sum({_PENDING})",
                unit=COUNT,
                width=QUARTER,
                thresholds=steps((None, "green"), (1, "yellow")),
            )
        )
        .with_panel(
            number(
                "Longest wait",
                "Age of the oldest held Job.",
                'max(energaizer_held_oldest_seconds{namespace=~"$namespace"})',
                unit=SECONDS,
                width=QUARTER,
                thresholds=traffic_light(warning=1800, critical=3600),
            )
        )
        .with_row(Row("Joules"))
        .with_panel(
            course(
                "Consumed and reserved",
                "Consumed joules are settled; reserved ones are promised to admitted work, at the"
                " upper end of its interval.",
                [
                    Query(_CONSUMED, "{{namespace}}/{{budget}} consumed"),
                    Query(_RESERVED, "{{namespace}}/{{budget}} reserved"),
                ],
                unit=JOULES,
                stacked=True,
            )
        )
        .with_panel(
            course(
                "Use of each budget",
                "Share of the limit that is consumed or reserved.",
                [Query(_USED, "{{namespace}}/{{budget}}")],
                unit=SHARE,
                thresholds=traffic_light(warning=0.8, critical=0.95),
            )
        )
        .with_panel(
            rows(
                "Budgets",
                "kubectl energaizer budget -n NAMESPACE shows the same with what holds it.",
                [
                    Column(_LIMIT, "Limit", JOULES),
                    Column(_CONSUMED, "Consumed", JOULES),
                    Column(_RESERVED, "Reserved", JOULES),
                    Column(_USED, "Used", SHARE),
                    Column(_PENDING, "Waiting", COUNT),
                    Column(
                        f"max by (namespace, budget) ({_END}{{{_WHICH}}}) - time()",
                        "Window ends in",
                        SECONDS,
                    ),
                ],
                labels={"namespace": "Namespace", "budget": "Budget"},
            )
        )
        .with_row(Row("Watts and workloads"))
        .with_panel(
            course(
                "Predicted and measured power",
                "Of the chosen namespaces. A ResourceQuota on requests.energaizer.io/watts limits"
                " watts: kubectl describe quota -n NAMESPACE.",
                [
                    Query(
                        'namespace:energaizer_predicted_power_watts:sum{namespace=~"$namespace"}',
                        "{{namespace}} predicted",
                    ),
                    Query(
                        'namespace:energaizer_measured_power_watts:sum{namespace=~"$namespace"}',
                        "{{namespace}} measured",
                    ),
                ],
                unit=WATTS,
            )
        )
        .with_panel(
            rows(
                "Largest workloads",
                "Predicted energy, upper end of its interval: what a budget reserves.",
                [
                    Column(
                        f"topk(20, max by (namespace, workload) ({_HIGH}))",
                        "Energy, high",
                        JOULES,
                    )
                ],
                labels={"namespace": "Namespace", "workload": "Workload"},
                width=HALF,
                links=[
                    link(
                        "Open the workload",
                        "/d/energaizer-workload?var-namespace=${__data.fields.Namespace}"
                        "&var-workload=${__data.fields.Workload}",
                    )
                ],
            )
        )
    )
