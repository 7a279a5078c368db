"""What a user may state about a workload; every field is optional."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from energaizer_operator.schema import (
    AsList,
    AsSet,
    Base,
    Clock,
    Objective,
    ObjectName,
    PlacementMode,
    Positive,
    PowerCap,
    Precision,
    ProfileName,
    Rule,
    Seconds,
    Task,
    Watts,
    WeightPrecision,
    unset,
)

UpTo4096 = Annotated[int, Field(ge=1, le=4096)]
Degree = Annotated[int, Field(ge=1, le=1024)]
Tokens = Annotated[int, Field(ge=1, le=16777216)]
BatchSize = Annotated[int, Field(ge=1, le=65536)]
Pixels = Annotated[int, Field(ge=1, le=65536)]


class WorkloadRef(Base):
    """The object that an AIWorkload describes, in the same namespace."""

    api_version: ObjectName = Field(description="API version of the object, e.g. batch/v1.")
    kind: Annotated[str, Field(min_length=1, max_length=63)] = Field(
        description="Kind of the object, e.g. Job."
    )
    name: ObjectName = Field(description="Name of the object.")


class ConfigMapRef(Base):
    """A ConfigMap in the same namespace."""

    name: ObjectName = Field(description="Name of the ConfigMap; key config.json is read.")


class Architecture(Base):
    """The shapes of a model that no catalogue knows."""

    layers: UpTo4096 | None = unset("Transformer layers.")
    hidden_size: Annotated[int, Field(ge=1, le=262144)] | None = unset(
        "Width of the residual stream."
    )
    intermediate_size: Annotated[int, Field(ge=1, le=1048576)] | None = unset("Width of the MLP.")
    attention_heads: UpTo4096 | None = unset("Query heads of a layer.")
    key_value_heads: UpTo4096 | None = unset("Key and value heads; absent: as attentionHeads.")
    head_size: Annotated[int, Field(ge=1, le=8192)] | None = unset(
        "Absent: hiddenSize over attentionHeads."
    )
    vocabulary_size: Annotated[int, Field(ge=1, le=4194304)] | None = unset(
        "Rows of the embedding."
    )
    experts: Annotated[int, Field(ge=0, le=4096)] | None = unset(
        "Experts of a layer; 0 or absent: dense."
    )
    experts_per_token: Annotated[int, Field(ge=0, le=256)] | None = unset(
        "Experts that a token visits."
    )
    parameter_count: Positive | None = unset("Parameters, to check the shapes against.")


class ModelSpec(Base):
    """Which model runs, and in which number formats."""

    rules: ClassVar = (
        Rule(
            "!has(self.source) || self.source != 'Inline' || has(self.architecture)",
            "source Inline needs model.architecture; add it, or choose Preset or HuggingFaceConfig",
            lambda model: model.source != "Inline" or model.architecture is not None,
        ),
        Rule(
            "!has(self.source) || self.source != 'HuggingFaceConfig' || has(self.configMapRef)",
            "source HuggingFaceConfig needs model.configMapRef, a ConfigMap with key config.json",
            lambda model: model.source != "HuggingFaceConfig" or model.config_map_ref is not None,
        ),
    )

    name: ObjectName | None = unset("Name of the model, e.g. meta-llama/Llama-3.1-8B.")
    revision: str | None = Field(
        default=None, max_length=128, description="Revision, for the record."
    )
    precision: Precision | None = unset(
        "Number format of activations and, unless stated, of weights."
    )
    weight_precision: WeightPrecision | None = unset(
        "Number format of the weights; absent: as precision."
    )
    key_value_cache_precision: Precision | None = unset(
        "Number format of the KV cache; absent: as precision."
    )
    source: Literal["Preset", "HuggingFaceConfig", "Inline"] | None = unset(
        "Where the shapes come from; absent: Preset."
    )
    config_map_ref: ConfigMapRef | None = unset(
        "ConfigMap with the model's config.json; nothing is downloaded."
    )
    architecture: Architecture | None = unset("Shapes, for source Inline.")


class Image(Base):
    """Sizes of an image or video that a diffusion model makes."""

    height_pixels: Pixels | None = unset("Height of a frame.")
    width_pixels: Pixels | None = unset("Width of a frame.")
    frames: Pixels | None = unset("Frames; 1 for an image.")
    denoising_steps: Pixels | None = unset("Steps of the sampler.")


class InferenceSpec(Base):
    """The load of an inference workload."""

    rules: ClassVar = (
        Rule(
            "!(has(self.requests) && has(self.requestsPerSecondMilli))",
            "requests (a finite job) and requestsPerSecondMilli (a service) exclude each other",
            lambda load: load.requests is None or load.requests_per_second_milli is None,
        ),
    )

    batch_size: BatchSize | None = unset("Sequences that run together.")
    input_tokens: Tokens | None = unset("Tokens of one prompt.")
    output_tokens: Annotated[int, Field(ge=0, le=16777216)] | None = unset(
        "Tokens of one answer; 0: prefill only, or an encoder."
    )
    requests: Positive | None = unset("Requests of the whole job.")
    requests_per_second_milli: Annotated[int, Field(ge=1, le=10**9)] | None = unset(
        "Thousandths of a request per second that a service answers."
    )
    image: Image | None = unset("Sizes, for diffusion models.")


class TrainingSpec(Base):
    """The length and the batch of a training run."""

    rules: ClassVar = (
        Rule(
            "!(has(self.steps) && has(self.tokens))",
            "steps and tokens both state the length of the training; keep one",
            lambda training: training.steps is None or training.tokens is None,
        ),
        Rule(
            "!has(self.microBatchSize) || !has(self.globalBatchSize)"
            " || self.microBatchSize <= self.globalBatchSize",
            "microBatchSize is a part of globalBatchSize and cannot exceed it",
            lambda training: (
                training.micro_batch_size is None
                or training.global_batch_size is None
                or training.micro_batch_size <= training.global_batch_size
            ),
        ),
    )

    global_batch_size: Annotated[int, Field(ge=1, le=1048576)] | None = unset(
        "Sequences of one optimiser step, over all GPUs."
    )
    micro_batch_size: BatchSize | None = unset(
        "Sequences of one forward pass on one model replica."
    )
    sequence_length: Tokens | None = unset("Tokens of one sequence.")
    steps: Positive | None = unset("Optimiser steps of the run.")
    tokens: Positive | None = unset("Tokens of the run.")


class ParallelismSpec(Base):
    """How the model is spread over GPUs; what nobody states counts as 1."""

    tensor: Degree | None = unset("Shards of every matrix (TP).")
    pipeline: Degree | None = unset("Groups of layers in a row (PP).")
    expert: Degree | None = unset("Ranks the experts lie on (EP).")
    context: Degree | None = unset("Ranks a sequence lies on (CP).")
    data: Annotated[int, Field(ge=1, le=65536)] | None = unset("Replicas of the model (DP).")


class AcceleratorSpec(Base):
    """Which GPUs, how many, and at which clock or cap; counts default to the pod template."""

    resource_name: ObjectName | None = unset(
        "Extended resource that is asked for, e.g. nvidia.com/gpu."
    )
    count_per_replica: Annotated[int, Field(ge=1, le=1024)] | None = unset("GPUs of one pod.")
    replicas: Annotated[int, Field(ge=0, le=100000)] | None = unset("Pods that run at once.")
    allowed_profiles: Annotated[tuple[ProfileName, ...], AsSet(16)] | None = unset(
        "GPUProfiles that may run it; pods get a matching required node affinity."
    )
    clock_megahertz: Clock | None = unset("Locked GPU clock, if any.")
    power_cap_watts: PowerCap | None = unset("Power cap of each GPU, if any.")


class DurationSpec(Base):
    """How long it runs, where steps or requests do not say."""

    expected_seconds: Seconds | None = unset("Time it should take.")
    deadline_seconds: Seconds | None = unset("Time after which it is ended.")


class LimitsSpec(Base):
    """The user's own ceilings; a workload that passes one is refused."""

    max_energy_joules: Positive | None = unset("Energy of the workload.")
    max_power_watts: Watts | None = unset("Mean power of all its GPUs.")
    max_slowdown_percent: Annotated[int, Field(ge=0, le=1000)] | None = unset(
        "Extra time against the fastest feasible candidate."
    )


class PlacementSpec(Base):
    """How the prediction steers the scheduler."""

    mode: PlacementMode | None = unset("Means of steering; absent: the policy's, else Prefer.")
    objective: Objective | None = unset("What to minimise; absent: the policy's, else Energy.")


class WhatIfSpec(Base):
    """Further candidates to estimate: every profile at every clock and cap, and at neither."""

    rules: ClassVar = (
        Rule(
            "size(self.profiles) * (size(self.clocksMegahertz) + 1)"
            " * (size(self.powerCapsWatts) + 1) <= 256",
            "profiles x (clocks + 1) x (caps + 1) must not exceed 256 combinations",
            lambda grid: (
                len(grid.profiles)
                * (len(grid.clocks_megahertz) + 1)
                * (len(grid.power_caps_watts) + 1)
                <= MAX_COMBINATIONS
            ),
        ),
    )

    profiles: Annotated[tuple[ProfileName, ...], AsList(16)] = Field(
        default=(), description="GPUProfiles to compare."
    )
    clocks_megahertz: Annotated[tuple[Clock, ...], AsList(16)] = Field(
        default=(), description="Clocks to compare."
    )
    power_caps_watts: Annotated[tuple[PowerCap, ...], AsList(16)] = Field(
        default=(), description="Power caps to compare."
    )


MAX_COMBINATIONS = 256
_INFERENCE = ("Inference", "BatchInference")
_TRAINING = ("Training", "FineTuning")


def _degrees_fit(spec: "AIWorkloadSpec") -> bool:
    parallelism, accelerator = spec.parallelism, spec.accelerator
    if parallelism is None or accelerator is None or accelerator.count_per_replica is None:
        return True
    degree = (parallelism.tensor or 1) * (parallelism.pipeline or 1) * (parallelism.context or 1)
    return degree <= accelerator.count_per_replica * max(accelerator.replicas or 1, 1)


class AIWorkloadSpec(Base):
    """Everything a user may state. Nothing has a default: it would outrank an annotation."""

    rules: ClassVar = (
        Rule(
            "!(has(self.inference) && has(self.training))",
            "inference and training exclude each other; a workload is one of them",
            lambda spec: spec.inference is None or spec.training is None,
        ),
        Rule(
            "!has(self.task) || !has(self.training) || self.task in ['Training','FineTuning']",
            "a training block needs task Training or FineTuning",
            lambda spec: spec.task is None or spec.training is None or spec.task in _TRAINING,
        ),
        Rule(
            "!has(self.task) || !has(self.inference)"
            " || self.task in ['Inference','BatchInference']",
            "an inference block needs task Inference or BatchInference",
            lambda spec: spec.task is None or spec.inference is None or spec.task in _INFERENCE,
        ),
        Rule(
            "!has(oldSelf.workloadRef)"
            " || (has(self.workloadRef) && self.workloadRef == oldSelf.workloadRef)",
            "workloadRef cannot change once it is set; create another AIWorkload",
            None,
            "FieldValueForbidden",
        ),
        Rule(
            "!has(self.parallelism) || !has(self.accelerator)"
            " || !has(self.accelerator.countPerReplica)"
            " || (has(self.parallelism.tensor) ? self.parallelism.tensor : 1)"
            " * (has(self.parallelism.pipeline) ? self.parallelism.pipeline : 1)"
            " * (has(self.parallelism.context) ? self.parallelism.context : 1)"
            " <= self.accelerator.countPerReplica"
            " * (has(self.accelerator.replicas) && self.accelerator.replicas > 1"
            " ? self.accelerator.replicas : 1)",
            "tensor x pipeline x context exceeds the GPUs, countPerReplica x replicas;"
            " lower a degree, or raise accelerator.countPerReplica or accelerator.replicas",
            _degrees_fit,
        ),
    )

    workload_ref: WorkloadRef | None = unset("The object described; cannot change once set.")
    task: Task | None = unset("What the workload does.")
    model: ModelSpec | None = unset("The model it runs.")
    inference: InferenceSpec | None = unset("Load, for inference.")
    training: TrainingSpec | None = unset("Length, for training.")
    parallelism: ParallelismSpec | None = unset("Spread over GPUs.")
    accelerator: AcceleratorSpec | None = unset("GPUs it runs on.")
    duration: DurationSpec | None = unset("How long it runs.")
    limits: LimitsSpec | None = unset("The user's own ceilings.")
    placement: PlacementSpec | None = unset("Steering of the scheduler.")
    what_if: WhatIfSpec | None = unset("Candidates to compare.")
