"""Workload what-if: one workload's prediction, its alternatives, and what was measured."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from observability.dashboards.pieces import (
    COUNT,
    FULL,
    JOULES,
    JOULES_A_TOKEN,
    SECONDS,
    SHARE,
    WATTS,
    Column,
    Panel,
    Query,
    bars,
    begin,
    course,
    number,
    rows,
    steps,
    variable,
)

_WHICH = 'namespace="$namespace",workload="$workload"'


def _of(name: str) -> str:
    return f"max(energaizer_workload_{name}{{{_WHICH}}})"


def build() -> Dashboard:
    """Return the dashboard."""
    return (
        begin("Workload what-if", "workload", "What a workload takes, and would take elsewhere.")
        .with_variable(
            variable(
                "namespace",
                "Namespace",
                "label_values(energaizer_workload_info, namespace)",
                several=False,
            )
        )
        .with_variable(
            variable(
                "workload",
                "Workload",
                'label_values(energaizer_workload_info{namespace="$namespace"}, workload)',
                several=False,
            )
        )
        .with_row(Row("Prediction"))
        .with_panel(_number("Power", "All its GPUs together.", "predicted_power_watts", WATTS))
        .with_panel(_number("Energy", "The whole workload.", "predicted_energy_joules", JOULES))
        .with_panel(
            _number("Duration", "From start to end.", "predicted_duration_seconds", SECONDS)
        )
        .with_panel(
            _number(
                "Energy per token",
                "Of output tokens.",
                "predicted_energy_per_token_joules",
                JOULES_A_TOKEN,
            )
        )
        .with_panel(
            number(
                "Running",
                "Share of its declared GPUs that run now.",
                _of("running_ratio"),
                unit=SHARE,
            )
        )
        .with_panel(
            number(
                "Ready",
                "1 if it is described and priced: kubectl describe aiworkload NAME -n NAMESPACE.",
                f'max(energaizer_workload_condition{{{_WHICH},condition="Ready"}})',
                unit=COUNT,
                thresholds=steps((None, "red"), (1, "green")),
            )
        )
        .with_panel(
            course(
                "Energy: predicted interval and measured",
                "low and high: the central 90 % interval. Measured energy grows while it runs.",
                [
                    Query(_of("predicted_energy_joules"), "predicted"),
                    Query(_of("predicted_energy_low_joules"), "low"),
                    Query(_of("predicted_energy_high_joules"), "high"),
                    Query(
                        f"max by (source) (energaizer_workload_measured_energy_joules{{{_WHICH}}})",
                        "measured ({{source}})",
                    ),
                ],
                unit=JOULES,
            )
        )
        .with_panel(
            bars(
                "What if: energy on each GPU, clock and power cap",
                "Candidates of status.candidates. Needs metrics.workloadCandidates in the chart;"
                " kubectl energaizer explain -f FILE shows the same without it.",
                Query(
                    "sort(max by (gpu_profile, clock, power_cap)"
                    f" (energaizer_workload_candidate_energy_joules{{{_WHICH}}}))",
                    "{{gpu_profile}} {{clock}} {{power_cap}}",
                ),
                unit=JOULES,
            )
        )
        .with_panel(
            rows(
                "What it is",
                "Resolved inputs: kubectl get aiworkload NAME -n NAMESPACE -o yaml shows where"
                " each came from.",
                [Column(f"energaizer_workload_info{{{_WHICH}}}", "Known", COUNT)],
                labels={
                    "task": "Task",
                    "model": "Model",
                    "precision": "Precision",
                    "method": "Method",
                },
                width=FULL,
            )
        )
    )


def _number(title: str, why: str, name: str, unit: str) -> Panel:
    return number(title, why, _of(name), unit=unit)
