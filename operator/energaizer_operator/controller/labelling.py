"""Our label on nodes: one dialect for clusters whose nodes name their GPU in several.

It repeats what the other labels say, so that it is no evidence for us: a node is identified without
a label that we wrote. The API server keeps whose it is (server-side apply); one that somebody else
wrote stays, and is obeyed. Where the setting is off, our labels are taken back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace

from energaizer_operator.cluster import ClusterError, Conflict, Missing, Refused
from energaizer_operator.controller.loop import Context
from energaizer_operator.identity import Identification
from energaizer_operator.informer import MetadataRecord
from energaizer_operator.kinds import NODES
from energaizer_operator.names import LABEL_GPU_PROFILE

log = logging.getLogger(__name__)

_AT_ONCE = 8


class Labelling:
    """Keeps the labels of all nodes as they should be."""

    def __init__(self, context: Context, *, enabled: bool) -> None:
        """Write labels where `enabled`, else take back those that are ours."""
        self._context, self._enabled = context, enabled

    async def label(
        self, nodes: Mapping[str, MetadataRecord], found: Mapping[str, Identification]
    ) -> bool:
        """Bring our label of every node in line with what its GPU is.

        A node whose labels contradict each other, or whose GPU is unusable, gets none.

        Args:
            nodes: All nodes, by name.
            found: What each is without a label of ours.

        Returns:
            Whether all is as it should be.
        """
        turn = asyncio.Semaphore(_AT_ONCE)
        writes = []
        for name, node in nodes.items():
            carried = node.labels.get(LABEL_GPU_PROFILE)
            if carried is not None and not node.labelled:
                continue
            one = found[name]
            known = self._enabled and one.usable and not one.conflict
            wanted = one.profile if known else None
            if wanted != carried:
                writes.append(self._write(node, wanted, turn))
        return all(await asyncio.gather(*writes))

    async def _write(
        self, node: MetadataRecord, wanted: str | None, turn: asyncio.Semaphore
    ) -> bool:
        labels = {} if wanted is None else {LABEL_GPU_PROFILE: wanted}
        cluster = self._context.cluster
        try:
            async with turn:
                await cluster.apply_metadata(
                    NODES, node.name, None, uid=node.uid, force=False, labels=labels
                )
        except (Missing, Conflict) as error:  # gone, or somebody else labelled it meanwhile
            log.info("label of node %s: %s", node.name, error)
        except ClusterError as error:
            log.warning(
                "label of node %s: %s; the account needs to patch nodes, which "
                "charts/kustomize/node-labels grants; by hand: kubectl label node %s %s-",
                node.name,
                error,
                node.name,
                LABEL_GPU_PROFILE,
            )
            # Where the right went with the switch, to ask again is no use.
            return not self._enabled and isinstance(error, Refused)
        return True


def stated(node: MetadataRecord) -> Mapping[str, str]:
    """Return the labels of a node that others wrote."""
    if not node.labelled:
        return node.labels
    return {key: value for key, value in node.labels.items() if key != LABEL_GPU_PROFILE}


def told(node: MetadataRecord, found: Identification) -> Identification:
    """Return what a node is, our label of it among the terms that name its profile."""
    own = node.labels.get(LABEL_GPU_PROFILE)
    if not node.labelled or own is None or own != found.profile:
        return found
    return replace(found, terms=((LABEL_GPU_PROFILE, own), *found.terms))
