"""Accuracy: predicted against measured, by GPU; where a profile wants calibration."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from observability.dashboards.pieces import (
    COUNT,
    HALF,
    JOULES,
    QUARTER,
    SHARE,
    Column,
    Query,
    bars,
    begin,
    course,
    number,
    rows,
    steps,
    traffic_light,
    variable,
)

_GPU = 'gpu_profile=~"$gpu_profile"'
_ERRORS = f"energaizer_prediction_error_ratio_bucket{{{_GPU}}}"
_MEASURED = "max by (namespace, workload) (energaizer_workload_measured_energy_joules)"
_PREDICTED = f"max by (namespace, workload) (energaizer_workload_predicted_energy_joules{{{_GPU}}})"
_COVERED = "max by (namespace, workload) (energaizer_workload_measured_coverage_ratio)"


def build() -> Dashboard:
    """Return the dashboard."""
    return (
        begin("Accuracy", "accuracy", "Predicted against measured energy.", hours=168)
        .with_variable(
            variable(
                "gpu_profile",
                "GPU",
                "label_values(energaizer_node_gpu_profile_info, gpu_profile)",
            )
        )
        .with_row(Row("All measured workloads"))
        .with_panel(
            number(
                "Median error",
                "Half of the predictions of the last day were off by less.",
                f"histogram_quantile(0.5, sum by (le) (rate({_ERRORS}[1d])))",
                unit=SHARE,
                width=QUARTER,
                thresholds=traffic_light(warning=0.1, critical=0.15),
            )
        )
        .with_panel(
            number(
                "90 % of errors below",
                "The tail of the last day.",
                f"histogram_quantile(0.9, sum by (le) (rate({_ERRORS}[1d])))",
                unit=SHARE,
                width=QUARTER,
                thresholds=traffic_light(warning=0.2, critical=0.3),
            )
        )
        .with_panel(
            number(
                "Compared",
                "Predictions that were compared in the last day.",
                f"sum(increase(energaizer_prediction_error_ratio_count{{{_GPU}}}[1d]))",
                unit=COUNT,
                width=QUARTER,
            )
        )
        .with_panel(
            number(
                "Coverage",
                "GPU-seconds with samples over GPU-seconds run. Only workloads above 90 % count.",
                "avg(energaizer_workload_measured_coverage_ratio)",
                unit=SHARE,
                width=QUARTER,
                thresholds=steps((None, "red"), (0.9, "green")),
            )
        )
        .with_row(Row("By GPU"))
        .with_panel(
            course(
                "Median error by GPU",
                "Above 15 % for an hour an alert fires.",
                [
                    Query(
                        f"gpu_profile:energaizer_prediction_error:p50{{{_GPU}}}", "{{gpu_profile}}"
                    )
                ],
                unit=SHARE,
                thresholds=traffic_light(warning=0.1, critical=0.15),
            )
        )
        .with_panel(
            bars(
                "Bias by GPU and task",
                "Signed: above zero we predict too much. A bias calls for calibration:"
                " kubectl energaizer recalibrate PROFILE.",
                Query(
                    f"max by (gpu_profile, task) (energaizer_prediction_bias_ratio{{{_GPU}}})",
                    "{{gpu_profile}} {{task}}",
                ),
                unit=SHARE,
            )
        )
        .with_row(Row("By workload"))
        .with_panel(
            rows(
                "Predicted against measured",
                "The elapsed part of each workload; predicted energy is that of the whole.",
                [
                    Column(_PREDICTED, "Predicted", JOULES),
                    Column(_MEASURED, "Measured", JOULES),
                    Column(_COVERED, "Coverage", SHARE),
                ],
                labels={"namespace": "Namespace", "workload": "Workload"},
                width=HALF,
            )
        )
        .with_panel(
            bars(
                "Mean error of profiles",
                "Mean absolute error of each GPUProfile over its measured workloads.",
                Query(
                    f"max by (gpu_profile) (energaizer_gpu_profile_mape_ratio{{{_GPU}}})",
                    "{{gpu_profile}}",
                ),
                unit=SHARE,
                thresholds=traffic_light(warning=0.1, critical=0.15),
            )
        )
    )
