"""Whether a stored balance is what we wrote: only the leader writes it, promises aside."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from energaizer_operator import ledger
from energaizer_operator.informer import Key
from energaizer_operator.ledger import Closing
from energaizer_operator.resources.energybudget import EnergyBudget, EnergyBudgetStatus

_OURS = ("window_start_time", "closed_joules", "consumed_joules", "reserved_joules", "folded")
_TOLERANCE_PERMILLE = 10
"""Of the limit: what time alone may change before a new leader looks at the old one's balance."""


@dataclass
class Drift:
    """Remembers what was written last, and what was repaired lately."""

    shown_s: float
    """For how long a repair is shown."""
    _last: dict[Key, EnergyBudgetStatus] = field(default_factory=dict)
    _repairs: dict[Key, tuple[float, int]] = field(default_factory=dict)

    def base(self, key: Key, budget: EnergyBudget) -> EnergyBudget:
        """Return a budget with our own part of its status as we wrote it last."""
        last = self._last.get(key)
        if last is None:
            return budget
        ours = {name: getattr(last, name) for name in (*_OURS, "buckets", "window_end_time")}
        return budget.model_copy(update={"status": budget.status.model_copy(update=ours)})

    def check(self, key: Key, stored: EnergyBudget, closing: Closing, promised: int) -> int:
        """Return what the stored balance is off by, J, now or lately.

        Args:
            key: Of the budget.
            stored: As the API server has it.
            closing: The balance that follows from the reservations.
            promised: Joules of promises that became reservations since it was stored.
        """
        last, status = self._last.get(key), stored.status
        off = 0
        if last is not None:
            if any(getattr(last, name) != getattr(status, name) for name in _OURS):
                off = ledger.total(status) - ledger.total(last) or 1
        elif status.window_start_time == closing.span.start and status.observed_generation:
            off = ledger.total(status) - (closing.consumed + closing.reserved - promised)
            if 1000 * abs(off) <= _TOLERANCE_PERMILLE * stored.spec.limit_joules:
                off = 0
        if off:
            self._repairs[key] = (time.monotonic(), off)
        return self.lately(key)

    def lately(self, key: Key) -> int:
        """Return what was repaired lately, J."""
        began, joules = self._repairs.get(key, (0.0, 0))
        if joules and time.monotonic() - began > self.shown_s:
            del self._repairs[key]
            return 0
        return joules

    def wrote(self, key: Key, status: EnergyBudgetStatus) -> None:
        """Remember what was written."""
        self._last[key] = status

    def forget(self, key: Key) -> None:
        """Forget a budget that is gone."""
        self._last.pop(key, None)
        self._repairs.pop(key, None)
