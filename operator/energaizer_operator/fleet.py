"""What `kubectl energaizer` asks of a cluster: budgets, what waits for them, and letting one go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from energaizer_operator import human
from energaizer_operator.cluster import Cluster, Conflict, Object
from energaizer_operator.kinds import (
    AIWORKLOADS,
    ENERGYBUDGETS,
    ENERGYRESERVATIONS,
    JOBS,
    JOBSETS,
    ApiResource,
)
from energaizer_operator.names import (
    ANNOTATION_HELD,
    FINALIZER_RESERVATION,
    LABEL_WORKLOAD,
    ConditionType,
)
from energaizer_operator.printing import aligned
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energyreservation import ChargedObject, EnergyReservationSpec
from energaizer_operator.settings import Settings


class ReleaseError(Exception):
    """A workload cannot be let go; the message says why."""


@dataclass(frozen=True)
class Waiting:
    """A workload that has no joules yet."""

    namespace: str
    name: str
    reason: str
    message: str


@dataclass(frozen=True)
class Budgets:
    """Budgets as the API server has them, and what waits for them."""

    budgets: list[Object]
    waiting: list[Waiting]


async def budgets(
    settings: Settings, namespace: str | None, *, everywhere: bool = False
) -> Budgets:
    """Return the budgets of a namespace, by default that of the context, or of all `everywhere`.

    Raises:
        ClusterError: There is no cluster, or it refuses.
    """
    cluster = await Cluster.connect(settings)
    namespace = None if everywhere else namespace or cluster.namespace
    try:
        found = [
            body async for page in cluster.pages(ENERGYBUDGETS, namespace) for body in page.items
        ]
        waiting = [
            one
            async for page in cluster.pages(AIWORKLOADS, namespace)
            for body in page.items
            if (one := _waiting(body)) is not None
        ]
    finally:
        await cluster.close()
    return Budgets(found, waiting)


def lines(found: Budgets) -> list[str]:
    """Return a table of budgets, and a line for each workload that waits."""
    if not found.budgets and not found.waiting:
        return ["no EnergyBudget there; -A shows those of all namespaces"]
    head = ("NAMESPACE", "BUDGET", "ACTION", "LIMIT", "USED", "REMAINING", "PENDING", "WINDOW END")
    table: list[tuple[str, ...]] = [head]
    for body in found.budgets:
        status = body.get("status", {})
        used = status.get("usedPercent")
        table.append(
            (
                body["metadata"]["namespace"],
                body["metadata"]["name"],
                body["spec"].get("action", ""),
                status.get("limitHuman", "-"),
                "-" if used is None else f"{used} %",
                status.get("remainingHuman", "-"),
                str(status.get("pendingWorkloads", "-")),
                status.get("windowEndTime", "-"),
            )
        )
    waiting = (f"{one.namespace}/{one.name}: {one.reason}: {one.message}" for one in found.waiting)
    return [*aligned(table), *waiting]


def holdable(text: str) -> tuple[ApiResource, str]:
    """Return kind and name of `NAME`, a Job, or of `KIND/NAME` as kubectl writes it.

    Raises:
        ReleaseError: It names neither a Job nor a JobSet.
    """
    kind, _, name = text.rpartition("/")
    for resource in (JOBS, JOBSETS):
        names = (resource.kind.lower(), resource.plural)
        with_group = (f"{one}.{resource.group}" for one in names)
        if name and (kind or JOBS.plural).lower() in (*names, *with_group):
            return resource, name
    raise ReleaseError(f'"{text}" names no Job or JobSet; give job/NAME or jobset/NAME')


async def release(
    settings: Settings, namespace: str | None, resource: ApiResource, name: str
) -> str:
    """Reserve for a held Job or JobSet what it needs, room or no room; the leader lets it go.

    Args:
        settings: Whom to ask.
        namespace: By default that of the context.
        resource: `JOBS` or `JOBSETS`.
        name: Of the Job or JobSet.

    Returns:
        What was reserved for whom, as text.

    Raises:
        ClusterError: There is no cluster, or the caller may not create EnergyReservations.
        ReleaseError: It is not held, or nobody estimated it yet.
    """
    cluster = await Cluster.connect(settings)
    namespace = namespace or cluster.namespace
    what = f"{resource.kind.lower()} {namespace}/{name}"
    try:
        body = await cluster.get(resource, name, namespace)
        metadata = body["metadata"]
        if ANNOTATION_HELD not in (metadata.get("annotations") or {}):
            raise ReleaseError(f"{what} is not held by an energy budget")
        workload = (metadata.get("labels") or {}).get(LABEL_WORKLOAD, "")
        found = await cluster.find(AIWORKLOADS, workload, namespace) if workload else None
        spec = _reservation(what, resource, body, workload, found)
        made = {
            "apiVersion": ENERGYRESERVATIONS.api_version,
            "kind": ENERGYRESERVATIONS.kind,
            "metadata": {
                "name": metadata["uid"],
                "namespace": namespace,
                "finalizers": [FINALIZER_RESERVATION],
            },
            "spec": spec.to_dict(),
        }
        try:
            await cluster.create(ENERGYRESERVATIONS, made, manager="kubectl-energaizer")
        except Conflict:
            return f"{what}: it has its reservation already and is about to start"
    finally:
        await cluster.close()
    charged = f" in {', '.join(spec.budget_names)}" if spec.budget_names else ""
    return f"{what}: {human.energy(spec.energy_joules)} reserved{charged}"


def _reservation(
    what: str, resource: ApiResource, held: Object, workload: str, found: Object | None
) -> EnergyReservationSpec:
    status = AIWorkload.of_server(found).status if found else None
    if status is None or status.estimate is None:
        namespace = held["metadata"]["namespace"]
        asking = f"kubectl describe aiworkload {workload} -n {namespace}"
        raise ReleaseError(f"{what} has no estimate yet; see `{asking}`")
    estimate = status.estimate
    reference = ChargedObject(
        api_version=resource.api_version,
        kind=resource.kind,
        name=held["metadata"]["name"],
        uid=held["metadata"]["uid"],
    )
    return EnergyReservationSpec(
        workload_ref=reference,
        ai_workload_name=workload,
        budget_names=status.budget.budget_names if status.budget else (),
        replicas=estimate.replicas,
        energy_joules=estimate.energy_high_joules,
        expected_energy_joules=estimate.energy_joules,
        power_watts=estimate.power_high_watts,
        expected_power_watts=estimate.power_watts,
        profile=estimate.profile,
        method=estimate.method,
        reserved_time=datetime.now(UTC).replace(microsecond=0),
    )


def _waiting(body: Object) -> Waiting | None:
    for condition in body.get("status", {}).get("conditions", ()):
        if condition["type"] == ConditionType.BUDGET_RESERVED and condition["status"] != "True":
            metadata = body["metadata"]
            return Waiting(
                metadata["namespace"], metadata["name"], condition["reason"], condition["message"]
            )
    return None
