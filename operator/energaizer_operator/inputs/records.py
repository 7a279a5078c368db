"""What resolving takes and gives: origins in, inputs with their sources and problems out."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache

from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.aiworkload.spec import Architecture
from energaizer_operator.resources.aiworkload.status import ResolvedInput
from energaizer_operator.resources.energypolicy import DEFAULT_DURATION_SECONDS, PolicyDefaults
from energaizer_operator.schema import InputsSource, Precision, Task, WeightPrecision


@dataclass(frozen=True)
class Origins:
    """Everything that may state an input, as read from the cluster or from a file."""

    workload: AIWorkload | None = None
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    owner_annotations: Sequence[Mapping[str, str]] = ()
    """Of the template's owner first, of the root controller last."""
    runtime: Mapping[str, str] = field(default_factory=dict)
    """From the arguments of known runtimes: path of the input (`model.name`) -> text."""
    hidden: Mapping[str, str] = field(default_factory=dict)
    """What those arguments state without a literal value: path of the input -> why."""
    ceilings: Mapping[str, int] = field(default_factory=dict)
    """The most that those arguments allow: path of the input -> number.

    `inference.batchSize` bounds what runs together, `inference.inputTokens` input with output.
    """
    published: Callable[[str | None], str | None] = lambda _name: None
    """Name of a model -> format in which its checkpoint is published; None: unknown."""
    defaults: Sequence[PolicyDefaults] = ()
    """Of the matching policies, the strongest first (`policy.defaults`)."""
    resource_name: str | None = None
    gpus_per_replica: int | None = None
    replicas: int | None = None
    deadline_seconds: int | None = None
    """The four facts of the pod template (`owners.describe`)."""


@dataclass(frozen=True)
class ResolvedInputs:
    """The inputs of one estimate, in the units of the cluster; None is unknown."""

    task: Task | None = None
    model_name: str | None = None
    model_revision: str | None = None
    model_source: str | None = None
    config_map: str | None = None
    architecture: Architecture | None = None
    precision: Precision | None = None
    weight_precision: WeightPrecision | None = None
    key_value_cache_precision: Precision | None = None
    batch_size: int | None = None
    """Sequences that run together (inference), or the global batch (training)."""
    input_tokens: int | None = None
    output_tokens: int | None = None
    requests: int | None = None
    requests_per_second_milli: int | None = None
    height_pixels: int | None = None
    width_pixels: int | None = None
    frames: int | None = None
    denoising_steps: int | None = None
    micro_batch_size: int | None = None
    sequence_length: int | None = None
    steps: int | None = None
    tokens: int | None = None
    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    context: int = 1
    data: int = 1
    resource_name: str | None = None
    gpus_per_replica: int = 0
    replicas: int = 1
    allowed_profiles: tuple[str, ...] | None = None
    clock_megahertz: int | None = None
    power_cap_watts: int | None = None
    expected_seconds: int | None = None
    """Stated by somebody; stronger than steps or requests x step time."""
    deadline_seconds: int | None = None
    fallback_seconds: int = DEFAULT_DURATION_SECONDS
    """The policies' duration, for when nothing else says how long it runs."""

    @cached_property
    def canonical(self) -> str:
        """Return what can change an estimate as text; the rest is allowed profiles, revision."""
        values = {
            name: value.to_dict() if isinstance(value, Architecture) else value
            for name in _CANONICAL
            if (value := getattr(self, name)) is not None
        }
        return _SORTED.encode(values)

    @property
    def training(self) -> bool:
        """Return whether the workload trains."""
        return self.task in ("Training", "FineTuning")

    @property
    def gpu_count(self) -> int:
        """Return the GPUs of the whole workload."""
        return self.gpus_per_replica * self.replicas

    @property
    def bound_seconds(self) -> int:
        """Return the duration of the TDP bound: declared, else deadline, else the policies'."""
        return self.expected_seconds or self.deadline_seconds or self.fallback_seconds


_SORTED = json.JSONEncoder(sort_keys=True)
_CANONICAL = tuple(
    entry.name
    for entry in fields(ResolvedInputs)
    if entry.name not in ("allowed_profiles", "model_revision")
)


@dataclass(frozen=True)
class Problem:
    """One reason why the inputs are not complete, with the remedy in its message."""

    reason: Reason
    name: str
    """Path of the input in spec, e.g. `inference.batchSize`."""
    message: str


@dataclass(frozen=True)
class Resolution:
    """The inputs with where each came from, and what is wrong with them."""

    inputs: ResolvedInputs
    sources: tuple[ResolvedInput, ...]
    inputs_source: InputsSource | None
    """The weakest source that supplied a field; None if nobody stated any."""
    problems: tuple[Problem, ...]

    @property
    def complete(self) -> bool:
        """Return whether an estimate can be made; otherwise only a bound."""
        return not self.problems


def inputs_digest(inputs: ResolvedInputs, profile_digest: str, estimator_version: str) -> str:
    """Return `sha256:<hex>` of canonical inputs, profile and estimator version: the cache key."""
    text = f"[{inputs.canonical}, {_tail(profile_digest, estimator_version)}"
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


@lru_cache(maxsize=256)  # of each kind of GPU
def _tail(profile_digest: str, estimator_version: str) -> str:
    return json.dumps([profile_digest, estimator_version])[1:]
