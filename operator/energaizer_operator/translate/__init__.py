"""The one bridge to the estimator: inputs and a GPUProfile in, integers of the cluster out.

The cluster says `ResolvedInputs`, `GPUProfile`, `EstimateSummary`; the estimator says `Workload`,
`Gpu`, `Estimate`. Units change here and nowhere else, and they change outward: values and upper
ends are rounded up, lower ends down, so that no interval shrinks on its way.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from energaizer import catalog, pipeline, whatif
from energaizer.errors import (
    DoesNotFitError,
    EnergaizerError,
    NoEstimateError,
    TooSlowError,
    UnknownNameError,
    one_line,
)
from energaizer.gpu import Gpu
from energaizer.workload import Workload
from energaizer_operator.identity import identities
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.names import Reason
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import EstimateSummary, Feasibility
from energaizer_operator.translate import calibrations
from energaizer_operator.translate.boards import Board, board, profile_of
from energaizer_operator.translate.calibrations import CalibrationError
from energaizer_operator.translate.summary import VERSION, summarise, summarise_candidate
from energaizer_operator.translate.workloads import (
    MEGA,
    ConfigurationError,
    Setting,
    gpu_count,
    published_precision,
    workload,
)

__all__ = [
    "VERSION",
    "Answer",
    "CalibrationError",
    "EstimateError",
    "Setting",
    "answers",
    "bound",
    "calibrations",
    "canonical",
    "catalogue",
    "load_together",
    "model_names",
    "profile_of",
    "published_precision",
    "report",
    "warm",
]

FEW = 2  # settings up to which single estimates, which say more, take no longer than a sweep
_USAGE, _NO_ESTIMATE = 2, 3  # exit codes
_NO_ANSWER = (EnergaizerError, ValidationError, ArithmeticError, ValueError)


class EstimateError(Exception):
    """There is no estimate; the message says why and what to do."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the exit code of a command that ends so."""
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Answer:
    """The estimate for one setting, or the bound that stands in for it and why."""

    setting: Setting
    summary: EstimateSummary
    reason: Reason = Reason.ESTIMATED
    message: str = ""
    feasibility: Feasibility = "Feasible"
    work: float | None = None
    """Requests or training steps that it gets done; None for a bound."""

    @property
    def honest(self) -> bool:
        """Return whether it is an estimate, not a bound."""
        return self.reason is Reason.ESTIMATED


def answers(
    inputs: ResolvedInputs,
    profile: GPUProfile,
    settings: Sequence[Setting],
    config: str | None,
    now: datetime,
    calibration: str | None = None,
) -> tuple[Answer, ...]:
    """Return the estimate of a workload on one kind of GPU at each setting; never raises.

    Args:
        inputs: What is known of the workload.
        profile: The kind of GPU.
        settings: Clocks and caps of the boards.
        config: Content of the model's `config.json`, where the inputs refer to one.
        now: Time of the estimate.
        calibration: Coefficients that were checked (`calibrations.check`); None: those shipped.
    """
    if len(settings) <= FEW:
        return tuple(
            _answer(inputs, profile, setting, config, now, calibration) for setting in settings
        )
    plain = _answer(inputs, profile, Setting(), config, now, calibration)
    if plain.reason is Reason.INFEASIBLE_MEMORY:  # no clock and no cap makes room
        return tuple(replace(plain, setting=setting) for setting in settings)
    swept = _swept(inputs, profile, settings, config, calibration, plain.summary)
    swept[Setting()] = plain
    return tuple(
        swept.get(setting) or _answer(inputs, profile, setting, config, now, calibration)
        for setting in settings
    )


def load_together(
    inputs: ResolvedInputs,
    profiles: Sequence[GPUProfile],
    config: str | None,
    calibrations_of: Sequence[str | None],
    *,
    clocks: bool,
) -> None:
    """Prepare answers about many kinds of GPU at once, which costs less than one after the other.

    Answers are the same without it, and tell what is wrong.

    Args:
        inputs: What is known of the workload.
        profiles: The kinds of GPU.
        config: Content of the model's `config.json`, where the inputs refer to one.
        calibrations_of: Coefficients of each that were checked; None: those shipped.
        clocks: Whether more than the boards' own setting will be asked for.
    """
    described = [board(profile) for profile in profiles]
    gpus = [one.gpu for one in described if not one.missing]
    with contextlib.suppress(*_NO_ANSWER):
        own = {
            one.gpu.name: calibrations.read(text)
            for one, text in zip(described, calibrations_of, strict=True)
            if text is not None
        }
        whatif.load_together(workload(inputs, Setting(), config), gpus, own, clocks=clocks)


def _swept(
    inputs: ResolvedInputs,
    profile: GPUProfile,
    settings: Sequence[Setting],
    config: str | None,
    calibration: str | None,
    plain: EstimateSummary,
) -> dict[Setting, Answer]:
    """Return estimates of many settings from one sweep; what it cannot give is left out."""
    gpu = board(profile).gpu
    wanted = {
        setting: (_clock(gpu, setting), float(setting.power_cap_watts or gpu.power_limit_w))
        for setting in settings
        if setting != Setting()
    }
    try:
        found = whatif.sweep(
            workload(inputs, Setting(), config),
            [gpu],
            clocks_hz=sorted({clock for clock, _ in wanted.values()}),
            limits_w=sorted({limit for _, limit in wanted.values()}),
            coefficients={} if calibration is None else {gpu.name: calibrations.read(calibration)},
        )
    except _NO_ANSWER:
        return {}
    answered: dict[Setting, Answer] = {}
    for setting, (clock, limit) in wanted.items():
        below = [
            one for one in found if one.power_cap_w == limit and one.clock_hz <= clock + MEGA / 2
        ]
        if below:
            best = max(below, key=lambda one: one.clock_hz)
            summary = summarise_candidate(best, setting, plain)
            answered[setting] = Answer(setting, summary, work=best.completed)
    return answered


def _clock(gpu: Gpu, setting: Setting) -> float:
    clock = setting.clock_megahertz
    return gpu.max_clock_hz if clock is None else float(clock * MEGA)


def _answer(
    inputs: ResolvedInputs,
    profile: GPUProfile,
    setting: Setting,
    config: str | None,
    now: datetime,
    calibration: str | None,
) -> Answer:
    feasibility: Feasibility = "Feasible"
    try:
        load, gpu = workload(inputs, setting, config), _described(profile).gpu
        own = None if calibration is None else calibrations.read(calibration)
        found = pipeline.brief(load, gpu, own)
        summary = summarise(found, inputs, profile.metadata.name, setting, now)
        return Answer(setting, summary, work=found.completed)
    except TooSlowError as error:
        reason, message, feasibility = Reason.TDP_BOUND_USED, str(error), "TooSlow"
    except DoesNotFitError as error:
        reason, message, feasibility = Reason.INFEASIBLE_MEMORY, str(error), "InsufficientMemory"
    except UnknownNameError as error:
        reason, message = Reason.UNKNOWN_MODEL, str(error)
    except ConfigurationError as error:
        reason, message = Reason.INVALID_CONFIG_MAP, str(error)
    except EnergaizerError as error:
        reason, message = Reason.TDP_BOUND_USED, str(error)
    except (ValidationError, ArithmeticError, ValueError) as error:
        reason, message = Reason.TDP_BOUND_USED, one_line(error)
    return Answer(setting, bound(inputs, profile, now), reason, message, feasibility)


def bound(inputs: ResolvedInputs, profile: GPUProfile, now: datetime) -> EstimateSummary:
    """Return the ceiling that holds without knowing the workload: TDP x GPUs x time."""
    most = pipeline.upper_bound(board(profile).gpu, gpu_count(inputs), float(inputs.bound_seconds))
    return summarise(most, inputs, profile.metadata.name, Setting(), now)


def report(
    inputs: ResolvedInputs, profile: GPUProfile, setting: Setting, config: str | None
) -> dict[str, Any]:
    """Return the estimate as `energaizer estimate -o json` writes it.

    Raises:
        EstimateError: There is none; its exit code says whether the input is at fault.
    """
    try:
        described, load = _described(profile), workload(inputs, setting, config)
        estimate = pipeline.estimate(load, described.gpu)
    except NoEstimateError as error:
        raise EstimateError(str(error), _NO_ESTIMATE) from None
    except EnergaizerError as error:
        raise EstimateError(str(error), _USAGE) from None
    except ValidationError as error:
        raise EstimateError(one_line(error), _USAGE) from None
    document: dict[str, Any] = estimate.as_json()
    document["inputs"] = load.model_dump(mode="json", exclude_none=True)
    document["notes"] = [*described.notes, *document["notes"]]
    return document


@lru_cache(maxsize=1)
def catalogue() -> tuple[GPUProfile, ...]:
    """Return every GPU that the estimator knows, as manifests."""
    file = files("energaizer_operator") / "profiles" / "identities.yaml"
    known = identities(yaml.safe_load(file.read_text(encoding="utf-8")))
    return tuple(profile_of(gpu, known.get(gpu.name)) for gpu in catalog.gpus())


def canonical(name: str) -> str:
    """Return the name of the catalogue's GPU that a name or alias means.

    Raises:
        EstimateError: There is none; the message names the closest ones.
    """
    try:
        return catalog.gpu(name).name
    except EnergaizerError as error:
        raise EstimateError(str(error), _USAGE) from None


@lru_cache(maxsize=1)
def model_names() -> Mapping[str, str]:
    """Return every name and alias of the catalogue's models -> the name."""
    return {spoken: one.name for one in catalog.models() for spoken in (one.name, *one.aliases)}


def warm() -> None:
    """Make one estimate of no interest, so that libraries and profiles are loaded."""
    load = Workload(model=catalog.models()[0], input_tokens=1, output_tokens=1)
    for profile in catalogue():
        with contextlib.suppress(EnergaizerError):
            pipeline.brief(load, board(profile).gpu)


def _described(profile: GPUProfile) -> Board:
    """Return the board of a profile.

    Raises:
        NoEstimateError: The profile says too little of it.
    """
    found = board(profile)
    if found.missing:
        raise NoEstimateError(
            f"GPUProfile {profile.metadata.name} lacks {', '.join(found.missing)}; "
            "add what its datasheet says"
        )
    return found
