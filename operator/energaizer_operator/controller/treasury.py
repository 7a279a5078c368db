"""The loops that keep budgets: balances by namespace, reservations, and what nobody judged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from energaizer_operator.cluster import ClusterError
from energaizer_operator.controller.binding import Binding
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.charges import Charges
from energaizer_operator.controller.energybudget import EnergyBudgets
from energaizer_operator.controller.energyreservation import EnergyReservations
from energaizer_operator.controller.loop import Context, Loop
from energaizer_operator.controller.population import is_root
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.controller.survey import Survey
from energaizer_operator.decision import World
from energaizer_operator.estimation import Estimator
from energaizer_operator.informer import Key, ObjectRecord, WorkloadRecord
from energaizer_operator.kinds import PODS
from energaizer_operator.records import WorkloadKey
from energaizer_operator.resources.energyreservation import EnergyReservation
from energaizer_operator.settings import Settings

log = logging.getLogger(__name__)

_GATHER_S = 0.05
"""Objects come in crowds; those of so short a time are booked together."""
_SHOWN = 1.5
"""What one audit found is shown until the next one is done: this many of its periods."""


class Treasury:
    """Everything of the leader that counts joules."""

    def __init__(
        self,
        context: Context,
        estimator: Estimator,
        world: Callable[[], World],
        settings: Settings,
        token: int,
        survey: Callable[[], Survey],
    ) -> None:
        """Build the loops and subscribe them to what they depend on.

        `survey` returns what nodes say of their GPUs.
        """
        self._context, self._settings = context, settings
        informer, metrics = context.informer, context.metrics
        self.book = Book(informer.energyreservations)
        pricing = Pricing(context, estimator, world)
        self._budgets = EnergyBudgets(context, self.book, pricing, settings, token)
        self.population = self._budgets.population
        self.budgets: Loop[str] = Loop(
            "energybudget", self._budgets, metrics, self._budgets.known, 4
        )
        self._reservations = EnergyReservations(
            context, self.book, self.population, settings.charge_s, Binding(pricing, survey)
        )
        self.reservations: Loop[Key] = Loop(
            "energyreservation", self._reservations, metrics, self.book.keys, 4
        )
        self.reservations.yields = self.crowded
        self.charges: Loop[WorkloadKey] = Loop(
            "charge",
            Charges(context, self.book, pricing, token, _SHOWN * settings.audit_s),
            metrics,
            list,
            2,
        )
        self._budgets.again = self.budgets.queue.add_after
        self._budgets.unjudged = self.charges.queue.add
        self._reservations.again = self.reservations.queue.add_after
        self._generations: dict[Key, object] = {}
        informer.energybudgets.subscribe(self._budget_changed)
        self.book.subscribe(self._reservation_changed)
        self.population.subscribe(self._workload_changed)

    @property
    def loops(self) -> tuple[Loop[Any], ...]:
        """All loops."""
        return (self.budgets, self.reservations, self.charges)

    async def begin(self) -> None:
        """Fill the book from the API server itself, before anything is promised.

        Raises:
            ClusterError: It does not answer.
        """
        await self.book.load(self._context.cluster)

    async def resync(self) -> None:
        """Compare the book with the API server now and then, for ever."""
        while True:
            await asyncio.sleep(self._settings.budget_resync_s)
            try:
                found = await self.book.load(self._context.cluster)
            except ClusterError as error:
                log.warning("reservations not read: %s", error)
                continue
            if found:
                log.warning("%d reservations were missing in the book", found)
            self.budgets.add_all()

    def crowded(self) -> bool:
        """Say whether what can wait should: promises wait to be booked, many of them."""
        return self._budgets.crowded

    def reservation(self, key: Key) -> EnergyReservation | None:
        """Return what is reserved for an object, by its namespace and UID."""
        page = self.book.get(key)
        return page.reservation if page else None

    def look_at_budgets(self, key: Key) -> None:
        """Ask for a look at the budgets of a namespace."""
        self.budgets.queue.add_after(key[0], _GATHER_S)

    def look_at_reservation(self, key: Key) -> None:
        """Ask for a look at a reservation."""
        self.reservations.queue.add_after(key, _GATHER_S)

    def _budget_changed(self, key: Key, record: ObjectRecord) -> None:
        self.budgets.queue.add_after(key[0], _GATHER_S)
        if self._context.informer.energybudgets.get(key[1], key[0]) is None:
            self._generations.pop(key, None)
            return
        generation = (record.uid, record.body["metadata"].get("generation"))
        if self._generations.get(key) == generation:
            return
        self._generations[key] = generation  # what ran before it, or was not selected, counts too
        for root in self.population.roots(key[0]):
            if not root.life.ended:
                self.charges.queue.add_after((root.kind, root.namespace, root.name), 1.0)

    def _reservation_changed(self, key: Key) -> None:
        self.budgets.queue.add_after(key[0], _GATHER_S)
        self.reservations.queue.add_after(key, _GATHER_S)

    def _workload_changed(self, record: WorkloadRecord) -> None:
        for key in self._charged(record):
            self.reservations.queue.add_after(key, _GATHER_S)
        if record.kind != PODS.kind or is_root(record):
            self.budgets.queue.add_after(record.namespace, _GATHER_S)

    def _charged(self, record: WorkloadRecord) -> list[Key]:
        """Return the reservations that a change of an object concerns, its owner gone or not."""
        near = [(record.namespace, uid) for uid in (record.uid, record.life.owner_uid)]
        found = [key for key in near if self.book.get(key) is not None]
        return found or [
            (record.namespace, one.spec.workload_ref.uid)
            for one in self.book.of(record.namespace)
            if one.spec.ai_workload_name == record.workload
        ]
