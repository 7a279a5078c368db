"""Team budget: what a namespace may use, has used, and has promised; what waits; its watts."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.pieces import (
    COUNT,
    FULL,
    HALF,
    JOULES,
    OPEN_WORKLOAD,
    QUARTER,
    ROWS_MOST,
    SECONDS,
    SHARE,
    WATTS,
    Column,
    Query,
    board,
    course,
    leading,
    number,
    rows,
    steps,
    traffic_light,
    variable,
)

_IN = 'namespace=~"$namespace"'
_WHICH = f'{_IN},budget=~"$budget"'
_LIMIT, _CONSUMED, _RESERVED, _PENDING, _END = (
    f"max by (namespace, budget) (energaizer_budget_{name}{{{_WHICH}}})"
    for name in (
        "limit_joules",
        "consumed_joules",
        "reserved_joules",
        "pending_workloads",
        "window_end_timestamp_seconds",
    )
)
_USED = f"budget:energaizer_used:ratio{{{_WHICH}}}"
_FULLEST = f"and on (namespace, budget) {leading(_USED)}"
_LISTED = f"and on (namespace, budget) {leading(_USED, ROWS_MOST)}"
_HIGH = f"energaizer_workload_predicted_energy_high_joules{{{_IN}}}"
_POWER = f"namespace:energaizer_predicted_power_watts:sum{{{_IN}}}"
_QUOTA = f'kube_resourcequota{{{_IN},resource="requests.energaizer.io/watts",type='
_WATTS_USED, _WATTS_HARD = (
    f'max by (namespace, resourcequota) ({_QUOTA}"{kind}"}})' for kind in ("used", "hard")
)
_QUOTAS = f"topk({ROWS_MOST}, {_WATTS_USED} / ({_WATTS_HARD} > 0))"


def build() -> Dashboard:
    """Return the dashboard."""
    return board(
        "Team budget",
        "budget",
        "Joules of a namespace's budgets, and its watts.",
        hours=24,
        variables=[
            variable("namespace", "Namespace", "label_values(energaizer_workload_info, namespace)"),
            variable(
                "budget",
                "Budget",
                f"label_values(energaizer_budget_limit_joules{{{_IN}}}, budget)",
            ),
        ],
        parts={
            "Now": [
                number(
                    "Fullest budget",
                    "Consumed and reserved over the limit. New work is refused or held at 100 %.",
                    f"max({_USED})",
                    unit=SHARE,
                    width=QUARTER,
                    thresholds=traffic_light(warning=0.8, critical=0.95),
                ),
                number(
                    "Least remaining",
                    "Joules that the tightest budget has left.",
                    f"min({_LIMIT} - {_CONSUMED} - {_RESERVED})",
                    unit=JOULES,
                    width=QUARTER,
                ),
                number(
                    "Waiting workloads",
                    "Held until a budget has room: kubectl get aiworkloads -n NAMESPACE.",
                    f"sum({_PENDING})",
                    unit=COUNT,
                    width=QUARTER,
                    thresholds=steps((None, "green"), (1, "yellow")),
                ),
                number(
                    "Longest wait",
                    "Age of the oldest held Job.",
                    f"max(energaizer_held_oldest_seconds{{{_IN}}})",
                    unit=SECONDS,
                    width=QUARTER,
                    thresholds=traffic_light(warning=1800, critical=3600),
                ),
            ],
            "Joules": [
                course(
                    "Consumed and reserved",
                    "Consumed joules are settled; reserved ones are promised to admitted work, at"
                    " the upper end of its interval. The five fullest budgets.",
                    [
                        Query(f"{quantity} and on (namespace, budget) {leading(_USED, 5)}", legend)
                        for quantity, legend in (
                            (_CONSUMED, "{{namespace}}/{{budget}} consumed"),
                            (_RESERVED, "{{namespace}}/{{budget}} reserved"),
                        )
                    ],
                    unit=JOULES,
                    stacked=True,
                ),
                course(
                    "Use of each budget",
                    "Share of the limit that is consumed or reserved. The ten fullest.",
                    [Query(f"{_USED} {_FULLEST}", "{{namespace}}/{{budget}}")],
                    unit=SHARE,
                    thresholds=traffic_light(warning=0.8, critical=0.95),
                ),
                rows(
                    "Budgets",
                    "The twenty fullest. kubectl energaizer budget -n NAMESPACE shows the same"
                    " with what holds it.",
                    [
                        Column(f"sort_desc({_USED} {_LISTED})", "Used", SHARE),
                        Column(f"{_LIMIT} {_LISTED}", "Limit", JOULES),
                        Column(f"{_CONSUMED} {_LISTED}", "Consumed", JOULES),
                        Column(f"{_RESERVED} {_LISTED}", "Reserved", JOULES),
                        Column(f"{_PENDING} {_LISTED}", "Waiting", COUNT),
                        Column(f"({_END} {_LISTED}) - time()", "Window ends in", SECONDS),
                    ],
                    labels={"namespace": "Namespace", "budget": "Budget"},
                ),
            ],
            "Watts and workloads": [
                course(
                    "Predicted and measured power",
                    "Of the chosen namespaces, the five largest.",
                    [
                        Query(f"{_POWER} and {leading(_POWER, 5)}", "{{namespace}} predicted"),
                        Query(
                            f"namespace:energaizer_measured_power_watts:sum{{{_IN}}}"
                            f" and on (namespace) {leading(_POWER, 5)}",
                            "{{namespace}} measured",
                        ),
                    ],
                    unit=WATTS,
                ),
                rows(
                    "Quotas of watts",
                    "ResourceQuotas on requests.energaizer.io/watts, the twenty fullest: kubectl"
                    " describe quota -n NAMESPACE. Read from kube-state-metrics.",
                    [
                        Column(_QUOTAS, "Used", SHARE),
                        Column(f"{_WATTS_USED} and {_QUOTAS}", "Requested", WATTS),
                        Column(f"{_WATTS_HARD} and {_QUOTAS}", "Hard", WATTS),
                    ],
                    labels={"namespace": "Namespace", "resourcequota": "Quota"},
                    width=HALF,
                ),
                rows(
                    "Largest workloads",
                    "Predicted energy, upper end of its interval: what a budget reserves.",
                    [
                        Column(
                            f"topk({ROWS_MOST}, max by (namespace, workload) ({_HIGH}))",
                            "Energy, high",
                            JOULES,
                        )
                    ],
                    labels={"namespace": "Namespace", "workload": "Workload"},
                    width=FULL,
                    links=[OPEN_WORKLOAD],
                ),
            ],
        },
    )
