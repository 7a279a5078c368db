"""An API server in memory, as far as the rooms above `cluster` look."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Sequence
from typing import Any

import jsonpatch

from energaizer_operator.cluster import Change, ClusterError, Conflict, Expired, Missing, Page
from energaizer_operator.kinds import ApiResource

Body = dict[str, Any]


async def settle() -> None:
    """Let watches bring what was written."""
    for _ in range(20):
        await asyncio.sleep(0)


class FakeCluster:
    """Keeps objects with resource versions, serves pages of two, replays changes."""

    namespace = "default"

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Body] = {}
        self.version = 0
        self.writes: list[tuple[str, str, str]] = []
        self.fail: ClusterError | None = None
        self.expire_before = 0
        self._changes: list[tuple[int, str, Body]] = []
        self._changed = asyncio.Event()

    async def close(self) -> None:
        """End nothing."""

    def put(self, resource: ApiResource, body: Body) -> Body:
        """Write an object as anybody might, and tell the watches."""
        self.version += 1
        stored = copy.deepcopy(body)
        stored.setdefault("apiVersion", resource.api_version)
        stored.setdefault("kind", resource.kind)
        metadata = stored["metadata"]
        metadata["resourceVersion"] = str(self.version)
        metadata.setdefault("uid", f"uid-{metadata['name']}")
        key = (resource.plural, metadata.get("namespace", ""), metadata["name"])
        self._tell("MODIFIED" if key in self.objects else "ADDED", stored)
        self.objects[key] = stored
        return copy.deepcopy(stored)

    def remove(self, resource: ApiResource, name: str, namespace: str = "") -> None:
        self.version += 1
        body = self.objects.pop((resource.plural, namespace, name))
        body["metadata"]["resourceVersion"] = str(self.version)
        self._tell("DELETED", body)

    async def get(self, resource: ApiResource, name: str, namespace: str | None = None) -> Body:
        self._check()
        found = self.objects.get((resource.plural, namespace or "", name))
        if found is None:
            raise Missing(f"{name} not found", 404)
        return copy.deepcopy(found)

    async def find(
        self, resource: ApiResource, name: str, namespace: str | None = None
    ) -> Body | None:
        try:
            return await self.get(resource, name, namespace)
        except Missing:
            return None

    async def create(self, resource: ApiResource, body: Body, *, manager: str = "") -> Body:
        self._check()
        metadata = body["metadata"]
        key = (resource.plural, metadata.get("namespace", ""), metadata["name"])
        if key in self.objects:
            raise Conflict("exists", 409)
        self.writes.append(("create", resource.plural, metadata["name"]))
        return self.put(resource, body)

    async def replace(self, resource: ApiResource, body: Body, *, sub: str = "") -> Body:
        self._check()
        metadata = body["metadata"]
        present = await self.get(resource, metadata["name"], metadata.get("namespace"))
        if present["metadata"]["resourceVersion"] != metadata["resourceVersion"]:
            raise Conflict("changed", 409)
        self.writes.append(("replace", resource.plural, metadata["name"]))
        return self.put(resource, body)

    async def apply_status(
        self,
        resource: ApiResource,
        name: str,
        namespace: str | None,
        status: Body,
        *,
        metadata_only: bool = False,
    ) -> Body:
        present = await self.get(resource, name, namespace)
        self.writes.append(("status", resource.plural, name))
        return self.put(resource, {**present, "status": status})

    async def patch(
        self,
        resource: ApiResource,
        name: str,
        namespace: str | None,
        operations: Sequence[dict[str, Any]],
        *,
        sub: str = "",
    ) -> Body:
        body = await self.get(resource, name, namespace)
        self.writes.append(("patch", resource.plural, name))
        return self.put(resource, jsonpatch.apply_patch(body, list(operations)))

    async def pages(
        self,
        resource: ApiResource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        self._check()
        version = str(self.version)
        found = [
            copy.deepcopy(body)
            for (plural, place, _), body in sorted(self.objects.items())
            if plural == resource.plural and namespace in (None, place) and _selected(body, labels)
        ]
        for start in range(0, max(len(found), 1), 2):
            yield Page(found[start : start + 2], version)

    async def watch(
        self,
        resource: ApiResource,
        resource_version: str,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Change]:
        self._check()
        place = int(resource_version)
        if place < self.expire_before:
            raise Expired("too old", 410)
        while True:
            for version, kind, body in list(self._changes):
                if version > place and body["kind"] == resource.kind and _selected(body, labels):
                    place = version
                    yield Change(kind, copy.deepcopy(body))
            self._changed.clear()
            await self._changed.wait()
            self._check()
            if place < self.expire_before:
                raise Expired("too old", 410)

    def interrupt(self) -> None:
        """Wake every watch."""
        self._changed.set()

    def _tell(self, kind: str, body: Body) -> None:
        self._changes.append((self.version, kind, copy.deepcopy(body)))
        self._changed.set()

    def _check(self) -> None:
        if self.fail is not None:
            raise self.fail


def _selected(body: Body, labels: str) -> bool:
    present: Sequence[str] = tuple((body["metadata"].get("labels") or {}).keys())
    if not labels:
        return True
    return labels[1:] not in present if labels.startswith("!") else labels in present
