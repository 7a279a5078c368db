"""Prices anew what has landed: admission charges the dearest GPU possible, nodes tell which it is.

Only once all pods are bound, since one that still waits may land anywhere. What is then dearest of
the GPUs that they have is reserved; a pod that moves to another kind of GPU is news again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from energaizer_operator import ledger
from energaizer_operator.controller import reserving
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.informer import Key, WorkloadRecord
from energaizer_operator.resources.energyreservation import EnergyReservationSpec


class Binding:
    """Compares reservations with the nodes of their pods."""

    def __init__(self, pricing: Pricing, profiles: Callable[[], Mapping[str, str]]) -> None:
        """Estimate by `pricing`; `profiles` returns the profile of each node."""
        self._pricing, self._profiles = pricing, profiles
        self._seen: dict[Key, tuple[frozenset[str], EnergyReservationSpec]] = {}

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
        known = self._profiles()
        landed = frozenset(known.get(pod.node, "") for pod in live)
        if not landed or "" in landed or landed == {spec.profile}:
            return None
        if len(live) < root.life.replicas or self._seen.get(key) == (landed, spec):
            return None
        priced = await self._pricing.of((root.kind, key[0], root.name), landed)
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
        self._seen[key] = (landed, fresh)
        return None if fresh == spec else fresh

    def forget(self, key: Key) -> None:
        """Drop what is known of a reservation that is gone."""
        self._seen.pop(key, None)
