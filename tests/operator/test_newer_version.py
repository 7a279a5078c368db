"""Objects that a newer version has written: an old replica reads what it knows of them."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from energaizer_operator import estimation
from energaizer_operator.decision import purse_of
from energaizer_operator.policy import Action
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energybudget import EnergyBudget
from energaizer_operator.resources.energyreservation import EnergyReservation
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import Base
from reviewing import NOW, aiworkload

SOON = datetime(2026, 11, 24, 13, tzinfo=UTC).isoformat().replace("+00:00", "Z")
PROMISE = {"uid": "u", "kind": "Job", "name": "j", "energyJoules": 7, "expiresTime": SOON}
BUDGET: dict[str, Any] = {
    "metadata": {"name": "monthly", "namespace": "team-a"},
    "spec": {"limitJoules": 1000, "window": {"period": "Month"}, "action": "Deny"},
    "status": {"observedGeneration": 1, "consumedJoules": 10, "provisional": [PROMISE]},
}
RESERVATION: dict[str, Any] = {
    "metadata": {"name": "u", "namespace": "team-a"},
    "spec": {
        "workloadRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "u"},
        "budgetNames": ["monthly"],
        "energyJoules": 7,
        "powerWatts": 7,
        "reservedTime": SOON,
    },
    "status": {"attempts": 1, "consumedJoules": 3},
}


def profile() -> dict[str, Any]:
    observed = {"key": "nvidia.com/gpu.product", "value": "NVIDIA-L40S", "nodes": 2}
    return {
        **estimation.catalogue()[0].to_dict(),
        "status": {"nodes": 2, "observedTerms": [observed]},
    }


def with_more(value: Any) -> Any:
    """Return a value with a member in each of its maps that nobody knows yet."""
    if isinstance(value, dict):
        return {"notKnownYet": {"of": 1}, **{key: with_more(one) for key, one in value.items()}}
    return [with_more(one) for one in value] if isinstance(value, list) else value


def newer(body: dict[str, Any]) -> dict[str, Any]:
    made = copy.deepcopy(body)
    return {**made, "status": with_more(made["status"])}


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (EnergyBudget, BUDGET),
        (EnergyReservation, RESERVATION),
        (GPUProfile, profile()),
        (AIWorkload, {**aiworkload(), "status": {"observedGeneration": 3}}),
    ],
)
def test_what_is_new_in_a_status_is_passed_over(model: type[Base], body: dict[str, Any]) -> None:
    written = newer(body)
    assert model.of_server(written) == model.model_validate(body)
    with pytest.raises(ValidationError):
        model.model_validate(written)  # a file of a user's, where it is a slip of the pen


def test_so_is_what_is_new_in_a_specification_of_our_own() -> None:
    written = {**RESERVATION, "spec": with_more(RESERVATION["spec"])}
    assert EnergyReservation.of_server(written) == EnergyReservation.model_validate(RESERVATION)


@pytest.mark.parametrize(
    "part",
    [
        {"status": {"consumedJoules": "many", "notKnownYet": 1}},
        {"spec": {**BUDGET["spec"], "notKnownYet": 1}, "status": {"notKnownYet": 1}},
    ],
)
def test_what_is_known_or_stated_by_a_user_is_still_checked(part: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EnergyBudget.of_server({**BUDGET, **part})


def test_a_budget_that_a_newer_leader_looks_after_keeps_its_room() -> None:
    old, new = purse_of(BUDGET, NOW), purse_of(newer(BUDGET), NOW)
    assert new == old
    assert new.action is Action.DENY
    assert new.budget is not None
