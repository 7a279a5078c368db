"""Budgets as a judgement sees them: which are for a workload, and what is left of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from energaizer_operator import ledger
from energaizer_operator.policy import Action, Balance
from energaizer_operator.resources.energybudget import EnergyBudget
from energaizer_operator.resources.energyreservation import EnergyReservation
from energaizer_operator.selectors import selects

HOLDABLE: Final = frozenset({"Job", "JobSet"})
"""Kinds that can wait suspended."""


@dataclass(frozen=True)
class Purse:
    """One budget as it was found: readable or not."""

    namespace: str
    name: str
    action: Action
    budget: EnergyBudget | None = None
    problem: str = ""
    """Why it cannot be read; it then has room for nothing."""

    @property
    def full_name(self) -> str:
        """Return `team-a/monthly`."""
        return f"{self.namespace}/{self.name}"

    def acts(self, *, holdable: bool) -> Action:
        """Return what follows: who cannot be held is refused."""
        if self.action is Action.HOLD and not holdable:
            return Action.DENY
        return self.action


def purse_of(body: Mapping[str, Any], now: datetime) -> Purse:
    """Return a budget; one that means nothing to this version has room for nothing."""
    metadata = body["metadata"]
    stated = body.get("spec", {}).get("action", "Warn")
    action = Action(stated) if stated in set(Action) else Action.DENY
    namespace, name = str(metadata.get("namespace") or "default"), str(metadata["name"])
    try:
        budget = EnergyBudget.of_server(body)
        ledger.span(budget.spec.window, now)
    except ledger.ZoneError as error:
        return Purse(namespace, name, action, None, str(error))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Purse(namespace, name, action, None, f"cannot be read: {where}: {first['msg']}")
    return Purse(namespace, name, action, budget)


def matching(purses: Iterable[Purse], labels: Mapping[str, str]) -> tuple[Purse, ...]:
    """Return the budgets for a workload, by name; an unreadable one is for all."""
    found = (
        purse
        for purse in purses
        if purse.budget is None or selects(purse.budget.spec.selector, labels)
    )
    return tuple(sorted(found, key=lambda purse: purse.name))


@dataclass(frozen=True)
class Claim:
    """What asks a budget for joules."""

    kind: str
    holdable: bool
    """Whether it can wait suspended for us."""
    surge: int
    """Pods that a rolling update may run beside its replicas."""
    held: Mapping[str, int] = field(default_factory=dict)
    """Budget -> joules that it holds for the workload already."""


def balances(purses: Iterable[Purse], claim: Claim, now: datetime) -> tuple[Balance, ...]:
    """Return what is left of each budget that selects a workload."""
    return tuple(_balance(purse, claim, now) for purse in purses)


def held_for(
    reservation: EnergyReservation | None, purses: Sequence[Purse], now: datetime
) -> dict[str, int]:
    """Return what budgets hold for a workload: of each, what its reservation still needs."""
    if reservation is None:
        return {}
    return {
        purse.name: ledger.booked(reservation, purse.budget.spec, now).reserved
        for purse in purses
        if purse.budget is not None and purse.name in reservation.spec.budget_names
    }


def _balance(purse: Purse, claim: Claim, now: datetime) -> Balance:
    action = purse.acts(holdable=claim.holdable)
    note = ""
    if action is not purse.action:
        note = f"The budget would hold it, but this {claim.kind} cannot be held."
    budget = purse.budget
    if budget is None:
        return Balance(purse.full_name, action, 0, 0, note=note, broken=purse.problem)
    spec = budget.spec
    window = ledger.span(spec.window, now)
    seconds = window.seconds_left(now)
    if spec.window.type == "Rolling":
        seconds = spec.window.seconds
    return Balance(
        name=purse.full_name,
        action=action,
        limit_joules=spec.limit_joules,
        remaining_joules=ledger.remaining(spec, budget.status) + claim.held.get(purse.name, 0),
        until=ledger.local(spec.window, window.end) if window.end else "",
        high=spec.reserve_for == "High",
        seconds=seconds if claim.kind in ledger.ENDLESS else None,
        surge=claim.surge,
        note=note,
    )
