"""Who starts suspended: every Job under a budget that holds, unless Kueue asks us about it."""

from typing import Any

import pytest

import steady_physics
from energaizer_operator import contents, kinds, offline
from energaizer_operator.manifests import Manifest
from energaizer_operator.webhook import mutate, validate
from energaizer_operator.webhook.review import parse
from reviewing import NAMESPACE, body, budget, job, judging, review

QUEUE = "kueue.x-k8s.io/queue-name"
CONTROLLER = "energaizer.io/energy"
Made = tuple[kinds.ApiResource, dict[str, Any]]


@pytest.fixture(autouse=True)
def physics(monkeypatch: pytest.MonkeyPatch) -> None:
    steady_physics.install(monkeypatch)


def queued_job(queue: Any = "gpus", **spec: Any) -> dict[str, Any]:
    made = job(**spec)
    made["metadata"] = {**made["metadata"], "labels": {QUEUE: queue}, "uid": "uid-train"}
    return made


def kueue(
    controller: str = CONTROLLER, *, queue: str = "gpus", check: str = "energy"
) -> list[Made]:
    """Return a LocalQueue whose ClusterQueue asks one AdmissionCheck, and that check."""
    asked = {"admissionChecks": [{"name": "other"}, {"name": "energy"}]}
    return [
        (
            kinds.LOCALQUEUES,
            {
                "metadata": {"name": queue, "namespace": NAMESPACE},
                "spec": {"clusterQueue": "shared"},
            },
        ),
        (
            kinds.CLUSTERQUEUES,
            {"metadata": {"name": "shared"}, "spec": {"admissionChecksStrategy": asked}},
        ),
        (
            kinds.ADMISSIONCHECKS,
            {"metadata": {"name": check}, "spec": {"controllerName": controller}},
        ),
    ]


CASES: dict[str, tuple[Any, list[Made], bool, bool]] = {
    "a queue that asks us": ("gpus", kueue(), True, False),
    "no Kueue at all": ("gpus", [], True, True),
    "we do not answer Kueue": ("gpus", kueue(), False, True),
    "another queue": ("gpus", kueue(queue="cpus"), True, True),
    "a queue without a name": ("", kueue(), True, True),
    "a name of a wrong type": (["gpus"], kueue(), True, True),
    "a check of somebody else": ("gpus", kueue("example.com/other"), True, True),
    "a check that does not exist": ("gpus", kueue(check="lost"), True, True),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_label_of_kueue_lifts_no_hold_by_itself(case: str) -> None:
    queue, objects, answers, waits = CASES[case]
    made = queued_job(queue)
    async with judging(budget("later", "Hold"), *objects, kueue=answers) as (judge, _):
        answer = await mutate.mutate_owner(judge, parse(body(review(made))))
        held = any(one["path"] == "/spec/suspend" for one in answer.patch)
        assert held is waits
        unheld = await validate.validate_workload(judge, parse(body(review(made))))
        assert unheld.allowed is not waits, "who arrives unsuspended has to be held first"
        if waits:
            assert "has to start held by its energy budget" in unheld.message


async def test_the_label_does_not_let_go_what_is_held() -> None:
    held = queued_job(suspend=True)
    held["metadata"]["annotations"]["energaizer.io/held"] = "budget"
    del held["metadata"]["labels"]
    lifted = review(queued_job(suspend=False), "UPDATE", oldObject=held)
    async with judging(budget("later", "Hold"), kueue=True) as (judge, _):
        answer = await validate.validate_workload(judge, parse(body(lifted)))
        assert not answer.allowed
        assert "is held by energy budget team-a/later" in answer.message


@pytest.mark.parametrize(("objects", "holdable"), [([], True), (kueue(), False)])
def test_offline_a_queue_counts_if_the_files_hold_it(objects: list[Made], holdable: bool) -> None:
    files = [{"apiVersion": kind.api_version, "kind": kind.kind, **made} for kind, made in objects]
    manifests = [Manifest("here", 1, one) for one in (*files, queued_job())]
    (item,) = offline.items(contents.sort(manifests))
    assert item.holdable is holdable
