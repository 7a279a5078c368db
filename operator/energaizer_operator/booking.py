"""What budgets have to do with a workload: what is held for it, why it waits, what it took."""

from dataclasses import dataclass
from typing import Final

from energaizer_operator import human
from energaizer_operator.names import ConditionType, Reason
from energaizer_operator.policy import Action, Verdict
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus, BudgetStatus

Answer = tuple[bool | None, Reason, str]
"""Status, reason and message of a condition."""


@dataclass(frozen=True)
class Booking:
    """What budgets have to do with a workload."""

    budgets: tuple[str, ...] = ()
    """Those that select it."""
    reservation: str | None = None
    reserved_joules: int | None = None
    charged_joules: int | None = None
    settled: bool = False
    held: bool = False


NO_BOOKING: Final = Booking()
"""Of a workload that no budget selects."""


def budget(booking: Booking, previous: AIWorkloadStatus) -> BudgetStatus | None:
    """Return the charge; what is settled stays told after its reservation is gone."""
    if not booking.budgets and booking.reservation is None:
        return previous.budget if _was_settled(previous) else None
    if booking.reservation is None:
        return previous.budget or BudgetStatus(budget_names=booking.budgets)
    return BudgetStatus(
        budget_names=booking.budgets,
        reservation_name=booking.reservation,
        reserved_joules=booking.reserved_joules,
        charged_joules=booking.charged_joules,
    )


def _was_settled(previous: AIWorkloadStatus) -> bool:
    return any(
        one.type == ConditionType.BUDGET_RESERVED
        and one.reason in (Reason.SETTLED, Reason.RESERVED)  # gone before anybody looked
        for one in previous.conditions
    )


def reserved(booking: Booking, verdict: Verdict | None, previous: AIWorkloadStatus) -> Answer:
    """Return status, reason and message of BudgetReserved."""
    if booking.reservation is not None and not booking.settled:
        names = ", ".join(booking.budgets)
        text = f"{human.energy(booking.reserved_joules or 0)} reserved in {names}"
        return (True, Reason.RESERVED, text)
    if booking.settled or (not booking.held and _was_settled(previous)):
        charged = booking.charged_joules
        if charged is None and previous.budget is not None:
            charged = previous.budget.charged_joules
        return (True, Reason.SETTLED, f"{human.energy(charged or 0)} charged")
    return _unreserved(verdict, booking)


def _unreserved(verdict: Verdict | None, booking: Booking) -> Answer:
    """Return why nothing is reserved."""
    names = ", ".join(booking.budgets)
    if verdict is None:
        return (None, Reason.PENDING, "not judged yet")
    short = [one for one in verdict.violations if one.budget and one.action is verdict.action]
    if short and verdict.action in (Action.DENY, Action.HOLD):
        unheld = short[0].unholdable
        reason = Reason.HOLD_UNSUPPORTED if unheld else Reason.BUDGET_EXHAUSTED
        return (False, reason, verdict.message)
    if verdict.action is Action.DENY:
        return (False, Reason.POLICY_DENIED, verdict.message)
    if booking.budgets:
        text = "waits to be let go" if booking.held else "nothing of it runs, or is booked, yet"
        return (None, Reason.PENDING, f"{text}; energy budgets: {names}")
    text = f"; {verdict.message}" if verdict.message else ""
    return (True, Reason.NOT_REQUIRED, f"no budget selects this workload{text}")
