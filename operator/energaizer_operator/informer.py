"""A local copy of what we need to know of the cluster, kept current by watches.

Each kind has one `Store`: it lists page by page, projects each object to a small record and drops
the rest, then follows a watch. Bookmarks keep the place, 410 lists again, and what vanished in
between is noticed. Readers are synchronous and never wait; who must react subscribes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from pydantic import ValidationError

from energaizer_operator.cluster import (
    Cluster,
    ClusterError,
    Expired,
    Missing,
    Object,
    Refused,
)
from energaizer_operator.kinds import (
    AIWORKLOADS,
    ENERGYBUDGETS,
    ENERGYPOLICIES,
    ENERGYRESERVATIONS,
    GPUPROFILES,
    NAMESPACES,
    NODES,
    OTHER_WORKLOADS,
    PODS,
    RESOURCE_SLICES,
    WORKLOADS,
    ApiResource,
)
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.records import (
    Key,
    MetadataRecord,
    ObjectRecord,
    WorkloadRecord,
    metadata_record,
    object_record,
    packed_record,
    workload_record,
)
from energaizer_operator.schema import Resource
from energaizer_operator.slices import SliceRecord, slice_record

__all__ = [
    "Informer",
    "Key",
    "MetadataRecord",
    "ObjectRecord",
    "Store",
    "WorkloadRecord",
    "metadata_record",
    "object_record",
    "packed_record",
    "readable",
    "workload_record",
]

log = logging.getLogger(__name__)

Record = TypeVar("Record")
Model = TypeVar("Model", bound=Resource)

_RETRY_LEAST_S, _RETRY_MOST_S = 1.0, 30.0
_ABSENT_S = 30.0
"""How often to ask whether a kind that a cluster may lack has come."""


def _key(body: Object) -> Key:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


@dataclass
class Store(Generic[Record]):
    """The current records of one kind."""

    resource: ApiResource
    project: Callable[[Object], Record]
    labels: str = ""
    metadata_only: bool = False
    optional: bool = False
    """Whether a cluster may lack the kind, or keep it from us; then there are simply none."""
    synced: bool = False
    """Whether the first list is complete."""
    last_event: float = 0.0
    """When the API server last said anything about this kind, seconds since the epoch."""
    _records: dict[Key, Record] = field(default_factory=dict)
    _seen: dict[Key, tuple[str, str]] = field(default_factory=dict)
    """UID and resource version of what each record was made of."""
    _place: str = ""
    """Resource version to watch from; empty: list first."""
    _listeners: list[Callable[[Key, Record], None]] = field(default_factory=list)
    _adopted: set[Key] = field(default_factory=set)
    _first: asyncio.Event = field(default_factory=asyncio.Event)

    def get(self, name: str, namespace: str = "") -> Record | None:
        """Return a record, or None."""
        return self._records.get((namespace, name))

    def values(self) -> list[Record]:
        """Return all records, in order of their keys."""
        return [self._records[key] for key in sorted(self._records)]

    def of(self, namespace: str) -> list[Record]:
        """Return the records of a namespace, in order of their names."""
        return [self._records[key] for key in sorted(self._records) if key[0] == namespace]

    def keys(self) -> list[Key]:
        """Return all keys, in order."""
        return sorted(self._records)

    def __iter__(self) -> Iterator[Record]:
        """Iterate over all records, in order of their keys."""
        return iter(self.values())

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self._records)

    def subscribe(self, listener: Callable[[Key, Record], None]) -> None:
        """Call `listener` for each record that comes, changes or goes, on the event loop.

        It gets the key and the record, the last one that was known if the object went. A change
        that the projection does not see is none. One that was deleted and made anew goes, then
        comes, though no watch saw the deletion.
        """
        self._listeners.append(listener)

    async def wait(self) -> None:
        """Return once the first list is complete."""
        await self._first.wait()

    def adopt(self, bodies: Iterable[Object]) -> None:
        """Hold objects that the watch does not select, in place of those adopted before.

        What the watch brings of one of them from then on counts.
        """
        before, self._adopted = self._adopted, set()
        for body in bodies:
            key = _key(body)
            if key in before or key not in self._records:
                self._take(key, body)
                self._adopted.add(key)
        for key in before - self._adopted:
            self._forget(key)

    def offer(self, change: str, body: Object) -> None:
        """Take one object in and tell the listeners, unless it is as we know it."""
        key = _key(body)
        self._adopted.discard(key)
        if change == "DELETED":
            self._forget(key)
        else:
            self._take(key, body)

    def _take(self, key: Key, body: Object) -> None:
        metadata = body["metadata"]
        seen = (str(metadata.get("uid", "")), str(metadata.get("resourceVersion", "")))
        before = self._seen.get(key, seen)
        if before[0] != seen[0]:
            self._forget(key)
        if self._seen.get(key) != seen:
            old, new = self._records.get(key), self.project(body)
            self._records[key], self._seen[key] = new, seen
            if new != old:
                self._tell(key, new)

    async def run(self, cluster: Cluster) -> None:
        """List and watch for ever; every failure is logged and tried again."""
        pause = _RETRY_LEAST_S
        while True:
            try:
                if not self._place:
                    self._place = await self._list(cluster)
                await self._follow(cluster)
                pause = _RETRY_LEAST_S
            except Expired:
                self._place = ""
            except ClusterError as error:
                if self.optional and isinstance(error, Missing | Refused):
                    log.info("%s: none here: %s", self.resource.plural, error)
                    self._settle(set())
                    self._place = ""
                    await asyncio.sleep(_ABSENT_S)
                    continue
                log.warning("%s: %s; again in %.0f s", self.resource.plural, error, pause)
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311, spreads load
                pause = min(2 * pause, _RETRY_MOST_S)

    async def _list(self, cluster: Cluster) -> str:
        """Read all objects, forget those that are gone, return the version to watch from."""
        seen, version = set[Key](), ""
        pages = cluster.pages(self.resource, labels=self.labels, metadata_only=self.metadata_only)
        async for page in pages:
            for body in page.items:
                seen.add(_key(body))
                self.offer("LISTED", body)
            version = page.resource_version
            self.last_event = time.time()
        self._settle(seen)
        return version

    def _settle(self, seen: set[Key]) -> None:
        """Forget what a complete list did not have."""
        for key in set(self._records) - seen - self._adopted:
            self._forget(key)
        self.last_event, self.synced = time.time(), True
        self._first.set()

    async def _follow(self, cluster: Cluster) -> None:
        """Take in one watch until the server ends it; one that breaks goes on where it broke."""
        changes = cluster.watch(
            self.resource, self._place, labels=self.labels, metadata_only=self.metadata_only
        )
        async for change in changes:
            self.last_event = time.time()
            if change.type != "BOOKMARK":
                self.offer(change.type, change.object)
            self._place = str(change.object["metadata"]["resourceVersion"])

    def _forget(self, key: Key) -> None:
        record = self._records.pop(key, None)
        self._seen.pop(key, None)
        if record is not None:
            self._tell(key, record)

    def _tell(self, key: Key, record: Record) -> None:
        for listener in self._listeners:
            listener(key, record)


def readable(store: Store[ObjectRecord], model: type[Model]) -> tuple[list[Model], list[str]]:
    """Return the objects of a store, and the names of those that this version cannot read.

    One that was stored under another version's schema concerns itself alone.
    """
    found, unreadable = list[Model](), list[str]()
    for record in store:
        try:
            found.append(model.of_server(record.body))
        except ValidationError as error:
            log.warning("%s %s cannot be read: %s", store.resource.kind, record.name, error)
            unreadable.append(record.name)
    return found, unreadable


@dataclass
class Informer:
    """The stores of one process; a store that nobody needs is None."""

    aiworkloads: Store[ObjectRecord] = field(
        default_factory=lambda: Store(AIWORKLOADS, packed_record)
    )
    gpuprofiles: Store[ObjectRecord] = field(
        default_factory=lambda: Store(GPUPROFILES, object_record)
    )
    energypolicies: Store[ObjectRecord] = field(
        default_factory=lambda: Store(ENERGYPOLICIES, object_record)
    )
    energybudgets: Store[ObjectRecord] = field(
        default_factory=lambda: Store(ENERGYBUDGETS, object_record)
    )
    energyreservations: Store[ObjectRecord] = field(
        default_factory=lambda: Store(ENERGYRESERVATIONS, object_record)
    )
    namespaces: Store[MetadataRecord] = field(
        default_factory=lambda: Store(NAMESPACES, metadata_record, metadata_only=True)
    )
    nodes: Store[MetadataRecord] | None = field(
        default_factory=lambda: Store(NODES, metadata_record, metadata_only=True)
    )
    resourceslices: Store[SliceRecord] | None = field(
        default_factory=lambda: Store(RESOURCE_SLICES, slice_record, optional=True)
    )
    """GPUs as drivers of devices publish them."""
    workloads: tuple[Store[WorkloadRecord], ...] = field(
        default_factory=lambda: tuple(
            [Store(kind, workload_record, labels=LABEL_WORKLOAD) for kind in WORKLOADS]
            + [Store(kind, workload_record, optional=True) for kind in OTHER_WORKLOADS]
        )
    )
    """Jobs, Deployments, StatefulSets and pods that carry our label; all of other kinds."""

    @property
    def pods(self) -> Store[WorkloadRecord] | None:
        """The pods among the workloads."""
        return next((store for store in self.workloads if store.resource == PODS), None)

    @classmethod
    def for_webhook(cls) -> Informer:
        """Return stores of our kinds and of namespaces: all that admission looks at."""
        return cls(nodes=None, resourceslices=None, workloads=())

    @property
    def stores(
        self,
    ) -> tuple[
        Store[ObjectRecord] | Store[MetadataRecord] | Store[SliceRecord] | Store[WorkloadRecord],
        ...,
    ]:
        """All stores of this process."""
        kinds = (
            self.aiworkloads,
            self.gpuprofiles,
            self.energypolicies,
            self.energybudgets,
            self.energyreservations,
            self.namespaces,
            self.nodes,
            self.resourceslices,
        )
        return (*(store for store in kinds if store is not None), *self.workloads)

    @property
    def synced(self) -> bool:
        """Whether every first list is complete."""
        return all(store.synced for store in self.stores)

    async def wait(self) -> None:
        """Return once every first list is complete."""
        for store in self.stores:
            await store.wait()

    async def run(self, cluster: Cluster) -> None:
        """Keep all stores current for ever."""
        async with asyncio.TaskGroup() as group:
            for store in self.stores:
                group.create_task(store.run(cluster), name=f"watch {store.resource.plural}")
