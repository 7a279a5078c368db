"""What a budget and a reservation say of themselves: columns and conditions from the balance."""

from datetime import datetime

from energaizer_operator import human, ledger
from energaizer_operator.ledger import Closing
from energaizer_operator.names import ConditionType, Reason
from energaizer_operator.resources.energybudget import EnergyBudget, EnergyBudgetStatus
from energaizer_operator.resources.energyreservation import (
    EnergyReservation,
    EnergyReservationStatus,
)
from energaizer_operator.status import State, conditions


def budget_status(
    budget: EnergyBudget, closing: Closing, pending: int, drift: int, now: datetime
) -> EnergyBudgetStatus:
    """Return the whole status of a budget.

    Args:
        budget: As it is stored.
        closing: Its balance.
        pending: Workloads that are held by it.
        drift: What its stored balance was off by and was repaired lately, J.
        now: The present.
    """
    spec, generation = budget.spec, budget.metadata.generation
    balance = budget.status.model_copy(
        update={
            "observed_generation": generation,
            "window_start_time": closing.span.start,
            "window_end_time": closing.span.end,
            "closed_joules": closing.closed,
            "consumed_joules": closing.consumed,
            "reserved_joules": closing.reserved,
            "active_reservations": closing.active,
            "pending_workloads": pending,
            "provisional": closing.provisional,
            "buckets": closing.buckets,
            "folded": closing.folded,
            "limit_human": human.energy(spec.limit_joules),
        }
    )
    left, taken = max(0, ledger.remaining(spec, balance)), ledger.used(balance)
    wanted = [
        State(ConditionType.READY, True, Reason.READY, f"{human.energy(left)} remain"),
        *_limits(budget, taken),
        _drift(drift),
    ]
    return balance.model_copy(
        update={
            "remaining_joules": left,
            "remaining_human": human.energy(left),
            "used_percent": min(100 * taken // spec.limit_joules, 2**31 - 1),
            "conditions": conditions(budget.status.conditions, wanted, generation, now),
        }
    )


def broken_status(
    generation: int | None, present: EnergyBudgetStatus, problem: str, now: datetime
) -> EnergyBudgetStatus:
    """Return the status of a budget that means nothing; it has room for nothing."""
    state = State(ConditionType.READY, False, Reason.INVALID_BUDGET, problem)
    return present.model_copy(
        update={
            "observed_generation": generation,
            "conditions": conditions(present.conditions, [state], generation, now),
        }
    )


def reservation_status(
    reservation: EnergyReservation, taken: EnergyReservationStatus, running: int, now: datetime
) -> EnergyReservationStatus:
    """Return the whole status of a reservation, whose pods run in a number."""
    settled = taken.settled_time is not None
    text = f"{running} pods run"
    final = human.energy(taken.settled_joules or 0) if settled else "pods are not gone yet"
    wanted = [
        State(ConditionType.RESERVED, not settled, Reason.RESERVED, "held in its budgets"),
        State(
            ConditionType.RUNNING,
            bool(running),
            Reason.RUNNING if running else Reason.NOT_RUNNING,
            text,
        ),
        State(
            ConditionType.SETTLED, settled, Reason.SETTLED if settled else Reason.NOT_ENDED, final
        ),
    ]
    generation = reservation.metadata.generation
    before = reservation.status.conditions
    return taken.model_copy(update={"conditions": conditions(before, wanted, generation, now)})


def _limits(budget: EnergyBudget, taken: int) -> list[State]:
    spec = budget.spec
    most = ledger.capacity(spec)
    warns = 100 * taken >= spec.warning_percent * spec.limit_joules
    text = f"{human.energy(taken)} of {human.energy(spec.limit_joules)} are taken or promised"
    near = State(
        ConditionType.NEAR_LIMIT,
        warns,
        Reason.NEAR_LIMIT if warns else Reason.WITHIN_LIMIT,
        text,
    )
    over = taken > most
    reason = Reason.EXCEEDED if over else Reason.WITHIN_LIMIT
    return [near, State(ConditionType.EXCEEDED, over, reason, text)]


def _drift(joules: int) -> State:
    if not joules:
        text = "the balance follows from its reservations"
        return State(ConditionType.DRIFTED, False, Reason.IN_STEP, text)
    text = f"the stored balance was off by {human.energy(abs(joules))} and was computed anew"
    return State(ConditionType.DRIFTED, True, Reason.REPAIRED, text)
