"""Our kinds as Python: strict like the API server, frozen, camelCase outside."""

from typing import Any

import pytest
from pydantic import ValidationError

from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import Condition


def workload(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "AIWorkload",
        "metadata": {"name": "train", "namespace": "team-a", "managedFields": [{"manager": "x"}]},
        "spec": spec,
    }


def test_an_empty_spec_is_valid() -> None:
    parsed = AIWorkload.model_validate(workload())
    assert parsed.to_dict()["spec"] == {}


def test_the_example_of_the_reference_survives_a_round_trip() -> None:
    spec = {
        "workloadRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "llama-8b-ft"},
        "training": {
            "globalBatchSize": 64,
            "microBatchSize": 2,
            "sequenceLength": 4096,
            "steps": 8000,
        },
        "accelerator": {"allowedProfiles": ["h100-sxm5-80gb", "a100-sxm4-80gb"]},
        "whatIf": {
            "profiles": ["h100-sxm5-80gb", "a100-sxm4-80gb"],
            "clocksMegahertz": [1200, 1410],
            "powerCapsWatts": [],
        },
    }
    assert AIWorkload.model_validate(workload(**spec)).to_dict()["spec"] == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"inference": {}, "training": {}}, "exclude each other"),
        ({"task": "Inference", "training": {}}, "needs task Training"),
        ({"task": "Training", "inference": {}}, "needs task Inference"),
        ({"model": {"source": "Inline"}}, "needs model.architecture"),
        ({"model": {"source": "HuggingFaceConfig"}}, "needs model.configMapRef"),
        ({"inference": {"requests": 1, "requestsPerSecondMilli": 1}}, "exclude each other"),
        ({"training": {"steps": 1, "tokens": 1}}, "keep one"),
        ({"training": {"microBatchSize": 3, "globalBatchSize": 2}}, "cannot exceed"),
        ({"whatIf": {"profiles": ["a"] * 16, "clocksMegahertz": [100] * 16}}, "256 combinations"),
        (
            {"parallelism": {"tensor": 16}, "accelerator": {"countPerReplica": 8}},
            "exceeds the GPUs",
        ),
        (
            {
                "parallelism": {"tensor": 8, "pipeline": 3},
                "accelerator": {"countPerReplica": 8, "replicas": 2},
            },
            "exceeds the GPUs",
        ),
        ({"accelerator": {"allowedProfiles": ["a", "a"]}}, "holds a value twice"),
        ({"inference": {"batchSize": "3"}}, "valid integer"),
        ({"inference": {"batchSize": True}}, "valid integer"),
        ({"inference": {"batchSize": 0}}, "greater than or equal to 1"),
        ({"tasks": "Inference"}, "Extra inputs are not permitted"),
    ],
)
def test_a_bad_workload_is_refused_with_the_reason(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AIWorkload.model_validate(workload(**spec))


def test_unstated_gpus_do_not_limit_the_degrees() -> None:
    AIWorkload.model_validate(workload(parallelism={"tensor": 16}, accelerator={}))


def test_a_null_is_an_absent_key_as_in_the_cluster() -> None:
    parsed = AIWorkload.model_validate(
        {
            **workload(task=None, whatIf={"profiles": None}),
            "metadata": {"name": "a", "labels": None},
        }
    )
    assert parsed.to_dict()["spec"]["whatIf"]["profiles"] == []
    assert parsed.metadata.labels == {}


def test_a_name_longer_than_a_label_is_refused() -> None:
    with pytest.raises(ValidationError, match="63 characters"):
        AIWorkload.model_validate({**workload(), "metadata": {"name": "a" * 64}})


def test_objects_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        AIWorkload.model_validate(workload()).spec = None  # type: ignore[assignment]


def profile(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "energaizer.io/v1alpha1",
        "kind": "GPUProfile",
        "metadata": {"name": "t4-pcie-16gb"},
        "spec": {"vendor": "NVIDIA", "thermalDesignPowerWatts": 70, **spec},
    }


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "how to recognise"),
        ({"productNames": ["Tesla-T4"], "idlePowerWatts": 70}, "must be below"),
        ({"deviceIDs": ["74A0"]}, "pattern"),
        ({"productNames": ["a"], "powerCapRange": {"minWatts": 2, "maxWatts": 1}}, "not exceed"),
        (
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]},
            "In needs values",
        ),
    ],
)
def test_a_bad_profile_is_refused_with_the_reason(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GPUProfile.model_validate(profile(**spec))


def test_device_ids_keep_their_capitals_in_the_cluster() -> None:
    parsed = GPUProfile.model_validate(profile(deviceIDs=["1eb8"]))
    assert parsed.to_dict()["spec"]["deviceIDs"] == ["1eb8"]


def test_a_policy_warns_unless_told_otherwise() -> None:
    parsed = EnergyPolicy.model_validate(
        {
            "apiVersion": "energaizer.io/v1alpha1",
            "kind": "EnergyPolicy",
            "metadata": {"name": "p"},
            "spec": {"limits": {"maxEnergyJoules": 1}, "defaults": {}},
        }
    )
    assert parsed.to_dict()["spec"] == {
        "priority": 0,
        "action": "Warn",
        "limits": {"maxEnergyJoules": 1, "requireInputs": "Optional"},
        "uncertainty": "High",
        "onEstimatorFailure": "UseTDPBound",
        "declaredCaps": "Untrusted",
        "defaults": {"durationSeconds": 3600},
        "powerUsageEffectivenessPercent": 100,
    }


def test_a_condition_needs_a_time_with_a_zone() -> None:
    raw = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
    stamped = Condition.model_validate({**raw, "lastTransitionTime": "2026-11-24T15:00:00Z"})
    assert stamped.to_dict()["lastTransitionTime"] == "2026-11-24T15:00:00Z"
    with pytest.raises(ValidationError, match="time zone"):
        Condition.model_validate({**raw, "lastTransitionTime": "2026-11-24T15:00:00"})
