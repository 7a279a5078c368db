"""What `kubectl energaizer` tells of predictions against measurements: errors, and a correction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

from energaizer_operator import estimation, human
from energaizer_operator.cluster import Cluster
from energaizer_operator.estimation import Measurement, Recalibration
from energaizer_operator.kinds import AIWORKLOADS, CONFIGMAPS, GPUPROFILES
from energaizer_operator.names import CALIBRATION_KEY, ConditionType
from energaizer_operator.printing import aligned
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.settings import Settings

COVERED_PERCENT = 90


@dataclass(frozen=True)
class Compared:
    """One AIWorkload, predicted and measured."""

    workload: str
    profile: str
    predicted_watts: int
    predicted_joules: int | None
    """Over the part that was measured; None where there is no error."""
    measured_joules: int | None
    coverage_percent: int
    error_percent: int | None
    gpu_count: int
    clock_megahertz: int | None
    power_cap_watts: int | None
    bound: bool


@dataclass(frozen=True)
class History:
    """What a proposal rests on."""

    profile: GPUProfile
    text: str | None
    """Coefficients in use; None: those shipped."""
    workloads: tuple[Compared, ...]


async def workloads(
    settings: Settings, namespace: str | None, *, everywhere: bool = False
) -> list[Compared]:
    """Return what was predicted and measured of each AIWorkload of a namespace, or `everywhere`.

    Without a namespace it is that of the context.

    Raises:
        ClusterError: There is no cluster, or it refuses.
    """
    cluster = await Cluster.connect(settings)
    try:
        return await _compared(cluster, None if everywhere else namespace or cluster.namespace)
    finally:
        await cluster.close()


async def history(settings: Settings, name: str) -> History:
    """Return a profile, the coefficients that are in use for it, and its measured workloads.

    Raises:
        ClusterError: There is no cluster, no such profile or ConfigMap, or the caller may not read.
    """
    cluster = await Cluster.connect(settings)
    try:
        profile = GPUProfile.of_server(await cluster.get(GPUPROFILES, name))
        stated, text = profile.spec.calibration, None
        loaded = any(
            one.type == ConditionType.CALIBRATION_LOADED and one.status == "True"
            for one in profile.status.conditions
        )
        if stated is not None and stated.config_map_ref is not None and loaded:
            reference = stated.config_map_ref
            body = await cluster.get(CONFIGMAPS, reference.name, reference.namespace)
            text = (body.get("data") or {}).get(CALIBRATION_KEY)
        found = await _compared(cluster, None)
    finally:
        await cluster.close()
    return History(profile, text, tuple(one for one in found if one.profile == name))


async def _compared(cluster: Cluster, namespace: str | None) -> list[Compared]:
    bodies = [body async for page in cluster.pages(AIWORKLOADS, namespace) for body in page.items]
    return [one for body in bodies if (one := compared(AIWorkload.of_server(body)))]


def compared(workload: AIWorkload) -> Compared | None:
    """Return what was predicted and measured of a workload; None before both are there."""
    estimate, measured = workload.status.estimate, workload.status.measured
    if estimate is None or measured is None:
        return None
    joules, error = measured.energy_joules, measured.error_percent
    predicted = None if joules is None or error is None else round(joules * (1 + error / 100))
    return Compared(
        workload=f"{workload.metadata.namespace}/{workload.metadata.name}",
        profile=estimate.profile,
        predicted_watts=estimate.power_watts,
        predicted_joules=predicted,
        measured_joules=joules,
        coverage_percent=measured.coverage_percent,
        error_percent=error,
        gpu_count=estimate.gpu_count,
        clock_megahertz=estimate.clock_megahertz,
        power_cap_watts=estimate.power_cap_watts,
        bound=estimate.method == "TDPBound",
    )


def by_profile(found: Iterable[Compared]) -> dict[str, dict[str, Any]]:
    """Return number, mean absolute error and bias by profile, percent, of what is covered."""
    errors: defaultdict[str, list[int]] = defaultdict(list)
    for one in found:
        if _counts(one) and one.error_percent is not None:
            errors[one.profile].append(one.error_percent)
    return {
        profile: {
            "workloads": len(seen),
            "meanErrorPercent": round(fmean(abs(error) for error in seen), 1),
            "biasPercent": round(fmean(seen), 1),
        }
        for profile, seen in sorted(errors.items())
    }


def lines(found: Sequence[Compared]) -> list[str]:
    """Return a table of workloads, then one of profiles."""
    if not found:
        return ["nothing is measured there; -A looks at all namespaces, docs/feedback.md says how"]
    head = ("WORKLOAD", "GPU", "PREDICTED", "MEASURED", "COVERAGE", "ERROR")
    rows: list[tuple[str, ...]] = [head]
    for one in found:
        joules, error = one.measured_joules, one.error_percent
        rows.append(
            (
                one.workload,
                one.profile,
                "-" if one.predicted_joules is None else human.energy(one.predicted_joules),
                "-" if joules is None else human.energy(joules),
                f"{one.coverage_percent} %",
                "-" if error is None else f"{error:+d} %",
            )
        )
    profiles: list[tuple[str, ...]] = [("GPU", "WORKLOADS", "MEAN ERROR", "BIAS")]
    for name, seen in by_profile(found).items():
        mean, bias = seen["meanErrorPercent"], seen["biasPercent"]
        profiles.append((name, str(seen["workloads"]), f"{mean} %", f"{bias:+} %"))
    return [*aligned(rows), "", *aligned(profiles)]


def propose(seen: History, now: datetime | None = None) -> Recalibration:
    """Return new coefficients for a profile.

    Raises:
        CalibrationError: Too few workloads tell something.
    """
    measured = [
        Measurement(
            one.workload,
            one.predicted_watts / one.gpu_count,
            one.predicted_watts / one.gpu_count / (1 + one.error_percent / 100),
            one.clock_megahertz,
            one.power_cap_watts,
        )
        for one in seen.workloads
        if _counts(one) and one.error_percent is not None and one.gpu_count
    ]
    date = (now or datetime.now(UTC)).date().isoformat()
    return estimation.recalibrate(seen.profile, seen.text, measured, date)


def manifest(profile: str, namespace: str, found: Recalibration) -> dict[str, Any]:
    """Return the ConfigMap that holds new coefficients, to be reviewed."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": f"{profile}-coefficients", "namespace": namespace},
        "data": {CALIBRATION_KEY: found.text},
    }


def review(profile: str, namespace: str, found: Recalibration) -> list[str]:
    """Return what a reviewer must see: errors before and after, and what to do next."""
    rows: list[tuple[str, ...]] = [("WORKLOAD", "ERROR NOW", "ERROR LEFT OUT")]
    rows += [(name, f"{now:+.1%}", f"{then:+.1%}") for name, now, then in found.errors]
    mean = ("mean, absolute", f"{found.error_before:.1%}", f"{found.error_after:.1%}")
    left_out = [f"left out, at its limit or idle: {name}" for name in found.left_out]
    digest = estimation.calibration_digest(found.text)
    return [
        *aligned([*rows, mean]),
        *left_out,
        f"energy above idle x {found.factor:.4f}",
        f"next: apply the ConfigMap, then set spec.calibration of GPUProfile {profile} to",
        f"  {{configMapRef: {{name: {profile}-coefficients, namespace: {namespace}}}, "
        f"digest: {digest}}}",
    ]


def _counts(one: Compared) -> bool:
    known = one.error_percent is not None and one.error_percent > -100  # noqa: PLR2004
    return known and not one.bound and one.coverage_percent >= COVERED_PERCENT
