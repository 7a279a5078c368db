"""The newest copy of objects that we write ourselves: a watch is late by a moment."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

from energaizer_operator.cluster import Cluster, Object
from energaizer_operator.informer import Key, ObjectRecord, Store


@dataclass
class Newest:
    """The newest copy of objects that we write: what the watch brought, or what we wrote last."""

    store: Store[ObjectRecord]
    _written: dict[Key, Object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Follow the watch, to forget what is gone."""
        self.store.subscribe(self._heard)

    def get(self, key: Key) -> Object | None:
        """Return an object; None if the watch does not know it."""
        record = self.store.get(key[1], key[0])
        written = self._written.get(key)
        if record is None or written is None or written["metadata"]["uid"] != record.uid:
            return None if record is None else record.body
        return written if _version(written) > int(record.version) else record.body

    def wrote(self, key: Key, body: Object) -> None:
        """Take in what the API server answered."""
        self._written[key] = body

    async def newer(
        self, cluster: Cluster, key: Key, than: Object, pause_s: float
    ) -> Object | None:
        """Return what is there instead of a copy that lost its race; None if it was deleted.

        The watch brings it as a rule, for less than a read, while we stand back for somebody
        else's turn.

        Args:
            cluster: Asked where the watch is late.
            key: Of the object.
            than: The copy that was written in vain.
            pause_s: Longest time to stand back, s; say, as long as a write takes.

        Raises:
            ClusterError: The API server does not answer.
        """
        await asyncio.sleep(random.uniform(0.0, pause_s))  # noqa: S311 - spreads load
        body = self.get(key)
        if body is not None and _version(body) > _version(than):
            return body
        found = await cluster.find(self.store.resource, key[1], key[0])
        if found is not None:
            self.wrote(key, found)
        return found

    def _heard(self, key: Key, _: ObjectRecord) -> None:
        if self.store.get(key[1], key[0]) is None:
            self._written.pop(key, None)


def _version(body: Object) -> int:
    return int(body["metadata"]["resourceVersion"])
