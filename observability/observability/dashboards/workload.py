"""Workload what-if: one workload's prediction, its alternatives, and what was measured."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.pieces import (
    BARS_MOST,
    COUNT,
    JOULES,
    JOULES_A_TOKEN,
    SECONDS,
    SHARE,
    WATTS,
    Column,
    Query,
    bars,
    board,
    course,
    number,
    rows,
    steps,
    variable,
)

_WHICH = 'namespace="$namespace",workload="$workload"'


def _of(name: str) -> str:
    return f"max(energaizer_workload_{name}{{{_WHICH}}})"


_NUMBERS = (
    ("Power", "All its GPUs together.", "predicted_power_watts", WATTS),
    ("Energy", "The whole workload.", "predicted_energy_joules", JOULES),
    ("Duration", "From start to end.", "predicted_duration_seconds", SECONDS),
    ("Energy per token", "Of output.", "predicted_energy_per_token_joules", JOULES_A_TOKEN),
    ("Running", "Share of its declared GPUs that run now.", "running_ratio", SHARE),
)


def build() -> Dashboard:
    """Return the dashboard."""
    return board(
        "Workload what-if",
        "workload",
        "What a workload takes, and would take elsewhere.",
        variables=[
            variable(
                "namespace",
                "Namespace",
                "label_values(energaizer_workload_info, namespace)",
                several=False,
            ),
            variable(
                "workload",
                "Workload",
                'label_values(energaizer_workload_info{namespace="$namespace"}, workload)',
                several=False,
            ),
        ],
        parts={
            "Prediction": [
                *(number(title, why, _of(name), unit=unit) for title, why, name, unit in _NUMBERS),
                number(
                    "Ready",
                    "1 if it is described and priced: kubectl describe aiworkload NAME -n"
                    " NAMESPACE.",
                    f'max(energaizer_workload_condition{{{_WHICH},condition="Ready"}})',
                    unit=COUNT,
                    thresholds=steps((None, "red"), (1, "green")),
                ),
                course(
                    "Energy: predicted interval and measured",
                    "low and high: the central 90 % interval. Measured energy grows while it runs.",
                    [
                        Query(_of("predicted_energy_joules"), "predicted"),
                        Query(_of("predicted_energy_low_joules"), "low"),
                        Query(_of("predicted_energy_high_joules"), "high"),
                        Query(
                            "max by (source)"
                            f" (energaizer_workload_measured_energy_joules{{{_WHICH}}})",
                            "measured ({{source}})",
                        ),
                    ],
                    unit=JOULES,
                ),
                bars(
                    "What if: energy on each GPU, clock and power cap",
                    "The cheapest candidates of status.candidates; all of them: kubectl energaizer"
                    " explain -f FILE.",
                    Query(
                        f"bottomk({BARS_MOST}, max by (gpu_profile, clock, power_cap)"
                        f" (energaizer_workload_candidate_energy_joules{{{_WHICH}}}))",
                        "{{gpu_profile}} {{clock}} {{power_cap}}",
                    ),
                    unit=JOULES,
                ),
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
                    height=4,
                ),
            ]
        },
    )
