"""Two controllers: one leads, the other takes over when it goes, politely or not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from crowd import energybudget
from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess
from polling import until


@pytest.fixture
def replicas(installed: Cluster) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """A leader and a replica that waits."""
    first = operator.start_controller(installed, 1, identity="first")
    first.wait_leading()
    assert holder(installed) == "first"
    second = operator.start_controller(installed, 2, identity="second")
    second.wait_ready()
    yield first, second
    for process in (first, second):
        if process.running:
            process.terminate()


def lease(cluster: Cluster) -> dict[str, Any]:
    got = cluster.kubectl(
        *("get", "lease", "energaizer-controller", "-n", operator.NAMESPACE, "-o", "json"),
        check=False,
    )
    found: dict[str, Any] = json.loads(got.stdout)["spec"] if got.returncode == 0 else {}
    return found


def holder(cluster: Cluster) -> str:
    return str(lease(cluster).get("holderIdentity", ""))


def test_a_leader_that_slept_through_its_lease_ends_and_writes_nothing_old(
    installed: Cluster, namespace: Any
) -> None:
    """Its writes of balances carry the version that they were computed from, and it ends."""
    first = operator.start_controller(installed, 1, identity="sleeper", lease_duration_s=11)
    first.wait_leading()
    namespace.apply(energybudget(1000, "Deny", "monthly"))

    def looked_at(generation: int) -> dict[str, Any]:
        def seen(body: dict[str, Any]) -> bool:
            return bool(body.get("status", {}).get("observedGeneration") == generation)

        found: dict[str, Any] = namespace.wait("energybudget", "monthly", seen)
        return found

    looked_at(1)
    os.kill(first.child.pid, signal.SIGSTOP)
    second = operator.start_controller(installed, 2, identity="heir", lease_duration_s=11)
    try:
        second.wait_leading()
        namespace.apply(energybudget(2000, "Deny", "monthly"))  # what the sleeper never saw
        looked_at(2)
        os.kill(first.child.pid, signal.SIGCONT)
        until(lambda: not first.running, "it ends")
        assert first.child.returncode == 1
        now = namespace.get("energybudget", "monthly")["status"]
        assert (now["observedGeneration"], now["remainingJoules"]) == (2, 2000)
        assert holder(installed) == "heir"
    finally:
        if first.running:
            first.kill()
        second.terminate()


def test_killed_leader_is_replaced_and_work_goes_on(
    replicas: tuple[OperatorProcess, OperatorProcess], installed: Cluster
) -> None:
    first, second = replicas
    assert second.series("energaizer_leader")[""] == 0
    before = int(lease(installed)["leaseTransitions"])
    first.kill()
    until(lambda: second.series("energaizer_reconcile_total"), "the other one works")
    assert holder(installed) == "second"
    assert int(lease(installed)["leaseTransitions"]) == before + 1


def test_leader_that_is_asked_to_end_lets_go_of_its_lease(
    replicas: tuple[OperatorProcess, OperatorProcess], installed: Cluster
) -> None:
    first, second = replicas
    assert first.terminate() == 0
    assert holder(installed) in ("", "second"), "nobody need wait until it runs out"
    second.wait_leading()
    assert holder(installed) == "second"


def test_leader_whose_lease_is_taken_ends(
    replicas: tuple[OperatorProcess, OperatorProcess], installed: Cluster
) -> None:
    first, _ = replicas
    taken = [{"op": "replace", "path": "/spec/holderIdentity", "value": "somebody"}]
    installed.kubectl(
        *("patch", "lease", "energaizer-controller", "-n", operator.NAMESPACE),
        *("--type=json", "-p", json.dumps(taken)),
    )
    until(lambda: not first.running, "it ends")
    assert first.child.returncode == 1
    assert "another replica" in first.tail()
