"""Who made a pod: its owners up to the root, read from the API server in a tenth of a second.

A pod says little of the work that it is a part of: the inputs may be annotations of its Job, and
its share depends on how many pods that Job runs. All pods of a Job ask the same, so what was read
is kept for a while. Without an answer in time the pod is judged by what it says itself.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from energaizer_operator import queueing
from energaizer_operator.cluster import Cluster, ClusterError, Object
from energaizer_operator.kinds import (
    ADMISSIONCHECKS,
    CLUSTERQUEUES,
    LOCALQUEUES,
    ApiResource,
    resource_of,
)
from energaizer_operator.owners import Owner, above, controller_of

KEPT_S = 30.0
CAPACITY = 4096

log = logging.getLogger(__name__)

Key = tuple[str, str, str, str]
"""Namespace, kind, name and uid."""


class Lineage:
    """Reads owners of the kinds that we know, and remembers them."""

    def __init__(
        self,
        cluster: Cluster,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with nothing remembered."""
        self._cluster, self._deadline_s, self._clock = cluster, deadline_s, clock
        self._known: OrderedDict[Key, tuple[float, Object]] = OrderedDict()
        self._reading: dict[Key, asyncio.Task[Object | None]] = {}

    async def of(self, obj: Mapping[str, Any], namespace: str) -> tuple[Object, ...]:
        """Return the controllers above an object, its own first, as far as they could be read."""
        found: list[Object] = []
        owner = controller_of(obj)
        if owner is None:
            return ()
        try:
            async with asyncio.timeout(self._deadline_s):
                async for one in above(owner, partial(self.read, namespace)):
                    found.append(one)  # noqa: PERF401 - what came in time counts
        except TimeoutError:
            within_s = self._deadline_s
            log.warning("owners of a pod in %s: no answer within %.1f s", namespace, within_s)
        return tuple(found)

    async def read(self, namespace: str, owner: Owner) -> Object | None:
        """Return one object; None if it is gone, of a kind that we do not read, or unreachable."""
        resource = resource_of(owner.api_version, owner.kind)
        if resource is None:
            return None
        return await self._read(resource, namespace, owner.name, owner.uid)

    async def asks_us(self, namespace: str, queue: str) -> bool:
        """Say whether a queue of Kueue exists and asks us; no if there is no answer in time."""
        try:
            async with asyncio.timeout(self._deadline_s):
                local = await self._read(LOCALQUEUES, namespace, queue)
                name = queueing.cluster_queue_of(local or {})
                whole = await self._read(CLUSTERQUEUES, "", name) if name else None
                for name in queueing.checks_of(whole or {}):
                    check = await self._read(ADMISSIONCHECKS, "", name)
                    if check is not None and queueing.is_ours(check):
                        return True
        except TimeoutError:
            log.warning("LocalQueue %s/%s: no answer in time", namespace, queue)
        return False

    async def _read(
        self, resource: ApiResource, namespace: str, name: str, uid: str = ""
    ) -> Object | None:
        """Return one object, as it was at most half a minute ago; None if there is none."""
        key = (namespace, resource.kind, name, uid)
        kept = self._known.get(key)
        if kept is not None and self._clock() - kept[0] < KEPT_S:
            return kept[1]
        reading = self._reading.get(key)
        if reading is None:  # pods of a Job come in crowds: one of them asks for all
            reading = asyncio.create_task(self._find(key, resource))
            self._reading[key] = reading
            reading.add_done_callback(lambda _: self._reading.pop(key, None))
        return await asyncio.shield(reading)

    async def read_soon(self, namespace: str, owner: Owner) -> Object | None:
        """Return one object as `read` does; None if there is no answer in time."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self.read(namespace, owner)
        except TimeoutError:
            log.warning("%s %s/%s: no answer in time", owner.kind, namespace, owner.name)
            return None

    async def _find(self, key: Key, resource: ApiResource) -> Object | None:
        namespace, kind, name, uid = key
        try:
            found = await self._cluster.find(resource, name, namespace or None)
        except ClusterError as error:
            log.warning("%s %s/%s: %s", kind, namespace, name, error)
            return None
        if found is None or (uid and found["metadata"].get("uid") != uid):
            return None
        found.setdefault("apiVersion", resource.api_version)
        found.setdefault("kind", resource.kind)
        self._known[key] = (self._clock(), found)
        while len(self._known) > CAPACITY:
            self._known.popitem(last=False)
        return found
