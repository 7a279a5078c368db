"""Accuracy: predicted against measured, by GPU; where a profile wants calibration."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.pieces import (
    BARS_MOST,
    COUNT,
    HALF,
    JOULES,
    OPEN_WORKLOAD,
    QUARTER,
    ROWS_MOST,
    SHARE,
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
    traffic_light,
    variable,
)

_GPU = 'gpu_profile=~"$gpu_profile"'
_ERRORS = f"energaizer_prediction_error_ratio_bucket{{{_GPU}}}"
_MEDIAN = f"gpu_profile:energaizer_prediction_error:p50{{{_GPU}}}"
_BIAS = f"max by (gpu_profile, task) (energaizer_prediction_bias_ratio{{{_GPU}}})"
_MEASURED, _COVERED = (
    f"max by (namespace, workload) (energaizer_workload_measured_{name})"
    for name in ("energy_joules", "coverage_ratio")
)
_PREDICTED = f"max by (namespace, workload) (energaizer_workload_predicted_energy_joules{{{_GPU}}})"
_MOST = f"topk({ROWS_MOST}, {_MEASURED} and {_PREDICTED})"


def build() -> Dashboard:
    """Return the dashboard."""
    return board(
        "Accuracy",
        "accuracy",
        "Predicted against measured energy.",
        hours=168,
        variables=[
            variable(
                "gpu_profile", "GPU", "label_values(energaizer_node_gpu_profile_info, gpu_profile)"
            )
        ],
        parts={
            "All measured workloads": [
                _quantile("Median error", "Half of the predictions were off by less.", 0.5, 0.1),
                _quantile("90 % of errors below", "The tail.", 0.9, 0.2),
                number(
                    "Compared",
                    "Predictions that were compared in the last day.",
                    f"sum(increase(energaizer_prediction_error_ratio_count{{{_GPU}}}[1d]))",
                    unit=COUNT,
                    width=QUARTER,
                ),
                number(
                    "Coverage",
                    "GPU-seconds with samples over GPU-seconds run. Only workloads above 90 %"
                    " count.",
                    "avg(energaizer_workload_measured_coverage_ratio)",
                    unit=SHARE,
                    width=QUARTER,
                    thresholds=steps((None, "red"), (0.9, "green")),
                ),
            ],
            "By GPU": [
                course(
                    "Median error by GPU",
                    "Above 15 % for an hour an alert fires. The ten largest.",
                    [Query(f"{_MEDIAN} and {leading(_MEDIAN)}", "{{gpu_profile}}")],
                    unit=SHARE,
                    thresholds=traffic_light(warning=0.1, critical=0.15),
                ),
                bars(
                    "Bias by GPU and task",
                    "Signed: above zero we predict too much. A bias calls for calibration:"
                    " kubectl energaizer recalibrate PROFILE. The twelve largest.",
                    Query(
                        f"sort_desc({_BIAS} and topk({BARS_MOST}, abs({_BIAS})))",
                        "{{gpu_profile}} {{task}}",
                    ),
                    unit=SHARE,
                    signed=True,
                ),
            ],
            "By workload": [
                rows(
                    "Predicted against measured",
                    "The elapsed part of each workload; predicted energy is that of the whole."
                    " The twenty that took most.",
                    [
                        Column(_MOST, "Measured", JOULES),
                        Column(f"{_PREDICTED} and {_MOST}", "Predicted", JOULES),
                        Column(f"{_COVERED} and {_MOST}", "Coverage", SHARE),
                    ],
                    labels={"namespace": "Namespace", "workload": "Workload"},
                    width=HALF,
                    links=[OPEN_WORKLOAD],
                ),
                bars(
                    "Mean error of profiles",
                    "Mean absolute error of each GPUProfile over its measured workloads, the"
                    " largest.",
                    Query(
                        f"topk({BARS_MOST}, max by (gpu_profile)"
                        f" (energaizer_gpu_profile_mape_ratio{{{_GPU}}}))",
                        "{{gpu_profile}}",
                    ),
                    unit=SHARE,
                    thresholds=traffic_light(warning=0.1, critical=0.15),
                ),
            ],
        },
    )


def _quantile(title: str, why: str, share: float, warning: float) -> Panel:
    return number(
        title,
        f"{why} Of the last day.",
        f"histogram_quantile({share}, sum by (le) (rate({_ERRORS}[1d])))",
        unit=SHARE,
        width=QUARTER,
        thresholds=traffic_light(warning=warning, critical=1.5 * warning),
    )
