"""Workloads and pods by UID, as the watches bring them: what the ledger looks up."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final

from energaizer_operator import owners
from energaizer_operator.informer import Informer, Key, Store, WorkloadRecord

_CHARGED_PARENTS: Final = owners.FOLLOWED | {"ReplicaSet", "Pod"}
"""Kinds that are charged for all that they make."""


class Population:
    """An index over the stores of workloads."""

    def __init__(self, informer: Informer) -> None:
        """Follow the stores."""
        self._by_uid: dict[str, dict[str, WorkloadRecord]] = {}
        self._listeners: list[Callable[[WorkloadRecord], None]] = []
        for store in informer.workloads:
            store.subscribe(functools.partial(self._heard, store))
            for record in store:
                self._add(record)

    def subscribe(self, listener: Callable[[WorkloadRecord], None]) -> None:
        """Call `listener` with each record that comes, changes or goes."""
        self._listeners.append(listener)

    def get(self, namespace: str, uid: str) -> WorkloadRecord | None:
        """Return what has a UID."""
        return self._by_uid.get(namespace, {}).get(uid)

    def roots(self, namespace: str) -> list[WorkloadRecord]:
        """Return what is charged itself: nothing that is charged stands above it."""
        return [one for one in self._by_uid.get(namespace, {}).values() if is_root(one)]

    def _heard(self, store: Store[WorkloadRecord], key: Key, record: WorkloadRecord) -> None:
        if store.get(key[1], key[0]) is not None:
            self._add(record)
        elif known := self._by_uid.get(record.namespace):
            known.pop(record.uid, None)
            if not known:
                del self._by_uid[record.namespace]
        for listener in self._listeners:
            listener(record)

    def _add(self, record: WorkloadRecord) -> None:
        self._by_uid.setdefault(record.namespace, {})[record.uid] = record


def is_root(record: WorkloadRecord) -> bool:
    """Say whether an object is charged itself."""
    return record.life.owner_kind not in _CHARGED_PARENTS
