"""Events for people who run `kubectl describe`: few, short, and never a reason to fail."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from energaizer_operator.cluster import Cluster, ClusterError, Object
from energaizer_operator.kinds import EVENTS, NODES

log = logging.getLogger(__name__)

_NOTE_LENGTH = 1024
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an event is about."""

    api_version: str
    kind: str
    name: str
    namespace: str
    uid: str
    version: str = ""

    @classmethod
    def of_node(cls, name: str) -> Subject:
        """Return a node, whose events are found by its name: the kubelet gives it as uid too."""
        return cls(NODES.api_version, NODES.kind, name, "", name)

    @classmethod
    def of(cls, body: Object) -> Subject:
        """Return the subject that is this object."""
        metadata = body["metadata"]
        return cls(
            body["apiVersion"],
            body["kind"],
            metadata["name"],
            metadata.get("namespace", ""),
            metadata.get("uid", ""),
            metadata.get("resourceVersion", ""),
        )


class Events:
    """Writes events, at most one per object and reason in an interval."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        component: str,
        instance: str,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Say in whose name events are written, and how often at most."""
        self._cluster = cluster
        self._component, self._instance = component, instance
        self._interval_s, self._clock = interval_s, clock
        self._last: dict[tuple[str, str, str, str], float] = {}

    async def emit(
        self,
        subject: Subject,
        reason: str,
        note: str,
        *,
        type_: Literal["Normal", "Warning"] = "Normal",
        action: str = "Estimate",
    ) -> bool:
        """Write one event, unless one of its kind was written lately; return whether it was."""
        if not self._allowed((subject.kind, subject.namespace, subject.name, reason)):
            return False
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        body = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {
                "name": f"{subject.name[:200]}.{uuid.uuid4().hex[:16]}",
                "namespace": subject.namespace or "default",
            },
            "eventTime": now,
            "type": type_,
            "reason": str(reason),
            "action": action,
            "note": note[:_NOTE_LENGTH],
            "reportingController": self._component,
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": subject.api_version,
                "kind": subject.kind,
                "name": subject.name,
                "namespace": subject.namespace,
                "uid": subject.uid,
                "resourceVersion": subject.version,
            },
        }
        try:
            await self._cluster.create(EVENTS, body)
        except ClusterError as error:
            log.warning("event %s of %s not written: %s", reason, subject.name, error)
            return False
        return True

    def _allowed(self, key: tuple[str, str, str, str]) -> bool:
        """Count one event of `key`; forget the oldest keys beyond a bound."""
        now = self._clock()
        last = self._last.pop(key, None)
        fresh = last is not None and now - last < self._interval_s
        self._last[key] = last if fresh and last is not None else now
        while len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return not fresh
