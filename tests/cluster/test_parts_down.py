"""The webhook is away: who is let in unjudged, who waits, who notices nothing, and what follows."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import patient
from crowd import INPUTS, energybudget, job
from elsewhere import children_of
from energaizer_operator import names
from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess
from polling import until

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

        counted: set[float] = set()

        def all_told() -> bool:
            """Look for the two pods of the Job and the bare one: in one audit, or in two."""
            counted.add(unbudgeted(auditing, enabled.name))
            return 3 in counted or {1, 2} <= counted

        until(all_told, lambda: f"the metric told {counted}")
        uids = {
            kind: enabled.get(kind, name)["metadata"]["uid"]
            for kind, name in (("job", "gpus"), ("pod", "bare"))
        }
        for uid in uids.values():
            reserved = enabled.wait("energyreservation", uid, bool)
            assert reserved["spec"]["budgetNames"] == ["monthly"]
            assert reserved["spec"]["energyJoules"] > 1000
        until(lambda: len(told(enabled)) == 2, "the audit says so")
        assert told(enabled) == {"gpus", "bare"}
        enabled.wait(
            "energybudget", "monthly", lambda body: body["status"].get("activeReservations") == 2
        )
        assert not strict.items("pods", "app=waits"), "nothing runs unjudged"
    finally:
        vars(webhook_process).update(vars(patient.start_webhook(installed)))
        patient.wait_reached(installed, webhook_process)

    until(  # the controller asks again after longer and longer pauses
        lambda: len(strict.items("pods", "app=waits")) == 2, "work resumes by itself", 180
    )
    (owner,) = {
        one["metadata"]["labels"][names.LABEL_WORKLOAD] for one in strict.items("pods", "app=waits")
    }
    assert owner == "replicaset-waits"
    assert "created" in strict.apply(job("gpus"))
    until(lambda: unbudgeted(auditing, enabled.name) == 0, "what is charged is counted no more")
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


def test_an_estimator_that_dies_takes_no_review_along(
    webhook_process: OperatorProcess, places: dict[str, Namespace]
) -> None:
    strict = places["strict"]

    def created(number: int) -> str:
        """Create a pod that asks for estimates that nobody asked for; return how it was judged."""
        body = pod(f"p-{number}")
        body["metadata"]["annotations"][names.ANNOTATION_INPUT_TOKENS] = str(3000 + number)
        strict.apply(body)
        annotations = strict.get("pod", f"p-{number}")["metadata"]["annotations"]
        return str(annotations[names.ANNOTATION_METHOD])

    restarts = "energaizer_estimator_restarts_total"
    ends = webhook_process.series(restarts)[""]
    assert created(0) != "TDPBound"
    for number in range(1, 4):
        (estimator,) = until(lambda: children_of(webhook_process.child.pid), "an estimator runs")
        os.kill(estimator, signal.SIGKILL)
        created(number)
    webhook_process.check()
    numbers = itertools.count(4)
    until(lambda: created(next(numbers)) != "TDPBound", "a new one estimates")
    assert webhook_process.series(restarts)[""] >= ends + 3
