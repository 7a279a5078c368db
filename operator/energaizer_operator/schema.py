"""What the kinds share: the base model, bounded types, CRD markers, Condition, EstimateSummary.

The models are the source of three things at once: parsing, the OpenAPI schema of the CRD, and its
CEL rules. A rule is written once as CEL for the API server and once as Python, side by side, so
that a manifest is judged alike offline and in the cluster.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

MAX = 2**53 - 1  # the largest integer that JSON carries exactly
MAX_CONDITIONS = 16


def unset(description: str) -> Any:
    """Return the field of an optional value, which stays absent until somebody states it."""
    return Field(default=None, description=description)


@dataclass(frozen=True)
class Rule:
    """One CEL rule of a CRD with the fixed message of its refusal, and the same rule in Python.

    `holds` is None for transition rules (`oldSelf`), which only the API server can judge.
    """

    cel: str
    message: str
    holds: Callable[[Any], bool] | None
    reason: Literal["FieldValueInvalid", "FieldValueForbidden"] = "FieldValueInvalid"


@dataclass(frozen=True)
class Column:
    """One printer column of a kind; `priority` 1 shows it with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    priority: int = 0


def _add_rules(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put the CEL rules of a model into its schema, where the API server reads them."""
    rules: tuple[Rule, ...] = getattr(model, "rules", ())
    if rules:
        schema["x-kubernetes-validations"] = [
            {"rule": rule.cel, "message": rule.message, "reason": rule.reason} for rule in rules
        ]


def without_nulls(data: Any) -> Any:
    """Return an object without its null values, which the API server takes for absent keys."""
    if isinstance(data, dict) and None in data.values():
        return {key: value for key, value in data.items() if value is not None}
    return data


class Base(BaseModel):
    """A frozen object of the API: snake_case here, camelCase in the cluster, unknown keys refused.

    Strict, as the API server is: no number in a string, no boolean as a number.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        populate_by_name=True,
        json_schema_extra=_add_rules,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        """Take `key: null` for an absent key, as the API server does."""
        return without_nulls(data)

    @model_validator(mode="after")
    def _obey_rules(self) -> Self:
        for rule in self.rules:
            if rule.holds is not None and not rule.holds(self):
                raise ValueError(rule.message)
        return self

    @classmethod
    def unknown(cls, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the members of an object that this version does not know."""
        known = {one.alias or name for name, one in cls.model_fields.items()}
        return {key: value for key, value in body.items() if key not in known}

    def to_dict(self) -> dict[str, Any]:
        """Return the object as the API server reads it: camelCase, without what is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True)
class _ListMarker:
    """How a list behaves in the cluster: its bound, and what server-side apply does to it."""

    limit: int
    least: int = field(default=0, kw_only=True)

    def _markers(self) -> dict[str, Any]:
        return {"x-kubernetes-list-type": "atomic"}

    def _check(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        least = {"min_length": self.least} if self.least else {}
        schema = {**handler(source), "strict": False, "max_length": self.limit, **least}
        return core_schema.no_info_after_validator_function(self._check, schema)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        least = {"minItems": self.least} if self.least else {}
        return {**handler(schema), **least, "maxItems": self.limit, **self._markers()}


@dataclass(frozen=True)
class AsList(_ListMarker):
    """A bounded list that server-side apply replaces as a whole."""


@dataclass(frozen=True)
class AsSet(_ListMarker):
    """A bounded list without duplicates, merged value by value."""

    def _markers(self) -> dict[str, Any]:
        return {"x-kubernetes-list-type": "set"}

    def _check(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) != len(value):
            raise ValueError("holds a value twice; name each once")
        return value


@dataclass(frozen=True)
class AsMap(_ListMarker):
    """A bounded list of objects told apart, and merged, by one field."""

    key: str

    def _markers(self) -> dict[str, Any]:
        return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}

    def _check(self, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len({getattr(entry, self.key) for entry in value}) != len(value):
            raise ValueError(f"holds the same {self.key} twice; name each once")
        return value


def _with_zone(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise ValueError("has no time zone; write RFC 3339 with Z or an offset")
    return value


def _as_text(value: object) -> object:
    """Refuse what Python would take for seconds since 1970, and the API server would not."""
    if isinstance(value, datetime) or (isinstance(value, str) and value[10:11] in ("T", "t")):
        return value
    raise ValueError("is no time; write RFC 3339: 2026-11-24T12:00:00Z")


# A point in time, in the cluster a string of RFC 3339.
Time = Annotated[
    datetime, Field(strict=False), AfterValidator(_with_zone), BeforeValidator(_as_text)
]
Count = Annotated[int, Field(ge=0, le=MAX)]
Positive = Annotated[int, Field(ge=1, le=MAX)]
Watts = Annotated[int, Field(ge=1, le=10**9)]
Clock = Annotated[int, Field(ge=100, le=5000)]
PowerCap = Annotated[int, Field(ge=10, le=5000)]
Seconds = Annotated[int, Field(ge=1, le=31622400)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253)]
ProfileName = Annotated[str, Field(min_length=1, max_length=63)]
Labels = Annotated[
    dict[str, Annotated[str, Field(max_length=63)]],
    Field(max_length=16),
    BeforeValidator(without_nulls),
]
LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
Digest = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
Human = Annotated[str, Field(max_length=32)]

Task = Literal["Inference", "BatchInference", "Training", "FineTuning"]
Precision = Literal["FP32", "TF32", "FP16", "BF16", "FP8", "INT8", "NVFP4", "MXFP4"]
WeightPrecision = Literal["FP32", "TF32", "FP16", "BF16", "FP8", "INT8", "INT4", "NVFP4", "MXFP4"]
Method = Literal["Calibrated", "Analytical", "Extrapolated", "Specification", "TDPBound"]
PlacementMode = Literal["None", "Prefer", "Kueue", "DeviceClaim"]
Objective = Literal["Energy", "EnergyDelayProduct", "Power"]
InputsSource = Literal[  # strongest first
    "Spec",
    "WorkloadAnnotations",
    "PodAnnotations",
    "OwnerAnnotations",
    "RuntimeArguments",
    "PolicyDefaults",
    "Checkpoint",
]


class Condition(Base):
    """One `metav1.Condition`."""

    type: str = Field(
        min_length=1, max_length=316, description="What the condition is about, in CamelCase."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: Count | None = unset(
        "Generation of the spec that the condition speaks of."
    )
    last_transition_time: Time = Field(description="When the status last changed.")
    reason: str = Field(
        min_length=1,
        max_length=1024,
        pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
        description="Why, as one CamelCase word for programs.",
    )
    message: str = Field(max_length=32768, description="Why, and what to do, for people.")


Conditions = Annotated[tuple[Condition, ...], AsMap(MAX_CONDITIONS, "type")]


def rounded_up(value: float) -> int:
    """Return a value, or its upper end, as an integer that is not below it, at least 1."""
    return max(1, math.ceil(value))


def rounded_down(value: float) -> int:
    """Return a lower end as an integer that is not above it, at least 1."""
    return max(1, math.floor(value))


class EstimateSummary(Base):
    """What one workload is predicted to take, in integers of the cluster's units.

    Energy and power are of the whole workload; low and high are the central 90 % interval. Value
    and high are rounded up, low down, none below 1, so that no interval shrinks on its way here.
    """

    profile: ProfileName = Field(description="GPUProfile that the numbers are for.")
    gpu_count: Positive = Field(description="GPUs of the whole workload.")
    replicas: Positive = Field(default=1, description="Pods that run at once.")
    clock_megahertz: Clock | None = unset("Mean GPU clock that the numbers assume.")
    power_cap_watts: Annotated[int, Field(ge=1, le=10000)] | None = unset(
        "Power limit of each board that the numbers assume."
    )
    power_watts: Watts = Field(description="Mean power of all boards.")
    power_low_watts: Watts = Field(description="Lower end of the 90 % interval of the power.")
    power_high_watts: Watts = Field(description="Upper end of the 90 % interval of the power.")
    duration_seconds: Positive = Field(description="Time the workload takes.")
    iteration_microseconds: Count | None = unset("Time of one training step or one decode step.")
    energy_joules: Positive = Field(description="Energy of all boards over the duration.")
    energy_low_joules: Positive = Field(description="Lower end of the 90 % interval of the energy.")
    energy_high_joules: Positive = Field(
        description="Upper end of the 90 % interval of the energy; what is charged by default."
    )
    energy_per_token_microjoules: Count | None = unset(
        "Energy over output tokens (training: over tokens)."
    )
    energy_human: Human = Field(
        default="", description='The energy for people: "171 MJ (47.5 kWh)".'
    )
    power_human: Human = Field(default="", description='The power for people: "5.1 kW".')
    method: Method = Field(
        description="Where the numbers come from, strongest first; TDPBound is a ceiling."
    )
    estimator_version: str | None = Field(
        default=None, max_length=63, description="Version of the estimator that answered."
    )
    estimate_time: Time | None = unset("When the estimate was made.")


class OwnerReference(BaseModel):
    """Who owns an object, as far as we look."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    api_version: str
    kind: str
    name: str
    uid: str = ""
    controller: bool = False


class Metadata(BaseModel):
    """The parts of an object's metadata that we read; what else it holds is not our business."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[OwnerReference, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        """Take `labels:` without a value, which people write, for no labels."""
        return without_nulls(data)


class Resource(Base):
    """One of our objects; a kind adds `kind`, `spec` and `status`."""

    columns: ClassVar[tuple[Column, ...]] = ()
    ours: ClassVar[frozenset[str]] = frozenset({"status"})
    """Parts that our own processes write."""

    api_version: Literal["energaizer.io/v1alpha1"] = Field(default="energaizer.io/v1alpha1")
    metadata: Metadata

    @classmethod
    def of_server(cls, body: Mapping[str, Any]) -> Self:
        """Return an object as the API server has it, which a newer version may have written.

        What that added to parts of ours is left out: kinds and the leader are upgraded before the
        last old replica is gone, and kinds stay when an upgrade is taken back. What a user states
        and this version does not understand is no less an error than elsewhere.

        Raises:
            ValidationError: The object means nothing to this version.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False, include_context=False)
            newer = all(
                fault["type"] == "extra_forbidden" and fault["loc"][0] in cls.ours
                for fault in faults
            )
            if not newer:
                raise
            return cls.model_validate(body, extra="ignore")


Feasibility = Literal[
    "Feasible", "InsufficientMemory", "TooSlow", "NotInCluster", "SharedGPU", "OverLimit"
]
