"""JobSets under a budget that holds: suspended at once, let go by the leader alone, in order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from crowd import INPUTS, energybudget, job
from energaizer_operator import names
from localcluster.operator import OperatorProcess

Namespace = Any
Object = dict[str, Any]
BUDGET = "held"
HUGE = 10**15


@pytest.fixture(scope="module", autouse=True)
def _processes(
    foreign_kinds: None, controller_process: OperatorProcess, webhook_process: OperatorProcess
) -> None:
    """Both run, after the kinds are there."""


def jobset(name: str, priority: str = "") -> Object:
    """Return a JobSet of two pods with a GPU each; its controller is not here, so none start."""
    template = job(name)["spec"]["template"]
    if priority:
        template["spec"]["priorityClassName"] = priority
    worker = {"name": "worker", "replicas": 2, "template": {"spec": {"template": template}}}
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "annotations": dict(INPUTS)},
        "spec": {"replicatedJobs": [worker]},
    }


@pytest.fixture
def limit(namespace: Namespace) -> Callable[[int], Object]:
    """Set what the budget has, and wait until the leader has seen it."""

    def make(joules: int) -> Object:
        namespace.apply(energybudget(joules, "Hold", BUDGET))
        found: Object = namespace.wait("energybudget", BUDGET, seen)
        return found

    return make


def seen(body: Object) -> bool:
    return bool(body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])


def suspended(namespace: Namespace, name: str) -> bool:
    body = namespace.get("jobset", name)
    held = body["metadata"].get("annotations", {}).get(names.ANNOTATION_HELD) == "budget"
    assert held is bool(body["spec"].get("suspend")), "mark and suspension come and go together"
    return held


def patch(namespace: Namespace, name: str, change: Object) -> str:
    where = ("jobset", name, "-n", namespace.name, "--type=merge", "-p", json.dumps(change))
    done = namespace.cluster.kubectl("patch", *where, check=False)
    return str(done.stdout + done.stderr)


def test_held_jobsets_go_by_priority_then_age_and_nobody_else_lets_them_go(
    namespace: Namespace, limit: Callable[[int], Object]
) -> None:
    limit(HUGE)
    namespace.apply(jobset("probe"))
    namespace.wait("jobset", "probe", lambda body: not body["spec"].get("suspend"))
    uid = namespace.get("jobset", "probe")["metadata"]["uid"]
    need = namespace.wait("energyreservation", uid, bool)["spec"]["energyJoules"]
    namespace.cluster.kubectl("delete", "jobset", "probe", "-n", namespace.name)
    namespace.wait(
        "energybudget", BUDGET, lambda body: not body["status"].get("activeReservations")
    )

    limit(need // 2)
    for name in ("first", "second"):  # one after another: creation times have whole seconds
        assert "held until there is room" in namespace.apply(jobset(name))
    namespace.apply(jobset("urgent", "system-cluster-critical"))
    assert all(suspended(namespace, name) for name in ("first", "second", "urgent"))
    namespace.wait("energybudget", BUDGET, lambda body: body["status"].get("pendingWorkloads") == 3)

    patch(namespace, "second", {"spec": {"suspend": False}})
    assert suspended(namespace, "second"), "whoever resumes it finds it suspended again"
    unmark = {"metadata": {"annotations": {names.ANNOTATION_HELD: None}}}
    said = patch(namespace, "second", {"spec": {"suspend": False}, **unmark})
    assert f"JobSet second is held by energy budget {namespace.name}/{BUDGET}" in said
    queue = {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "any"}}}
    patch(namespace, "second", {"spec": {"suspend": False}, **queue})
    assert suspended(namespace, "second"), "a label of Kueue says nothing where no Kueue is"

    for room, gone in ((1, "urgent"), (2, "first"), (3, "second")):
        limit(room * need + need // 2)
        namespace.wait("jobset", gone, lambda body: not body["spec"].get("suspend"))
        held = {name for name in ("first", "second", "urgent") if suspended(namespace, name)}
        assert len(held) == 3 - room
        reserved = namespace.items("energyreservations")
        assert {one["spec"]["workloadRef"]["kind"] for one in reserved} == {"JobSet"}
