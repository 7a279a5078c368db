"""What an object of the cluster would be charged: its estimate, and the labels that select it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from energaizer_operator import decision, owners
from energaizer_operator.cluster import Object
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.sources import annotations_above, with_claims
from energaizer_operator.decision import Subject, World
from energaizer_operator.estimation import Estimator
from energaizer_operator.kinds import CHARGED
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.records import WorkloadKey
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energyreservation import ChargedObject
from energaizer_operator.schema import EstimateSummary


@dataclass(frozen=True)
class Priced:
    """One object, with what it would be charged."""

    body: Object
    described: owners.Description
    reference: ChargedObject
    labels: Mapping[str, str]
    estimate: EstimateSummary | None
    """None without any GPUProfile, or without a GPU to charge."""


class Pricing:
    """Reads objects and estimates them."""

    def __init__(self, context: Context, estimator: Estimator, world: Callable[[], World]) -> None:
        """Estimate in the world of the moment."""
        self._context, self._estimator, self._world = context, estimator, world

    async def of(
        self, key: WorkloadKey, on: Collection[str] = (), unknown: Sequence[str] = ()
    ) -> Priced | None:
        """Return what an object would be charged; None if it is gone or has no pods.

        Args:
            key: Of the object.
            on: Profiles of the GPUs that it has got already; empty: any that is possible.
            unknown: Nodes where it runs whose GPU no profile matches.

        Raises:
            ClusterError: The API server does not answer.
        """
        kind, namespace, name = key
        resource = CHARGED.get(kind)
        if resource is None:
            return None
        body = await self._context.cluster.find(resource, name, namespace)
        described = None if body is None else owners.describe(body)
        if body is None or described is None:
            return None
        described = await with_claims(self._context.cluster, described)
        label = described.labels.get(LABEL_WORKLOAD)
        workload = self._workload(described, label)
        place = self._context.informer.namespaces.get(namespace)
        subject = Subject(
            description=described,
            workload=workload,
            namespace_labels={} if place is None else place.labels,
            owner_annotations=await annotations_above(self._context.cluster, described),
            unknown_nodes=unknown,
        )
        world = _only(self._world(), on) if on and not unknown else self._world()
        decided = await asyncio.to_thread(decision.decide, subject, world, self._estimator)
        charged = None if decided.case.idle else decided.verdict.charged
        reference = ChargedObject(
            api_version=described.api_version, kind=kind, name=name, uid=described.uid
        )
        named = label or owners.workload_name(kind, name)
        return Priced(
            body,
            described,
            reference,
            {**subject.labels, LABEL_WORKLOAD: named},
            charged.estimate if charged else None,
        )

    def _workload(self, described: owners.Description, label: str | None) -> AIWorkload | None:
        """Return the AIWorkload of an object: by its reference, else by the object's label."""
        store, namespace = self._context.informer.aiworkloads, described.namespace
        named = self._context.references.first(namespace, described.kind, described.name) or label
        found = store.get(named, namespace) if named else None
        return None if found is None else AIWorkload.of_server(found.body)


def _only(world: World, profiles: Collection[str]) -> World:
    """Return a world that has no other GPUs."""
    known = {name: one for name, one in world.profiles.items() if name in profiles}
    return replace(world, profiles=known, in_cluster=frozenset(known))
