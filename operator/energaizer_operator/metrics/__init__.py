"""Every series that we export, on a registry of each process's own.

Names, labels and units are those of `docs/metrics.md`. Series of an object vanish with it. Only the
leader has per-object series; every process has those of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from energaizer_operator.metrics.accuracy import Accuracy
from energaizer_operator.metrics.budgets import Budgets, BudgetSeries
from energaizer_operator.metrics.states import Nodes, QueueState, States, WatchState
from energaizer_operator.metrics.workloads import (
    CandidateSeries,
    Name,
    Workloads,
    WorkloadSeries,
)

__all__ = [
    "BudgetSeries",
    "CandidateSeries",
    "Metrics",
    "QueueState",
    "WatchState",
    "WorkloadSeries",
]

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which no rule of ours reads

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_P = "energaizer_"
_ADMISSION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_ESTIMATE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_RECONCILE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)


class _One(Collector):
    """A single family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        """Yield it."""
        yield self._family


class Metrics:
    """The page of one process."""

    def __init__(self, version: str, *, workload_limit: int = 5000) -> None:
        """Create all series that a process has from the start.

        Args:
            version: Of this process.
            workload_limit: Most AIWorkloads with series of their own.
        """
        self.registry = CollectorRegistry()
        self._workloads, self._nodes, self._states = Workloads(workload_limit), Nodes(), States()
        self.budgets = Budgets()
        for collector in (self._workloads, self._nodes, self._states, self.budgets):
            self.registry.register(collector)
        self._accuracy = Accuracy(self.registry)
        self._leader = self._gauge("leader", "1 while this replica leads.")
        self._gauge("build_info", "Version of this process.", "version").labels(version).set(1)
        self._certificate = self._gauge(
            "certificate_expiry_timestamp_seconds", "When a certificate expires.", "cert"
        )
        self._admissions = self._counter(
            "admission_requests",
            "Reviews answered.",
            ("webhook", "operation", "decision", "reason", "dry_run"),
        )
        self._admission_time = self._histogram(
            "admission_duration_seconds", "Time of a review.", ("webhook",), _ADMISSION_BUCKETS
        )
        self._conflicts = self._counter(
            "budget_cas_conflicts", "Budget writes that lost a race.", ("outcome",)
        )
        self._estimates = self._counter("estimates", "Estimates made.", ("method", "result"))
        self._estimate_time = self._histogram(
            "estimate_duration_seconds",
            "Time of an estimate.",
            ("method", "task"),
            _ESTIMATE_BUCKETS,
        )
        self._cache = self._counter("estimate_cache_requests", "Look-ups.", ("result",))
        self._estimator_ends = self._counter(
            "estimator_restarts", "Ends of a webhook's estimator; a new one follows.", ()
        )
        self._reconciles = self._counter(
            "reconcile", "Objects looked at.", ("controller", "result")
        )
        self._reconcile_time = self._histogram(
            "reconcile_duration_seconds", "Time of a look.", ("controller",), _RECONCILE_BUCKETS
        )

    def page(self) -> bytes:
        """Return the text that Prometheus reads."""
        return b"".join(self.parts())

    def parts(self) -> Iterator[bytes]:
        """Yield that text family by family, so that others may work in between."""
        for family in self.registry.collect():
            yield generate_latest(_One(family))

    def workload(self, namespace: str, name: str, series: WorkloadSeries | None) -> None:
        """Set the series of one AIWorkload; None removes them."""
        if series is None:
            self._workloads.records.pop((namespace, name), None)
            self._accuracy.forget((namespace, name))
        else:
            self._workloads.records[namespace, name] = series

    def compared(
        self, workload: Name, gpu_profile: str, task: str, method: str, error: float
    ) -> None:
        """Take in a workload's error in one window: predicted over measured energy, less one."""
        self._accuracy.compared(workload, gpu_profile, task, method, error)

    def running(self, ask: Callable[[], Mapping[Name, int]]) -> None:
        """Export how many GPUs of each AIWorkload run; `ask` counts them at scrape time."""
        self._workloads.running = ask

    def nodes(self, profiles: Mapping[str, str], unprofiled: int, conflicting: int = 0) -> None:
        """Set the profile of each matched GPU node, how many match none, how many several."""
        self._nodes.profiles, self._nodes.unprofiled = dict(profiles), unprofiled
        self._nodes.conflicting = conflicting

    def unwatted(self, pods: int) -> None:
        """Set how many GPU pods request no watts, where power is a resource."""
        self._nodes.unwatted = pods

    def queue(self, controller: str, ask: Callable[[], QueueState]) -> None:
        """Export the state of a work queue."""
        self._states.queues[controller] = ask

    def watch(self, resource: str, ask: Callable[[], WatchState]) -> None:
        """Export the state of a cache and its watch."""
        self._states.watches[resource] = ask

    def leader(self, *, leads: bool) -> None:
        """Say whether this replica leads."""
        self._leader.set(float(leads))

    def certificate(self, name: str, expiry: float) -> None:
        """Say when a certificate expires, seconds since the epoch."""
        self._certificate.labels(name).set(expiry)

    def admission(
        self,
        webhook: str,
        operation: str,
        decision: str,
        reason: str,
        *,
        dry_run: bool,
        seconds: float,
    ) -> None:
        """Count one review: `decision` is allow, audit, warn, deny, hold or error."""
        dry = "true" if dry_run else "false"
        self._admissions.labels(webhook, operation, decision, reason, dry).inc()
        self._admission_time.labels(webhook).observe(seconds)

    def budget_conflict(self, outcome: str) -> None:
        """Count one lost race for a budget: `retried` or `exhausted`."""
        self._conflicts.labels(outcome).inc()

    def estimate(self, method: str, result: str, task: str, seconds: float) -> None:
        """Count one estimate that was computed."""
        self._estimates.labels(method, result).inc()
        self._estimate_time.labels(method, task).observe(seconds)

    def estimator_ended(self) -> None:
        """Count an end of the process that estimates."""
        self._estimator_ends.inc()

    def estimate_cache(self, *, hit: bool) -> None:
        """Count one look-up of the cache."""
        self._cache.labels("hit" if hit else "miss").inc()

    def reconcile(self, controller: str, result: str, seconds: float) -> None:
        """Count one look at an object: `result` is changed, unchanged, gone, pending or error."""
        self._reconciles.labels(controller, result).inc()
        self._reconcile_time.labels(controller).observe(seconds)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_P + name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(_P + name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(_P + name, text, labels, registry=self.registry, buckets=buckets)
