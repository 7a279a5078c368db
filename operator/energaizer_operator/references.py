"""Who belongs to whom: indexes that follow the watches, so that no look-up reads everything.

An AIWorkload names its workload by reference, or the workload carries the AIWorkload's name as a
label. Two AIWorkloads that name the same one are rivals: the older describes it, and the younger is
told so; what somebody wrote comes before what we made of nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from energaizer_operator.informer import Key, ObjectRecord, Store, WorkloadRecord
from energaizer_operator.kinds import PODS
from energaizer_operator.names import FIELD_MANAGER, LABEL_APP_MANAGED_BY

Reference = tuple[str, str, str]
"""Namespace, kind and name of a workload."""
_Age = tuple[bool, str, str]


class References:
    """Look-ups by workload; synchronous, from memory, the oldest AIWorkload first."""

    def __init__(self, aiworkloads: Store[ObjectRecord]) -> None:
        """Follow the store of AIWorkloads."""
        self._store = aiworkloads
        self._ages: dict[Reference, dict[str, _Age]] = {}
        self._known: dict[Key, Reference] = {}
        for record in aiworkloads:
            self._index((record.namespace, record.name), record)
        aiworkloads.subscribe(self._index)

    def names(self, namespace: str, kind: str, name: str) -> tuple[str, ...]:
        """Return the AIWorkloads that name an object as theirs, the oldest first."""
        ages = self._ages.get((namespace, kind, name), {})
        return tuple(sorted(ages, key=lambda one: ages[one]))

    def first(self, namespace: str, kind: str, name: str) -> str | None:
        """Return the AIWorkload that describes an object."""
        return next(iter(self.names(namespace, kind, name)), None)

    def _index(self, key: Key, record: ObjectRecord) -> None:
        namespace, name = key
        before = self._known.pop(key, None)
        if before is not None:
            ages = self._ages[before]
            del ages[name]
            if not ages:
                del self._ages[before]
        stated = (record.body.get("spec") or {}).get("workloadRef") or {}
        if stated and self._store.get(name, namespace) is not None:
            reference = (namespace, str(stated.get("kind")), str(stated.get("name")))
            self._known[key] = reference
            metadata = record.body["metadata"]
            ours = (metadata.get("labels") or {}).get(LABEL_APP_MANAGED_BY) == FIELD_MANAGER
            created = str(metadata.get("creationTimestamp", ""))
            self._ages.setdefault(reference, {})[name] = (ours, created, name)


class Carriers:
    """Look-ups of objects that carry our label, by the AIWorkload that it names."""

    def __init__(self, stores: Iterable[Store[WorkloadRecord]]) -> None:
        """Follow the stores of workloads and pods."""
        self._found: dict[Key, dict[tuple[str, Key], WorkloadRecord]] = {}
        self._known: dict[tuple[str, Key], Key] = {}
        for store in stores:
            store.subscribe(self._follow(store))

    def of(self, namespace: str, workload: str) -> list[WorkloadRecord]:
        """Return what carries the name of an AIWorkload, in order of kind and name."""
        found = self._found.get((namespace, workload), {})
        return [found[place] for place in sorted(found)]

    def pods(self, namespace: str, workload: str) -> list[WorkloadRecord]:
        """Return the pods that carry the name of an AIWorkload, in order of name."""
        return [one for one in self.of(namespace, workload) if one.kind == PODS.kind]

    def ended(self, namespace: str, workload: str) -> float | None:
        """Return when the last carrier ended, seconds since the epoch; None while one goes on.

        What a carrier controls ended before it; a pod that does not say when counts from its start.
        """
        found = [one.life for one in self.of(namespace, workload) if not one.controlled]
        if not found or not all(life.ended for life in found):
            return None
        ends = (life.ended_at or life.started_at or life.created for life in found)
        return max((datetime.fromisoformat(end).timestamp() for end in ends if end), default=None)

    def _follow(self, store: Store[WorkloadRecord]) -> Callable[[Key, WorkloadRecord], None]:
        kind = store.resource.kind
        for record in store:
            self._put((kind, (record.namespace, record.name)), record)
        return lambda key, _: self._put((kind, key), store.get(key[1], key[0]))

    def _put(self, place: tuple[str, Key], record: WorkloadRecord | None) -> None:
        before = self._known.pop(place, None)
        if before is not None:
            carriers = self._found[before]
            del carriers[place]
            if not carriers:
                del self._found[before]
        if record is not None:
            name = (record.namespace, record.workload)
            self._known[place] = name
            self._found.setdefault(name, {})[place] = record
