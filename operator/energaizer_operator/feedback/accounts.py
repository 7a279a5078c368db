"""Pure: joules of pods in a window -> what a workload has taken, its coverage, the error.

A pod's GPUs count as covered for the time in which an exporter had samples that name the pod; only
over that time are predicted and measured energy compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

PodName = tuple[str, str]
"""Namespace and name."""

COVERAGE_LEAST = 0.9
"""Share of GPU time with samples from which a measurement counts."""

_LEAST_SHARE = 0.5
"""Of a window that a pod must have run to be compared in it: sensors are too coarse for less."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, seconds since the epoch."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Return how long it is, s."""
        return self.end - self.start

    def __post_init__(self) -> None:
        """Refuse a window that ends before it starts."""
        if self.end < self.start:
            raise ValueError(f"window ends at {self.end}, before it starts at {self.start}")


@dataclass(frozen=True, slots=True)
class Reading:
    """What an exporter says of one pod in a window."""

    energy_j: float
    covered_s: float
    """GPU-seconds with samples."""


@dataclass(frozen=True, slots=True)
class PodRun:
    """A pod that ran in a window."""

    pod: PodName
    gpus: int
    started: float
    """When its containers started, seconds since the epoch."""
    finished: float | None
    """When they ended; None while they run."""
    predicted_w: float | None
    """Predicted power of all its GPUs on the node where it runs; None if there is none."""
    shared: bool = False
    """Whether it has a slice of a GPU, whose energy no exporter can tell apart."""

    def seconds(self, window: Window) -> float:
        """Return how long it ran within the window, s."""
        end = window.end if self.finished is None else min(self.finished, window.end)
        return max(0.0, end - max(self.started, window.start))


@dataclass(frozen=True, slots=True)
class Account:
    """What one workload has taken so far."""

    energy_j: float = 0.0
    covered_s: float = 0.0
    """GPU-seconds with samples."""
    run_s: float = 0.0
    """GPU-seconds run."""
    predicted_j: float = 0.0
    """Predicted energy of the covered GPU-seconds whose power is predicted."""
    compared_j: float = 0.0
    """Measured energy of the same GPU-seconds."""
    shared: bool = False
    """Whether any of its pods has a slice of a GPU."""

    @property
    def coverage(self) -> float:
        """Return the share of GPU time with samples, 0 to 1."""
        return min(1.0, self.covered_s / self.run_s) if self.run_s else 0.0

    @property
    def error(self) -> float | None:
        """Return predicted over measured, less one; None unless coverage suffices."""
        if self.coverage < COVERAGE_LEAST or self.compared_j <= 0:
            return None
        return self.predicted_j / self.compared_j - 1.0

    def plus(self, more: Account) -> Account:
        """Return both together."""
        return Account(
            self.energy_j + more.energy_j,
            self.covered_s + more.covered_s,
            self.run_s + more.run_s,
            self.predicted_j + more.predicted_j,
            self.compared_j + more.compared_j,
            self.shared or more.shared,
        )


def account(runs: Iterable[PodRun], readings: Mapping[PodName, Reading], window: Window) -> Account:
    """Return what the pods of one workload took in a window."""
    total = Account()
    for run in runs:
        ran = run.gpus * run.seconds(window)
        reading = None if run.shared else readings.get(run.pod)
        one = Account(run_s=ran, shared=run.shared)
        if reading is not None and ran > 0:
            covered = min(reading.covered_s, ran)
            one = replace(one, energy_j=reading.energy_j, covered_s=covered)
            if run.predicted_w is not None and run.seconds(window) >= _LEAST_SHARE * window.length:
                predicted = run.predicted_w / run.gpus * covered
                one = replace(one, predicted_j=predicted, compared_j=reading.energy_j)
        total = total.plus(one)
    return total
