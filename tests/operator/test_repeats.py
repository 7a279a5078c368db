"""Which decisions are given again, and that none is given to who asks something else."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

import reviewing
import steady_physics
from energaizer_operator import kinds
from energaizer_operator.decision import Decision
from energaizer_operator.webhook import mutate
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.review import parse
from fake_cluster import settle
from reviewing import aiworkload, body, judging, policy, review

Change = Callable[[dict[str, Any]], object]
LOOSE = {"action": "Deny", "limits": {"maxEnergyJoules": 10**15}}
TIGHT = {"action": "Warn", "limits": {"maxEnergyJoules": 1}}


@pytest.fixture(autouse=True)
def physics(monkeypatch: pytest.MonkeyPatch) -> None:
    steady_physics.install(monkeypatch)


def pod(name: str = "p", token: str = "abcde", **spec: Any) -> dict[str, Any]:
    """Return a pod as the API server shows it to a webhook, its token mounted."""
    made = reviewing.pod(**spec)
    made["metadata"] |= {"name": name, "labels": {"energaizer.io/workload": f"pod-{name}"}}
    volume = f"kube-api-access-{token}"
    made["spec"]["volumes"] = [{"name": volume, "projected": {"sources": []}}]
    made["spec"]["containers"][0]["volumeMounts"] = [{"name": volume, "mountPath": "/var/run"}]
    return made


async def decided(judge: Judge, obj: dict[str, Any]) -> Decision:
    request = parse(body(review(obj)))
    return await judge.decide(await judge.part(request, obj))


async def again(judge: Judge, first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Say whether the second object was given what was decided on the first."""
    await decided(judge, first)
    kept = await decided(judge, first)
    found = await decided(judge, second)
    assert kept is await decided(judge, first)
    return found is kept


async def test_pods_that_differ_in_name_token_and_marks_get_one_decision() -> None:
    async with judging() as (judge, _):
        second = pod("q", "zzzzz")
        second["metadata"]["annotations"]["example.com/mark"] = "1"
        assert await again(judge, pod(), second)
        marks = [
            {one["path"]: one["value"] for one in (await mutate.mutate_pod(judge, request)).patch}
            for request in (parse(body(review(obj))) for obj in (pod(), second))
        ]
        assert marks[1]["/metadata/annotations"].pop("example.com/mark") == "1"
        assert marks[0] == marks[1]


def _annotate(obj: dict[str, Any]) -> None:
    obj["metadata"]["annotations"]["energaizer.io/input-tokens"] = "513"


def _select(obj: dict[str, Any]) -> None:
    obj["spec"]["nodeSelector"] = {"nvidia.com/gpu.product": "NVIDIA-L40S"}


def _ask_for_two(obj: dict[str, Any]) -> None:
    obj["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] = "2"


def _argue(obj: dict[str, Any]) -> None:
    obj["spec"]["containers"][0]["args"] = ["--tensor-parallel-size=2"]


def _hurry(obj: dict[str, Any]) -> None:
    obj["spec"]["activeDeadlineSeconds"] = 60


def _mount_another(obj: dict[str, Any]) -> None:
    obj["spec"]["containers"][0]["volumeMounts"][0]["name"] = "kube-api-access-other"


@pytest.mark.parametrize(
    "change", [_annotate, _select, _ask_for_two, _argue, _hurry, _mount_another]
)
async def test_whoever_asks_something_else_is_judged_anew(change: Change) -> None:
    async with judging() as (judge, _):
        other = copy.deepcopy(pod("q"))
        change(other)
        assert not await again(judge, pod(), other)


async def test_a_decision_that_speaks_names_its_own_object() -> None:
    async with judging((kinds.ENERGYPOLICIES, policy(**TIGHT))) as (judge, _):
        first, second = await decided(judge, pod("p")), await decided(judge, pod("q"))
        assert first.verdict.warnings
        assert first is not second


async def test_labels_count_by_the_policies_that_they_select() -> None:
    only = {"workloadSelector": {"matchLabels": {"tier": "gold"}}}
    async with judging((kinds.ENERGYPOLICIES, policy(**LOOSE, **only))) as (judge, _):
        gold = pod("q")
        gold["metadata"]["labels"]["tier"] = "gold"
        assert not await again(judge, pod(), gold)


async def test_a_change_of_rules_or_of_the_aiworkload_ends_it() -> None:
    async with judging() as (judge, cluster):
        named = {"workloadRef": {"apiVersion": "v1", "kind": "Pod", "name": "p"}}
        before = await decided(judge, pod())
        cluster.put(kinds.AIWORKLOADS, aiworkload("p", **named, limits={"maxPowerWatts": 10**6}))
        await settle()
        described = await decided(judge, pod())
        assert described.asked.limits is not None, before
        cluster.put(kinds.ENERGYPOLICIES, policy(**LOOSE))
        await settle()
        assert (await decided(judge, pod())).asked.policies


async def test_an_estimate_that_came_late_is_asked_for_again() -> None:
    async with judging() as (judge, _):
        deadline, judge.estimator.deadline_s = judge.estimator.deadline_s, 0.0
        late = await decided(judge, pod())
        assert late.late
        judge.estimator.deadline_s = deadline
        assert not (await decided(judge, pod())).late


async def test_what_is_kept_holds_no_object() -> None:
    async with judging() as (judge, _):
        await decided(judge, pod())
        described = (await decided(judge, pod())).case.subject.description
        assert described is not None
        assert described.gpus
        assert not any((described.pod_spec, described.groups, described.annotations))
