"""What may still be promised, and promises that nobody booked yet: the half of admission."""

from datetime import datetime, timedelta
from typing import Final

from energaizer_operator.ledger.needs import Demand, need
from energaizer_operator.resources.energybudget import (
    MAX_PROVISIONAL,
    EnergyBudget,
    EnergyBudgetSpec,
    EnergyBudgetStatus,
    Provisional,
)
from energaizer_operator.schema import EstimateSummary

ENDLESS: Final = frozenset({"Deployment", "StatefulSet"})
"""Kinds that run until somebody ends them."""
EXPIRES_AFTER: Final = timedelta(seconds=60)


class FullError(Exception):
    """A budget holds as many promises as it may; the leader has to book some first."""


def capacity(spec: EnergyBudgetSpec) -> int:
    """Return what may be promised in a window, J: the limit and the overcommitment."""
    return spec.limit_joules * (100 + spec.overcommit_percent) // 100


def promised(status: EnergyBudgetStatus) -> int:
    """Return what admission promised and nobody booked yet, J."""
    return sum(entry.energy_joules for entry in status.provisional)


def used(status: EnergyBudgetStatus) -> int:
    """Return what is taken or promised of a window, J."""
    return (status.consumed_joules or 0) + (status.reserved_joules or 0) + promised(status)


def remaining(spec: EnergyBudgetSpec, status: EnergyBudgetStatus) -> int:
    """Return what may still be promised, J; negative where running work passed the limit."""
    return capacity(spec) - used(status)


def entry_of(
    budget: EnergyBudget,
    identity: tuple[str, str, str],
    estimate: EstimateSummary,
    now: datetime,
    booked: int = 0,
) -> Provisional:
    """Return the promise that an object asks of a budget.

    Args:
        budget: Whose promise.
        identity: Uid, kind and name of the object.
        estimate: Of the whole workload, on the charged option.
        now: Time of the review.
        booked: What the budget holds for the object already, J; only what is more is asked.

    Raises:
        ZoneError: The budget's time zone does not exist.
    """
    uid, kind, name = identity
    demand = Demand.of(estimate, endless=kind in ENDLESS)
    return Provisional(
        uid=uid,
        kind=kind,
        name=name,
        energy_joules=max(0, need(demand, budget.spec, now) - booked),
        expires_time=now.replace(microsecond=0) + EXPIRES_AFTER,
        replicas=estimate.replicas,
        charged_joules=estimate.energy_high_joules,
        expected_joules=estimate.energy_joules,
        charged_watts=estimate.power_high_watts,
        expected_watts=estimate.power_watts,
        profile=estimate.profile,
        method=estimate.method,
    )


def admit(
    spec: EnergyBudgetSpec, status: EnergyBudgetStatus, entry: Provisional
) -> EnergyBudgetStatus | None:
    """Return the status with one more promise, or None if there is no room for it.

    A review that is sent again finds its promise there; a larger one replaces it.

    Raises:
        FullError: There is room for the joules, but not for another entry.
    """
    others = [one for one in status.provisional if one.uid != entry.uid]
    known = next((one for one in status.provisional if one.uid == entry.uid), None)
    before = known.energy_joules if known else 0
    if known is not None and entry.energy_joules <= before:
        return status
    if remaining(spec, status) < entry.energy_joules - before:
        return None
    if len(others) >= MAX_PROVISIONAL:
        raise FullError
    return status.model_copy(update={"provisional": (*others, entry)})


def withdraw(status: EnergyBudgetStatus, uid: str) -> EnergyBudgetStatus:
    """Return the status without the promise to an object."""
    left = tuple(entry for entry in status.provisional if entry.uid != uid)
    return status if left == status.provisional else status.model_copy(update={"provisional": left})
