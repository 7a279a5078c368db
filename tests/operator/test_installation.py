"""What is done once, before an uninstall."""

from typing import Any

import pytest

from energaizer_operator import installation, kinds
from energaizer_operator.settings import Settings
from fake_cluster import FakeCluster

FINALIZER = "energaizer.io/reservation-release"


def reservation(namespace: str, name: str, joules: int, **status: Any) -> dict[str, Any]:
    finalizers = ["example.com/other", FINALIZER]
    spec = {"energyJoules": joules, "budgetNames": ["monthly", "nightly"]}
    metadata = {"namespace": namespace, "name": name, "finalizers": finalizers}
    return {"metadata": metadata, "spec": spec, "status": status}


async def test_who_retires_frees_every_reservation_and_tells_what_is_not_settled(
    reached: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made in (
        reservation("team-a", "runs", 10**6),
        reservation("team-a", "waits", 2 * 10**6),
        reservation("team-b", "ended", 10**6, settledTime="2026-11-24T12:00:00Z"),
    ):
        reached.put(kinds.ENERGYRESERVATIONS, made)
    monkeypatch.setenv("ENERGAIZER_OPERATOR_KUBECONFIG", "nowhere")
    said = await installation.retire(Settings.from_environment(), "energaizer-controller")
    left = [body["metadata"]["finalizers"] for body in reached.objects.values()]
    assert left == [["example.com/other"]] * 3
    assert len(said) == 1
    assert said[0].startswith(
        "team-a: 2 reservations hold 3 MJ (833 Wh) of budgets monthly, nightly and are not settled"
    )
