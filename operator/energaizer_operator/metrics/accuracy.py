"""Series of predicted against measured energy, by GPU."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.02, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)


@dataclass(frozen=True, slots=True)
class _Compared:
    gpu_profile: str
    task: str
    error: float
    """Predicted over measured, less one."""


class Accuracy(Collector):
    """The newest error of each measured workload, and a histogram of all."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Begin without comparisons."""
        self._newest: dict[tuple[str, str], _Compared] = {}
        self._errors = Histogram(
            "energaizer_prediction_error_ratio",
            "Absolute error of predicted energy, one observation a workload and window.",
            ("gpu_profile", "task", "method"),
            registry=registry,
            buckets=_BUCKETS,
        )
        registry.register(self)

    def compared(
        self, workload: tuple[str, str], gpu_profile: str, task: str, method: str, error: float
    ) -> None:
        """Take in the error of one workload in one window."""
        self._errors.labels(gpu_profile, task, method).observe(abs(error))
        self._newest[workload] = _Compared(gpu_profile, task, error)

    def forget(self, workload: tuple[str, str]) -> None:
        """Leave a workload that is gone out of bias and mean error."""
        self._newest.pop(workload, None)

    def collect(self) -> Iterable[Metric]:
        """Yield bias and mean absolute error."""
        signed: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        absolute: defaultdict[str, list[float]] = defaultdict(list)
        for one in self._newest.values():
            signed[one.gpu_profile, one.task].append(one.error)
            absolute[one.gpu_profile].append(abs(one.error))
        bias = GaugeMetricFamily(
            "energaizer_prediction_bias_ratio",
            "Mean signed error of measured workloads; above zero we predict too much.",
            labels=["gpu_profile", "task"],
        )
        for key, errors in sorted(signed.items()):
            bias.add_metric(list(key), fmean(errors))
        mean = GaugeMetricFamily(
            "energaizer_gpu_profile_mape_ratio",
            "Mean absolute error of the measured workloads of a profile.",
            labels=["gpu_profile"],
        )
        for profile, errors in sorted(absolute.items()):
            mean.add_metric([profile], fmean(errors))
        yield from (bias, mean)
