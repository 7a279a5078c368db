"""What a person types about a workload: text into SI, lists and ranges, defaults that say so."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from pydantic_core import ValidationError

from energaizer.errors import InputError, one_line, shorten
from energaizer.families import Generation, Network
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.records import Record
from energaizer.units import (
    format_duration,
    format_frequency,
    format_power,
    format_si,
    parse_duration,
    parse_frequency,
    parse_power,
    parse_rate,
)
from energaizer.workload import Workload

DEFAULT_INPUT_TOKENS = 1024
DEFAULT_OUTPUT_TOKENS = 256
DEFAULT_NETWORK_TOKENS = 512
_LARGEST_LIST = 10_000
_CLOCK_STEP_HZ, _CAP_STEP_W = 60e6, 50.0  # of a range without a step: fine enough to see a curve
_ENDS_AND_STEP = 3
_ROUNDING = 1e-9
Number = TypeVar("Number", int, float)
T = TypeVar("T")
Schema = TypeVar("Schema", bound=Record)
_OPTIONS = {
    "duration_s": "--duration",
    "clock_hz": "--clock",
    "power_cap_w": "--power-cap",
    "network_bandwidth": "--network",
    **{part: f"--{part}-parallel" for part in ("tensor", "pipeline", "data", "context", "expert")},
}


class Described(NamedTuple):
    """A workload, and what was assumed because nobody said it."""

    workload: Workload
    notes: tuple[str, ...]


def workload(model: Model | Network, given: Mapping[str, Any]) -> Described:
    """Return the workload that command-line options describe.

    Args:
        model: What runs.
        given: Options by name (`batch`, `input_tokens`, `clock`, `tensor`, ...); None: not given.

    Raises:
        InputError: A value is illegal; the message begins with its option.
    """
    fields = {name: given[name] for name in Workload.model_fields if given.get(name) is not None}
    notes = []
    for option, name, parse in (
        ("duration", "duration_s", parse_duration),
        ("clock", "clock_hz", parse_frequency),
        ("power_cap", "power_cap_w", parse_power),
        ("network", "network_bandwidth", parse_rate),
    ):
        if given.get(option) is not None:
            fields[name] = parsed(given[option], f"--{option.replace('_', '-')}", parse)
    generates = isinstance(model, Network) and model.generates
    shared = set() if generates else {"frames"}  # that a vision-language model sees
    made = {name: given[name] for name in Generation.model_fields
            if given.get(name) is not None and name not in shared}  # fmt: skip
    if made and not generates:
        option = f"--{next(iter(made)).removesuffix('_scale')}"
        raise InputError(f"{option}: {model.name} makes no images or videos; leave it out")
    if generates:
        fields.pop("frames", None)
        fields["generation"] = checked(Generation, made)
    if isinstance(model, Network):
        notes += _complete_network(model, fields)
    else:
        notes += _complete(model, fields)
    degrees = {
        part: given[part] for part in Parallelism.model_fields if given.get(part) is not None
    }
    parallelism = checked(Parallelism, degrees)
    described = checked(Workload, fields | {"model": model, "parallelism": parallelism})
    return Described(described, tuple(notes))


def _complete(model: Model, fields: dict[str, Any]) -> list[str]:
    """Fill in the tokens of a language model; return what was assumed."""
    for name in ("image_size", "images", "frames"):
        if name in fields and model.vision is None:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option}: {model.name} takes no images; leave it out")
    notes = []
    if "input_tokens" not in fields:
        longest = model.max_positions or DEFAULT_INPUT_TOKENS
        fields["input_tokens"] = min(DEFAULT_INPUT_TOKENS, max(1, longest // 2))
        notes.append(f"--input-tokens not given: {fields['input_tokens']} assumed")
    if "output_tokens" not in fields and model.causal:
        room = (model.max_positions or math.inf) - fields["input_tokens"]
        fields["output_tokens"] = int(max(0, min(DEFAULT_OUTPUT_TOKENS, room)))
        notes.append(f"--output-tokens not given: {fields['output_tokens']} assumed")
    stored = model.weight_precision
    if stored is not None:
        fields.setdefault("weight_precision", stored)
        if stored in {Precision.FP8, Precision.INT8} and "precision" not in fields:
            fields["precision"] = stored
            notes.append(f"--precision not given: {stored}, as the checkpoint's weights")
    return notes


def _complete_network(model: Network, fields: dict[str, Any]) -> list[str]:
    """Check and fill in the inputs of a network; return what was assumed."""
    if "image_size" in fields and model.generates:
        raise InputError(f"--image-size: {model.name} takes --height and --width")
    if "image_size" in fields and not model.takes_images:
        raise InputError(f"--image-size: {model.name} takes no images; leave it out")
    if "input_tokens" in fields and not model.takes_tokens:
        raise InputError(f"--input-tokens: {model.name} takes images only; leave it out")
    for name in ("weight_precision", "cache_precision"):
        if fields.get(name) not in (None, fields.get("precision")):
            raise InputError(
                f"--{name.replace('_', '-')}: no method for {model.name} in mixed formats; "
                "set --precision alone"
            )
    notes = []
    if model.takes_tokens and "input_tokens" not in fields and model.default_tokens is None:
        fields["input_tokens"] = DEFAULT_NETWORK_TOKENS
        notes.append(f"--input-tokens not given: {DEFAULT_NETWORK_TOKENS} assumed")
    if model.decodes and "output_tokens" not in fields:
        notes.append("--output-tokens not given: the encoder alone")
    return notes


class Settings(NamedTuple):
    """What a sweep varies around one workload; None: not varied."""

    workload: Workload
    notes: tuple[str, ...]
    batches: tuple[int, ...] | None
    clocks_hz: tuple[float, ...] | None
    caps_w: tuple[float, ...] | None


def settings(model: Model | Network, given: Mapping[str, Any]) -> Settings:
    """Return the workload and the lists of batches, clocks and limits in some options.

    Raises:
        InputError: A list or another value is illegal, or there are too many combinations.
    """
    batches = numbers(given["batch"], "--batch") if given.get("batch") is not None else None
    at = clocks(given["clock"]) if given.get("clock") is not None else None
    under = caps(given["power_cap"]) if given.get("power_cap") is not None else None
    if math.prod(len(values) for values in (batches, at, under) if values) > _LARGEST_LIST:
        raise InputError(f"more than {_LARGEST_LIST} combinations; shorten a list")
    rest = {name: value for name, value in given.items() if name not in {"clock", "power_cap"}}
    for batch in batches or (1,):
        described = workload(model, rest | {"batch": batch})
    return Settings(*described, batches, at, under)


def steps_of(low_hz: float, high_hz: float) -> tuple[float, ...]:
    """Return clocks from one to another, for a sweep of which nobody named any, Hz."""
    return tuple(_steps(low_hz, high_hz, _CLOCK_STEP_HZ))


def in_words(workload: Workload, *, settings: bool = True) -> str:
    """Return the inputs of a workload in one line, with what a sweep varies or without."""
    parts = [f"batch {workload.batch}"] if settings and workload.training is None else []
    parts += _recipe(workload.training) + _sizes(workload)
    if workload.requests is not None:
        parts.append(f"{workload.requests} requests")
    if workload.requests_per_second is not None:
        parts.append(f"{workload.requests_per_second:g} requests/s")
    if workload.duration_s is not None:
        parts.append(f"for {format_duration(workload.duration_s)}")
    parts.append(workload.precision.value)
    if workload.weight_precision not in (None, workload.precision):
        parts.append(f"weights {workload.weight_precision}")
    if workload.cache_precision not in (None, workload.precision):
        parts.append(f"KV cache {workload.cache_precision}")
    degrees = workload.parallelism.model_dump(exclude={"uneven"})
    parts += [f"{part}-parallel {degree}" for part, degree in degrees.items() if degree > 1]
    if workload.node is not None:
        parts.append(f"node {workload.node}")
    if workload.network_bandwidth is not None:
        parts.append(f"network {format_si(8.0 * workload.network_bandwidth, 'b/s')} a GPU")
    if settings and workload.clock_hz is not None:
        parts.append(f"locked at {format_frequency(workload.clock_hz)}")
    if settings and workload.power_cap_w is not None:
        parts.append(f"capped at {format_power(workload.power_cap_w)}")
    return ", ".join([*parts, f"host {workload.host_profile}"])


def _recipe(training: Training | None) -> list[str]:
    """Return batches, length and means of a training run."""
    if training is None:
        return []
    batches = f"{training.global_batch} in micro-batches of {training.micro_batch}"
    found = [f"{training.steps} training steps of {batches}", training.optimizer]
    if training.zero:
        found.append(f"ZeRO {training.zero}")
    if training.recompute != "none":
        found.append(f"{training.recompute} recomputation")
    if training.interleave > 1:
        found.append(f"{training.interleave} chunks a stage")
    if training.lora_rank is not None:
        found.append(f"LoRA rank {training.lora_rank} on {training.lora_targets}")
    return found


def _sizes(workload: Workload) -> list[str]:
    """Return images and tokens of one sample."""
    model, found = workload.model, []
    if isinstance(model, Network) and model.generates:
        return [model.in_words(workload.generation)]
    if isinstance(model, Network) and model.takes_images:
        edge = workload.image_size or model.image_size
        found.append(f"images of {edge} x {edge}")
    if not isinstance(model, Network):
        edge = workload.edge
        for count, what in ((workload.images, "images"), (workload.frames, "frames")):
            found += [f"{count} {what} of {edge} x {edge}"] if count else []
    if workload.has_tokens:
        output = workload.output_tokens
        written = f" and {output} output" if output else ""
        found.append(f"{workload.input_tokens} input{written} tokens")
    return found


def inputs(workload: Workload) -> dict[str, Any]:
    """Return the inputs of a workload for a program: with them it can be estimated again."""
    return workload.model_dump(mode="json", exclude_none=True)


def numbers(text: str, option: str) -> tuple[int, ...]:
    """Return the whole numbers of `1,2,4` or of `1..8`, which doubles, of an option."""

    def parse(part: str) -> int:
        try:
            return int(part)
        except ValueError:
            raise InputError(f'"{shorten(part, 40)}" is no whole number') from None

    def between(low: int, high: int, step: int | None) -> Sequence[int]:
        if low < 1:
            raise InputError("a range begins at 1 or above")
        if step is not None:
            return [int(value) for value in _steps(low, high, step)]
        doubled = itertools.takewhile(lambda value: value < high, (low << i for i in range(64)))
        return (*doubled, high)

    return _listed(text, option, parse, between)


def shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Return the sizes of `x=1,3,224,224` or `seq=128`, by name.

    Raises:
        InputError: A text is not of that form.
    """
    found = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        try:
            dims = tuple(int(part) for part in sizes.replace("x", ",").split(","))
        except ValueError:
            dims = ()
        if not name or not dims or min(dims) < 1:
            raise InputError(f'--shape: "{shorten(text, 60)}" is not NAME=1,3,224,224')
        found[name] = dims
    return found


def clocks(text: str) -> tuple[float, ...]:
    """Return the clocks of `900MHz,1410MHz` or `900MHz..1410MHz[..15MHz]`, Hz."""
    return _listed(
        text,
        "--clock",
        parse_frequency,
        lambda low, high, step: _steps(low, high, _CLOCK_STEP_HZ if step is None else step),
    )


def caps(text: str) -> tuple[float, ...]:
    """Return the limits of `300W,500W` or `300W..700W[..25W]`, W."""
    return _listed(
        text,
        "--power-cap",
        parse_power,
        lambda low, high, step: _steps(low, high, _CAP_STEP_W if step is None else step),
    )


def _steps(low: float, high: float, step: float) -> Sequence[float]:
    if step <= 0:
        raise InputError("the step of a range must be above zero; write LOW..HIGH..STEP")
    count = (high - low) / step + _ROUNDING
    if not count < _LARGEST_LIST:
        raise InputError(f"the range holds more than {_LARGEST_LIST} steps; shorten it")
    values = [low + index * step for index in range(math.floor(count) + 1)]
    return values if math.isclose(values[-1], high) else [*values, high]


def _listed(
    text: str,
    option: str,
    parse: Callable[[str], Number],
    between: Callable[[Number, Number, Number | None], Sequence[Number]],
) -> tuple[Number, ...]:
    found: list[Number] = []
    for part in text.split(","):
        ends = [parsed(end.strip(), option, parse) for end in part.split("..")]
        if len(ends) == 1:
            found += ends
            continue
        if len(ends) > _ENDS_AND_STEP or not ends[0] < ends[1]:
            raise InputError(
                f'{option}: "{shorten(part, 40)}" must be a rising LOW..HIGH or LOW..HIGH..STEP'
            )
        step = ends[2] if len(ends) == _ENDS_AND_STEP else None
        try:
            found += between(ends[0], ends[1], step)
        except InputError as error:
            raise InputError(f"{option}: {error}") from error
    return tuple(dict.fromkeys(found))


def parsed(text: str, option: str, parse: Callable[[str], T]) -> T:
    """Return a value of a text; a fault begins with its option."""
    try:
        return parse(text)
    except InputError as error:
        raise InputError(f"{option}: {error}") from error


def checked(
    schema: type[Schema], fields: Mapping[str, Any], options: Mapping[str, str] | None = None
) -> Schema:
    """Return a description of some fields; a fault begins with the option of its field.

    Args:
        schema: What is described.
        fields: By name.
        options: Of fields that an option of another name states.
    """
    try:
        return schema.model_validate(fields)
    except ValidationError as error:
        fault = error.errors()[0]
        field = str(fault["loc"][0]) if fault["loc"] else ""
        option = (options or _OPTIONS).get(field, f"--{field.replace('_', '-')}")
        told = one_line(error).removeprefix(f"{field}: ")
        raise InputError(f"{option}: {told}" if field else told) from error
