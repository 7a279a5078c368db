from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from energaizer_operator.inputs import Origins, Resolution, resolve
from energaizer_operator.names import ConditionType, Reason
from energaizer_operator.options import Option
from energaizer_operator.placement import Plan
from energaizer_operator.policy import Question, judge, likely
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.aiworkload.spec import WhatIfSpec
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.gpuprofile import GPUProfile, ObservedTerm
from energaizer_operator.schema import Condition
from energaizer_operator.status import (
    Census,
    Finding,
    State,
    aiworkload_status,
    conditions,
    gpuprofile_status,
    policy_status,
)

MakeOption = Callable[..., Option]
NOW = datetime(2026, 11, 24, 15, 0, 0, 123456, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


def workload(status: AIWorkloadStatus | None = None) -> AIWorkload:
    made = AIWorkload.model_validate(
        {"metadata": {"name": "w", "namespace": "a", "generation": 3}, "spec": {}}
    )
    return made.model_copy(update={"status": status}) if status else made


def complete() -> Resolution:
    key = "energaizer.io/"
    annotations = {
        f"{key}task": "Inference",
        f"{key}model": "m",
        f"{key}precision": "BF16",
        f"{key}batch-size": "1",
        f"{key}input-tokens": "1",
        f"{key}output-tokens": "1",
        f"{key}requests": "1",
    }
    return resolve(Origins(pod_annotations=annotations, gpus_per_replica=8))


def finding(options: list[Option], **rest: Any) -> Finding:
    question = Question(options)
    return Finding(
        resolution=rest.pop("resolution", complete()),
        options=options,
        likely=likely(question, "Energy"),
        verdict=judge(question),
        **rest,
    )


def condition(status: AIWorkloadStatus, kind: str) -> Condition:
    return next(one for one in status.conditions if one.type == kind)


def test_a_workload_with_an_estimate(option: MakeOption) -> None:
    options = [
        option("a", 300_000),
        option("b", 200_000, power=5100),
        option("c", 1, reachable=False),
    ]
    plan = Plan("Prefer", Reason.PREFERRED, "b is preferred", weights={"b": 100, "a": 1})
    status = aiworkload_status(workload(), finding(options, plan=plan), NOW)
    assert status.observed_generation == 3
    assert (status.task, status.model_name) == ("Inference", "m")
    assert status.inputs_source == "PodAnnotations"
    assert status.estimate is not None
    assert status.estimate.profile == "b", "where it should land; the charge is that of a"
    assert (status.estimate.energy_human, status.estimate.power_human) == (
        "200 kJ (55.6 Wh)",
        "5.1 kW",
    )
    assert status.estimate.estimate_time == NOW.replace(microsecond=0)
    assert [(one.name, one.rank) for one in status.candidates] == [("b", 1), ("a", 2), ("c", 3)]
    assert status.placement is not None
    assert status.placement.to_dict() == {
        "mode": "Prefer",
        "applied": True,
        "preferredProfiles": ["b", "a"],
    }
    assert [(one.type, one.status, one.reason) for one in status.conditions] == [
        ("Ready", "True", "Ready"),
        ("InputsResolved", "True", "Resolved"),
        ("Estimated", "True", "Estimated"),
        ("BudgetReserved", "True", "NotRequired"),
        ("PlacementApplied", "True", "Preferred"),
        ("Measured", "Unknown", "NoSamples"),
    ]
    AIWorkloadStatus.model_validate_json(status.model_dump_json(by_alias=True))


def test_a_second_look_changes_nothing(option: MakeOption) -> None:
    options = [option("a", 300)]
    first = aiworkload_status(workload(), finding(options), NOW)
    assert aiworkload_status(workload(first), finding(options), LATER) == first
    other = aiworkload_status(workload(first), finding([option("a", 301)]), LATER)
    assert other.estimate is not None
    assert other.estimate.estimate_time == LATER.replace(microsecond=0)
    assert condition(other, "Ready").last_transition_time == NOW.replace(microsecond=0)


def test_ready_names_the_first_failing_reason(option: MakeOption) -> None:
    missing = resolve(Origins(gpus_per_replica=1))
    bound = [option("a", method="TDPBound")]
    status = aiworkload_status(
        workload(),
        finding(bound, resolution=missing, estimated=Reason.TDP_BOUND_USED),
        NOW,
    )
    ready = condition(status, "Ready")
    assert (ready.status, ready.reason) == ("False", "MissingInputs")
    assert "task is missing; state it by annotation energaizer.io/task" in ready.message
    assert condition(status, "Estimated").reason == "TDPBoundUsed"
    assert status.estimate is not None
    assert status.estimate.method == "TDPBound"


def test_an_invalid_annotation_is_named_before_what_is_missing(option: MakeOption) -> None:
    resolution = resolve(
        Origins(
            pod_annotations={"energaizer.io/batch-size": "x", "energaizer.io/task": "Inference"}
        )
    )
    status = aiworkload_status(workload(), finding([option("a")], resolution=resolution), NOW)
    inputs = condition(status, "InputsResolved")
    assert inputs.reason == "InvalidAnnotation"
    assert inputs.message.startswith("annotation energaizer.io/batch-size is")


def test_a_refusal_and_problems_found_elsewhere(
    option: MakeOption, policy: Callable[..., EnergyPolicy]
) -> None:
    options = [option("a", 100)]
    verdict = judge(Question(options, [policy(action="Deny", limits={"maxEnergyJoules": 1})]))
    denied = aiworkload_status(workload(), Finding(complete(), options, options[0], verdict), NOW)
    assert condition(denied, "Ready").reason == "PolicyDenied"
    unknown = Finding(complete(), problem=(Reason.UNKNOWN_MODEL, 'no model "m"'))
    status = aiworkload_status(workload(), unknown, NOW)
    assert condition(status, "Ready").reason == "UnknownModel"
    assert condition(status, "BudgetReserved").status == "Unknown"
    assert status.estimate is None


def test_the_time_of_a_condition_moves_with_its_status_alone() -> None:
    def state(status: bool | None, reason: Reason) -> list[State]:
        return [State(ConditionType.READY, status, reason, "")]

    first = conditions([], state(None, Reason.PENDING), 1, NOW)
    same = conditions(first, state(None, Reason.NO_PROFILE), 2, LATER)
    assert same[0].last_transition_time == NOW.replace(microsecond=0)
    assert (same[0].reason, same[0].observed_generation) == ("NoProfile", 2)
    moved = conditions(first, state(True, Reason.READY), 2, LATER)
    assert moved[0].last_transition_time == LATER.replace(microsecond=0)
    kept = conditions(first, [], 2, LATER)
    assert kept == first


def test_status_shows_fewer_candidates_unless_somebody_asks_what_if(option: MakeOption) -> None:
    many = [option(f"g{number}", 1000 - number) for number in range(40)]
    asked = workload()
    spec = asked.spec.model_copy(update={"what_if": WhatIfSpec(profiles=("g1",))})
    shown = [
        aiworkload_status(one, finding(many), NOW).candidates
        for one in (asked, asked.model_copy(update={"spec": spec}))
    ]
    assert [len(one) for one in shown] == [16, 32]


def test_profile_status(profile: Callable[..., GPUProfile]) -> None:
    made = profile("a", calibration={"energyErrorPermille": 41})
    terms = [ObservedTerm(key="k", value=str(n), nodes=n) for n in range(40)]
    status = gpuprofile_status(made, Census(nodes=2, gpus=16, terms=terms), NOW)
    assert (status.nodes, status.gpus, status.energy_error_percent) == (2, 16, 5)
    assert (len(status.observed_terms), status.observed_terms[0].nodes) == (32, 39)
    assert [(one.type, one.status, one.reason) for one in status.conditions] == [
        ("Ready", "True", "Ready"),
        ("Matched", "True", "Matched"),
        ("CalibrationLoaded", "True", "CalibrationLoaded"),
    ]
    empty = gpuprofile_status(profile("b"), Census(), NOW)
    assert [one.reason for one in empty.conditions] == ["Ready", "NoNodes", "NoCalibration"]
    broken = (False, Reason.NOT_FOUND, "ConfigMap gpus/fit does not exist")
    unread = gpuprofile_status(made, Census(), NOW, broken).conditions[2]
    assert (unread.status, unread.reason, unread.message) == ("False", *broken[1:])
    conflict = gpuprofile_status(made, Census(nodes=1, conflicts=["n1"]), NOW)
    assert (conflict.conditions[0].status, conflict.conditions[0].reason) == ("False", "Conflict")
    assert "n1" in conflict.conditions[0].message


def test_policy_status_counts_namespaces(policy: Callable[..., EnergyPolicy]) -> None:
    status = policy_status(policy(), 4, NOW)
    assert status.matched_namespaces == 4
    assert status.conditions[0].message == "in force in 4 namespaces"
