"""The arithmetic of budgets: windows of time, promises, bookings and what is left.

A budget's balance is limit - closed - consumed - reserved - provisional. Admission adds provisional
entries, one an object, each by one guarded write of the budget's status, so that two replicas never
both see the same room. The leader turns an entry into an EnergyReservation and, at the end, folds
what was taken into `closed`. Everything is recomputed from the reservations each time, so that a
step which is repeated, or was cut short by a crash, charges nothing twice.
"""

from energaizer_operator.ledger.booking import Booked, Closing, booked, close, total
from energaizer_operator.ledger.entries import (
    ENDLESS,
    FullError,
    admit,
    capacity,
    entry_of,
    promised,
    remaining,
    used,
    withdraw,
)
from energaizer_operator.ledger.following import PodRun, follow, predicted, settle
from energaizer_operator.ledger.needs import Demand, need, resized, surged
from energaizer_operator.ledger.windows import Span, ZoneError, local, span

__all__ = [
    "ENDLESS",
    "Booked",
    "Closing",
    "Demand",
    "FullError",
    "PodRun",
    "Span",
    "ZoneError",
    "admit",
    "booked",
    "capacity",
    "close",
    "entry_of",
    "follow",
    "local",
    "need",
    "predicted",
    "promised",
    "remaining",
    "resized",
    "settle",
    "span",
    "surged",
    "total",
    "used",
    "withdraw",
]
