"""Budgets as a judgement sees them: which are for a workload, and what is left of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

    def acts(self, kind: str) -> Action:
        """Return what follows for a kind: who cannot be held is refused."""
        if self.action is Action.HOLD and kind not in HOLDABLE:
            return Action.DENY
        return self.action


def purse_of(body: Mapping[str, Any], now: datetime) -> Purse:
    """Return a budget; one that means nothing to this version has room for nothing."""
    metadata = body["metadata"]
    stated = body.get("spec", {}).get("action", "Warn")
    action = Action(stated) if stated in set(Action) else Action.DENY
    namespace, name = str(metadata.get("namespace") or "default"), str(metadata["name"])
    try:
        budget = EnergyBudget.model_validate(body)
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


def balances(
    purses: Iterable[Purse], kind: str, now: datetime, held: Mapping[str, int] | None = None
) -> tuple[Balance, ...]:
    """Return what is left of each budget.

    Args:
        purses: Those that select the workload.
        kind: Of the workload.
        now: The present.
        held: Budget -> joules that it holds for the workload already.
    """
    return tuple(_balance(purse, kind, now, (held or {}).get(purse.name, 0)) for purse in purses)


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


def _balance(purse: Purse, kind: str, now: datetime, held: int) -> Balance:
    action = purse.acts(kind)
    note = ""
    if action is not purse.action:
        note = f"The budget would hold it, but a {kind} cannot be held."
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
        remaining_joules=ledger.remaining(spec, budget.status) + held,
        until=ledger.local(spec.window, window.end) if window.end else "",
        high=spec.reserve_for == "High",
        seconds=seconds if kind in ledger.ENDLESS else None,
        note=note,
    )
