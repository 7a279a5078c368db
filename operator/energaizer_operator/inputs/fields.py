"""The table of inputs: where each lies in the spec, which annotations and defaults also state it.

Bounds are those of the schema, taken from the model of the spec: they are written once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError

from energaizer_operator import names
from energaizer_operator.resources.aiworkload.spec import AIWorkloadSpec

_MAX_DIGITS = 19


@dataclass(frozen=True)
class Check:
    """What the schema accepts for one input."""

    adapter: TypeAdapter[Any]
    schema: Mapping[str, Any]

    def parse(self, text: str) -> Any:
        """Return the value of a text within the bounds of the schema; None if it breaks them."""
        value: str | int = text
        if self.schema["type"] == "integer":
            if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
                return None
            value = int(text)
        try:
            return self.adapter.validate_python(value, strict=True)
        except ValidationError:
            return None

    def wanted(self) -> str:
        """Return in words what the schema accepts."""
        if "enum" in self.schema:
            return f"one of {', '.join(self.schema['enum'])}"
        if self.schema["type"] == "integer":
            low, high = self.schema["minimum"], self.schema["maximum"]
            return f"a whole number from {low} to {high}, digits only"
        return f"{self.schema.get('minLength', 0)} to {self.schema.get('maxLength')} characters"


@dataclass(frozen=True)
class Field:
    """One input: where it lies in the spec, and which annotations and default also state it."""

    attribute: str
    """Of ResolvedInputs."""
    path: tuple[str, ...]
    """Of AIWorkloadSpec, attribute by attribute."""
    keys: tuple[str, ...] = ()
    """Annotations; of those present in one place the first counts."""
    default: str | None = None
    """Attribute of PolicyDefaults."""
    rival: tuple[str, ...] = ()
    """Path in the spec that excludes this input."""

    @cached_property
    def name(self) -> str:
        """Return the path as a user writes it: `inference.batchSize`."""
        model: type[BaseModel] = AIWorkloadSpec
        parts = []
        for part in self.path:
            parts.append(model.model_fields[part].alias or part)
            model = _model_of(model.model_fields[part].annotation) or model
        return ".".join(parts)

    @cached_property
    def ways(self) -> frozenset[str]:
        """Return by what texts beside the spec may state it: its annotations, and its name."""
        return frozenset((*self.keys, self.name))

    @property
    def check(self) -> Check:
        """Return the check that the schema makes of this field."""
        model: type[BaseModel] = AIWorkloadSpec
        for part in self.path[:-1]:
            model = _model_of(model.model_fields[part].annotation) or model
        annotation: Any = model.model_fields[self.path[-1]].annotation
        adapter = TypeAdapter[Any](annotation)
        choices = adapter.json_schema()["anyOf"]
        return Check(adapter, next(choice for choice in choices if choice["type"] != "null"))


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside `Model | None`."""
    for choice in (annotation, *get_args(annotation)):
        if isinstance(choice, type) and issubclass(choice, BaseModel):
            return choice
    return None


TASK = Field("task", ("task",), (names.ANNOTATION_TASK,), "task")
MODEL = (
    Field("model_name", ("model", "name"), (names.ANNOTATION_MODEL,), "model_name"),
    Field("model_revision", ("model", "revision")),
    Field("model_source", ("model", "source")),
    Field("precision", ("model", "precision"), (names.ANNOTATION_PRECISION,), "precision"),
    Field("weight_precision", ("model", "weight_precision"), (names.ANNOTATION_WEIGHT_PRECISION,)),
    Field(
        "key_value_cache_precision",
        ("model", "key_value_cache_precision"),
        (names.ANNOTATION_CACHE_PRECISION,),
    ),
)
INFERENCE = (
    Field("batch_size", ("inference", "batch_size"), (names.ANNOTATION_BATCH_SIZE,), "batch_size"),
    Field(
        "input_tokens",
        ("inference", "input_tokens"),
        (names.ANNOTATION_INPUT_TOKENS,),
        "input_tokens",
    ),
    Field(
        "output_tokens",
        ("inference", "output_tokens"),
        (names.ANNOTATION_OUTPUT_TOKENS,),
        "output_tokens",
    ),
    Field(
        "requests",
        ("inference", "requests"),
        (names.ANNOTATION_REQUESTS,),
        rival=("inference", "requests_per_second_milli"),
    ),
    Field("requests_per_second_milli", ("inference", "requests_per_second_milli")),
    Field(
        "height_pixels", ("inference", "image", "height_pixels"), (names.ANNOTATION_IMAGE_HEIGHT,)
    ),
    Field("width_pixels", ("inference", "image", "width_pixels"), (names.ANNOTATION_IMAGE_WIDTH,)),
    Field("frames", ("inference", "image", "frames"), (names.ANNOTATION_FRAMES,)),
    Field(
        "denoising_steps",
        ("inference", "image", "denoising_steps"),
        (names.ANNOTATION_DENOISING_STEPS,),
    ),
)
TRAINING = (
    Field(
        "batch_size",
        ("training", "global_batch_size"),
        (names.ANNOTATION_BATCH_SIZE,),
        "batch_size",
    ),
    Field("micro_batch_size", ("training", "micro_batch_size")),
    Field(
        "sequence_length",
        ("training", "sequence_length"),
        (names.ANNOTATION_SEQUENCE_LENGTH,),
        "sequence_length",
    ),
    Field("steps", ("training", "steps"), (names.ANNOTATION_STEPS,), rival=("training", "tokens")),
    Field("tokens", ("training", "tokens")),
)
COMMON = (
    Field("tensor", ("parallelism", "tensor"), (names.ANNOTATION_TENSOR_PARALLEL,)),
    Field("pipeline", ("parallelism", "pipeline"), (names.ANNOTATION_PIPELINE_PARALLEL,)),
    Field("expert", ("parallelism", "expert"), (names.ANNOTATION_EXPERT_PARALLEL,)),
    Field("context", ("parallelism", "context"), (names.ANNOTATION_CONTEXT_PARALLEL,)),
    Field("data", ("parallelism", "data"), (names.ANNOTATION_DATA_PARALLEL,)),
    Field("resource_name", ("accelerator", "resource_name")),
    Field("gpus_per_replica", ("accelerator", "count_per_replica")),
    Field("replicas", ("accelerator", "replicas")),
    Field("allowed_profiles", ("accelerator", "allowed_profiles")),
    Field("clock_megahertz", ("accelerator", "clock_megahertz"), (names.ANNOTATION_GPU_CLOCK,)),
    Field(
        "power_cap_watts",
        ("accelerator", "power_cap_watts"),
        (names.ANNOTATION_GPU_POWER_CAP, names.ANNOTATION_DYNAMO_POWER_CAP),
    ),
    Field(
        "expected_seconds",
        ("duration", "expected_seconds"),
        (names.ANNOTATION_EXPECTED_DURATION,),
    ),
    Field("deadline_seconds", ("duration", "deadline_seconds")),
)
_ALL = (TASK, *MODEL, *INFERENCE, *TRAINING, *COMMON)
CHECKS = {entry.path: entry.check for entry in _ALL}
ANNOTATIONS = frozenset(key for entry in _ALL for key in entry.keys)
"""Every annotation that is read as an input."""
