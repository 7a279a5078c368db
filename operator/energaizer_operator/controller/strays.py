"""GPU pods without our label that belong to a workload all the same: who they are, found by audit.

The webhook writes the label that our watch selects. A pod that came while it was away or too slow,
or before its namespace opted in, has none; nobody would count what it takes. We do not write on
pods, so such a pod is kept beside those of the watch, as if it carried the label.
"""

from __future__ import annotations

from functools import partial

from energaizer_operator import owners
from energaizer_operator.cluster import Object
from energaizer_operator.controller.loop import Context
from energaizer_operator.kinds import PODS, resource_of
from energaizer_operator.lifetimes import ended
from energaizer_operator.names import LABEL_WORKLOAD


class Strays:
    """Collects the pods that an audit comes across, then lets the store of pods hold them."""

    def __init__(self, context: Context) -> None:
        """Begin with none."""
        self._context = context
        self._seen: list[Object] = []
        self._owners: dict[str, Object | None] = {}

    def see(self, pod: Object) -> None:
        """Note a pod without our label, if it holds GPUs, or did when it was seen last."""
        store, metadata = self._context.informer.pods, pod["metadata"]
        if store is None or not owners.gpu_requests(pod["spec"]):
            return
        known = store.get(metadata["name"], metadata["namespace"])
        if not ended(pod) or (known is not None and known.uid == metadata["uid"]):
            self._seen.append(pod)

    async def adopt(self) -> None:
        """Hold what was seen since the last call, and let go of what was not.

        Raises:
            ClusterError: The API server does not answer.
        """
        seen, self._seen = self._seen, []
        self._owners = {}
        store = self._context.informer.pods
        if store is not None:
            store.adopt([_labelled(pod, await self._workload(pod)) for pod in seen])

    def forget(self) -> None:
        """Drop what an audit saw that came to no end: the next one begins anew."""
        self._seen = []

    async def _workload(self, pod: Object) -> str:
        """Return the name of the AIWorkload that a pod belongs to, as admission would label it."""
        namespace = pod["metadata"]["namespace"]
        owner = owners.controller_of(pod)
        above = [one async for one in owners.above(owner, partial(self._read, namespace))]
        index = owners.root(above)
        root = pod if index is None else above[index]
        beyond = above if index is None else above[index + 1 :]
        for one in (root, *beyond):
            kind, name = str(one.get("kind") or PODS.kind), str(one["metadata"]["name"])
            if found := self._context.references.first(namespace, kind, name):
                return found
        label = (root["metadata"].get("labels") or {}).get(LABEL_WORKLOAD)
        if label or index is not None or owner is None:
            kind = str(root.get("kind") or PODS.kind)
            return str(label or owners.workload_name(kind, root["metadata"]["name"]))
        return owners.workload_name(owner.kind, owner.name)

    async def _read(self, namespace: str, owner: owners.Owner) -> Object | None:
        """Return the object that a reference names, read once an audit."""
        resource = resource_of(owner.api_version, owner.kind)
        if resource is not None and owner.uid not in self._owners:
            cluster = self._context.cluster
            self._owners[owner.uid] = await cluster.find(resource, owner.name, namespace)
        return self._owners.get(owner.uid)


def _labelled(pod: Object, workload: str) -> Object:
    """Return a pod as it would be had admission labelled it."""
    metadata = pod["metadata"]
    labels = {**(metadata.get("labels") or {}), LABEL_WORKLOAD: workload}
    return {**pod, "kind": PODS.kind, "metadata": {**metadata, "labels": labels}}
