"""Watts that nodes advertise: written where the setting is on, taken back where it is off.

The API server keeps per field who wrote it, so taking back is an apply without the field: what
somebody else wrote stays. A kubelet copies our capacity to what is allocatable; other tools that
stand in for one do not, so both are written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from energaizer_operator import watts
from energaizer_operator.cluster import ClusterError, Missing, Object
from energaizer_operator.controller.loop import Context
from energaizer_operator.events import Subject
from energaizer_operator.informer import MetadataRecord
from energaizer_operator.kinds import NODES
from energaizer_operator.names import ANNOTATION_POWER_CAPACITY, RESOURCE_WATTS, EventReason

log = logging.getLogger(__name__)

_AT_ONCE = 8


class Power:
    """Keeps the watts of all nodes as they should be."""

    def __init__(self, context: Context, *, enabled: bool) -> None:
        """Begin without knowing what nodes advertise."""
        self._context = context
        self._enabled = enabled
        self._known: dict[str, int] = {}
        """By uid of a node."""

    def read(self, node: Object) -> None:
        """Take in what a node advertises."""
        uid = node["metadata"]["uid"]
        text = (node.get("status", {}).get("capacity") or {}).get(RESOURCE_WATTS)
        found = None if text is None else watts.amount(text)
        if found is None:
            self._known.pop(uid, None)
        else:
            self._known[uid] = found

    async def advertise(
        self, nodes: Mapping[str, MetadataRecord], gpus: Mapping[str, tuple[int, int | None]]
    ) -> tuple[frozenset[str], bool]:
        """Bring the watts of every node in line with its GPUs.

        Args:
            nodes: All nodes, by name.
            gpus: Of each node with GPUs, how many, and the power limit of one if it is known, W.

        Returns:
            The nodes that advertise watts now, and whether all is as it should be.
        """
        present = {node.uid for node in nodes.values()}
        self._known = {uid: amount for uid, amount in self._known.items() if uid in present}
        wanted = await self._wanted(nodes, gpus) if self._enabled else {}
        turn = asyncio.Semaphore(_AT_ONCE)
        changed = [
            node for node in nodes.values() if self._known.get(node.uid) != wanted.get(node.uid)
        ]
        done = await asyncio.gather(
            *(self._write(node, wanted.get(node.uid), turn) for node in changed)
        )
        advertising = frozenset(name for name, node in nodes.items() if node.uid in self._known)
        return advertising, all(done)

    async def _wanted(
        self, nodes: Mapping[str, MetadataRecord], gpus: Mapping[str, tuple[int, int | None]]
    ) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, (count, limit_watts) in gpus.items():
            stated = nodes[name].annotations.get(ANNOTATION_POWER_CAPACITY)
            capacity = watts.capacity(count, limit_watts, stated)
            if capacity is None:
                continue
            found[nodes[name].uid] = capacity.watts
            if capacity.problem:
                await self._report(name, capacity.problem)
        return found

    async def _write(
        self, node: MetadataRecord, amount: int | None, turn: asyncio.Semaphore
    ) -> bool:
        """Write or take back the watts of one node; say whether that worked."""
        field = {} if amount is None else {RESOURCE_WATTS: watts.quantity(amount)}
        status = {"capacity": field, "allocatable": field} if field else {}
        try:
            async with turn:
                written = await self._context.cluster.apply_status(NODES, node.name, None, status)
        except Missing:
            return True
        except ClusterError as error:
            log.warning(
                "watts of node %s: %s; the account needs to patch nodes/status, which "
                "charts/kustomize/power grants",
                node.name,
                error,
            )
            return False
        self.read(written)
        return True

    async def _report(self, name: str, problem: str) -> None:
        note = (
            f"{ANNOTATION_POWER_CAPACITY}: {problem}; no pod with watts is placed here until it is "
            "mended or removed"
        )
        subject = Subject.of_node(name)
        if await self._context.events.emit(
            subject, EventReason.INVALID_POWER_CAPACITY, note, type_="Warning", action="Advertise"
        ):
            log.warning("node %s: %s", name, note)
