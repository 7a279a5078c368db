"""All reservations as the leader knows them: what it wrote itself counts before any watch says so.

A watch brings our own writes back late, and a balance without the newest reservation would promise
its joules again. So the book is filled by one complete list when leadership begins, and from then
on by what we write and, where it is newer, by what the watch brings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import ValidationError

from energaizer_operator.cluster import Cluster, Object
from energaizer_operator.informer import Key, ObjectRecord, Store
from energaizer_operator.kinds import ENERGYRESERVATIONS
from energaizer_operator.resources.energyreservation import EnergyReservation

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Page:
    """One reservation, and the object that it was read from."""

    reservation: EnergyReservation
    body: Object

    @property
    def version(self) -> int:
        """Return how new it is."""
        return int(self.body["metadata"]["resourceVersion"])

    @property
    def leaving(self) -> bool:
        """Say whether somebody deleted it, and only our finalizer keeps it."""
        return "deletionTimestamp" in self.body["metadata"]


@dataclass
class Book:
    """Reservations by namespace and name, which is the UID of the charged object."""

    store: Store[ObjectRecord]
    _pages: dict[Key, Page] = field(default_factory=dict)
    _gone: dict[Key, int] = field(default_factory=dict)
    """Version at which we deleted it: an older word of the watch does not bring it back."""
    _listeners: list[Callable[[Key], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Follow the watch."""
        self.store.subscribe(self._heard)

    def subscribe(self, listener: Callable[[Key], None]) -> None:
        """Call `listener` with the key of each reservation that changes."""
        self._listeners.append(listener)

    async def load(self, cluster: Cluster) -> int:
        """Fill the book by one complete list; return how much it holds that the watch lacked."""
        pages: dict[Key, Page] = {}
        async for part in cluster.pages(ENERGYRESERVATIONS):
            for body in part.items:
                page = _read(body)
                if page is not None:
                    pages[_key(body)] = page
        surprises = sum(1 for key in pages if key not in self._pages)
        for key, page in pages.items():
            known = self._pages.get(key)
            if known is None or known.version < page.version:
                self._pages[key] = page
        return surprises

    def get(self, key: Key) -> Page | None:
        """Return one reservation."""
        return self._pages.get(key)

    def of(self, namespace: str) -> list[EnergyReservation]:
        """Return the reservations of a namespace."""
        return [page.reservation for (place, _), page in self._pages.items() if place == namespace]

    def keys(self) -> list[Key]:
        """Return all keys, in order."""
        return sorted(self._pages)

    def wrote(self, body: Object) -> None:
        """Take in what the API server answered to a write of ours."""
        page, key = _read(body), _key(body)
        if page is not None:
            self._pages[key] = page
            self._tell(key)

    def forget(self, key: Key) -> None:
        """Strike out a reservation that we let go."""
        page = self._pages.pop(key, None)
        if page is not None:
            self._gone[key] = page.version
            self._tell(key)

    def _heard(self, key: Key, record: ObjectRecord) -> None:
        if self.store.get(key[1], key[0]) is None:
            self._gone.pop(key, None)
            if self._pages.pop(key, None) is not None:
                self._tell(key)
            return
        known = self._pages.get(key)
        newest = known.version if known else self._gone.get(key, 0)
        if int(record.version) > newest and (page := _read(record.body)) is not None:
            self._pages[key] = page
            self._tell(key)

    def _tell(self, key: Key) -> None:
        for listener in self._listeners:
            listener(key)


def _key(body: Object) -> Key:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _read(body: Object) -> Page | None:
    try:
        return Page(EnergyReservation.of_server(body), body)
    except ValidationError as error:
        log.warning("EnergyReservation %s cannot be read: %s", "/".join(_key(body)), error)
        return None
