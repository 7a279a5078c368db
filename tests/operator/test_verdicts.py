"""Decisions in Kueue's words."""

from datetime import UTC, datetime
from typing import Any

from energaizer_operator.controller import verdicts
from energaizer_operator.controller.queued import QueuedRecord, queued_record
from energaizer_operator.decision import Subject, World
from energaizer_operator.owners import describe
from reviewing import job

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRODUCT = {"nvidia.com/gpu.product": "NVIDIA-L40S"}
FLAVORS = {"l40s": {"spec": {"nodeLabels": PRODUCT}}, "cpu": {"spec": {"nodeLabels": {"a": "b"}}}}


def check(**status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "spec": {}, "status": status}


def test_a_check_is_written_only_when_it_says_something_new() -> None:
    first = verdicts.active(check(), None, NOW)
    assert first is not None
    condition = first["conditions"][0]
    assert (condition["type"], condition["status"]) == ("Active", "True")
    assert verdicts.active(check(conditions=[condition]), None, NOW) is None
    worse = verdicts.active(check(conditions=[condition]), "no such policy", NOW)
    assert worse is not None
    assert (worse["conditions"][0]["status"], worse["conditions"][0]["message"]) == (
        "False",
        "no such policy",
    )


def test_the_flavor_of_the_gpu_narrows_every_pod_that_asks_for_one() -> None:
    assigned = {"flavors": {"cpu": "cpu", "nvidia.com/gpu": "l40s"}}
    workload = {"status": {"admission": {"podSetAssignments": [assigned]}}}
    labels = verdicts.flavor_labels(workload, FLAVORS)
    assert labels == PRODUCT
    narrowed = verdicts.narrowed(Subject(describe(job(nodeSelector={"z": "1"}))), labels)
    assert narrowed.description is not None
    assert [spec["nodeSelector"] for spec in narrowed.description.pod_specs] == [PRODUCT]


def test_a_policy_that_a_check_names_is_in_force_for_everything(policy: Any) -> None:
    selector = {"matchLabels": {"team": "a"}}
    world = World.of([], [policy("tight", namespaceSelector=selector), policy("other")])
    opened = {one.metadata.name: one for one in verdicts.under(world, "tight").policies}
    assert opened["tight"].spec.namespace_selector is None
    assert verdicts.under(world, None) is world


def test_pod_sets_stand_for_an_owner_that_cannot_be_read() -> None:
    template = job()["spec"]["template"]
    sets = [{"name": "head", "template": {"spec": {"containers": [{"name": "c"}]}}, "count": 1}]
    sets.append({"name": "workers", "template": template, "count": 3})
    body = {"metadata": {"name": "w", "namespace": "team-a"}, "spec": {"podSets": sets}}
    found = verdicts.pod_sets(body, None)
    assert [(one.name, one.replicas, one.gpus_per_replica) for one in found] == [("w", 3, 1)]


def test_what_is_followed_of_a_workload() -> None:
    conditions = [{"type": "QuotaReserved", "status": "True"}]
    states = [{"name": "energy", "state": "Pending"}]
    body = {"status": {"conditions": conditions, "admissionChecks": states}}
    assert queued_record(body) == QueuedRecord(True, False, (("energy", "Pending"),))
    assert queued_record({}) == QueuedRecord(False, False, ())
