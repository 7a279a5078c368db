"""What describes a workload: its object, its owners, its AIWorkload, a ConfigMap."""

from typing import Any

import pytest

import plain
from energaizer_operator import kinds
from energaizer_operator.cluster import Refused
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.sources import gather
from energaizer_operator.informer import object_record
from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload import AIWorkload
from fake_cluster import FakeCluster, settle
from plain import aiworkload, job, reference

LABEL = "energaizer.io/workload"


@pytest.fixture
def cluster() -> FakeCluster:
    return plain.opted_in()


async def read(context: Context, body: dict[str, Any]) -> Any:
    return await gather(context, AIWorkload.model_validate(body), object_record(body))


async def test_workload_that_the_watch_brought_is_not_read_again(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(kinds.JOBS, {**job(labels={LABEL: "mine"}), "status": {"active": 1}})
    await settle()
    cluster.fail = Refused("nobody may ask now", 403)
    for spec in ({}, {"workloadRef": reference()}):
        found = await read(context, aiworkload("mine", spec))
        assert (found.problem, found.described.name) == (None, "train")
        assert found.described.gpus == {"nvidia.com/gpu": 8}


async def test_annotations_of_all_owners_count(cluster: FakeCluster, context: Context) -> None:
    owner = {"controller": True, **reference("nightly", "CronJob"), "uid": "u"}
    cluster.put(kinds.JOBS, job(ownerReferences=[owner], annotations={"a": "job"}))
    nightly = {"name": "nightly", "namespace": "team-a", "annotations": {"a": "cron"}, "uid": "u"}
    cluster.put(kinds.CRONJOBS, {"metadata": nightly})
    found = await read(context, aiworkload("w", {"workloadRef": reference()}))
    assert found.described.annotations == {"a": "job"}
    assert found.owner_annotations == ({"a": "cron"},)
    cluster.put(kinds.CRONJOBS, {"metadata": nightly | {"uid": "made anew"}})
    found = await read(context, aiworkload("w", {"workloadRef": reference()}))
    assert found.owner_annotations == (), "another one of that name"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"workloadRef": reference("nowhere")}, "Job nowhere does not exist"),
        ({"workloadRef": reference("x", "Widget")}, "Widget x: kind not known"),
    ],
)
async def test_missing_workload_is_named(
    context: Context, spec: dict[str, Any], message: str
) -> None:
    reason, said = (await read(context, aiworkload("w", spec))).problem
    assert reason is Reason.WORKLOAD_NOT_FOUND
    assert message in said


async def test_second_description_of_a_workload_is_refused(
    cluster: FakeCluster, context: Context
) -> None:
    cluster.put(kinds.JOBS, job())
    first = aiworkload("first", {"workloadRef": reference()})
    second = aiworkload("second", {"workloadRef": reference()}, "2026-01-02T00:00:00Z")
    cluster.put(kinds.AIWORKLOADS, first)
    cluster.put(kinds.AIWORKLOADS, second)
    await settle()
    assert (await read(context, first)).problem is None
    reason, said = (await read(context, second)).problem
    assert reason is Reason.DUPLICATE_WORKLOAD
    assert "AIWorkload first" in said


async def test_workload_is_found_by_its_label(cluster: FakeCluster, context: Context) -> None:
    cluster.put(kinds.JOBS, job(labels={LABEL: "w"}))
    await settle()
    found = await read(context, aiworkload("w", {}))
    assert (found.described.kind, found.described.name) == ("Job", "train")


async def test_config_map(cluster: FakeCluster, context: Context) -> None:
    model = {"source": "HuggingFaceConfig", "configMapRef": {"name": "m"}}
    body = aiworkload("w", {"model": model})
    reason, said = (await read(context, body)).problem
    assert (reason, said) == (Reason.INVALID_CONFIG_MAP, "ConfigMap team-a/m does not exist")
    metadata = {"name": "m", "namespace": "team-a"}
    cluster.put(kinds.CONFIGMAPS, {"metadata": metadata, "data": {"other": "{}"}})
    assert "no key config.json" in (await read(context, body)).problem[1]
    cluster.put(kinds.CONFIGMAPS, {"metadata": metadata, "data": {"config.json": "{}"}})
    found = await read(context, body)
    assert (found.config, found.problem) == ("{}", None)
    cluster.fail = Refused("forbidden", 403)
    assert "bind ClusterRole energaizer-model-configs" in (await read(context, body)).problem[1]
