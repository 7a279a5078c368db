"""The account of a workload, window by window, with an API server in memory and an exporter."""

from collections.abc import Mapping
from typing import Any

import pytest

from energaizer_operator import kinds
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.measuring import Measuring
from energaizer_operator.controller.survey import Survey
from energaizer_operator.feedback.accounts import PodName, Reading, Window
from energaizer_operator.feedback.prometheus import Measurements, SourceName
from energaizer_operator.informer import Key
from energaizer_operator.names import LABEL_WORKLOAD, Reason
from fake_cluster import FakeCluster, settle

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z
KEY = ("team-a", "job-train")
MINUTE = Window(NOON, NOON + 60)
NEXT = Window(NOON + 60, NOON + 120)


class Exporter(Measurements):
    """Has seen 6 kJ of one pod in every window, over as many seconds as told."""

    def __init__(self, covered_s: float = 60.0) -> None:
        self.covered_s = covered_s

    async def read(self, _: Window) -> tuple[SourceName | None, Mapping[PodName, Reading]]:
        return "DCGM", {("team-a", "train-0"): Reading(6000.0, self.covered_s)}


def aiworkload(uid: str) -> dict[str, Any]:
    return {"metadata": {"name": KEY[1], "namespace": KEY[0], "uid": uid}, "spec": {}}


@pytest.fixture
def cluster() -> FakeCluster:
    made = FakeCluster()
    made.put(kinds.AIWORKLOADS, aiworkload("first"))
    container = {"name": "main", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
    metadata = {"name": "train-0", "namespace": KEY[0], "labels": {LABEL_WORKLOAD: KEY[1]}}
    status = {"phase": "Running", "startTime": "2026-01-01T12:00:00Z"}
    pod = {"metadata": metadata, "spec": {"containers": [container]}, "status": status}
    made.put(kinds.PODS, pod)
    return made


def joules(measuring: Measuring) -> int | None:
    found = measuring.latest(KEY)
    return None if found is None or found.measured is None else found.measured.energy_joules


async def test_windows_of_a_workload_add_up(context: Context) -> None:
    told: list[Key] = []
    measuring = Measuring(context, Exporter(), Survey, told.append)
    await measuring.read(MINUTE)
    await measuring.read(NEXT)
    assert joules(measuring) == 12_000
    assert told == [KEY, KEY]


async def test_another_workload_of_the_same_name_begins_its_own_account(
    cluster: FakeCluster, context: Context
) -> None:
    measuring = Measuring(context, Exporter(), Survey, lambda _: None)
    await measuring.read(MINUTE)
    cluster.remove(kinds.AIWORKLOADS, KEY[1], KEY[0])
    cluster.put(kinds.AIWORKLOADS, aiworkload("second"))
    await settle()
    assert measuring.latest(KEY) is None
    await measuring.read(NEXT)
    assert joules(measuring) == 6000


async def test_without_samples_nothing_is_measured_and_the_reason_is_said(context: Context) -> None:
    measuring = Measuring(context, Exporter(covered_s=0.0), Survey, lambda _: None)
    await measuring.read(MINUTE)
    found = measuring.latest(KEY)
    assert found is not None
    assert (found.measured, found.reason) == (None, Reason.NO_SAMPLES)
