"""One Workload of Kueue that waits for our verdict: what it stands for, and what we say of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from energaizer_operator import decision
from energaizer_operator.cluster import Missing, Object
from energaizer_operator.controller import verdicts
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.sources import gather
from energaizer_operator.decision import Subject, World
from energaizer_operator.estimation import Estimator
from energaizer_operator.informer import Key, ObjectRecord, Store, object_record
from energaizer_operator.kinds import ADMISSIONCHECKS, QUEUED_WORKLOADS, RESOURCEFLAVORS
from energaizer_operator.names import LABEL_WORKLOAD, Kind
from energaizer_operator.owners import Description, controller_of, workload_name
from energaizer_operator.policy import Balance
from energaizer_operator.queueing import is_ours
from energaizer_operator.resources.aiworkload import AIWorkload

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueuedRecord:
    """What we follow of a Workload of Kueue."""

    reserved: bool
    finished: bool
    checks: tuple[tuple[str, str], ...]
    """Name and state."""


def queued_record(body: Object) -> QueuedRecord:
    """Keep where a Workload stands."""
    status = body.get("status") or {}
    true = {one["type"] for one in status.get("conditions") or () if one["status"] == "True"}
    checks = ((str(one["name"]), str(one["state"])) for one in status.get("admissionChecks") or ())
    return QueuedRecord("QuotaReserved" in true, "Finished" in true, tuple(checks))


@dataclass
class Queues:
    """What we follow of Kueue."""

    checks: Store[ObjectRecord] = field(
        default_factory=lambda: Store(ADMISSIONCHECKS, object_record, optional=True)
    )
    flavors: Store[ObjectRecord] = field(
        default_factory=lambda: Store(RESOURCEFLAVORS, object_record, optional=True)
    )
    queued: Store[QueuedRecord] = field(
        default_factory=lambda: Store(QUEUED_WORKLOADS, queued_record, optional=True)
    )

    def ours(self, record: QueuedRecord) -> list[ObjectRecord]:
        """Return our AdmissionChecks that a Workload waits for."""
        waiting = (self.checks.get(name) for name, state in record.checks if state == "Pending")
        return [check for check in waiting if check is not None and is_ours(check.body)]


class Queued:
    """Judges one Workload of Kueue."""

    def __init__(
        self,
        context: Context,
        queues: Queues,
        estimator: Estimator,
        world: Callable[[], World],
        retry_s: int,
    ) -> None:
        """Judge by what `world` returns; what has to wait is asked about after `retry_s`."""
        self._context, self._queues, self._retry_s = context, queues, retry_s
        self._estimator, self._world = estimator, world

    async def reconcile(self, key: Key) -> Result:
        """Answer the checks that wait, if quota is reserved and hence the flavor known."""
        namespace, name = key
        record = self._queues.queued.get(name, namespace)
        if record is None:
            return Result.GONE
        checks = self._queues.ours(record)
        if not checks or not record.reserved or record.finished:
            return Result.UNCHANGED
        cluster = self._context.cluster
        body = await cluster.find(QUEUED_WORKLOADS, name, namespace)
        if body is None:
            return Result.GONE
        states = []
        for check in checks:
            if problem_of(check, self._context) is None:  # else it is not Active, and waits
                states.append(await self._judged(body, check))  # noqa: PERF401 - awaits
        if not states:
            return Result.PENDING
        try:
            await cluster.apply_status(
                QUEUED_WORKLOADS, name, namespace, {"admissionChecks": states}
            )
        except Missing:
            return Result.GONE
        return Result.CHANGED

    async def _judged(self, body: Object, check: ObjectRecord) -> Object:
        """Return the state of one check of a Workload."""
        policy = verdicts.policy_of(check.body)
        world = verdicts.under(self._world(), policy)
        selector = verdicts.flavor_labels(
            body, {one.name: one.body for one in self._queues.flavors}
        )
        subjects = await self._subjects(body)
        loop = asyncio.get_running_loop()
        decided = []
        for subject in subjects:
            narrowed = verdicts.narrowed(subject, selector)
            balances = self._balances(body, subject)
            decided.append(
                await loop.run_in_executor(
                    None, decision.decide, narrowed, world, self._estimator, balances
                )
            )
        now = datetime.now(UTC)
        state = verdicts.state(body, check.name, decided, selector, now, self._retry_s)
        log.info(
            "%s: %s",
            check.name,
            state["state"],
            extra={
                "namespace": body["metadata"]["namespace"],
                "workload": body["metadata"]["name"],
                "what": state["message"],
            },
        )
        return state

    def _balances(self, body: Object, subject: Subject) -> tuple[Balance, ...]:
        """Return what is left of the budgets of a Workload; who can wait in Kueue can be held.

        The joules are promised when Kueue lets the workload go, by the webhook, as for any other.
        """
        informer, now = self._context.informer, datetime.now(UTC)
        namespace = body["metadata"]["namespace"]
        purses = decision.matching(
            (
                decision.purse_of(record.body, now)
                for record in informer.energybudgets.of(namespace)
            ),
            subject.labels,
        )
        kind = "Workload" if subject.description is None else subject.description.kind
        claim = decision.Claim(kind, holdable=True, surge=0)  # Kueue asks for pods, not roll-outs
        return decision.balances(purses, claim, now)

    async def _subjects(self, body: Object) -> list[Subject]:
        """Return what a Workload stands for: its owner, else each of its own pod sets."""
        namespace = body["metadata"]["namespace"]
        place = self._context.informer.namespaces.get(namespace)
        labels = {} if place is None else place.labels
        owner = controller_of(body)
        if owner is None:
            return [Subject(one, namespace_labels=labels) for one in verdicts.pod_sets(body, None)]
        record = self._described(namespace, owner.kind, owner.name)
        reference = {"apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name}
        asked = record or _stand_in(namespace, reference)
        workload = AIWorkload.of_server(asked.body)
        sources = await gather(self._context, workload, asked)
        descriptions: list[Description] = (
            verdicts.pod_sets(body, owner) if sources.described is None else [sources.described]
        )
        return [
            Subject(
                description=described,
                workload=None if record is None else workload,
                namespace_labels=labels,
                owner_annotations=sources.owner_annotations,
                config=sources.config,
            )
            for described in descriptions
        ]

    def _described(self, namespace: str, kind: str, name: str) -> ObjectRecord | None:
        """Return the AIWorkload of an owner: the one that refers to it, else the one named so."""
        first = self._context.references.first(namespace, kind, name)
        wanted = first or workload_name(kind, name)
        return self._context.informer.aiworkloads.get(wanted, namespace)


def problem_of(check: ObjectRecord, context: Context) -> str | None:
    """Return why we cannot answer a check, or None."""
    stated = check.body["spec"].get("parameters")
    if not stated:
        return None
    if stated.get("kind") != Kind.ENERGY_POLICY:
        return f"parameters name a {stated.get('kind')}; only an {Kind.ENERGY_POLICY} is understood"
    if context.informer.energypolicies.get(str(stated.get("name"))) is None:
        return f"{Kind.ENERGY_POLICY} {stated.get('name')} does not exist; create it"
    return None


def _stand_in(namespace: str, reference: Object) -> ObjectRecord:
    """Return an AIWorkload that says no more than which workload it is."""
    body = {
        "metadata": {"namespace": namespace, "name": LABEL_WORKLOAD.rpartition("/")[2]},
        "spec": {"workloadRef": reference},
    }
    return object_record(body)
