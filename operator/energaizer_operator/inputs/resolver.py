"""Takes each input from the strongest source that states it, and says what is wrong."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, get_args

from energaizer_operator.inputs.fields import (
    ANNOTATIONS,
    CHECKS,
    COMMON,
    INFERENCE,
    MODEL,
    TASK,
    TRAINING,
    Field,
)
from energaizer_operator.inputs.records import Origins, Problem, Resolution, ResolvedInputs
from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload.spec import AIWorkloadSpec, Architecture
from energaizer_operator.resources.aiworkload.status import ResolvedInput
from energaizer_operator.resources.energypolicy import DEFAULT_DURATION_SECONDS
from energaizer_operator.schema import InputsSource, Task

_SOURCES: tuple[InputsSource, ...] = get_args(InputsSource)
_TRAINING_TASKS = ("Training", "FineTuning")
_INLINE_SHAPES = (
    "layers",
    "hidden_size",
    "intermediate_size",
    "attention_heads",
    "vocabulary_size",
)
_MAX_VALUE = 253
_SILENT = AIWorkloadSpec()
_BLOCKS = frozenset(one.path[0] for one in (*MODEL, *INFERENCE, *TRAINING, *COMMON))
_PRECISION = next(one for one in MODEL if one.attribute == "precision")


def resolve(origins: Origins) -> Resolution:
    """Return the inputs of a workload, each from the strongest source that states it."""
    return _Resolver(origins).resolve()


class _Resolver:
    """Collects values, sources and problems of one workload; used once."""

    def __init__(self, origins: Origins) -> None:
        self.origins = origins
        self.spec = origins.workload.spec if origins.workload else _SILENT
        self.values: dict[str, Any] = {}
        self.sources: list[ResolvedInput] = []
        self.problems: list[Problem] = []
        workload = origins.workload
        places: tuple[tuple[InputsSource, Mapping[str, str]], ...] = (
            ("WorkloadAnnotations", workload.metadata.annotations if workload else {}),
            ("PodAnnotations", origins.pod_annotations),
            *(("OwnerAnnotations", texts) for texts in origins.owner_annotations),
        )
        # Few of them state any input, and each would be asked about every input.
        self.places = [one for one in places if not ANNOTATIONS.isdisjoint(one[1])]

    def resolve(self) -> Resolution:
        self.take(TASK)
        self.deduce_task()
        task = self.values.get("task")
        load = () if task is None else TRAINING if task in _TRAINING_TASKS else INFERENCE
        for entry in self.possible((*MODEL, *load, *COMMON)):
            self.take(entry)
        self.take_published(task)
        self.lower()
        self.take_model_shapes()
        self.take_counts()
        self.take_duration()
        self.spread()
        self.require(load)
        used = {entry.source for entry in self.sources}
        return Resolution(
            inputs=ResolvedInputs(**self.values),
            sources=tuple(self.sources),
            inputs_source=max(used, key=_SOURCES.index, default=None),
            problems=tuple(self.problems),
        )

    def possible(self, entries: Sequence[Field]) -> Sequence[Field]:
        """Return those of some inputs that anybody may state: mostly a few of many."""
        origins, usual = self.origins, bool(self.origins.defaults)
        blocks = {block for block in _BLOCKS if getattr(self.spec, block) is not None}
        said = {*origins.runtime, *origins.hidden}.union(*(texts for _, texts in self.places))
        return [
            one
            for one in entries
            if one.path[0] in blocks or (usual and one.default) or not one.ways.isdisjoint(said)
        ]

    def take(self, entry: Field) -> None:
        """Take one input from the strongest source that states it."""
        stated = _get(self.spec, entry.path)
        if stated is not None:
            self.note(entry, stated, "Spec")
            return
        if entry.rival and _get(self.spec, entry.rival) is not None:
            return
        written = self.written(entry)
        if written is not None:
            source, key, text = written
            value = CHECKS[entry.path].parse(text)
            if value is None:
                self.problem_of_text(entry, source, key, text)
            else:
                self.note(entry, value, source)
            return
        if entry.name in self.origins.hidden:
            why = self.origins.hidden[entry.name]
            message = f"{entry.name} {why}; state it by {_remedy(entry)}"
            self.problems.append(Problem(Reason.MISSING_INPUTS, entry.name, message))
            return
        for defaults in self.origins.defaults if entry.default else ():
            value = getattr(defaults, entry.default or "")
            if value is not None:
                self.note(entry, value, "PolicyDefaults")
                return

    def written(self, entry: Field) -> tuple[InputsSource, str, str] | None:
        """Return source, key and text of the strongest place that states the input as text."""
        for source, texts in self.places:
            for key in entry.keys:
                if key in texts:
                    return source, key, texts[key]
        text = self.origins.runtime.get(entry.name)
        return None if text is None else ("RuntimeArguments", entry.name, text)

    def note(self, entry: Field, value: Any, source: InputsSource) -> None:
        self.values[entry.attribute] = value
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        if len(text) > _MAX_VALUE:
            text = text[: _MAX_VALUE - 1] + "…"
        self.sources.append(_resolved(entry.name, text, source))

    def problem_of_text(self, entry: Field, source: InputsSource, key: str, text: str) -> None:
        wanted = CHECKS[entry.path].wanted()
        if source == "RuntimeArguments":
            message = f'argument for {entry.name} is "{text[:63]}"; it must be {wanted}'
            self.problems.append(Problem(Reason.MISSING_INPUTS, entry.name, message))
        else:
            message = f'annotation {key} is "{text[:63]}"; it must be {wanted}'
            self.problems.append(Problem(Reason.INVALID_ANNOTATION, entry.name, message))

    def deduce_task(self) -> None:
        """Read the task off the block that the spec fills: it is stated there, not guessed."""
        task = self.values.get("task")
        deduced: Task | None = None
        if self.spec.training is not None and task not in _TRAINING_TASKS:
            deduced = "Training"
        elif self.spec.inference is not None and (task is None or task in _TRAINING_TASKS):
            deduced = "Inference" if self.spec.inference.requests is None else "BatchInference"
        if deduced is not None:
            self.sources = [source for source in self.sources if source.name != "task"]
            self.note(TASK, deduced, "Spec")

    def take_published(self, task: str | None) -> None:
        """Serve a checkpoint in its own format where nobody says another, as servers do.

        What trains computes in the format of its trainer, whatever the checkpoint's.
        """
        doubted = any(problem.name == _PRECISION.name for problem in self.problems)
        serves = task is not None and task not in _TRAINING_TASKS
        if serves and not doubted and self.values.get("precision") is None:
            published = self.origins.published(self.values.get("model_name"))
            if published is not None:
                self.note(_PRECISION, published, "Checkpoint")

    def lower(self) -> None:
        """Lower the policies' usual load to what the arguments of the server allow."""
        ceilings = self.origins.ceilings
        if not ceilings:
            return
        usual = {one.name for one in self.sources if one.source == "PolicyDefaults"}
        most = {"inference.batchSize": ceilings.get("inference.batchSize")}
        longest = ceilings.get("inference.inputTokens")
        if longest is not None:
            output = min(self.values.get("output_tokens", 0), max(longest - 1, 0))
            most["inference.outputTokens"] = output
            most["inference.inputTokens"] = max(longest - output, 1)
        for entry in INFERENCE:
            limit = most.get(entry.name)
            if limit and entry.name in usual and self.values[entry.attribute] > limit:
                self.sources = [one for one in self.sources if one.name != entry.name]
                self.note(entry, limit, "RuntimeArguments")

    def take_model_shapes(self) -> None:
        model = self.spec.model
        if model is not None:
            self.values["architecture"] = model.architecture
            self.values["config_map"] = model.config_map_ref and model.config_map_ref.name
        if self.values.get("model_source") != "Inline":
            return
        for shape in _INLINE_SHAPES:
            if _get(self.spec, ("model", "architecture", shape)) is None:
                alias = Architecture.model_fields[shape].alias
                self.missing(f"model.architecture.{alias}", ())

    def take_counts(self) -> None:
        """Take GPUs and replicas: what is stated may exceed the template, never hide a part of it.

        A declaration below what the containers ask for would charge less than what runs.
        """
        facts = (
            ("gpus_per_replica", self.origins.gpus_per_replica),
            ("replicas", self.origins.replicas),
        )
        for attribute, fact in facts:
            if fact is not None and fact >= self.values.get(attribute, 0):
                self.values[attribute] = fact
        self.values.setdefault("replicas", 1)
        self.values.setdefault("resource_name", self.origins.resource_name)

    def take_duration(self) -> None:
        self.values.setdefault("deadline_seconds", self.origins.deadline_seconds)
        defaults = self.origins.defaults
        seconds = defaults[0].duration_seconds if defaults else DEFAULT_DURATION_SECONDS
        self.values["fallback_seconds"] = seconds
        lengths = ("expected_seconds", "deadline_seconds", "steps", "tokens", "requests")
        if all(self.values.get(name) is None for name in lengths):
            name = "duration.expectedSeconds"
            self.sources.append(_resolved(name, str(seconds), "PolicyDefaults"))

    def spread(self) -> None:
        """Hold the degrees of parallelism against the GPUs: each GPU has a part in the work.

        Degrees may describe the whole workload or one replica of it. An unstated data degree is
        what the other degrees leave of the GPUs.
        """
        degrees = [self.values.get(name, 1) for name in ("tensor", "pipeline", "context")]
        model = degrees[0] * degrees[1] * degrees[2]
        data: int | None = self.values.get("data")
        replicas = max(self.values["replicas"], 1)
        per_replica = self.values.get("gpus_per_replica", 0)
        if per_replica == 0:
            if any(name in self.values for name in ("tensor", "pipeline", "context", "data")):
                self.values["gpus_per_replica"] = -(-model * (data or 1) // replicas)
            else:
                self.missing("accelerator.countPerReplica", ("a GPU limit on a container",))
            return
        total = per_replica * replicas
        if data is None and total % model == 0:
            self.values["data"] = total // model
        elif data is not None and model * data == per_replica:
            self.values["data"] = data * replicas
        elif data is None or model * data != total:
            product = " x ".join(str(degree) for degree in [*degrees, data or 1])
            self.problems.append(
                Problem(
                    Reason.MISSING_INPUTS,
                    "parallelism",
                    f"tensor x pipeline x context x data = {product} does not use the {total} GPUs"
                    f" of the workload ({replicas} x {per_replica}); state degrees that do",
                )
            )

    def require(self, load: tuple[Field, ...]) -> None:
        """Report what an estimate cannot do without."""
        needed = {"task", "precision"}
        if self.values.get("model_source") != "Inline":
            needed.add("model_name")
        if load is TRAINING:
            needed |= {"batch_size", "sequence_length"}
        elif load is INFERENCE:
            image = {"height_pixels", "width_pixels"} <= self.values.keys()
            needed |= {"batch_size"} if image else {"batch_size", "input_tokens", "output_tokens"}
        reported = {problem.name for problem in self.problems}
        for entry in (TASK, *MODEL, *load):
            unknown = self.values.get(entry.attribute) is None
            if entry.attribute in needed and unknown and entry.name not in reported:
                self.missing(entry.name, [f"annotation {key}" for key in entry.keys])

    def missing(self, name: str, ways: Sequence[str]) -> None:
        remedy = " or ".join([*ways, f"AIWorkload spec.{name}"])
        message = f"{name} is missing; state it by {remedy}"
        self.problems.append(Problem(Reason.MISSING_INPUTS, name, message))


@lru_cache(maxsize=1024)  # workloads state few values, and the same again and again
def _resolved(name: str, value: str, source: InputsSource) -> ResolvedInput:
    return ResolvedInput(name=name, value=value, source=source)


def _remedy(entry: Field) -> str:
    ways = [f"annotation {key}" for key in entry.keys]
    return " or ".join([*ways, f"AIWorkload spec.{entry.name}"])


def _get(spec: AIWorkloadSpec, path: tuple[str, ...]) -> Any:
    if spec is _SILENT:
        return None
    value: Any = spec
    for part in path:
        value = getattr(value, part, None)
    return value
