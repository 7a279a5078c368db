"""An estimator with round numbers, so that frozen answers do not move when physics is refined.

Each board draws half of its limit. A replica answers a thousand requests a second, scaled by the
bandwidth of the memory against that of an H100; a lower clock takes longer and draws less.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from energaizer import pipeline, whatif
from energaizer.errors import DoesNotFitError, InputError
from energaizer.gpu import Gpu
from energaizer.result import Brief, Estimate, Provenance, Quantity
from energaizer.workload import Workload

H100_BANDWIDTH = 3352e9
WEIGHTS = 2.0  # bytes a parameter


def quantity(value: float, unit: str) -> Quantity:
    """Return a value with a tenth on either side."""
    return Quantity(
        value=value,
        low=0.9 * value,
        high=1.1 * value,
        unit=unit,
        provenance=Provenance.CALIBRATED,
        coverage=1.0,
    )


def brief(workload: Workload, gpu: Gpu, _: object = None) -> Brief:
    """Return an estimate that can be worked out by hand."""
    boards = workload.parallelism.gpus
    if workload.model.parameters * WEIGHTS > gpu.memory_bytes * boards:
        raise DoesNotFitError(f"{workload.model.name} does not fit into {boards} x {gpu.name}")
    share = (workload.clock_hz or gpu.max_clock_hz) / gpu.max_clock_hz
    power = 0.5 * gpu.power_limit_w * share**2 * boards
    if workload.power_cap_w is not None:
        power = min(power, workload.power_cap_w * boards)
    rate = gpu.memory_bandwidth / H100_BANDWIDTH * share * workload.parallelism.data
    counted = workload.requests or (0 if workload.duration_s else workload.batch)
    duration = max(workload.duration_s or 0.0, counted / 1000 / rate)
    completed = counted or duration * 1000 * rate
    tokens = workload.output_tokens * completed
    energy = power * duration
    return Brief(
        power=quantity(power, "W"),
        energy=quantity(energy, "J"),
        duration=quantity(duration, "s"),
        energy_per_output_token=quantity(energy / tokens, "J/token") if tokens else None,
        decode_s=duration / 1000,
        completed=completed,
        gpu_count=boards,
        clock_hz=share * gpu.max_clock_hz,
    )


def briefs(asked: Sequence[tuple[Workload, Gpu, object]]) -> list[Brief | Exception]:
    """Return one for each, or the error that stands for it."""
    return [pipeline.attempt(brief, *one) for one in asked]


def estimate(workload: Workload, gpu: Gpu, _: object = None) -> Estimate:
    """Return the same with what a report says beside it."""
    told = brief(workload, gpu)
    return Estimate(
        power=told.power,
        energy=told.energy,
        duration=told.duration,
        energy_per_output_token=told.energy_per_output_token,
        energy_per_sample=None,
        phases=(),
        components={},
        completed=told.completed,
        model=workload.model.name,
        gpu=gpu.name,
        gpu_count=told.gpu_count,
        clock_hz=told.clock_hz,
        power_cap_w=workload.power_cap_w or gpu.power_limit_w,
        memory=None,
        training=None,
        node=None,
        profile_hash="steady",
        version="0.1.0",
        notes=(),
    )


def _no_sweep(*_: object, **__: object) -> None:
    raise InputError("one at a time")


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `translate` ask this estimator."""
    monkeypatch.setattr(pipeline, "briefs", briefs)
    monkeypatch.setattr(pipeline, "estimate", estimate)
    monkeypatch.setattr(whatif, "sweep", _no_sweep)
