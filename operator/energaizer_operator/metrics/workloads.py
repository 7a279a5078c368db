"""Series of AIWorkloads: built from records at scrape time, so that nothing is left behind."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Name = tuple[str, str]
"""Namespace and name of an AIWorkload."""

ENDED_KEPT_S = 3600.0
"""An ended workload keeps its series this long, so that a last scrape and a look find them, s."""
_P = "energaizer_workload_"
_PREDICTED = {   # quantity: (field of the record, meaning)
    "power_watts": ("power_w", "Predicted power of all GPUs of the workload."),
    "energy_joules": ("energy_j", "Predicted energy of the whole workload."),
    "energy_low_joules": ("energy_low_j", "Lower end of the 90 % interval of that energy."),
    "energy_high_joules": ("energy_high_j", "Upper end of the 90 % interval of that energy."),
    "duration_seconds": ("duration_s", "Predicted duration."),
    "energy_per_token_joules": ("energy_per_token_j", "Predicted energy of one output token."),
}  # fmt: skip
_ADDS_UP = ("power_watts", "energy_joules", "energy_low_joules", "energy_high_joules")


@dataclass(frozen=True, slots=True)
class CandidateSeries:
    """One candidate of a workload; an empty clock or cap is the board's own."""

    gpu_profile: str
    clock: str
    power_cap: str
    energy_j: float


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
    declared_gpus: int = 0
    measured_source: str = ""
    measured_energy_j: float | None = None
    measured_coverage: float | None = None
    candidates: tuple[CandidateSeries, ...] = ()
    conditions: Mapping[str, bool] = field(default_factory=dict)
    """Condition type to true or false; an unknown one is left out."""
    ended: float | None = None
    """When the workload ended, seconds since the epoch; its series go an hour later."""


class Workloads(Collector):
    """The families of all AIWorkloads.

    Args:
        limit: Most workloads with series of their own; what others predict is summed by namespace,
            with an empty `workload`.
    """

    def __init__(self, limit: int) -> None:
        """Begin without workloads."""
        self._limit = limit
        self.records: dict[Name, WorkloadSeries] = {}
        self.running: Callable[[], Mapping[Name, int]] | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield the families; the first `limit` workloads by name have series of their own."""
        since = time.time() - ENDED_KEPT_S
        objects = sorted(
            (key, record)
            for key, record in self.records.items()
            if record.ended is None or record.ended > since
        )
        shown, others = objects[: self._limit], objects[self._limit :]
        yield from _predicted(shown, others)
        yield _info(shown)
        yield _conditions(shown)
        yield from _measured(shown)
        yield _candidates(shown)
        if self.running is not None:
            yield _running(shown, self.running())


Objects = list[tuple[Name, WorkloadSeries]]


def _family(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(_P + name, meaning, labels=["namespace", "workload", *labels])


def _predicted(shown: Objects, others: Objects) -> Iterable[Metric]:
    for quantity, (attribute, meaning) in _PREDICTED.items():
        family = _family(f"predicted_{quantity}", meaning, "gpu_profile")
        for key, record in shown:
            value: float | None = getattr(record, attribute)
            if value is not None:
                family.add_metric([*key, record.gpu_profile], value)
        sums: defaultdict[str, float] = defaultdict(float)
        for (namespace, _), record in others if quantity in _ADDS_UP else ():
            sums[namespace] += getattr(record, attribute) or 0.0
        for namespace, value in sums.items():
            family.add_metric([namespace, "", ""], value)
        yield family


def _info(shown: Objects) -> Metric:
    family = _family("info", "What the workload is.", "task", "model", "precision", "method")
    for key, record in shown:
        family.add_metric([*key, record.task, record.model, record.precision, record.method], 1)
    return family


def _conditions(shown: Objects) -> Metric:
    family = _family("condition", "1 if the condition is true, 0 if it is false.", "condition")
    for key, record in shown:
        for condition, holds in sorted(record.conditions.items()):
            family.add_metric([*key, condition], float(holds))
    return family


def _measured(shown: Objects) -> Iterable[Metric]:
    energy = _family("measured_energy_joules", "Measured energy so far.", "source")
    coverage = _family(
        "measured_coverage_ratio", "GPU-seconds with samples over GPU-seconds run.", "source"
    )
    for key, record in shown:
        if record.measured_energy_j is not None:
            energy.add_metric([*key, record.measured_source], record.measured_energy_j)
        if record.measured_coverage is not None:
            coverage.add_metric([*key, record.measured_source], record.measured_coverage)
    yield from (energy, coverage)


def _candidates(shown: Objects) -> Metric:
    labels = ("gpu_profile", "clock", "power_cap")
    family = _family("candidate_energy_joules", "Predicted energy of a candidate.", *labels)
    for key, record in shown:
        for one in record.candidates:
            family.add_metric([*key, one.gpu_profile, one.clock, one.power_cap], one.energy_j)
    return family


def _running(shown: Objects, running: Mapping[Name, int]) -> Metric:
    family = _family("running_ratio", "GPUs that run now over those that are declared.")
    for key, record in shown:
        if record.declared_gpus:
            family.add_metric(list(key), min(1.0, running.get(key, 0) / record.declared_gpus))
    return family
