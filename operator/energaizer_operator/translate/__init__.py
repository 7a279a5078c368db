"""The one bridge to the estimator: inputs and a GPUProfile in, integers of the cluster out.

The cluster says `ResolvedInputs`, `GPUProfile`, `EstimateSummary`; the estimator says `Workload`,
`Gpu`, `Estimate`. Units change here and nowhere else, and they change outward: values and upper
ends are rounded up, lower ends down, so that no interval shrinks on its way.
"""

import contextlib
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import ValidationError

from energaizer import catalog, pipeline, whatif
from energaizer.coefficients import Coefficients
from energaizer.errors import (
    DoesNotFitError,
    EnergaizerError,
    NoEstimateError,
    TooSlowError,
    UnknownNameError,
    one_line,
)
from energaizer.gpu import Gpu
from energaizer.result import Brief
from energaizer.workload import Workload
from energaizer_operator.identity import identities
from energaizer_operator.inputs import ResolvedInputs, inputs_digest
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
    "FEW",
    "PLAIN",
    "VERSION",
    "Answer",
    "CalibrationError",
    "EstimateError",
    "Question",
    "Setting",
    "answers",
    "bound",
    "calibrations",
    "canonical",
    "catalogue",
    "model_names",
    "profile_of",
    "published_precision",
    "report",
    "warm",
]

FEW = 2  # settings up to which single estimates, which say more, take no longer than a sweep
_USAGE, _NO_ESTIMATE = 2, 3  # exit codes
PLAIN = (Setting(),)


class EstimateError(Exception):
    """There is no estimate; the message says why and what to do."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the exit code of a command that ends so."""
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Question:
    """One workload on one kind of GPU, at some clocks and caps."""

    inputs: ResolvedInputs
    profile: GPUProfile
    profile_digest: str
    """Of the profile's name, spec and calibration (`estimation.digest_of`)."""
    settings: tuple[Setting, ...] = PLAIN
    config: str | None = None
    """Content of `config.json`, where the inputs refer to one."""
    calibration: str | None = None
    """Coefficients of the GPU, where the cluster holds its own."""

    @property
    def swept(self) -> bool:
        """Return whether its settings are so many that a sweep answers them."""
        return len(self.settings) > FEW

    @cached_property
    def digest(self) -> str:
        """Return `sha256:<hex>` of everything that the answer depends on but the settings."""
        profile = self.profile_digest
        if self.config is not None:
            profile += hashlib.sha256(self.config.encode(errors="replace")).hexdigest()
        return inputs_digest(self.inputs, profile, VERSION)


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


def answers(asked: Sequence[Question], now: datetime) -> list[tuple[Answer, ...]]:
    """Return the estimate of each question at each of its settings; never raises.

    All are made at once: the more there are, the less each costs. None depends on the others.

    Args:
        asked: Workloads on kinds of GPU; coefficients were checked (`calibrations.check`).
        now: Time of the estimates.
    """
    _sweep_together([question for question in asked if question.swept])
    wanted = [
        (question, setting)
        for question in asked
        for setting in (PLAIN if question.swept else question.settings)
    ]
    found = iter(_answers(wanted, now))
    return [
        _of_sweep(question, next(found), now)
        if question.swept
        else tuple(itertools.islice(found, len(question.settings)))
        for question in asked
    ]


def _of_sweep(question: Question, plain: Answer, now: datetime) -> tuple[Answer, ...]:
    """Return the estimates of many settings, that of the board's own known."""
    settings = question.settings
    if plain.reason is Reason.INFEASIBLE_MEMORY:  # no clock and no cap makes room
        return tuple(replace(plain, setting=setting) for setting in settings)
    swept = _swept(question, plain.summary)
    swept[Setting()] = plain
    left = [setting for setting in settings if setting not in swept]
    swept |= dict(zip(left, _answers([(question, one) for one in left], now), strict=True))
    return tuple(swept[setting] for setting in settings)


def _sweep_together(questions: Sequence[Question]) -> None:
    """Prepare sweeps of each workload over all kinds of GPU that are asked about at once.

    They cost less so than one after the other; answers are the same without it, and tell what is
    wrong.
    """
    by_workload: dict[tuple[int, str | None], list[Question]] = {}
    for question in questions:
        by_workload.setdefault((id(question.inputs), question.config), []).append(question)
    for own in by_workload.values():
        described = [board(question.profile) for question in own]
        gpus = [one.gpu for one in described if not one.missing]
        with contextlib.suppress(*pipeline.NO_ANSWER):
            coefficients = {
                one.gpu.name: calibrations.read(question.calibration)
                for one, question in zip(described, own, strict=True)
                if question.calibration is not None
            }
            load = workload(own[0].inputs, Setting(), own[0].config)
            whatif.load_together(load, gpus, coefficients)


def _swept(question: Question, plain: EstimateSummary) -> dict[Setting, Answer]:
    """Return estimates of many settings from one sweep; what it cannot give is left out."""
    gpu, calibration = board(question.profile).gpu, question.calibration
    wanted = {
        setting: (_clock(gpu, setting), float(setting.power_cap_watts or gpu.power_limit_w))
        for setting in question.settings
        if setting != Setting()
    }
    try:
        found = whatif.sweep(
            workload(question.inputs, Setting(), question.config),
            [gpu],
            clocks_hz=sorted({clock for clock, _ in wanted.values()}),
            limits_w=sorted({limit for _, limit in wanted.values()}),
            coefficients={} if calibration is None else {gpu.name: calibrations.read(calibration)},
        )
    except pipeline.NO_ANSWER:
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


def _answers(wanted: Sequence[tuple[Question, Setting]], now: datetime) -> list[Answer]:
    """Return the estimate of each question at one setting, or the bound that stands in for it."""
    described = [pipeline.attempt(_described_fully, *one) for one in wanted]
    found = iter(pipeline.briefs([one for one in described if not isinstance(one, Exception)]))
    outcomes = [one if isinstance(one, Exception) else next(found) for one in described]
    return [
        _answer(question, setting, outcome, now)
        for (question, setting), outcome in zip(wanted, outcomes, strict=True)
    ]


def _described_fully(
    question: Question, setting: Setting
) -> tuple[Workload, Gpu, Coefficients | None]:
    load = workload(question.inputs, setting, question.config)
    own = None if question.calibration is None else calibrations.read(question.calibration)
    return load, _described(question.profile).gpu, own


def _answer(
    question: Question, setting: Setting, outcome: Brief | Exception, now: datetime
) -> Answer:  # fmt: skip
    inputs, profile = question.inputs, question.profile
    if isinstance(outcome, Brief):
        summary = pipeline.attempt(summarise, outcome, inputs, profile.metadata.name, setting, now)
        if isinstance(summary, EstimateSummary):
            return Answer(setting, summary, work=outcome.completed)
        outcome = summary
    reason, feasibility = _shortcoming(outcome)
    message = str(outcome) if isinstance(outcome, EnergaizerError) else one_line(outcome)
    return Answer(setting, bound(inputs, profile, now), reason, message, feasibility)


def _shortcoming(error: Exception) -> tuple[Reason, Feasibility]:
    """Return why there is no estimate, and what that says of the GPU."""
    match error:
        case TooSlowError():
            return Reason.TDP_BOUND_USED, "TooSlow"
        case DoesNotFitError():
            return Reason.INFEASIBLE_MEMORY, "InsufficientMemory"
        case UnknownNameError():
            return Reason.UNKNOWN_MODEL, "Feasible"
        case ConfigurationError():
            return Reason.INVALID_CONFIG_MAP, "Feasible"
        case _:
            return Reason.TDP_BOUND_USED, "Feasible"


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
