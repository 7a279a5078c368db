"""The estimate as annotations of the workload itself, for who looks at that and not at ours.

Off unless asked for: tools that compare objects with a repository may take it for drift.
"""

from __future__ import annotations

import logging

from energaizer_operator import marks, owners
from energaizer_operator.cluster import Cluster, ClusterError, Conflict, Missing
from energaizer_operator.kinds import PODS, resource_of
from energaizer_operator.resources.aiworkload.status import AIWorkloadStatus

log = logging.getLogger(__name__)


class Annotating:
    """Keeps the annotations of workloads in line with their estimates."""

    def __init__(self, cluster: Cluster, *, enabled: bool) -> None:
        """Write where `enabled`."""
        self._cluster, self._enabled = cluster, enabled

    async def write(self, described: owners.Description | None, wanted: AIWorkloadStatus) -> None:
        """Write the estimate on a workload, unless it is there; a pod got its own at creation."""
        if not self._enabled or described is None or described.kind == PODS.kind:
            return
        resource = resource_of(described.api_version, described.kind)
        texts = marks.of_workload(wanted.estimate)
        present = {
            key: described.annotations[key]
            for key in marks.WORKLOAD_KEYS
            if key in described.annotations
        }
        if resource is None or present == texts:
            return
        try:
            await self._cluster.apply_metadata(
                resource,
                described.name,
                described.namespace,
                uid=described.uid,
                annotations=texts,
            )
        except (Missing, Conflict):
            return
        except ClusterError as error:
            log.warning(
                "annotations of %s %s: %s; the account needs to patch it, which "
                "charts/kustomize/annotate-owners grants",
                described.kind,
                described.name,
                error,
                extra={"namespace": described.namespace},
            )
