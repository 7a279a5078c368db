"""GPU pods that no watts count: what came while the webhook was away, or where it is not asked.

Where power is a resource such pods draw on a node without taking of its watts, and only an audit
sees those that carry no label of ours. It reads page by page.
"""

from __future__ import annotations

import logging

from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.workloads import opted_in
from energaizer_operator.events import Subject
from energaizer_operator.informer import WorkloadRecord, workload_record
from energaizer_operator.kinds import PODS
from energaizer_operator.names import LABEL_WORKLOAD, EventReason

log = logging.getLogger(__name__)

_NOTE = (
    "asks for GPUs but for none of the watts that they draw, which its node therefore does not "
    "count; delete it, and create it anew where energaizer judges"
)


class Unwatted:
    """Counts pods that draw uncounted power, and tells of those in namespaces that opted in."""

    def __init__(self, context: Context) -> None:
        """Begin without having looked."""
        self._context = context

    async def look(self) -> int:
        """Return how many there are.

        Raises:
            ClusterError: The API server does not answer.
        """
        found = {pod.uid: pod for pod in self._context.informer.pods or () if _draws(pod)}
        async for page in self._context.cluster.pages(PODS, labels=f"!{LABEL_WORKLOAD}"):
            pods = (workload_record({"kind": PODS.kind, **body}) for body in page.items)
            found |= {pod.uid: pod for pod in pods if _draws(pod)}
        for pod in found.values():
            if opted_in(self._context.informer, pod.namespace):
                await self._tell(pod)
        self._context.metrics.unwatted(len(found))
        return len(found)

    async def _tell(self, pod: WorkloadRecord) -> None:
        subject = Subject(PODS.api_version, PODS.kind, pod.name, pod.namespace, pod.uid)
        if await self._context.events.emit(
            subject, EventReason.UNWATTED_POD, _NOTE, type_="Warning", action="Audit"
        ):
            log.warning("pod %s: %s", pod.name, _NOTE, extra={"namespace": pod.namespace})


def _draws(pod: WorkloadRecord) -> bool:
    return pod.uncounted and not pod.life.ended
