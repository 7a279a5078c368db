"""Operator health: does energaizer itself lead, listen, judge and answer in time."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from observability.dashboards.pieces import (
    COUNT,
    PER_SECOND,
    QUARTER,
    SECONDS,
    SHARE,
    THIRD,
    Panel,
    Query,
    begin,
    course,
    number,
    steps,
    traffic_light,
)


def build() -> Dashboard:
    """Return the dashboard."""
    return (
        begin("Operator health", "health", "The controller and the webhook themselves.")
        .with_row(Row("Now"))
        .with_panel(
            number(
                "Leaders",
                "Exactly one controller leads.",
                "sum(energaizer_leader) or vector(0)",
                unit=COUNT,
                width=QUARTER,
                thresholds=steps((None, "red"), (1, "green"), (2, "red")),
            )
        )
        .with_panel(
            number(
                "Oldest watch",
                "Silence of the quietest watch; bookmarks come every minute.",
                "max(time() - (energaizer_watch_last_event_timestamp_seconds > 0))",
                unit=SECONDS,
                width=QUARTER,
                thresholds=traffic_light(warning=90, critical=150),
            )
        )
        .with_panel(
            number(
                "Certificate expires in",
                "Own certificates rotate at two thirds of their 90 days.",
                "min(energaizer_certificate_expiry_timestamp_seconds) - time()",
                unit=SECONDS,
                width=QUARTER,
                thresholds=steps((None, "red"), (7 * 86400, "yellow"), (20 * 86400, "green")),
            )
        )
        .with_panel(
            number(
                "Cache hits",
                "Share of estimates that were known.",
                'sum(rate(energaizer_estimate_cache_requests_total{result="hit"}[5m]))'
                " / sum(rate(energaizer_estimate_cache_requests_total[5m]))",
                unit=SHARE,
                width=QUARTER,
            )
        )
        .with_row(Row("Admission"))
        .with_panel(
            course(
                "Reviews by decision",
                "Errors are never right; see the alert EnergaizerAdmissionErrors.",
                [
                    Query(
                        "sum by (decision) (rate(energaizer_admission_requests_total[5m]))",
                        "{{decision}}",
                    )
                ],
                unit=PER_SECOND,
                width=THIRD,
                stacked=True,
            )
        )
        .with_panel(
            _quantiles(
                "Time of a review",
                "What kubectl apply waits for.",
                "energaizer_admission_duration_seconds_bucket",
                "webhook",
            )
        )
        .with_panel(
            _quantiles(
                "Time of an estimate",
                "Of those that were not in the cache.",
                "energaizer_estimate_duration_seconds_bucket",
                "method",
            )
        )
        .with_row(Row("Controller"))
        .with_panel(
            course(
                "Looks by result",
                "Each look at an object; `unchanged` writes nothing.",
                [
                    Query(
                        "sum by (result) (rate(energaizer_reconcile_total[5m]))",
                        "{{result}}",
                    )
                ],
                unit=PER_SECOND,
                width=THIRD,
                stacked=True,
            )
        )
        .with_panel(
            _quantiles(
                "Time of a look",
                "Reading, estimating and writing.",
                "energaizer_reconcile_duration_seconds_bucket",
                "controller",
                (0.99,),
            )
        )
        .with_panel(
            course(
                "Queues",
                "Keys that wait, and how long the oldest has.",
                [
                    Query("sum by (controller) (energaizer_workqueue_depth)", "{{controller}}"),
                    Query("max(energaizer_workqueue_oldest_seconds)", "oldest key, s"),
                ],
                unit=COUNT,
                width=THIRD,
            )
        )
    )


def _quantiles(
    title: str, why: str, buckets: str, label: str, shares: tuple[float, ...] = (0.5, 0.99)
) -> Panel:
    return course(
        title,
        why,
        [
            Query(
                f"histogram_quantile({share}, sum by (le, {label}) (rate({buckets}[5m])))",
                f"{{{{{label}}}}} p{share * 100:.0f}",
            )
            for share in shares
        ],
        unit=SECONDS,
        width=THIRD,
    )
