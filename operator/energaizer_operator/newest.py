"""The newest copy of objects that we write ourselves: a watch is late by a moment."""

from __future__ import annotations

from dataclasses import dataclass, field

from energaizer_operator.cluster import Object
from energaizer_operator.informer import Key, ObjectRecord, Store


@dataclass
class Newest:
    """The newest copy of objects that we write: what the watch brought, or what we wrote last."""

    store: Store[ObjectRecord]
    _written: dict[Key, Object] = field(default_factory=dict)

    def get(self, key: Key) -> Object | None:
        """Return an object; None if the watch does not know it."""
        record = self.store.get(key[1], key[0])
        written = self._written.get(key)
        if record is None or written is None or written["metadata"]["uid"] != record.uid:
            self._written.pop(key, None)
            return None if record is None else record.body
        newer = int(written["metadata"]["resourceVersion"]) > int(record.version)
        return written if newer else record.body

    def wrote(self, key: Key, body: Object) -> None:
        """Take in what the API server answered."""
        self._written[key] = body
