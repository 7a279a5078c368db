"""What admission promised becomes reservations, once the object is there; else it is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from energaizer_operator.controller import reserving
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.population import Population
from energaizer_operator.decision import Purse
from energaizer_operator.kinds import CHARGED
from energaizer_operator.policy import Action
from energaizer_operator.resources.energybudget import Provisional
from energaizer_operator.resources.energyreservation import ChargedObject

_AT_ONCE = 16


@dataclass(frozen=True)
class _Found:
    reference: ChargedObject
    workload: str
    """Name of its AIWorkload, where it is known."""
    replicas: int
    """That it may run at once, the surge of a rolling update too."""
    held: bool


@dataclass
class Promises:
    """Books what budgets promised."""

    context: Context
    book: Book
    population: Population
    token: int

    async def book_all(
        self, namespace: str, purses: Mapping[str, Purse], granted: set[str], now: datetime
    ) -> set[str]:
        """Turn promises into reservations; return the UIDs whose object does not exist.

        Args:
            namespace: Of the budgets.
            purses: Its budgets by name.
            granted: Held workloads that all their budgets promised.
            now: The present.
        """
        entries: dict[str, Provisional] = {}
        names: dict[str, set[str]] = {}
        for name, purse in purses.items():
            for entry in purse.budget.status.provisional if purse.budget else ():
                known = entries.get(entry.uid)
                if known is None or (entry.replicas or 0) > (known.replicas or 0):
                    entries[entry.uid] = entry
                names.setdefault(entry.uid, set()).add(name)
        lost: set[str] = set()
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(entry: Provisional) -> None:
            async with room:
                found = await self._find(namespace, entry, now)
                if found is None:
                    if now >= entry.expires_time:
                        lost.add(entry.uid)
                    return
                if found.held and entry.uid not in granted:
                    return
                if self.book.get((namespace, entry.uid)) is None:
                    also = {name for name, purse in purses.items() if _counts(purse)}
                    spec = reserving.of_entry(
                        entry, found.reference, found.workload, names[entry.uid] | also, now
                    )
                    await reserving.reserve(self.context, self.book, namespace, spec, self.token)
                elif self._grew(namespace, entry, found):
                    await reserving.resize(self.context, self.book, namespace, entry)
                elif now >= entry.expires_time:
                    lost.add(entry.uid)  # promised to an update that did not come

        await asyncio.gather(*(one(entry) for entry in entries.values()))
        return lost

    def _grew(self, namespace: str, entry: Provisional, found: _Found) -> bool:
        page = self.book.get((namespace, entry.uid))
        wanted = entry.replicas or 0
        return page is not None and page.reservation.spec.replicas < wanted <= found.replicas

    async def _find(self, namespace: str, entry: Provisional, now: datetime) -> _Found | None:
        """Return the object of a promise, from the watch; after its time from the API server."""
        record = self.population.get(namespace, entry.uid)
        resource = CHARGED.get(entry.kind)
        if record is not None and resource is not None:
            reference = ChargedObject(
                api_version=resource.api_version,
                kind=record.kind,
                name=record.name,
                uid=record.uid,
            )
            return _Found(
                reference,
                record.workload,
                record.life.replicas + record.life.surge,
                record.life.held,
            )
        if now < entry.expires_time or resource is None:
            return None
        body = await self.context.cluster.find(resource, entry.name, namespace)
        if body is None or body["metadata"]["uid"] != entry.uid:
            return None
        reference = ChargedObject(
            api_version=resource.api_version, kind=entry.kind, name=entry.name, uid=entry.uid
        )
        return _Found(reference, "", entry.replicas or 1, held=False)


def _counts(purse: Purse) -> bool:
    """Say whether a budget counts every workload, though admission promises nothing of it."""
    budget = purse.budget
    soft = purse.action in (Action.WARN, Action.AUDIT)
    return soft and budget is not None and budget.spec.selector is None
