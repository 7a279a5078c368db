"""The five dashboards, by the name of their file."""

from __future__ import annotations

from collections.abc import Callable

from grafana_foundation_sdk.builders.dashboard import Dashboard

from observability.dashboards import accuracy, budget, fleet, health, workload

DASHBOARDS: dict[str, Callable[[], Dashboard]] = {
    "fleet": fleet.build,
    "team-budget": budget.build,
    "workload-what-if": workload.build,
    "accuracy": accuracy.build,
    "operator-health": health.build,
}
