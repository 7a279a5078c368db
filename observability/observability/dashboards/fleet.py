"""Fleet: how many watts run where, what they were predicted to be, and what needs attention."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from observability.dashboards.pieces import (
    COUNT,
    HALF,
    JOULES,
    SECONDS,
    THIRD,
    WATTS,
    Column,
    Panel,
    Query,
    bars,
    begin,
    course,
    link,
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
    return (
        begin("Fleet", "fleet", "Predicted and measured GPU power of all opted-in namespaces.")
        .with_variable(
            variable("namespace", "Namespace", "label_values(energaizer_workload_info, namespace)")
        )
        .with_row(Row("Now"))
        .with_panel(
            number(
                "Predicted power",
                "Predicted board power of the GPUs that run now.",
                f"sum({_PREDICTED})",
                unit=WATTS,
            )
        )
        .with_panel(
            number(
                "Measured power",
                "What the GPU exporter measures of pods. Empty without an exporter.",
                f"sum({_MEASURED})",
                unit=WATTS,
            )
        )
        .with_panel(
            number(
                "Workloads",
                "AIWorkloads in the chosen namespaces.",
                f"count({_WORKLOADS})",
                unit=COUNT,
            )
        )
        .with_panel(
            number(
                "Not ready",
                "AIWorkloads whose Ready condition is false: kubectl get aiworkloads -A -o wide"
                " shows the reason.",
                "sum(max by (namespace, workload)"
                f' (energaizer_workload_condition{{{_IN},condition="Ready"}}) == bool 0)',
                unit=COUNT,
                thresholds=steps((None, "green"), (1, "yellow")),
            )
        )
        .with_panel(
            number(
                "GPU nodes",
                "Nodes whose GPUs have a profile.",
                "count(max by (node) (energaizer_node_gpu_profile_info))",
                unit=COUNT,
            )
        )
        .with_panel(
            number(
                "Without profile",
                "GPU nodes that no GPUProfile matches: work there is bounded by the largest TDP."
                " kubectl get events -A --field-selector reason=UnprofiledGPU names them.",
                "max(energaizer_unprofiled_gpu_nodes)",
                unit=COUNT,
                thresholds=steps((None, "green"), (1, "red")),
            )
        )
        .with_row(Row("Power"))
        .with_panel(
            course(
                "Predicted power by namespace",
                "Predicted power of a workload times the share of its GPUs that run.",
                [Query(_PREDICTED, "{{namespace}}")],
                unit=WATTS,
                stacked=True,
            )
        )
        .with_panel(
            course(
                "Measured power by namespace",
                "From the GPU exporter. Compare its shape with the panel beside it.",
                [Query(_MEASURED, "{{namespace}}")],
                unit=WATTS,
                stacked=True,
            )
        )
        .with_panel(
            bars(
                "Predicted power by GPU",
                "Predicted power of all described workloads, by the GPU that they are priced on.",
                Query(
                    "sum by (gpu_profile) (max by (namespace, workload, gpu_profile)"
                    f" (energaizer_workload_predicted_power_watts{{{_IN}}}))",
                    "{{gpu_profile}}",
                ),
                unit=WATTS,
                width=THIRD,
            )
        )
        .with_panel(
            bars(
                "GPU nodes by profile",
                "Nodes that each GPUProfile matches.",
                Query(
                    "count by (gpu_profile) (max by (node, gpu_profile)"
                    " (energaizer_node_gpu_profile_info))",
                    "{{gpu_profile}}",
                ),
                unit=COUNT,
                width=THIRD,
            )
        )
        .with_panel(
            rows(
                "Alerts that fire",
                "docs/alerts.md says what to do about each.",
                [Column('ALERTS{alertname=~"Energaizer.+",alertstate="firing"}', "Firing", COUNT)],
                labels={"alertname": "Alert", "severity": "Severity", "namespace": "Namespace"},
                width=THIRD,
            )
        )
        .with_row(Row("Workloads"))
        .with_panel(_largest("Most energy", "energy_joules", JOULES))
        .with_panel(_largest("Most power", "power_watts", WATTS))
    )


def _largest(title: str, quantity: str, unit: str) -> Panel:
    series = f"energaizer_workload_predicted_{quantity}{{{_IN}}}"
    top = f"topk(20, max by (namespace, workload, gpu_profile) ({series}))"
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
        links=[
            link(
                "Open the workload",
                "/d/energaizer-workload?var-namespace=${__data.fields.Namespace}"
                "&var-workload=${__data.fields.Workload}",
            )
        ],
    )
