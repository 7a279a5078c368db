"""Leadership: one Lease object, one holder, a number that rises with each change of hands.

A holder that cannot renew in time must stop before another may start: `renew_deadline` is shorter
than `duration`, and time is counted from before the request was sent. Ages are measured from when
*we* saw the Lease change, so clocks of two machines never meet.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from energaizer_operator.cluster import Cluster, ClusterError, Conflict, Missing, Object
from energaizer_operator.kinds import LEASES

log = logging.getLogger(__name__)


class LeadershipLost(Exception):  # noqa: N818, not a fault: the process ends and another leads
    """We may no longer write: another holds the Lease, or we could not renew it in time."""


@dataclass(frozen=True, slots=True)
class Times:
    """The three periods of a Lease, s."""

    duration_s: int
    renew_deadline_s: float
    retry_s: float


class Lease:
    """One candidate's view of the Lease."""

    def __init__(
        self, cluster: Cluster, *, name: str, namespace: str, identity: str, times: Times
    ) -> None:
        """Name the Lease and ourselves; nothing is asked of the cluster yet."""
        self._cluster = cluster
        self._name, self._namespace, self._identity = name, namespace, identity
        self._times = times
        self._seen: tuple[object, float] = (None, 0.0)
        """What the Lease last said, and when we first saw it say so, monotonic s."""
        self._held: Object | None = None
        self._renewed = 0.0

    @property
    def fencing_token(self) -> int | None:
        """Number of this leadership: higher than any earlier one; None while we do not lead."""
        return None if self._held is None else int(self._held["spec"]["leaseTransitions"])

    async def acquire(self) -> None:
        """Return once we hold the Lease."""
        waiting = False
        while not await self._try():
            if not waiting:
                log.info("another replica leads; waiting", extra={"lease": self._name})
                waiting = True
            await asyncio.sleep(self._times.retry_s)
        log.info("leading", extra={"lease": self._name, "fencing": self.fencing_token})

    async def keep(self) -> None:
        """Renew for ever.

        Raises:
            LeadershipLost: Another took over, or no renewal succeeded within the deadline.
        """
        while True:
            await asyncio.sleep(self._times.retry_s)
            left = self._renewed + self._times.renew_deadline_s - time.monotonic()
            try:
                async with asyncio.timeout(max(left, 0.01)):
                    renewed = await self._try()
            except TimeoutError:
                renewed = False
            if not renewed and self._held is None:
                raise LeadershipLost("another replica took the lease")
            if time.monotonic() - self._renewed >= self._times.renew_deadline_s:
                raise LeadershipLost(f"not renewed for {self._times.renew_deadline_s:g} s")

    async def release(self) -> None:
        """Let go of the Lease, so that the next replica need not wait for its age."""
        if self._held is None:
            return
        body, self._held = self._held, None
        body["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        try:
            async with asyncio.timeout(self._times.retry_s):
                await self._cluster.replace(LEASES, body)
        except (ClusterError, TimeoutError) as error:
            log.warning("lease not released: %s", error)
        else:
            log.info("lease released", extra={"lease": self._name})

    async def _try(self) -> bool:
        """Take or renew the Lease once; return whether we hold it now.

        While the API server is silent we still hold what we held, until the deadline.
        """
        started = time.monotonic()
        try:
            held = await self._renew() or await self._take(started)
        except Conflict:
            return False
        except ClusterError as error:
            log.warning("lease: %s", error)
            return False
        if held is None:
            self._held = None
            return False
        self._held, self._renewed = held, started
        return True

    async def _renew(self) -> Object | None:
        """Renew what we hold without reading it first; None if somebody else wrote since."""
        if self._held is None:
            return None
        try:
            return await self._cluster.replace(LEASES, self._claimed(self._held))
        except (Conflict, Missing):
            return None

    async def _take(self, now: float) -> Object | None:
        """Take the Lease if nobody else holds it; None if somebody does."""
        body = await self._cluster.find(LEASES, self._name, self._namespace)
        if body is None:
            return await self._cluster.create(LEASES, self._new())
        return (
            await self._cluster.replace(LEASES, self._claimed(body))
            if self._free(body, now)
            else None
        )

    def _free(self, body: Object, now: float) -> bool:
        """Say whether the Lease is ours, nobody's, or has not changed for its duration.

        Our name on a Lease that this process did not take is another's: names can be given twice.
        """
        spec = body.get("spec") or {}
        if self._seen[0] != spec:
            self._seen = (spec, now)
        holder = spec.get("holderIdentity") or ""
        age = now - self._seen[1]
        duration = float(spec.get("leaseDurationSeconds") or self._times.duration_s)
        ours = self._held is not None and holder == self._identity
        return ours or not holder or age >= duration

    def _claimed(self, body: Object) -> Object:
        """Return the Lease as it reads when we hold it; a new holder counts one transition."""
        spec: dict[str, Any] = dict(body.get("spec") or {})
        now = _now()
        if self._held is None:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = now
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._times.duration_s,
            "renewTime": now,
        }
        return {**body, "spec": spec}

    def _new(self) -> Object:
        return self._claimed(
            {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self._name, "namespace": self._namespace},
            }
        )


def _now() -> str:
    """Return the time as a Lease writes it, with microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
