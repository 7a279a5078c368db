"""Two controllers: one leads, the other takes over when it goes, politely or not."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess

TAKEN_WITHIN_S = 20.0


@pytest.fixture
def replicas(installed: Cluster) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """A leader and a replica that waits."""
    first = operator.start_controller(installed, 1, identity="first")
    wait_for(lambda: holder(installed) == "first")
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


def wait_for(check: Any, timeout_s: float = TAKEN_WITHIN_S + 15) -> float:
    started = time.monotonic()
    while not check():
        assert time.monotonic() - started < timeout_s
        time.sleep(0.1)
    return time.monotonic() - started


def test_killed_leader_is_replaced_and_work_goes_on(
    replicas: tuple[OperatorProcess, OperatorProcess], installed: Cluster
) -> None:
    first, second = replicas
    assert first.series("energaizer_leader")[""] == 1
    assert second.series("energaizer_leader")[""] == 0
    before = int(lease(installed)["leaseTransitions"])
    first.kill()
    took = wait_for(lambda: second.series("energaizer_reconcile_total"))
    assert took <= TAKEN_WITHIN_S
    assert holder(installed) == "second"
    assert int(lease(installed)["leaseTransitions"]) == before + 1


def test_leader_that_is_asked_to_end_hands_over_at_once(
    replicas: tuple[OperatorProcess, OperatorProcess], installed: Cluster
) -> None:
    first, second = replicas
    assert first.terminate() == 0
    took = wait_for(lambda: second.series("energaizer_leader")[""] == 1)
    assert took <= 5.0
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
    wait_for(lambda: not first.running, 15)
    assert first.child.returncode == 1
    assert "another replica" in first.tail()
