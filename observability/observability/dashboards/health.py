"""Operator health: does energaizer itself lead, listen, judge and answer in time."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards.pieces import (
    COUNT,
    PER_SECOND,
    QUARTER,
    SECONDS,
    SHARE,
    THIRD,
    Panel,
    Query,
    board,
    course,
    number,
    steps,
    traffic_light,
)

_CACHE = "energaizer_estimate_cache_requests_total"


def build() -> Dashboard:
    """Return the dashboard."""
    return board(
        "Operator health",
        "health",
        "The controller and the webhook themselves.",
        parts={
            "Now": [
                number(
                    "Leaders",
                    "Exactly one controller leads.",
                    "sum(energaizer_leader) or vector(0)",
                    unit=COUNT,
                    width=QUARTER,
                    thresholds=steps((None, "red"), (1, "green"), (2, "red")),
                ),
                number(
                    "Oldest watch",
                    "Silence of the quietest watch; bookmarks come every minute.",
                    "max(time() - (energaizer_watch_last_event_timestamp_seconds > 0))",
                    unit=SECONDS,
                    width=QUARTER,
                    thresholds=traffic_light(warning=90, critical=150),
                ),
                number(
                    "Certificate expires in",
                    "Own certificates rotate at two thirds of their 90 days.",
                    "min(energaizer_certificate_expiry_timestamp_seconds) - time()",
                    unit=SECONDS,
                    width=QUARTER,
                    thresholds=steps((None, "red"), (7 * 86400, "yellow"), (20 * 86400, "green")),
                ),
                number(
                    "Cache hits",
                    "Share of estimates that were known.",
                    f'sum(rate({_CACHE}{{result="hit"}}[5m])) / sum(rate({_CACHE}[5m]))',
                    unit=SHARE,
                    width=QUARTER,
                ),
            ],
            "Admission": [
                _rates(
                    "Reviews by decision",
                    "Errors are never right; see the alert EnergaizerAdmissionErrors.",
                    "energaizer_admission_requests_total",
                    "decision",
                ),
                _quantiles(
                    "Time of a review",
                    "What kubectl apply waits for.",
                    "energaizer_admission_duration_seconds_bucket",
                    "webhook",
                ),
                _quantiles(
                    "Time of an estimate",
                    "Of those that were not in the cache.",
                    "energaizer_estimate_duration_seconds_bucket",
                    "method",
                ),
            ],
            "Controller": [
                _rates(
                    "Looks by result",
                    "Each look at an object; `unchanged` writes nothing.",
                    "energaizer_reconcile_total",
                    "result",
                ),
                _quantiles(
                    "Time of a look",
                    "Reading, estimating and writing.",
                    "energaizer_reconcile_duration_seconds_bucket",
                    "controller",
                    (0.99,),
                ),
                course(
                    "Keys that wait",
                    "Objects that wait for a look.",
                    [Query("sum by (controller) (energaizer_workqueue_depth)", "{{controller}}")],
                    unit=COUNT,
                    width=THIRD,
                ),
                course(
                    "Oldest key",
                    "How long the oldest due object has waited.",
                    [
                        Query(
                            "max by (controller) (energaizer_workqueue_oldest_seconds)",
                            "{{controller}}",
                        )
                    ],
                    unit=SECONDS,
                    width=THIRD,
                ),
                course(
                    "Silence of each watch",
                    "Above 150 s the liveness probe restarts the process.",
                    [
                        Query(
                            "max by (resource) (time() -"
                            " (energaizer_watch_last_event_timestamp_seconds > 0))",
                            "{{resource}}",
                        )
                    ],
                    unit=SECONDS,
                    width=THIRD,
                    thresholds=traffic_light(warning=90, critical=150),
                ),
                _rates(
                    "Estimates by method",
                    "Of both processes; those from the cache are not computed and not counted.",
                    "energaizer_estimates_total",
                    "method",
                ),
            ],
        },
    )


def _rates(title: str, why: str, counter: str, label: str) -> Panel:
    return course(
        title,
        why,
        [Query(f"sum by ({label}) (rate({counter}[5m]))", f"{{{{{label}}}}}")],
        unit=PER_SECOND,
        width=THIRD,
        stacked=True,
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
