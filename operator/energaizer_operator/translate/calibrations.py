"""Coefficients that a cluster holds itself, as the text of `coefficients.json` in a ConfigMap."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from energaizer import catalog, correction
from energaizer.coefficients import Coefficients, FittedOn
from energaizer.errors import EnergaizerError, UnknownNameError
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.translate.boards import board


class CalibrationError(Exception):
    """A text is not the coefficients of a GPU; the message says what to do."""


@lru_cache(maxsize=64)
def read(text: str) -> Coefficients:
    """Return the coefficients that a text holds.

    Raises:
        CalibrationError: It is no JSON, or breaks the schema.
    """
    try:
        return Coefficients.loads(text)
    except EnergaizerError as error:
        raise CalibrationError(str(error)) from None


def check(text: str, profile: str) -> None:
    """Check that a text holds the coefficients of the GPU that a profile names.

    Raises:
        CalibrationError: It does not.
    """
    found = read(text).gpu
    try:
        known = catalog.gpu(profile).name
    except UnknownNameError:
        known = profile
    if found not in (profile, known):
        raise CalibrationError(
            f'these are coefficients of "{found}", not of "{profile}"; refer to those of {profile}'
        )


@dataclass(frozen=True)
class Measurement:
    """Mean power of one GPU of a workload, predicted and measured, W."""

    name: str
    predicted_w: float
    measured_w: float
    clock_megahertz: int | None = None
    power_cap_watts: int | None = None


@dataclass(frozen=True)
class Recalibration:
    """New coefficients, and what they do to workloads that they were not fitted to."""

    text: str
    factor: float
    """On all energy above idle."""
    errors: tuple[tuple[str, float, float], ...]
    """Workload, its error now, its error by the factor of all others; dimensionless."""
    left_out: tuple[str, ...]
    error_before: float
    error_after: float
    improves: bool


def recalibrate(
    profile: GPUProfile, text: str | None, measured: Sequence[Measurement], date: str
) -> Recalibration:
    """Return coefficients of a GPU whose dynamic energies meet the measured workloads.

    Args:
        profile: The kind of GPU.
        text: Coefficients by which the predictions were made; None: those shipped.
        measured: Workloads on it.
        date: Day of the fit, ISO.

    Raises:
        CalibrationError: Too few workloads tell something.
    """
    gpu, name = board(profile).gpu, profile.metadata.name
    own = catalog.coefficients(gpu) if text is None else read(text)
    observations = [
        correction.Observation(
            one.name,
            one.predicted_w,
            one.measured_w,
            one.clock_megahertz and one.clock_megahertz * 1e6,
            one.power_cap_watts and float(one.power_cap_watts),
        )
        for one in measured
    ]
    try:
        found = correction.correct(gpu, own, observations)
    except EnergaizerError as error:
        raise CalibrationError(str(error)) from None
    rows = len(found.judged)
    note = (
        f"energy above idle x {found.factor:.4f} by {rows} measured workloads, {date}: "
        f"mean error {found.error_before:.1%} before, {found.error_after:.1%} with each left out"
    )
    seen = FittedOn(
        dataset="energy of AIWorkloads, measured in the cluster",
        date=date,
        rows=rows,
        held_out="each workload in turn",
    )
    changed = correction.scaled(own, found.factor).model_copy(
        update={
            "gpu": name,
            "notes": (*own.notes, note),
            "fitted_on": (*own.fitted_on, seen),
        }
    )
    return Recalibration(
        text=changed.dumps(),
        factor=found.factor,
        errors=tuple(found.judged),
        left_out=found.left_out,
        error_before=found.error_before,
        error_after=found.error_after,
        improves=found.improves,
    )
