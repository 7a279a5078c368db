"""Series of budgets and of what they hold, told by the leader."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_P = "energaizer_"
_TEXTS = {
    "limit_joules": "Joules of a window.",
    "reserved_joules": "What running and admitted workloads may still take.",
    "consumed_joules": "What was taken in this window.",
    "window_end_timestamp_seconds": "When the window ends.",
    "pending_workloads": "Workloads that the budget holds.",
    "resync_drift_joules": "What the stored balance was off by, and was repaired lately.",
}


@dataclass(frozen=True, slots=True)
class BudgetSeries:
    """What the page says of one budget."""

    limit_j: int
    reserved_j: int
    consumed_j: int
    window_end: float | None
    """Seconds since the epoch; None without an end."""
    pending: int
    drift_j: int


class Budgets(Collector):
    """Builds the families from plain records, so that nothing can be left behind."""

    def __init__(self) -> None:
        """Begin without budgets."""
        self.records: dict[tuple[str, str], BudgetSeries] = {}
        self.held_oldest: dict[str, float] = {}
        """Namespace -> age of its oldest held workload, s."""
        self.unbudgeted: Callable[[], Mapping[str, int]] = dict
        """Asked at scrape time: namespace -> pods that run, and no budget has counted."""

    def collect(self) -> Iterable[Metric]:
        """Yield the families of all budgets."""
        families = {
            key: GaugeMetricFamily(f"{_P}budget_{key}", text, labels=["namespace", "budget"])
            for key, text in _TEXTS.items()
        }
        for key, record in sorted(self.records.items()):
            values = (
                record.limit_j,
                record.reserved_j,
                record.consumed_j,
                record.window_end,
                record.pending,
                record.drift_j,
            )
            for name, value in zip(_TEXTS, values, strict=True):
                if value is not None:
                    families[name].add_metric(list(key), value)
        held = GaugeMetricFamily(
            f"{_P}held_oldest_seconds", "Age of the oldest held workload.", labels=["namespace"]
        )
        for namespace, seconds in sorted(self.held_oldest.items()):
            held.add_metric([namespace], seconds)
        unbudgeted = GaugeMetricFamily(
            f"{_P}unbudgeted_pods",
            "Pods that the last audit found running without a budget having counted them.",
            labels=["namespace"],
        )
        for namespace, count in sorted(self.unbudgeted().items()):
            unbudgeted.add_metric([namespace], count)
        yield from (*families.values(), held, unbudgeted)
