"""Every series that we export, on a registry of each process's own.

Names, labels and units are those of `docs/metrics.md`. Series of an object vanish with it. Only the
leader has per-object series; every process has those of itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which no rule of ours reads

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_P = "energaizer_"
_ADMISSION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
_ESTIMATE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
_RECONCILE_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 30.0)

_PREDICTED = {
    "power_watts": "Predicted power of all GPUs of the workload.",
    "energy_joules": "Predicted energy of the whole workload.",
    "energy_low_joules": "Lower end of the 90 % interval of the predicted energy.",
    "energy_high_joules": "Upper end of the 90 % interval of the predicted energy.",
    "duration_seconds": "Predicted duration.",
    "energy_per_token_joules": "Predicted energy of one output token.",
}


@dataclass(frozen=True, slots=True)
class WorkloadSeries:
    """What the page says of one AIWorkload; None where there is no honest number."""

    gpu_profile: str = ""
    task: str = ""
    model: str = ""
    precision: str = ""
    method: str = ""
    power_w: float | None = None
    energy_j: float | None = None
    energy_low_j: float | None = None
    energy_high_j: float | None = None
    duration_s: float | None = None
    energy_per_token_j: float | None = None
    conditions: Mapping[str, bool] = field(default_factory=dict)
    """Condition type to true or false; an unknown one is left out."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Depth of a work queue and age of its oldest key, s."""

    depth: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class WatchState:
    """Whether a cache is complete and when its watch last heard anything, epoch seconds."""

    synced: bool
    last_event: float


class _Workloads(Collector):
    """Builds the per-object families from plain records, so that nothing can be left behind."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], WorkloadSeries] = {}

    def collect(self) -> Iterable[Metric]:
        """Yield the families of all workloads."""
        name, objects = f"{_P}workload_", sorted(self.records.items())
        families = {
            key: GaugeMetricFamily(
                f"{name}predicted_{key}", text, labels=["namespace", "workload", "gpu_profile"]
            )
            for key, text in _PREDICTED.items()
        }
        info = GaugeMetricFamily(
            f"{name}info",
            "What the workload is.",
            labels=["namespace", "workload", "task", "model", "precision", "method"],
        )
        conditions = GaugeMetricFamily(
            f"{name}condition",
            "1 if the condition is true, 0 if it is false.",
            labels=["namespace", "workload", "condition"],
        )
        for key, record in objects:
            values = {
                "power_watts": record.power_w,
                "energy_joules": record.energy_j,
                "energy_low_joules": record.energy_low_j,
                "energy_high_joules": record.energy_high_j,
                "duration_seconds": record.duration_s,
                "energy_per_token_joules": record.energy_per_token_j,
            }
            for quantity, value in values.items():
                if value is not None:
                    families[quantity].add_metric([*key, record.gpu_profile], value)
            info.add_metric([*key, record.task, record.model, record.precision, record.method], 1)
            for condition, holds in sorted(record.conditions.items()):
                conditions.add_metric([*key, condition], float(holds))
        yield from (*families.values(), info, conditions)


class _Nodes(Collector):
    """Profile of each GPU node, and how many have none."""

    def __init__(self) -> None:
        self.profiles: dict[str, str] | None = None
        self.unprofiled = 0

    def collect(self) -> Iterable[Metric]:
        """Yield the families of nodes, once a leader has matched them."""
        if self.profiles is None:
            return
        info = GaugeMetricFamily(
            f"{_P}node_gpu_profile_info", "Profile of a GPU node.", labels=["node", "gpu_profile"]
        )
        for node, profile in sorted(self.profiles.items()):
            info.add_metric([node, profile], 1)
        yield info
        yield GaugeMetricFamily(
            f"{_P}unprofiled_gpu_nodes", "GPU nodes that no GPUProfile matches.", self.unprofiled
        )


class _States(Collector):
    """Queues and caches, asked at scrape time."""

    def __init__(self) -> None:
        self.queues: dict[str, Callable[[], QueueState]] = {}
        self.watches: dict[str, Callable[[], WatchState]] = {}

    def collect(self) -> Iterable[Metric]:
        """Yield depth and age of queues, freshness of caches."""
        depth = GaugeMetricFamily(
            f"{_P}workqueue_depth", "Keys that wait for a worker.", labels=["controller"]
        )
        oldest = GaugeMetricFamily(
            f"{_P}workqueue_oldest_seconds", "Wait of the oldest due key.", labels=["controller"]
        )
        for name, ask in self.queues.items():
            depth.add_metric([name], ask().depth)
            oldest.add_metric([name], ask().oldest_s)
        synced = GaugeMetricFamily(
            f"{_P}cache_synced", "1 once the first list is complete.", labels=["resource"]
        )
        last = GaugeMetricFamily(
            f"{_P}watch_last_event_timestamp_seconds",
            "When the watch last brought an event or bookmark.",
            labels=["resource"],
        )
        for name, look in self.watches.items():
            synced.add_metric([name], float(look().synced))
            last.add_metric([name], look().last_event)
        yield from (depth, oldest, synced, last)


class Metrics:
    """The page of one process."""

    def __init__(self, version: str) -> None:
        """Create all series that a process has from the start."""
        self.registry = CollectorRegistry()
        self._workloads, self._nodes, self._states = _Workloads(), _Nodes(), _States()
        for collector in (self._workloads, self._nodes, self._states):
            self.registry.register(collector)
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
        self._estimates = self._counter("estimates", "Estimates made.", ("method", "result"))
        self._estimate_time = self._histogram(
            "estimate_duration_seconds",
            "Time of an estimate.",
            ("method", "task"),
            _ESTIMATE_BUCKETS,
        )
        self._cache = self._counter("estimate_cache_requests", "Look-ups.", ("result",))
        self._reconciles = self._counter(
            "reconcile", "Objects looked at.", ("controller", "result")
        )
        self._reconcile_time = self._histogram(
            "reconcile_duration_seconds", "Time of a look.", ("controller",), _RECONCILE_BUCKETS
        )

    def page(self) -> bytes:
        """Return the text that Prometheus reads."""
        return generate_latest(self.registry)

    def workload(self, namespace: str, name: str, series: WorkloadSeries | None) -> None:
        """Set the series of one AIWorkload; None removes them."""
        if series is None:
            self._workloads.records.pop((namespace, name), None)
        else:
            self._workloads.records[namespace, name] = series

    def nodes(self, profiles: Mapping[str, str], unprofiled: int) -> None:
        """Set the profile of each matched GPU node and the number of unmatched ones."""
        self._nodes.profiles, self._nodes.unprofiled = dict(profiles), unprofiled

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

    def estimate(self, method: str, result: str, task: str, seconds: float) -> None:
        """Count one estimate that was computed."""
        self._estimates.labels(method, result).inc()
        self._estimate_time.labels(method, task).observe(seconds)

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
