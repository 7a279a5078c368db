"""The EnergyReservation of an object: written once, under the object's UID, by whoever leads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from datetime import datetime

from energaizer_operator.cluster import Conflict, Object
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.loop import Context
from energaizer_operator.kinds import ENERGYRESERVATIONS
from energaizer_operator.names import FINALIZER_RESERVATION
from energaizer_operator.resources.energybudget import Provisional
from energaizer_operator.resources.energyreservation import (
    ChargedObject,
    EnergyReservation,
    EnergyReservationSpec,
)
from energaizer_operator.schema import EstimateSummary, Metadata


def of_entry(
    entry: Provisional,
    reference: ChargedObject,
    workload: str,
    budgets: Iterable[str],
    now: datetime,
) -> EnergyReservationSpec:
    """Return what a promise becomes."""
    replicas = max(1, entry.replicas or 1)
    energy = entry.charged_joules or entry.energy_joules
    return EnergyReservationSpec(
        workload_ref=reference,
        ai_workload_name=workload or None,
        budget_names=tuple(sorted(set(budgets))[:8]),
        replicas=entry.replicas or 1,
        energy_joules=energy,
        expected_energy_joules=entry.expected_joules,
        power_watts=entry.charged_watts or 1,
        expected_power_watts=entry.expected_watts,
        per_replica_energy_joules=-(-energy // replicas),
        per_replica_power_watts=-(-(entry.charged_watts or 1) // replicas),
        profile=entry.profile,
        method=entry.method,
        reserved_time=now.replace(microsecond=0),
    )


def of_estimate(
    estimate: EstimateSummary,
    reference: ChargedObject,
    workload: str,
    budgets: Iterable[str],
    now: datetime,
) -> EnergyReservationSpec:
    """Return what is reserved for an object that nobody promised anything."""
    return EnergyReservationSpec(
        workload_ref=reference,
        ai_workload_name=workload or None,
        budget_names=tuple(sorted(set(budgets))[:8]),
        replicas=estimate.replicas,
        energy_joules=estimate.energy_high_joules,
        expected_energy_joules=estimate.energy_joules,
        power_watts=estimate.power_high_watts,
        expected_power_watts=estimate.power_watts,
        per_replica_energy_joules=-(-estimate.energy_high_joules // estimate.replicas),
        per_replica_power_watts=-(-estimate.power_high_watts // estimate.replicas),
        profile=estimate.profile,
        method=estimate.method,
        reserved_time=now.replace(microsecond=0),
    )


async def reserve(
    context: Context, book: Book, namespace: str, spec: EnergyReservationSpec, token: int
) -> None:
    """Create a reservation; one that exists already is as good, and the watch brings it."""
    uid = spec.workload_ref.uid
    spec = spec.model_copy(update={"fencing_token": token})
    made = EnergyReservation(metadata=Metadata(name=uid), spec=spec)
    body: Object = {
        "apiVersion": ENERGYRESERVATIONS.api_version,
        "kind": ENERGYRESERVATIONS.kind,
        "metadata": {"name": uid, "namespace": namespace, "finalizers": [FINALIZER_RESERVATION]},
        "spec": made.to_dict()["spec"],
    }
    with contextlib.suppress(Conflict):
        book.wrote(await context.cluster.create(ENERGYRESERVATIONS, body))


async def resize(context: Context, book: Book, namespace: str, entry: Provisional) -> None:
    """Make a reservation as large as the promise to a workload that grew."""
    page = book.get((namespace, entry.uid))
    if page is None:
        return
    replicas = max(1, entry.replicas or 1)
    spec = page.reservation.spec
    energy = entry.charged_joules or spec.energy_joules
    watts = entry.charged_watts or spec.power_watts
    await rewrite(
        context,
        book,
        namespace,
        spec.model_copy(
            update={
                "replicas": entry.replicas,
                "energy_joules": energy,
                "expected_energy_joules": entry.expected_joules,
                "power_watts": watts,
                "expected_power_watts": entry.expected_watts,
                "profile": entry.profile or spec.profile,
                "method": entry.method or spec.method,
                "per_replica_energy_joules": -(-energy // replicas),
                "per_replica_power_watts": -(-watts // replicas),
            }
        ),
    )


async def rewrite(
    context: Context, book: Book, namespace: str, spec: EnergyReservationSpec
) -> None:
    """Replace the specification of a reservation."""
    operation = {"op": "replace", "path": "/spec", "value": spec.to_dict()}
    book.wrote(
        await context.cluster.patch(
            ENERGYRESERVATIONS, spec.workload_ref.uid, namespace, [operation]
        )
    )
