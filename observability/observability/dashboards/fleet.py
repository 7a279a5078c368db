"""Fleet: how many watts run where, what they were predicted to be, and what needs attention."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.pieces import (
    BARS_MOST,
    COUNT,
    HALF,
    JOULES,
    OPEN_WORKLOAD,
    ROWS_MOST,
    SECONDS,
    THIRD,
    WATTS,
    Column,
    Panel,
    Query,
    bars,
    board,
    course,
    leading,
    number,
    rows,
    steps,
    variable,
)

_IN = 'namespace=~"$namespace"'
_PREDICTED = f"namespace:energaizer_predicted_power_watts:sum{{{_IN}}}"
_MEASURED = f"namespace:energaizer_measured_power_watts:sum{{{_IN}}}"
_WORKLOADS = f"max by (namespace, workload) (energaizer_workload_info{{{_IN}}})"


def build() -> Dashboard:
    """Return the dashboard."""
    return board(
        "Fleet",
        "fleet",
        "Predicted and measured GPU power of all opted-in namespaces.",
        variables=[
            variable("namespace", "Namespace", "label_values(energaizer_workload_info, namespace)")
        ],
        parts={
            "Now": [
                number(
                    "Predicted power",
                    "Predicted board power of the GPUs that run now.",
                    f"sum({_PREDICTED})",
                    unit=WATTS,
                ),
                number(
                    "Measured power",
                    "What the GPU exporter measures of pods. Empty without an exporter.",
                    f"sum({_MEASURED})",
                    unit=WATTS,
                ),
                number(
                    "Workloads",
                    "AIWorkloads in the chosen namespaces; one that ended counts for an hour.",
                    f"count({_WORKLOADS})",
                    unit=COUNT,
                ),
                number(
                    "Not ready",
                    "AIWorkloads whose Ready condition is false: kubectl get aiworkloads -A -o wide"
                    " shows the reason.",
                    "sum(max by (namespace, workload)"
                    f' (energaizer_workload_condition{{{_IN},condition="Ready"}}) == bool 0)',
                    unit=COUNT,
                    thresholds=steps((None, "green"), (1, "yellow")),
                ),
                number(
                    "GPU nodes",
                    "Nodes whose GPUs have a profile.",
                    "count(max by (node) (energaizer_node_gpu_profile_info))",
                    unit=COUNT,
                ),
                number(
                    "Without profile",
                    "GPU nodes that no GPUProfile matches: work there is bounded by the largest"
                    " TDP. kubectl get events -A --field-selector reason=UnprofiledGPU names them.",
                    "max(energaizer_unprofiled_gpu_nodes)",
                    unit=COUNT,
                    thresholds=steps((None, "green"), (1, "red")),
                ),
            ],
            "Power": [
                _by_namespace(
                    "Predicted power by namespace",
                    "Predicted power of a workload times the share of its GPUs that run.",
                    _PREDICTED,
                ),
                _by_namespace(
                    "Measured power by namespace",
                    "From the GPU exporter. Compare its shape with the panel beside it.",
                    _MEASURED,
                ),
                bars(
                    "Predicted power by GPU",
                    "Predicted power of all described workloads, by the GPU that they are priced"
                    " on.",
                    Query(
                        f"topk({BARS_MOST}, sum by (gpu_profile) ("
                        "max by (namespace, workload, gpu_profile)"
                        f" (energaizer_workload_predicted_power_watts{{{_IN}}})))",
                        "{{gpu_profile}}",
                    ),
                    unit=WATTS,
                    width=THIRD,
                ),
                bars(
                    "GPU nodes by profile",
                    "Nodes that each GPUProfile matches.",
                    Query(
                        f"topk({BARS_MOST}, count by (gpu_profile) (max by (node, gpu_profile)"
                        " (energaizer_node_gpu_profile_info)))",
                        "{{gpu_profile}}",
                    ),
                    unit=COUNT,
                    width=THIRD,
                ),
                rows(
                    "Alerts that fire",
                    "docs/alerts.md says what to do about each.",
                    [
                        Column(
                            "count by (alertname, severity, namespace)"
                            ' (ALERTS{alertname=~"Energaizer.+",alertstate="firing"})',
                            "Firing",
                            COUNT,
                        )
                    ],
                    labels={"alertname": "Alert", "severity": "Severity", "namespace": "Namespace"},
                    width=THIRD,
                ),
            ],
            "Workloads": [
                _largest("Most energy", "energy_joules", JOULES),
                _largest("Most power", "power_watts", WATTS),
            ],
        },
    )


def _by_namespace(title: str, why: str, selector: str) -> Panel:
    top = leading(selector)
    return course(
        title,
        f"{why} The ten largest; all others together.",
        [
            Query(f"{selector} and {top}", "{{namespace}}"),
            Query(f"sum({selector} unless {top})", "all others"),
        ],
        unit=WATTS,
        stacked=True,
    )


def _largest(title: str, quantity: str, unit: str) -> Panel:
    series = f"energaizer_workload_predicted_{quantity}{{{_IN}}}"
    top = f"topk({ROWS_MOST}, max by (namespace, workload, gpu_profile) ({series}))"
    duration = "energaizer_workload_predicted_duration_seconds"
    return rows(
        title,
        "The twenty largest. A row leads to its workload.",
        [
            Column(top, quantity.partition("_")[0].capitalize(), unit),
            Column(
                f"max by (namespace, workload, gpu_profile) ({duration}{{{_IN}}})"
                f" and on (namespace, workload) {top}",
                "Duration",
                SECONDS,
            ),
        ],
        labels={"namespace": "Namespace", "workload": "Workload", "gpu_profile": "GPU"},
        width=HALF,
        links=[OPEN_WORKLOAD],
    )
