from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator.inputs import Origins, Resolution, inputs_digest, resolve
from energaizer_operator.inputs.fields import CHECKS, COMMON, INFERENCE, MODEL, TASK, TRAINING
from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energypolicy import PolicyDefaults

KEY = "energaizer.io/"
INFER = {
    f"{KEY}task": "Inference",
    f"{KEY}model": "llama-3.1-8b",
    f"{KEY}precision": "BF16",
    f"{KEY}batch-size": "8",
    f"{KEY}input-tokens": "1024",
    f"{KEY}output-tokens": "0",
}
TRAIN = {
    f"{KEY}task": "FineTuning",
    f"{KEY}model": "llama-3.1-8b",
    f"{KEY}precision": "BF16",
    f"{KEY}batch-size": "100000",
    f"{KEY}sequence-length": "4096",
    f"{KEY}steps": "10",
}


def workload(annotations: dict[str, str] | None = None, **spec: Any) -> AIWorkload:
    return AIWorkload.model_validate(
        {"metadata": {"name": "w", "annotations": annotations or {}}, "spec": spec}
    )


def source_of(resolution: Resolution, name: str) -> tuple[str, str] | None:
    return next(((one.value, one.source) for one in resolution.sources if one.name == name), None)


def messages(resolution: Resolution) -> str:
    return "\n".join(problem.message for problem in resolution.problems)


def test_the_job_of_the_reference_is_complete() -> None:
    found = resolve(
        Origins(
            workload=workload(
                training={
                    "globalBatchSize": 64,
                    "microBatchSize": 2,
                    "sequenceLength": 4096,
                    "steps": 8000,
                }
            ),
            owner_annotations=[
                {
                    f"{KEY}task": "FineTuning",
                    f"{KEY}precision": "BF16",
                    f"{KEY}model": "meta-llama/Llama-3.1-8B",
                    f"{KEY}tensor-parallel": "2",
                    f"{KEY}data-parallel": "4",
                }
            ],
            gpus_per_replica=8,
            replicas=1,
        )
    )
    inputs = found.inputs
    assert found.complete
    assert found.inputs_source == "OwnerAnnotations"
    assert (inputs.task, inputs.batch_size, inputs.steps) == ("FineTuning", 64, 8000)
    assert (inputs.tensor, inputs.data, inputs.gpu_count) == (2, 4, 8)
    assert source_of(found, "training.globalBatchSize") == ("64", "Spec")
    assert source_of(found, "parallelism.data") == ("4", "OwnerAnnotations")


def test_precedence_field_by_field() -> None:
    found = resolve(
        Origins(
            workload=workload({f"{KEY}output-tokens": "2"}, inference={"inputTokens": 1}),
            pod_annotations={f"{KEY}batch-size": "3", f"{KEY}output-tokens": "9", **INFER}
            | {f"{KEY}batch-size": "3"},
            owner_annotations=[{f"{KEY}requests": "4"}, {f"{KEY}requests": "5"}],
            runtime={"model.weightPrecision": "FP8", "model.name": "not this"},
            defaults=[PolicyDefaults(sequence_length=7), PolicyDefaults(precision="FP32")],
            gpus_per_replica=1,
        )
    )
    assert found.complete, messages(found)
    assert source_of(found, "inference.inputTokens") == ("1", "Spec")
    assert source_of(found, "inference.outputTokens") == ("2", "WorkloadAnnotations")
    assert source_of(found, "inference.batchSize") == ("3", "PodAnnotations")
    assert source_of(found, "inference.requests") == ("4", "OwnerAnnotations")
    assert source_of(found, "model.weightPrecision") == ("FP8", "RuntimeArguments")
    assert source_of(found, "model.precision") == ("BF16", "PodAnnotations")
    assert found.inputs_source == "RuntimeArguments"


def test_policy_defaults_are_the_weakest_source_and_the_strongest_policy_wins() -> None:
    found = resolve(
        Origins(
            pod_annotations={key: INFER[key] for key in INFER if "precision" not in key},
            defaults=[PolicyDefaults(), PolicyDefaults(precision="FP8", duration_seconds=9)],
            gpus_per_replica=1,
        )
    )
    assert source_of(found, "model.precision") == ("FP8", "PolicyDefaults")
    assert source_of(found, "duration.expectedSeconds") == ("3600", "PolicyDefaults")
    assert found.inputs.fallback_seconds == 3600
    assert found.inputs_source == "PolicyDefaults"


@pytest.mark.parametrize(
    ("key", "text", "remedy"),
    [
        ("batch-size", "64k", "a whole number from 1 to 65536, digits only"),
        ("batch-size", "0", "a whole number from 1 to 65536"),
        ("batch-size", "65537", "a whole number from 1 to 65536"),
        ("batch-size", " 8", "digits only"),
        ("batch-size", "+8", "digits only"),
        ("batch-size", "8.0", "digits only"),
        ("batch-size", "\u0668", "digits only"),
        ("batch-size", "9" * 5000, "digits only"),
        ("precision", "bf16", "one of FP32, TF32, FP16, BF16"),
        ("task", "Serve", "one of Inference, BatchInference, Training, FineTuning"),
        ("model", "", "1 to 253 characters"),
        ("gpu-clock-megahertz", "99", "from 100 to 5000"),
    ],
)
def test_an_invalid_annotation_is_missing_and_a_problem(key: str, text: str, remedy: str) -> None:
    defaults = PolicyDefaults(batch_size=1, precision="BF16", task="Inference", model_name="m")
    found = resolve(
        Origins(
            pod_annotations={**INFER, KEY + key: text},
            owner_annotations=[INFER],
            defaults=[defaults],
            gpus_per_replica=1,
        )
    )
    invalid = [one for one in found.problems if one.reason is Reason.INVALID_ANNOTATION]
    assert [one.message.startswith(f"annotation {KEY}{key} is ") for one in invalid] == [True]
    assert remedy in invalid[0].message
    assert len(invalid[0].message) < 256
    assert source_of(found, invalid[0].name) is None, "weaker sources do not replace it"


def test_a_stronger_source_hides_an_invalid_weaker_one() -> None:
    found = resolve(
        Origins(
            pod_annotations=INFER,
            owner_annotations=[{f"{KEY}batch-size": "many"}],
            gpus_per_replica=1,
        )
    )
    assert found.complete


def test_what_is_missing_is_named_with_its_remedy() -> None:
    found = resolve(Origins(pod_annotations={f"{KEY}task": "Training"}, gpus_per_replica=1))
    assert [problem.name for problem in found.problems] == [
        "model.name",
        "model.precision",
        "training.globalBatchSize",
        "training.sequenceLength",
    ]
    assert "annotation energaizer.io/batch-size or AIWorkload spec.training.globalBatchSize" in (
        messages(found)
    )


def test_batch_size_has_the_bounds_of_its_task() -> None:
    assert resolve(Origins(pod_annotations=TRAIN, gpus_per_replica=1)).inputs.batch_size == 100000
    assert not resolve(
        Origins(pod_annotations=INFER | {f"{KEY}batch-size": "100000"}, gpus_per_replica=1)
    ).complete


def test_the_block_that_is_filled_states_the_task() -> None:
    train = resolve(Origins(workload=workload(training={})))
    assert source_of(train, "task") == ("Training", "Spec")
    batch = resolve(Origins(workload=workload(inference={"requests": 5})))
    assert source_of(batch, "task") == ("BatchInference", "Spec")
    fine = resolve(Origins(workload=workload({f"{KEY}task": "FineTuning"}, training={})))
    assert source_of(fine, "task") == ("FineTuning", "WorkloadAnnotations")
    contradicted = resolve(Origins(workload=workload({f"{KEY}task": "Inference"}, training={})))
    assert source_of(contradicted, "task") == ("Training", "Spec")


def test_stated_tokens_exclude_annotated_steps() -> None:
    found = resolve(Origins(workload=workload(TRAIN, training={"tokens": 5}), gpus_per_replica=1))
    assert (found.inputs.tokens, found.inputs.steps) == (5, None)


def test_our_cap_comes_before_dynamo_s() -> None:
    dynamo = {"dynamo.nvidia.com/gpu-power-limit": "400"}
    only = resolve(Origins(pod_annotations=dynamo))
    assert only.inputs.power_cap_watts == 400
    both = resolve(Origins(pod_annotations={**dynamo, f"{KEY}gpu-power-cap-watts": "300"}))
    assert both.inputs.power_cap_watts == 300


def test_a_declaration_never_hides_what_the_template_asks_for() -> None:
    accelerator = {"countPerReplica": 1, "replicas": 10}
    found = resolve(
        Origins(workload=workload(accelerator=accelerator), gpus_per_replica=8, replicas=2)
    )
    assert (found.inputs.gpus_per_replica, found.inputs.replicas) == (8, 10)


@pytest.mark.parametrize(
    ("degrees", "gpus", "replicas", "data"),
    [
        ({}, 8, 1, 8),
        ({}, 8, 4, 32),
        ({"tensor-parallel": "8"}, 8, 4, 4),
        ({"tensor-parallel": "2", "data-parallel": "4"}, 8, 1, 4),
        ({"tensor-parallel": "2", "data-parallel": "4"}, 8, 4, 16),
        ({"tensor-parallel": "16"}, 8, 2, 1),
        ({"tensor-parallel": "8"}, 8, 0, 1),
    ],
)
def test_every_gpu_has_a_part(degrees: dict[str, str], gpus: int, replicas: int, data: int) -> None:
    annotations = INFER | {KEY + key: text for key, text in degrees.items()}
    found = resolve(Origins(pod_annotations=annotations, gpus_per_replica=gpus, replicas=replicas))
    assert found.complete, messages(found)
    assert found.inputs.data == data


@pytest.mark.parametrize(
    "degrees",
    [
        {"tensor-parallel": "3"},
        {"tensor-parallel": "16"},
        {"tensor-parallel": "2", "data-parallel": "3"},
    ],
)
def test_degrees_that_do_not_use_the_gpus_are_a_problem(degrees: dict[str, str]) -> None:
    annotations = INFER | {KEY + key: text for key, text in degrees.items()}
    found = resolve(Origins(pod_annotations=annotations, gpus_per_replica=8))
    assert "does not use the 8 GPUs" in messages(found)


def test_without_a_template_the_degrees_say_how_many_gpus() -> None:
    found = resolve(Origins(workload=workload(INFER, parallelism={"tensor": 4, "data": 2})))
    assert found.complete
    assert (found.inputs.gpu_count, found.inputs.data) == (8, 2)
    unknown = resolve(Origins(workload=workload(INFER)))
    assert "accelerator.countPerReplica is missing" in messages(unknown)


def test_an_inline_model_needs_its_shapes_and_no_name() -> None:
    annotations = {key: INFER[key] for key in INFER if not key.endswith("/model")}
    shapes = {
        "layers": 2,
        "hiddenSize": 64,
        "intermediateSize": 128,
        "attentionHeads": 4,
    }
    model = {"source": "Inline", "architecture": shapes}
    found = resolve(Origins(workload=workload(annotations, model=model), gpus_per_replica=1))
    assert [one.name for one in found.problems] == ["model.architecture.vocabularySize"]


def test_duration_of_the_bound() -> None:
    inputs = resolve(
        Origins(workload=workload({f"{KEY}expected-duration-seconds": "60"}), deadline_seconds=90)
    ).inputs
    assert (inputs.bound_seconds, inputs.deadline_seconds) == (60, 90)
    assert resolve(Origins(deadline_seconds=90)).inputs.bound_seconds == 90
    assert resolve(Origins()).inputs.bound_seconds == 3600


def test_the_digest_changes_with_what_changes_the_estimate() -> None:
    one = resolve(Origins(pod_annotations=INFER, gpus_per_replica=1)).inputs
    two = resolve(
        Origins(pod_annotations=INFER | {f"{KEY}batch-size": "9"}, gpus_per_replica=1)
    ).inputs
    narrowed = resolve(
        Origins(
            workload=workload(INFER, accelerator={"allowedProfiles": ["a"]}), gpus_per_replica=1
        )
    ).inputs
    digest = inputs_digest(one, "p", "1")
    assert digest.startswith("sha256:")
    assert len(digest) == 71
    assert digest == inputs_digest(narrowed, "p", "1"), "allowed profiles change no estimate"
    others = {inputs_digest(two, "p", "1"), inputs_digest(one, "q", "1")}
    assert digest not in others | {inputs_digest(one, "p", "2")}


ANNOTATED = [entry for entry in (TASK, *MODEL, *INFERENCE, *TRAINING, *COMMON) if entry.keys]


def valid_text(entry: Any) -> str:
    schema = CHECKS[entry.path].schema
    if "enum" in schema:
        return str(schema["enum"][0])
    return str(schema["minimum"]) if schema["type"] == "integer" else "text"


@given(st.data())
def test_every_value_comes_from_the_strongest_source_that_states_it(data: st.DataObject) -> None:
    places: list[dict[str, str]] = [{}, {}, {}, {}]
    for place in places:
        for entry in data.draw(st.lists(st.sampled_from(ANNOTATED), max_size=8)):
            place[entry.keys[0]] = valid_text(entry)
    places[0][f"{KEY}task"] = data.draw(st.sampled_from(["Inference", "Training"]))
    found = resolve(
        Origins(
            workload=workload(places[0]),
            pod_annotations=places[1],
            owner_annotations=places[2:],
        )
    )
    names = ("WorkloadAnnotations", "PodAnnotations", "OwnerAnnotations", "OwnerAnnotations")
    keys = {entry.name: entry.keys for entry in ANNOTATED}
    for one in found.sources:
        if one.source == "PolicyDefaults":
            continue
        stated = [
            source
            for source, place in zip(names, places, strict=True)
            if any(key in place for key in keys[one.name])
        ]
        assert one.source == stated[0]


@given(st.dictionaries(st.sampled_from([key for one in ANNOTATED for key in one.keys]), st.text()))
def test_odd_annotations_never_raise_and_are_never_used(annotations: dict[str, str]) -> None:
    found = resolve(Origins(pod_annotations=annotations, gpus_per_replica=1))
    for one in found.sources:
        assert one.source == "PolicyDefaults" or one.value[:-1] in " ".join(annotations.values())


def published(name: str | None) -> str | None:
    return {"llama-3.1-8b": "BF16"}.get(name or "")


def test_a_server_computes_in_the_format_of_its_checkpoint_where_nobody_says_another() -> None:
    server = {"task": "Inference", "model.name": "llama-3.1-8b"}
    usual = [PolicyDefaults(batch_size=8, input_tokens=10, output_tokens=10)]

    def found(runtime: dict[str, str], **more: Any) -> Resolution:
        return resolve(
            Origins(
                runtime=runtime,
                gpus_per_replica=1,
                published=published,
                **{"defaults": usual} | more,
            )
        )

    assert source_of(found(server), "model.precision") == ("BF16", "Checkpoint")
    assert found(server).inputs_source == "Checkpoint"
    assert not found(server).problems
    said = found({**server, "model.precision": "FP16"})
    assert source_of(said, "model.precision") == ("FP16", "RuntimeArguments")
    policy = found(server, defaults=[PolicyDefaults(precision="FP8")])
    assert source_of(policy, "model.precision") == ("FP8", "PolicyDefaults")
    for doubtful in (
        found(server, hidden={"model.precision": "is hidden"}),
        found(server, pod_annotations={f"{KEY}precision": "half"}),
        found({**server, "model.name": "a/b"}),
        found({**server, "task": "Training"}),
    ):
        assert doubtful.inputs.precision is None
        assert "model.precision" in {problem.name for problem in doubtful.problems}


def test_the_usual_load_is_lowered_to_what_a_server_allows_and_a_stated_one_is_not() -> None:
    usual = [PolicyDefaults(batch_size=64, input_tokens=1024, output_tokens=256)]
    ceilings = {"inference.batchSize": 4, "inference.inputTokens": 1000}

    def found(**annotations: str) -> Resolution:
        texts = {f"{KEY}{key.replace('_', '-')}": text for key, text in annotations.items()}
        runtime = {"task": "Inference"}
        return resolve(
            Origins(runtime=runtime, defaults=usual, ceilings=ceilings, pod_annotations=texts)
        )

    lowered = found()
    assert source_of(lowered, "inference.batchSize") == ("4", "RuntimeArguments")
    assert source_of(lowered, "inference.inputTokens") == ("744", "RuntimeArguments")
    assert source_of(lowered, "inference.outputTokens") == ("256", "PolicyDefaults")
    stated = found(batch_size="32", input_tokens="2000")
    assert source_of(stated, "inference.batchSize") == ("32", "PodAnnotations")
    assert source_of(stated, "inference.inputTokens") == ("2000", "PodAnnotations")
