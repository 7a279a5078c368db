"""The webhook is away: who is let in unjudged, who waits, who notices nothing, and what follows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crowd import INPUTS, energybudget, job
from energaizer_operator import names
from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess

Namespace = Any
Object = dict[str, Any]
HUGE = 10**15
PODS = "energaizer_unbudgeted_pods"


@pytest.fixture(scope="module")
def auditing(installed: Cluster) -> Iterator[OperatorProcess]:
    """A leader that looks for unjudged work every ten seconds instead of every five minutes."""
    process = operator.start_controller(installed, audit_s=10)
    process.wait_leading()
    yield process
    process.terminate()


@pytest.fixture
def places(
    auditing: OperatorProcess,  # noqa: ARG001 - it looks at the budgets
    new_namespace: Callable[[], Namespace],
) -> Iterator[dict[str, Namespace]]:
    """A namespace that fails open, one that fails closed, both with a budget, one of others."""
    made = {admission: new_namespace() for admission in ("enabled", "strict", "")}
    for admission, place in made.items():
        label = f"{names.LABEL_ADMISSION}={admission}" if admission else f"{names.LABEL_ADMISSION}-"
        place.cluster.kubectl("label", "namespace", place.name, label, "--overwrite")
        place.apply(energybudget(HUGE, "Deny", "monthly"))
        place.wait("energybudget", "monthly", seen)
    yield made
    for place in made.values():
        place.cluster.kubectl("delete", "namespace", place.name, "--wait=false")


def seen(body: Object) -> bool:
    return bool(body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])


def on_cpus(name: str) -> Object:
    made = job(name)
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"limits": {"cpu": "1"}}
    return made


def pod(name: str) -> Object:
    metadata = {"name": name, "annotations": dict(INPUTS)}
    spec = job(name)["spec"]["template"]["spec"]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def replica_set(name: str) -> Object:
    """Return pods whose controller asks for them again and again."""
    labels = {"app": name}
    spec = {**job(name)["spec"]["template"]["spec"], "restartPolicy": "Always"}
    template = {"metadata": {"labels": labels, "annotations": dict(INPUTS)}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": name},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
    }


def until(what: str, holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def unbudgeted(leader: OperatorProcess, namespace: str) -> float:
    return leader.series(PODS).get(f'namespace="{namespace}"', 0.0)


def test_while_the_webhook_is_away_each_namespace_gets_what_it_chose(
    installed: Cluster,
    webhook_process: OperatorProcess,
    auditing: OperatorProcess,
    places: dict[str, Namespace],
) -> None:
    enabled, strict, others = places["enabled"], places["strict"], places[""]
    webhook_process.terminate()
    try:
        for place in (enabled, others):
            place.apply(job("gpus", parallelism=2, completions=2), on_cpus("cpus"), pod("bare"))
        strict.apply(on_cpus("cpus"), replica_set("waits"))
        for refused in (job("gpus"), pod("bare")):
            assert "failed calling webhook" in strict.refuse(refused)

        until("the metric tells", lambda: unbudgeted(auditing, enabled.name) == 3)
        uids = {
            kind: enabled.get(kind, name)["metadata"]["uid"]
            for kind, name in (("job", "gpus"), ("pod", "bare"))
        }
        for uid in uids.values():
            reserved = enabled.wait("energyreservation", uid, bool, timeout_s=60)
            assert reserved["spec"]["budgetNames"] == ["monthly"]
            assert reserved["spec"]["energyJoules"] > 1000
        until("the audit says so", lambda: len(told(enabled)) == 2)
        assert told(enabled) == {"gpus", "bare"}
        enabled.wait(
            "energybudget", "monthly", lambda body: body["status"].get("activeReservations") == 2
        )
        assert not strict.items("pods", "app=waits"), "nothing runs unjudged"
    finally:
        vars(webhook_process).update(vars(operator.start_webhook(installed)))
        webhook_process.wait_ready()

    until("work resumes by itself", lambda: len(strict.items("pods", "app=waits")) == 2, 90)
    (owner,) = {
        one["metadata"]["labels"][names.LABEL_WORKLOAD] for one in strict.items("pods", "app=waits")
    }
    assert owner == "replicaset-waits"
    assert "created" in strict.apply(job("gpus"))
    until("what is charged is no longer counted", lambda: unbudgeted(auditing, enabled.name) == 0)
    for place in (others, strict):
        assert told(place) == set()
    for name in ("gpus", "cpus"):
        made = others.get("job", name)
        assert not set(made["metadata"].get("labels", {})) & {names.LABEL_WORKLOAD}
    assert not others.items("aiworkloads")
    assert not others.items("energyreservations")


def told(namespace: Namespace) -> set[str]:
    """Return the objects of which an event says that nobody judged them."""
    events = namespace.items("events.events.k8s.io")
    return {
        one["regarding"]["name"]
        for one in events
        if one["reason"] == names.EventReason.UNBUDGETED_POD
    }
