"""Two controllers: one leads, the other takes over when it goes, politely or not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

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
