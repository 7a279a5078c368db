"""What the webhook answers, with an API server in memory and physics that stay."""

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jsonpatch
import pytest

import reviewing
import steady_physics
from energaizer_operator import kinds
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.webhook import mutate, validate
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.review import Answer, encode, parse
from fake_cluster import settle
from reviewing import aiworkload, body, deployment, job, judging, pod, policy, review

JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
OWN = "system:serviceaccount:energaizer-system:energaizer-controller"
HANDLERS: dict[str, Callable[..., Any]] = {
    "pod-mutate": mutate.mutate_pod,
    "owner-mutate": mutate.mutate_owner,
    "pod": validate.validate_pod,
    "workload": validate.validate_workload,
    "aiworkload": validate.validate_aiworkload,
}
DENY = {"action": "Deny", "limits": {"maxEnergyJoules": 1000}}
WARN = {"action": "Warn", "limits": {"maxEnergyJoules": 1000}}
AUDIT = {"action": "Audit", "limits": {"maxEnergyJoules": 1000}}
JOB = (kinds.JOBS, job())
COMPLETE = {
    "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
    "inference": {"batchSize": 16, "inputTokens": 512, "outputTokens": 256, "requests": 1000000},
    "accelerator": {"countPerReplica": 1},
}
REFERRING = aiworkload(
    "choosy",
    workloadRef={"apiVersion": "batch/v1", "kind": "Job", "name": "train"},
    accelerator={"allowedProfiles": ["l40s-48gb"]},
)
PREFERRING = {
    "nodeAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 10,
                "preference": {
                    "matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]
                },
            }
        ]
    }
}


@pytest.fixture(autouse=True)
def physics(monkeypatch: pytest.MonkeyPatch) -> None:
    steady_physics.install(monkeypatch)


async def ask(judge: Judge, path: str, document: dict[str, Any]) -> dict[str, Any]:
    """Return the response to a review, its patch decoded."""
    request = parse(body(document))
    answer: Answer = await HANDLERS[path](judge, request)
    response: dict[str, Any] = encode(answer, request.uid)["response"]
    if "patch" in response:
        response["patch"] = json.loads(base64.b64decode(response["patch"]))
    return response


async def mutated(judge: Judge, obj: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of a pod as the API server stores it."""
    answer = await ask(judge, "pod-mutate", review(obj))
    stored: dict[str, Any] = jsonpatch.apply_patch(obj, answer["patch"])
    return dict(stored["metadata"])


CASES: dict[str, tuple[str, dict[str, Any], list[Any]]] = {
    "job-labelled": ("owner-mutate", review(job()), []),
    "deployment-labelled": ("owner-mutate", review(deployment(2)), []),
    "pod-of-a-job": ("pod-mutate", review(pod(JOB[1]), user=JOB_CONTROLLER), [JOB]),
    "pod-of-a-job-that-cannot-be-read": ("pod-mutate", review(pod(job("gone"))), []),
    "pod-alone": ("pod-mutate", review(pod()), []),
    "pod-with-preferences": ("pod-mutate", review(pod(JOB[1], affinity=PREFERRING)), [JOB]),
    "pod-of-a-job-with-allowed-profiles": (
        "pod-mutate",
        review(pod(JOB[1])),
        [JOB, (kinds.AIWORKLOADS, REFERRING)],
    ),
    "pod-without-gpu": ("pod-mutate", review(pod(gpus=0)), []),
    "job-admitted": ("workload", review(job()), []),
    "job-refused": ("workload", review(job()), [(kinds.ENERGYPOLICIES, policy(**DENY))]),
    "job-warned": ("workload", review(job()), [(kinds.ENERGYPOLICIES, policy(**WARN))]),
    "job-audited": ("workload", review(job()), [(kinds.ENERGYPOLICIES, policy(**AUDIT))]),
    "job-of-an-unknown-model": (
        "workload",
        review({**job(), "metadata": {"name": "train", "annotations": {}}}),
        [(kinds.ENERGYPOLICIES, policy(**WARN))],
    ),
    "deployment-admitted": ("workload", review(deployment(2)), []),
    "pod-refused": ("pod", review(pod()), [(kinds.ENERGYPOLICIES, policy(**DENY))]),
    "aiworkload-refused-by-its-own-limit": (
        "aiworkload",
        review(aiworkload(**COMPLETE, limits={"maxPowerWatts": 10})),
        [],
    ),
    "aiworkload-without-inputs-yet": ("aiworkload", review(aiworkload()), []),
    "aiworkload-that-breaks-the-schema": (
        "aiworkload",
        review(aiworkload(inference={"batchSize": 0}, colour="red")),
        [],
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_answers_are_as_frozen(name: str, golden: Callable[[str, Any], None]) -> None:
    path, document, objects = CASES[name]
    async with judging(*objects) as (judge, _):
        text = json.dumps(await ask(judge, path, document))
        golden(f"admission/{name}", json.loads(re.sub(r"sha256:[0-9a-f]{64}", "sha256:...", text)))


async def test_a_second_pass_adds_nothing() -> None:
    async with judging(JOB) as (judge, _):
        first = await ask(judge, "pod-mutate", review(pod(JOB[1])))
        patched = jsonpatch.apply_patch(pod(JOB[1]), first["patch"])
        assert patched["metadata"]["labels"][LABEL_WORKLOAD] == "job-train"
        assert "patch" not in await ask(judge, "pod-mutate", review(patched))


async def test_a_pod_is_asked_about_as_its_job_was() -> None:
    async with judging(JOB) as (judge, _):
        first = await ask(judge, "workload", review(job()))
        marks = (await mutated(judge, pod(JOB[1])))["annotations"]
        assert marks["energaizer.io/estimate-digest"] == first["auditAnnotations"]["digest"]


async def test_children_of_judged_workloads_pass_by_trusted_hands_only() -> None:
    rule = (kinds.ENERGYPOLICIES, policy(**DENY))
    async with judging(JOB, rule) as (judge, _):
        by_controller = review(pod(JOB[1]), user=JOB_CONTROLLER)
        assert (await ask(judge, "pod", by_controller))["allowed"]
        assert not (await ask(judge, "pod", review(pod(JOB[1]), user="mallory")))["allowed"]
        unread = review(pod(job("slow")), user=JOB_CONTROLLER)
        assert (await ask(judge, "pod", unread))["allowed"], "a Job that cannot be read was judged"
        alone = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "gone"}}
        maker = "system:serviceaccount:kube-system:replicaset-controller"
        asked_again = await ask(judge, "pod", review(pod(alone), user=maker))
        assert asked_again["status"]["code"] == 429, "only its owner tells whether it was charged"


async def test_pods_of_a_deployment_are_its_parts() -> None:
    made = deployment(2)
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "chat", "uid": "uid-chat"}
    metadata = {"name": "chat-1", "namespace": reviewing.NAMESPACE}
    metadata["ownerReferences"] = [{**owner, "controller": True}]
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": metadata,
        "spec": {"replicas": 2, "template": reviewing.template()},
    }
    async with judging((kinds.DEPLOYMENTS, made), (kinds.REPLICASETS, replica_set)) as (judge, _):
        metadata = await mutated(judge, pod(replica_set))
        assert metadata["labels"] == {LABEL_WORKLOAD: "deployment-chat"}
        marks = metadata["annotations"]
        share = int(marks["energaizer.io/predicted-energy-joules"])
        assert int(marks["energaizer.io/workload-predicted-energy-joules"]) == 2 * share
        assert marks["energaizer.io/predicted-duration-seconds"] == "3600"


async def test_who_is_over_the_limit_may_shrink() -> None:
    rule = (kinds.ENERGYPOLICIES, policy(action="Deny", limits={"maxPowerWatts": 100}))
    async with judging(rule) as (judge, _):

        async def update(old: int, new: int) -> bool:
            document = review(deployment(new), "UPDATE", oldObject=deployment(old))
            return bool((await ask(judge, "workload", document))["allowed"])

        assert await update(4, 3)
        assert await update(3, 3)
        assert not await update(3, 4)
        assert await update(3, 0)


async def test_without_holds_a_job_is_refused_like_what_cannot_wait() -> None:
    spec = {"limitJoules": 1000, "window": {"period": "Month"}, "action": "Hold"}
    metadata = {"name": "monthly", "namespace": reviewing.NAMESPACE}
    stored = {"metadata": metadata, "spec": spec, "status": {"observedGeneration": 1}}
    async with judging((kinds.ENERGYBUDGETS, stored)) as (judge, _):
        waits = await ask(judge, "owner-mutate", review(job()))
        assert {"op": "add", "path": "/spec/suspend", "value": True} in waits["patch"]
        strict = replace(judge, settings=judge.settings.model_copy(update={"hold": False}))
        starts = await ask(strict, "owner-mutate", review(job()))
        assert not any("suspend" in one["path"] for one in starts["patch"])
        known = job()
        known["metadata"]["uid"] = "uid-train"
        refused = await ask(strict, "workload", review(known))
        assert not refused["allowed"]
        assert "this Job cannot be held" in refused["status"]["message"]


async def test_changes_of_rules_are_seen_at_once() -> None:
    async with judging() as (judge, cluster):
        assert (await ask(judge, "workload", review(job())))["allowed"]
        cluster.put(kinds.ENERGYPOLICIES, policy(**DENY))
        await settle()
        assert not (await ask(judge, "workload", review(job())))["allowed"]
        cluster.remove(kinds.ENERGYPOLICIES, "guard")
        await settle()
        assert (await ask(judge, "workload", review(job())))["allowed"]


async def test_a_rule_that_cannot_be_read_is_not_applied_in_silence() -> None:
    odd = (kinds.ENERGYPOLICIES, policy(**DENY, verdictsOfTheFuture=True))
    async with judging(odd) as (judge, _):
        answer = await ask(judge, "workload", review(job()))
        assert answer["allowed"]
        assert answer["warnings"] == ["energy policy guard cannot be read and is not applied"]


async def test_an_aiworkload_is_found_by_reference_then_by_label() -> None:
    labelled = job()
    labelled["metadata"]["labels"] = {LABEL_WORKLOAD: "mine"}
    async with judging() as (judge, cluster):
        request = parse(body(review(labelled)))
        assert (await judge.part(request, labelled)).label == "mine"
        cluster.put(kinds.AIWORKLOADS, REFERRING)
        await settle()
        part = await judge.part(request, labelled)
        assert part.label == "choosy"
        assert part.subject.workload is not None
        cluster.remove(kinds.AIWORKLOADS, "choosy", reviewing.NAMESPACE)
        await settle()
        assert (await judge.part(request, labelled)).subject.workload is None


async def test_two_aiworkloads_for_one_object_are_a_warning() -> None:
    async with judging((kinds.AIWORKLOADS, REFERRING), JOB) as (judge, _):
        second = aiworkload("second", workloadRef=REFERRING["spec"]["workloadRef"])
        answer = await ask(judge, "aiworkload", review(second))
        assert answer["allowed"]
        assert answer["warnings"] == ["Job train is described by AIWorkload choosy already"]


async def test_an_aiworkload_is_judged_with_the_object_it_describes() -> None:
    limited = {**REFERRING, "spec": {**REFERRING["spec"], "limits": {"maxEnergyJoules": 10}}}
    async with judging(JOB) as (judge, _):
        answer = await ask(judge, "aiworkload", review(limited))
        assert "limits of AIWorkload team-a/choosy: needs" in answer["status"]["message"]


async def test_our_own_controller_is_not_judged() -> None:
    strict = (kinds.ENERGYPOLICIES, policy(**DENY))
    async with judging(strict) as (judge, _):
        document = review(aiworkload(**COMPLETE), user=OWN)
        assert (await ask(judge, "aiworkload", document))["allowed"]


@pytest.mark.parametrize("path", ["workload", "pod", "aiworkload", "owner-mutate", "pod-mutate"])
@pytest.mark.parametrize("operation", ["DELETE", "CONNECT"])
async def test_other_operations_are_let_through(path: str, operation: str) -> None:
    async with judging() as (judge, _):
        document = review(job(), operation, object=None)
        assert await ask(judge, path, document) == {"uid": reviewing.UID, "allowed": True}


@pytest.mark.parametrize(
    ("admission", "why", "code"),
    [
        ("enabled", "late", None),
        ("enabled", "error", None),
        ("strict", "late", 429),
        ("strict", "error", 403),
    ],
)
async def test_what_cannot_be_judged_follows_the_namespace(
    admission: str, why: str, code: int | None
) -> None:
    async with judging(admission=admission) as (judge, _):
        request = parse(body(review(job())))
        answer = validate.fall_back(judge)(request, why)
        assert answer.allowed == (code is None)
        assert answer.code == (code or 200)
        assert answer.decision == ("deny" if code == 429 else "error")
        assert validate.refuse(request, why).allowed is False
        assert mutate.leave(request, why).allowed


async def test_an_outage_of_the_api_server_delays_nobody() -> None:
    from energaizer_operator.cluster import Unreachable  # noqa: PLC0415

    async with judging(JOB) as (judge, cluster):
        cluster.fail = Unreachable("no answer")
        answer = await ask(judge, "pod-mutate", review(pod(job("unseen"))))
        assert answer["allowed"]
        assert answer["patch"]


async def test_generated_names_are_minted_from_the_review() -> None:
    nameless = job()
    nameless["metadata"]["generateName"] = "nightly-"
    del nameless["metadata"]["name"]
    async with judging() as (judge, _):
        answer = await ask(judge, "owner-mutate", review(nameless))
        labels = answer["patch"][0]["value"]
        assert labels == {LABEL_WORKLOAD: f"job-nightly-{reviewing.UID[:8]}"}
