"""ResolvedInputs -> Workload: model, load, spread and setting as the estimator describes them."""

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

from energaizer import catalog
from energaizer.caches import remembered
from energaizer.errors import EnergaizerError, InputError, UnknownNameError, one_line
from energaizer.families import Generation, Network
from energaizer.huggingface import model_from_config
from energaizer.layers import Experts
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training, steps_for
from energaizer.workload import Workload
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.resources.aiworkload.spec import Architecture
from energaizer_operator.schema import MAX
from energaizer_operator.translate import checkpoints

T = TypeVar("T")
MILLI = 1000
MEGA = 10**6
MAX_CONFIG = 2**20


class ConfigurationError(InputError):
    """The ConfigMap that is to describe a model describes none."""


@dataclass(frozen=True)
class Setting:
    """A clock or a power cap of every board; None is the board's own."""

    clock_megahertz: int | None = None
    power_cap_watts: int | None = None


def gpu_count(inputs: ResolvedInputs) -> int:
    """Return the boards of a workload: those of its pods, or what the model is spread over."""
    spread = inputs.tensor * inputs.pipeline * inputs.context * inputs.data
    return min(inputs.gpu_count or spread, MAX)


def workload(inputs: ResolvedInputs, setting: Setting, config: str | None) -> Workload:
    """Return the workload as the estimator describes it.

    Raises:
        InputError: An input is missing or impossible.
        NoEstimateError: The estimator has no method for it.
    """
    clock, cap = setting.clock_megahertz, setting.power_cap_watts
    if clock is None and cap is None:
        return _unset(inputs, config)
    return _workload(
        inputs,
        config,
        clock_hz=None if clock is None else float(clock * MEGA),
        power_cap_w=None if cap is None else float(cap),
    )


@remembered(64)
def _unset(inputs: ResolvedInputs, config: str | None) -> Workload:
    """Return the workload at the boards' own setting: the same for every kind of GPU."""
    return _workload(inputs, config)


def _workload(inputs: ResolvedInputs, config: str | None, **setting: Any) -> Workload:
    rate = inputs.requests_per_second_milli
    model = _model(inputs, config)
    return Workload(
        model=model,
        **(_trained(inputs) if inputs.training else _served(inputs, model)),
        requests_per_second=None if rate is None else rate / MILLI,
        duration_s=_held(inputs),
        precision=_precision(inputs.precision) or Precision.BF16,
        weight_precision=_stored(inputs),
        cache_precision=_precision(inputs.key_value_cache_precision),
        parallelism=_parallelism(inputs),
        **setting,
    )


def _served(inputs: ResolvedInputs, model: Model | Network) -> dict[str, Any]:
    if isinstance(model, Network) and model.generates:
        return {
            "batch": inputs.batch_size or 1,
            "requests": inputs.requests,
            "generation": Generation(
                height=inputs.height_pixels,
                width=inputs.width_pixels,
                frames=inputs.frames,
                steps=inputs.denoising_steps,
            ),
        }
    if inputs.denoising_steps is not None:
        raise InputError(
            f"{model.name} makes no images; remove denoisingSteps or name a diffusion model"
        )
    return {
        "batch": inputs.batch_size or 1,
        "input_tokens": _input_tokens(model, inputs.input_tokens),
        "output_tokens": inputs.output_tokens or 0,
        "requests": inputs.requests,
    }


def _input_tokens(model: Model | Network, stated: int | None) -> int:
    """Return the tokens of one input; a network of images has none, and counts as one."""
    if isinstance(model, Network):
        known = model.default_tokens if model.takes_tokens else 1
        stated = known if stated is None else stated
    return _stated(stated, "input-tokens")


def _trained(inputs: ResolvedInputs) -> dict[str, Any]:
    """Return training of all weights by Adam; fine-tuning is priced so too.

    Replicas of an unsplit model share all its states, as frameworks do that know no other split;
    beside tensor and pipeline parallelism they share those of the optimiser.
    """
    whole = inputs.tensor * inputs.pipeline == 1
    batch = _stated(inputs.batch_size, "batch-size")
    length = _stated(inputs.sequence_length, "sequence-length")
    steps = inputs.steps or steps_for(inputs.tokens or 0, batch, length)
    return {
        "input_tokens": length,
        "training": Training(
            global_batch=batch,
            micro_batch=inputs.micro_batch_size or 1,
            steps=steps,
            zero=3 if whole else 1,
        ),
    }


def _held(inputs: ResolvedInputs) -> float | None:
    """Return how long the GPUs are held, s; None: until the work is done.

    A declared duration never shortens counted work, so that nobody understates it.
    """
    if inputs.training:
        counted = inputs.steps is not None or inputs.tokens is not None
        return None if counted else float(inputs.bound_seconds)
    if inputs.requests is not None:
        return None if inputs.expected_seconds is None else float(inputs.expected_seconds)
    return float(inputs.bound_seconds)


def _model(inputs: ResolvedInputs, config: str | None) -> Model | Network:
    if inputs.model_source == "Inline":
        return _inline(inputs.model_name or "inline", inputs.architecture)
    if inputs.model_source == "HuggingFaceConfig":
        if config is None:
            raise InputError(
                f"ConfigMap {inputs.config_map} with key config.json is not at hand; create it "
                "in the namespace of the workload"
            )
        try:
            return _from_config(inputs.model_name or "", config)
        except EnergaizerError as error:
            raise ConfigurationError(f"ConfigMap {inputs.config_map}: {error}") from None
    return _known(_stated(inputs.model_name, "model"))


def _known(name: str) -> Model | Network:
    """Return the model of a name, which may be that of a quantised checkpoint."""
    try:
        return catalog.model(name)
    except UnknownNameError:
        quantised = checkpoints.base(name)
        if quantised is None:
            raise
        return catalog.model(quantised[0])


def published_precision(name: str | None, config: str | None) -> str | None:
    """Return the format in which a checkpoint is published, as the cluster writes it; else None.

    Args:
        name: Of a known model.
        config: Content of the `config.json` that describes it instead.
    """
    try:
        found = _from_config(name or "", config) if config is not None else _known(name or "")
    except EnergaizerError:
        return None
    published = found.checkpoint_precision if isinstance(found, Model) else None
    return None if published is None else published.value.upper()


def _stored(inputs: ResolvedInputs) -> Precision | None:
    """Return the format of the weights: as stated, else as a quantised checkpoint's name tells."""
    stated = _precision(inputs.weight_precision)
    if stated is not None or inputs.model_name is None or inputs.model_source == "Inline":
        return stated
    try:
        catalog.model(inputs.model_name)
    except UnknownNameError:
        quantised = checkpoints.base(inputs.model_name)
        return None if quantised is None else quantised[1]
    return None


@lru_cache(maxsize=256)
def _from_config(name: str, text: str) -> Model | Network:
    if len(text) > MAX_CONFIG:
        raise InputError("config.json is larger than a configuration ever is")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"config.json is not JSON: {one_line(error)}") from None
    if not isinstance(content, dict):
        raise InputError("config.json holds no JSON object")
    if "_class_name" in content:
        return catalog.pipeline({"transformer": content}, name or "pipeline")
    return model_from_config(content, name)


def _inline(name: str, shapes: Architecture | None) -> Model:
    if shapes is None:
        raise InputError("model.source Inline needs model.architecture; add it")
    heads = _stated(shapes.attention_heads, "model.architecture.attentionHeads")
    hidden = _stated(shapes.hidden_size, "model.architecture.hiddenSize")
    layers = _stated(shapes.layers, "model.architecture.layers")
    wide = _stated(shapes.intermediate_size, "model.architecture.intermediateSize")
    model = Model(
        name=name,
        family="inline",
        layers=layers,
        hidden_size=hidden,
        intermediate_size=wide,
        experts=_experts(shapes, layers, wide),
        attention_heads=heads,
        key_value_heads=shapes.key_value_heads or heads,
        head_size=shapes.head_size or max(1, hidden // heads),
        vocabulary_size=_stated(shapes.vocabulary_size, "model.architecture.vocabularySize"),
        source="AIWorkload",
    )
    _check_size(model, shapes.parameter_count)
    return model


def _experts(shapes: Architecture, layers: int, wide: int) -> Experts | None:
    """Return experts in every layer, each as wide as the architecture's MLP; None: it is dense."""
    if (shapes.experts or 0) <= 1:
        return None
    each = _stated(shapes.experts_per_token, "model.architecture.expertsPerToken")
    if not 1 <= each <= (shapes.experts or 0):
        raise InputError(
            f"model.architecture.expertsPerToken is {each} of {shapes.experts} experts; "
            f"choose 1 to {shapes.experts}"
        )
    return Experts(count=shapes.experts or 0, per_token=each, intermediate_size=wide, layers=layers)


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
        uneven=inputs.pipeline > 1,  # what runs in a cluster runs: its engine splits as it can
    )


def _precision(name: str | None) -> Precision | None:
    return None if name is None else Precision(name.lower())


def _stated(value: T | None, what: str) -> T:
    if value is None:
        raise InputError(f"{what} is missing; state it in the AIWorkload or as an annotation")
    return value
