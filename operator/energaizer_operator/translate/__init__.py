"""The one bridge to the estimator: inputs and a GPUProfile in, integers of the cluster out.

The cluster says `ResolvedInputs`, `GPUProfile`, `EstimateSummary`; the estimator says `Workload`,
`Gpu`, `Estimate`. Units change here and nowhere else, and they change outward: values and upper
ends are rounded up, lower ends down, so that no interval shrinks on its way.
"""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

import energaizer
from energaizer import catalog, pipeline
from energaizer.errors import (
    DoesNotFitError,
    EnergaizerError,
    InputError,
    NoEstimateError,
    UnknownNameError,
    one_line,
)
from energaizer.huggingface import model_from_config
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.result import Estimate, Provenance
from energaizer.workload import Workload
from energaizer_operator import human
from energaizer_operator.identity import identities
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload.spec import Architecture
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import MAX, EstimateSummary, Feasibility, Method
from energaizer_operator.translate.boards import MEGA, board, profile_of

__all__ = [
    "VERSION",
    "Answer",
    "EstimateError",
    "Setting",
    "answers",
    "bound",
    "canonical",
    "catalogue",
    "profile_of",
    "report",
    "warm",
]

VERSION = energaizer.__version__
T = TypeVar("T")
MICRO = 10**6
MAX_CONFIG = 2**20
MAX_WATTS = 10**9  # of the schema; no cluster draws a gigawatt

_METHODS: Mapping[Provenance, Method] = {
    Provenance.MEASURED: "Calibrated",
    Provenance.CALIBRATED: "Calibrated",
    Provenance.ANALYTICAL: "Analytical",
    Provenance.EXTRAPOLATED: "Extrapolated",
    Provenance.SPECIFICATION: "Specification",
    Provenance.BOUND: "TDPBound",
}
_USAGE, _NO_ESTIMATE = 2, 3  # exit codes


class EstimateError(Exception):
    """There is no estimate; the message says why and what to do."""

    def __init__(self, message: str, exit_code: int) -> None:
        """Keep the exit code of a command that ends so."""
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Setting:
    """A clock or a power cap of every board; None is the board's own."""

    clock_megahertz: int | None = None
    power_cap_watts: int | None = None


@dataclass(frozen=True)
class Answer:
    """The estimate for one setting, or the bound that stands in for it and why."""

    setting: Setting
    summary: EstimateSummary
    reason: Reason = Reason.ESTIMATED
    message: str = ""
    feasibility: Feasibility = "Feasible"

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
) -> tuple[Answer, ...]:
    """Return the estimate of a workload on one kind of GPU at each setting; never raises.

    Args:
        inputs: What is known of the workload.
        profile: The kind of GPU.
        settings: Clocks and caps of the boards.
        config: Content of the model's `config.json`, where the inputs refer to one.
        now: Time of the estimate.
    """
    return tuple(_answer(inputs, profile, setting, config, now) for setting in settings)


def _answer(
    inputs: ResolvedInputs,
    profile: GPUProfile,
    setting: Setting,
    config: str | None,
    now: datetime,
) -> Answer:
    feasibility: Feasibility = "Feasible"
    try:
        estimate = _estimate(inputs, profile, setting, config)
        return Answer(setting, summarise(estimate, inputs, profile.metadata.name, setting, now))
    except DoesNotFitError as error:
        reason, message, feasibility = Reason.INFEASIBLE_MEMORY, str(error), "InsufficientMemory"
    except UnknownNameError as error:
        reason, message = Reason.UNKNOWN_MODEL, str(error)
    except EnergaizerError as error:
        reason, message = Reason.TDP_BOUND_USED, str(error)
    except (ValidationError, ArithmeticError, ValueError) as error:
        reason, message = Reason.TDP_BOUND_USED, one_line(error)
    return Answer(setting, bound(inputs, profile, now), reason, message, feasibility)


def bound(inputs: ResolvedInputs, profile: GPUProfile, now: datetime) -> EstimateSummary:
    """Return the ceiling that holds without knowing the workload: TDP x GPUs x time."""
    estimate = pipeline.upper_bound(
        board(profile).gpu, gpu_count(inputs), float(inputs.bound_seconds)
    )
    return summarise(estimate, inputs, profile.metadata.name, Setting(), now)


def report(
    inputs: ResolvedInputs, profile: GPUProfile, setting: Setting, config: str | None
) -> dict[str, Any]:
    """Return the estimate as `energaizer estimate -o json` writes it.

    Raises:
        EstimateError: There is none; its exit code says whether the input is at fault.
    """
    try:
        estimate = _estimate(inputs, profile, setting, config)
    except NoEstimateError as error:
        raise EstimateError(str(error), _NO_ESTIMATE) from None
    except EnergaizerError as error:
        raise EstimateError(str(error), _USAGE) from None
    except ValidationError as error:
        raise EstimateError(one_line(error), _USAGE) from None
    document: dict[str, Any] = estimate.model_dump(mode="json")
    document["notes"] = [*board(profile).notes, *document["notes"]]
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


def warm() -> None:
    """Make one estimate of no interest, so that libraries and profiles are loaded."""
    load = Workload(model=catalog.models()[0], input_tokens=1, output_tokens=1)
    for profile in catalogue():
        with contextlib.suppress(EnergaizerError):
            pipeline.estimate(load, board(profile).gpu)


def gpu_count(inputs: ResolvedInputs) -> int:
    """Return the boards of a workload: those of its pods, or what the model is spread over."""
    return inputs.gpu_count or inputs.tensor * inputs.pipeline * inputs.context * inputs.data


def workload(inputs: ResolvedInputs, setting: Setting, config: str | None) -> Workload:
    """Return the workload as the estimator describes it.

    Raises:
        InputError: An input is missing or impossible.
        NoEstimateError: The estimator has no method for it.
    """
    if inputs.training:
        raise NoEstimateError(f"{inputs.task}: there is no method for training yet")
    if inputs.denoising_steps is not None:
        raise NoEstimateError("diffusion models: there is no method yet")
    lasting = inputs.expected_seconds is not None or inputs.requests is None
    clock, cap = setting.clock_megahertz, setting.power_cap_watts
    return Workload(
        model=_model(inputs, config),
        batch=inputs.batch_size or 1,
        input_tokens=_stated(inputs.input_tokens, "input-tokens"),
        output_tokens=inputs.output_tokens or 0,
        requests=None if lasting else inputs.requests,
        duration_s=float(inputs.bound_seconds) if lasting else None,
        precision=_precision(inputs.precision) or Precision.BF16,
        weight_precision=_precision(inputs.weight_precision),
        cache_precision=_precision(inputs.key_value_cache_precision),
        parallelism=_parallelism(inputs),
        clock_hz=None if clock is None else float(clock * MEGA),
        power_cap_w=None if cap is None else float(cap),
    )


def summarise(
    estimate: Estimate, inputs: ResolvedInputs, profile: str, setting: Setting, now: datetime
) -> EstimateSummary:
    """Return an estimate in integers: values and upper ends rounded up, lower ends down."""
    power, energy, token = estimate.power, estimate.energy, estimate.energy_per_output_token
    steps = next((phase for phase in estimate.phases if phase.name == "decode"), None)
    step_us = steps.duration.value / steps.count * MICRO if steps and steps.count else None
    method = _METHODS[Provenance.weakest(power.provenance, energy.provenance)]
    return EstimateSummary(
        profile=profile,
        gpu_count=estimate.gpu_count,
        replicas=max(1, inputs.replicas),
        clock_megahertz=None if method == "TDPBound" else _up(estimate.clock_hz / MEGA),
        power_cap_watts=setting.power_cap_watts,
        power_watts=_up(power.value, MAX_WATTS),
        power_low_watts=_down(power.low, MAX_WATTS),
        power_high_watts=_up(power.high, MAX_WATTS),
        duration_seconds=_up(estimate.duration.value),
        iteration_microseconds=None if step_us is None else _up(step_us),
        energy_joules=_up(energy.value),
        energy_low_joules=_down(energy.low),
        energy_high_joules=_up(energy.high),
        energy_per_token_microjoules=None if token is None else _up(token.value * MICRO),
        energy_human=human.energy(_up(energy.value)),
        power_human=human.power(_up(power.value)),
        method=method,
        estimator_version=estimate.version,
        estimate_time=now,
    )


def _estimate(
    inputs: ResolvedInputs, profile: GPUProfile, setting: Setting, config: str | None
) -> Estimate:
    described = board(profile)
    if described.missing:
        raise NoEstimateError(
            f"GPUProfile {profile.metadata.name} lacks {', '.join(described.missing)}; "
            "add what its datasheet says"
        )
    return pipeline.estimate(workload(inputs, setting, config), described.gpu)


def _model(inputs: ResolvedInputs, config: str | None) -> Model:
    if inputs.model_source == "Inline":
        return _inline(inputs.model_name or "inline", inputs.architecture)
    if inputs.model_source == "HuggingFaceConfig":
        if config is None:
            raise InputError(
                f"ConfigMap {inputs.config_map} with key config.json is not at hand; create it "
                "in the namespace of the workload"
            )
        return _from_config(inputs.model_name or "", config)
    return catalog.model(_stated(inputs.model_name, "model"))


@lru_cache(maxsize=256)
def _from_config(name: str, text: str) -> Model:
    if len(text) > MAX_CONFIG:
        raise InputError("config.json is larger than a configuration ever is")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"config.json is not JSON: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise InputError("config.json holds no JSON object")
    return model_from_config(content, name)


def _inline(name: str, shapes: Architecture | None) -> Model:
    if shapes is None:
        raise InputError("model.source Inline needs model.architecture; add it")
    if (shapes.experts or 0) > 1:
        raise NoEstimateError("mixture of experts: there is no method yet")
    heads = _stated(shapes.attention_heads, "model.architecture.attentionHeads")
    hidden = _stated(shapes.hidden_size, "model.architecture.hiddenSize")
    model = Model(
        name=name,
        family="inline",
        layers=_stated(shapes.layers, "model.architecture.layers"),
        hidden_size=hidden,
        intermediate_size=_stated(shapes.intermediate_size, "model.architecture.intermediateSize"),
        attention_heads=heads,
        key_value_heads=shapes.key_value_heads or heads,
        head_size=shapes.head_size or max(1, hidden // heads),
        vocabulary_size=_stated(shapes.vocabulary_size, "model.architecture.vocabularySize"),
        source="AIWorkload",
    )
    _check_size(model, shapes.parameter_count)
    return model


def _check_size(model: Model, stated: int | None) -> None:
    if stated is not None and not stated / 2 <= model.parameters <= stated * 2:
        raise InputError(
            f"model.architecture makes {model.parameters:.3g} parameters but states {stated:.3g}; "
            "mend its sizes or parameterCount"
        )


def _parallelism(inputs: ResolvedInputs) -> Parallelism:
    """Return degrees that fill the boards: what one copy of the model leaves over holds others."""
    copy = inputs.tensor * inputs.pipeline * inputs.context
    boards = gpu_count(inputs)
    if boards % (copy * inputs.data):
        raise InputError(
            f"tensor x pipeline x context x data parallelism is {copy * inputs.data}, which does "
            f"not divide the {boards} GPUs of the pods; mend the degrees or the GPU count"
        )
    return Parallelism(
        tensor=inputs.tensor,
        pipeline=inputs.pipeline,
        data=boards // copy,
        expert=inputs.expert,
        context=inputs.context,
    )


def _precision(name: str | None) -> Precision | None:
    return None if name is None else Precision(name.lower())


def _stated(value: T | None, what: str) -> T:
    if value is None:
        raise InputError(f"{what} is missing; state it in the AIWorkload or as an annotation")
    return value


def _up(value: float, most: int = MAX) -> int:
    return min(max(math.ceil(min(value, most)), 1), most)


def _down(value: float, most: int = MAX) -> int:
    return min(max(math.floor(min(value, most)), 1), most)
