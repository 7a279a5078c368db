"""Prices anew what has landed: admission charges the dearest GPU possible, nodes tell which it is.

Only once all pods are bound, since one that still waits may land anywhere. What is then dearest of
the GPUs that they have is reserved; a pod that moves to another kind of GPU is news again. On a
node whose GPU nobody described it is the hungriest of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from energaizer_operator import ledger
from energaizer_operator.controller import reserving
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.controller.survey import Survey
from energaizer_operator.informer import Key, WorkloadRecord
from energaizer_operator.resources.energyreservation import EnergyReservationSpec


class Binding:
    """Compares reservations with the nodes of their pods."""

    def __init__(self, pricing: Pricing, survey: Callable[[], Survey]) -> None:
        """Estimate by `pricing`; `survey` returns what nodes say."""
        self._pricing, self._survey = pricing, survey
        self._seen: dict[Key, tuple[frozenset[str], tuple[str, ...], EnergyReservationSpec]] = {}

    async def priced(
        self,
        key: Key,
        spec: EnergyReservationSpec,
        root: WorkloadRecord,
        pods: Iterable[WorkloadRecord],
    ) -> EnergyReservationSpec | None:
        """Return the specification by the GPUs that the pods have; None if it stands so already.

        Raises:
            ClusterError: The API server does not answer.
        """
        live = [pod for pod in pods if pod.gpus and not pod.life.ended]
        known, before = self._survey(), self._seen.get(key)
        unknown = known.unknown_among(pod.node for pod in live)
        landed = frozenset(
            known.profiles.get(pod.node, "") for pod in live if pod.node not in unknown
        )
        described = before is not None and before[1] and not unknown
        if "" in landed or not (landed or unknown):
            return None
        if landed == {spec.profile} and not unknown and not described:
            return None
        if len(live) < root.life.replicas or before == (landed, unknown, spec):
            return None
        priced = await self._pricing.of((root.kind, key[0], root.name), landed, unknown)
        if priced is None or priced.estimate is None or priced.reference != spec.workload_ref:
            return None
        whole = priced.described.gpus_per_replica * priced.described.replicas
        if sum(pod.gpus for pod in live) < whole:
            return None
        estimate = priced.estimate
        if spec.workload_ref.kind in ledger.ENDLESS:
            estimate = ledger.resized(estimate, spec.replicas)
        fresh = reserving.of_estimate(
            estimate,
            spec.workload_ref,
            spec.ai_workload_name or "",
            spec.budget_names,
            spec.reserved_time,
        )
        fresh = fresh.model_copy(update={"fencing_token": spec.fencing_token})
        self._seen[key] = (landed, unknown, fresh)
        return None if fresh == spec else fresh

    def forget(self, key: Key) -> None:
        """Drop what is known of a reservation that is gone."""
        self._seen.pop(key, None)
