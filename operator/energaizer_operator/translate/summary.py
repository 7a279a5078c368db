"""Estimate -> EstimateSummary: integers of the cluster's units, rounded outward."""

import math
from collections.abc import Mapping
from datetime import datetime

import energaizer
from energaizer.result import Brief, Provenance
from energaizer.whatif import Candidate
from energaizer_operator import human
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.schema import MAX, EstimateSummary, Method
from energaizer_operator.translate.workloads import MEGA, Setting

VERSION = energaizer.__version__
MICRO = 10**6
NOISE = 1e-9  # of floating point: 1800.0000000002 W are 1800 W
MAX_WATTS = 10**9  # of the schema; no cluster draws a gigawatt

_METHODS: Mapping[Provenance, Method] = {
    Provenance.MEASURED: "Calibrated",
    Provenance.CALIBRATED: "Calibrated",
    Provenance.ANALYTICAL: "Analytical",
    Provenance.EXTRAPOLATED: "Extrapolated",
    Provenance.SPECIFICATION: "Specification",
    Provenance.BOUND: "TDPBound",
}


def summarise(
    found: Brief, inputs: ResolvedInputs, profile: str, setting: Setting, now: datetime
) -> EstimateSummary:
    """Return an estimate in integers: values and upper ends rounded up, lower ends down."""
    power, energy, token = found.power, found.energy, found.energy_per_output_token
    step_us = None if found.decode_s is None else found.decode_s * MICRO
    watts, joules = _up(power.value, MAX_WATTS), _up(energy.value)
    method = _METHODS[Provenance.weakest(power.provenance, energy.provenance)]
    return EstimateSummary(
        profile=profile,
        gpu_count=found.gpu_count,
        replicas=min(max(1, inputs.replicas), MAX),
        clock_megahertz=None if method == "TDPBound" else _up(found.clock_hz / MEGA),
        power_cap_watts=setting.power_cap_watts,
        power_watts=watts,
        power_low_watts=_down(power.low, MAX_WATTS),
        power_high_watts=_up(power.high, MAX_WATTS),
        duration_seconds=_up(found.duration.value),
        iteration_microseconds=None if step_us is None else _up(step_us),
        energy_joules=joules,
        energy_low_joules=_down(energy.low),
        energy_high_joules=_up(energy.high),
        energy_per_token_microjoules=None if token is None else _up(token.value * MICRO),
        energy_human=human.energy(joules),
        power_human=human.power(watts),
        method=method,
        estimator_version=VERSION,
        estimate_time=now,
    )


def summarise_candidate(
    found: Candidate, setting: Setting, plain: EstimateSummary
) -> EstimateSummary:  # fmt: skip
    """Return one setting of a sweep; the interval of its power is as wide as that of its energy.

    Args:
        found: The setting.
        setting: The same as the cluster states it.
        plain: Summary of the same workload on the same GPU at its own setting.
    """
    wide = found.energy_high_j / found.energy_j
    narrow = found.energy_low_j / found.energy_j
    token = found.energy_per_output_token
    power, energy = _up(found.power_w, MAX_WATTS), _up(found.energy_j)
    # A copy is not checked again: what it changes is in the bounds of the schema by construction.
    return plain.model_copy(
        update={
            "gpu_count": found.gpu_count,
            "clock_megahertz": _up(found.mean_clock_hz / MEGA),
            "power_cap_watts": setting.power_cap_watts,
            "power_watts": power,
            "power_low_watts": _down(found.power_w * narrow, MAX_WATTS),
            "power_high_watts": _up(found.power_w * wide, MAX_WATTS),
            "duration_seconds": _up(found.duration_s),
            "iteration_microseconds": None,
            "energy_joules": energy,
            "energy_low_joules": _down(found.energy_low_j),
            "energy_high_joules": _up(found.energy_high_j),
            "energy_per_token_microjoules": None if token is None else _up(token * MICRO),
            "energy_human": human.energy(energy),
            "power_human": human.power(power),
            "method": _METHODS[found.provenance],
        }
    )


def _up(value: float, most: int = MAX) -> int:
    lowered = value * (1 - NOISE)
    return most if lowered >= most else max(math.ceil(lowered), 1)


def _down(value: float, most: int = MAX) -> int:
    raised = value * (1 + NOISE)
    return most if raised >= most else max(math.floor(raised), 1)
