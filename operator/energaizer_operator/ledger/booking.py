"""What reservations take of a budget, and the balance that follows: the half that the leader does.

Each look computes the balance anew from all reservations. Only what is settled is remembered, in
`closed`, and `folded` names those that it holds, so that a look which is repeated adds nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from energaizer_operator.ledger.entries import ENDLESS
from energaizer_operator.ledger.needs import Demand, need
from energaizer_operator.ledger.windows import Span, bucket_width, span
from energaizer_operator.resources.energybudget import (
    MAX_FOLDED,
    Bucket,
    EnergyBudget,
    EnergyBudgetSpec,
    EnergyBudgetStatus,
    Provisional,
)
from energaizer_operator.resources.energyreservation import EnergyReservation


@dataclass(frozen=True)
class Booked:
    """What one reservation takes of a budget's window, J."""

    consumed: int
    reserved: int


@dataclass(frozen=True)
class Closing:
    """The balance of a budget at one moment."""

    span: Span
    closed: int
    consumed: int
    """Closed, and what active reservations took in this window."""
    reserved: int
    active: int
    provisional: tuple[Provisional, ...]
    buckets: tuple[Bucket, ...]
    folded: tuple[str, ...]


def booked(reservation: EnergyReservation, spec: EnergyBudgetSpec, now: datetime) -> Booked:
    """Return what an active reservation took of the window, and what it may still take.

    Raises:
        ZoneError: The budget's time zone does not exist.
    """
    held, status = reservation.spec, reservation.status
    through = status.charged_through_time or held.reserved_time
    taken = _taken(reservation, spec)
    consumed = span(spec.window, now).share(taken, through, status.elapsed_seconds or 0)
    demand = Demand(
        held.energy_joules,
        held.expected_energy_joules or held.energy_joules,
        held.power_watts,
        held.expected_power_watts or held.power_watts,
        held.workload_ref.kind in ENDLESS,
        held.replicas,
    )
    if demand.endless:
        start = span(spec.window, now).start
        return Booked(
            consumed, need(demand, spec, through if start is None else max(through, start))
        )
    return Booked(
        consumed, max(0, need(demand, spec, now) - (taken - (status.attempt_joules or 0)))
    )


def close(
    budget: EnergyBudget,
    reservations: Iterable[EnergyReservation],
    now: datetime,
    lost: Collection[str] = (),
) -> Closing:
    """Return the balance of a budget now.

    Args:
        budget: With the status as it is stored.
        reservations: All that name the budget.
        now: The present.
        lost: Objects whose promise nobody will use, since they do not exist.

    Raises:
        ZoneError: The budget's time zone does not exist.
    """
    spec, status = budget.spec, budget.status
    present = span(spec.window, now)
    rolls = status.window_start_time != present.start and spec.window.type == "Calendar"
    closed = 0 if rolls else status.closed_joules or 0
    buckets = [
        bucket for bucket in status.buckets if present.start and bucket.start_time >= present.start
    ]
    if spec.window.type == "Rolling":
        closed = sum(bucket.energy_joules for bucket in buckets)
    found = {one.spec.workload_ref.uid: one for one in reservations}
    folded = [uid for uid in status.folded if uid in found]
    consumed = reserved = active = 0
    for uid, one in sorted(found.items()):
        if uid in folded:
            continue
        if one.status.settled_time is None:
            taken = booked(one, spec, now)
            consumed, reserved, active = (
                consumed + taken.consumed,
                reserved + taken.reserved,
                active + 1,
            )
        elif len(folded) < MAX_FOLDED:
            settled = _settled(one, spec, present)
            closed += settled
            buckets = _into(buckets, spec, one, settled)
            folded.append(uid)
    return Closing(
        span=present,
        closed=closed,
        consumed=closed + consumed,
        reserved=reserved,
        active=active,
        provisional=tuple(
            entry
            for entry in status.provisional
            if entry.uid not in lost and not _is_booked(entry, found.get(entry.uid))
        ),
        buckets=tuple(buckets),
        folded=tuple(folded),
    )


def total(status: EnergyBudgetStatus) -> int:
    """Return what is taken and booked, J: time alone does not change it."""
    return (status.consumed_joules or 0) + (status.reserved_joules or 0)


def _taken(reservation: EnergyReservation, spec: EnergyBudgetSpec) -> int:
    """Return what was taken so far: no less than predicted, so that no gap of a sensor helps."""
    status = reservation.status
    predicted = status.consumed_joules or 0
    if spec.charge_basis == "Predicted":
        return predicted
    return max(predicted, status.measured_joules or 0)


def _settled(one: EnergyReservation, spec: EnergyBudgetSpec, present: Span) -> int:
    status = one.status
    final = status.settled_joules or 0
    if spec.charge_basis == "Predicted":
        final = status.consumed_joules or 0
    through = status.charged_through_time or status.settled_time or one.spec.reserved_time
    return present.share(final, through, status.elapsed_seconds or 0)


def _into(
    buckets: list[Bucket], spec: EnergyBudgetSpec, one: EnergyReservation, joules: int
) -> list[Bucket]:
    """Return the slices of a rolling window with something more in that of its settlement."""
    if spec.window.type != "Rolling" or not joules or one.status.settled_time is None:
        return buckets
    width = bucket_width(spec.window)
    zero = datetime.fromtimestamp(0, one.status.settled_time.tzinfo)
    start = zero + (one.status.settled_time - zero) // width * width
    sums = {bucket.start_time: bucket.energy_joules for bucket in buckets}
    sums[start] = sums.get(start, 0) + joules
    return [Bucket(start_time=at, energy_joules=sums[at]) for at in sorted(sums)]


def _is_booked(entry: Provisional, reservation: EnergyReservation | None) -> bool:
    """Say whether a reservation holds what was promised, of a workload that grew too."""
    return reservation is not None and reservation.spec.replicas >= (entry.replicas or 0)
