"""Three replicas and a leader that race for the joules of one budget, over a real API server.

All of the accounting is the real one: three `Accounts`, each with a connection and a watch of its
own and the rights of the webhook, a leader that books with those of the controller, and the budget
in the API server between them. Only the Jobs are not there. Who asks gives up at the deadline of a
review, and comes again under another UID if it was told so, as a client does.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from crowd import energybudget
from energaizer_operator import kinds
from energaizer_operator.cluster import Cluster as Connection
from energaizer_operator.cluster import Object
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.energybudget import EnergyBudgets
from energaizer_operator.controller.loop import Context
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.decision import World
from energaizer_operator.estimation import Estimator
from energaizer_operator.events import Events
from energaizer_operator.informer import Informer, Store
from energaizer_operator.metrics import Metrics
from energaizer_operator.names import LABEL_WORKLOAD
from energaizer_operator.resources.energybudget import EnergyBudget, EnergyBudgetStatus, Provisional
from energaizer_operator.settings import Settings
from energaizer_operator.webhook.accounts import Accounts, BusyError
from energaizer_operator.webhook.process import PATIENCE
from localcluster import Cluster, operator

NEED = 1000
REPLICAS = 3
NAMESPACE, BUDGET = "race", "monthly"
KEY = (NAMESPACE, BUDGET)
COMES_AGAIN_S = 0.1
BOOKED_WITHIN_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """One race."""

    admitted: int
    refused: int
    held: int
    """What the budget holds for somebody when all was booked, J."""
    seconds: float
    """From the first question to the last answer."""
    asked: int
    """Questions: who was told to come again asked more than once."""


@dataclass
class Race:
    """A budget, those who write it, and those who ask."""

    connections: list[Connection]
    """Of the replicas, then of the leader."""
    accounts: list[Accounts]
    leader: EnergyBudgets
    book: Book
    informer: Informer
    """The leader's."""
    deadline_s: float

    async def run(self, creates: int, room: int) -> Outcome:
        """Let `creates` ask at once for what `room` of them can have."""
        connection = self.connections[-1]
        await self._renew(room * NEED + NEED // 2)
        stop = asyncio.Event()
        leading = asyncio.create_task(self._lead(stop))
        began = time.monotonic()
        found = await asyncio.gather(*(self._create(number) for number in range(creates)))
        seconds = time.monotonic() - began
        admitted = [uid for uid, _ in found if uid]
        held = await self._booked()
        stop.set()
        await leading
        body = await connection.get(kinds.ENERGYBUDGETS, BUDGET, NAMESPACE)
        owners = {page["metadata"]["name"] for page in await self._reservations()}
        owners |= {entry["uid"] for entry in body["status"].get("provisional", ())}
        if owners != set(admitted):
            raise AssertionError(f"admitted {len(admitted)}, held for {len(owners)} others")
        asked = sum(times for _, times in found)
        return Outcome(len(admitted), creates - len(admitted), held, seconds, asked)

    async def _create(self, number: int) -> tuple[str, int]:
        """Ask until there is an answer; return the UID that was let in, and how often it asked."""
        accounts = self.accounts[number % REPLICAS]
        asked = 0
        while True:
            uid, asked = str(uuid.uuid4()), asked + 1

            def ask(_: EnergyBudget, uid: str = uid) -> Provisional:
                expires = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
                return Provisional(
                    uid=uid, kind="Job", name=uid, energy_joules=NEED, expires_time=expires,
                    replicas=1, charged_joules=NEED, expected_joules=NEED, charged_watts=700,
                    expected_watts=600, profile="h100-sxm5-80gb", method="Calibrated",
                )  # fmt: skip

            try:
                async with asyncio.timeout(self.deadline_s):
                    receipt = await accounts.promise(KEY, uid, ask)
            except (BusyError, TimeoutError):
                await asyncio.sleep(COMES_AGAIN_S)
                continue
            if receipt.refused_by is not None:
                return "", asked
            self._appears(uid)
            return uid, asked

    def _appears(self, uid: str) -> None:
        """Let the leader's watch bring the Job that was let in."""
        metadata = {
            "name": uid, "namespace": NAMESPACE, "uid": uid, "resourceVersion": "1",
            "labels": {LABEL_WORKLOAD: uid}, "creationTimestamp": datetime.now(UTC).isoformat(),
        }  # fmt: skip
        store = self._jobs()
        store.offer("ADDED", {"kind": "Job", "metadata": metadata, "spec": {"template": {}}})

    def _jobs(self) -> Store[Any]:
        return next(one for one in self.informer.workloads if one.resource == kinds.JOBS)

    async def _lead(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self.leader.reconcile(NAMESPACE)
            await asyncio.sleep(0.05)

    async def _booked(self) -> int:
        """Wait until every promise is a reservation; return what the budget holds, J."""
        last = time.monotonic() + BOOKED_WITHIN_S
        while True:
            body = await self.connections[-1].get(kinds.ENERGYBUDGETS, BUDGET, NAMESPACE)
            status = EnergyBudgetStatus.model_validate(body["status"])
            if not status.provisional or time.monotonic() > last:
                return (status.reserved_joules or 0) + (status.consumed_joules or 0)
            await asyncio.sleep(0.1)

    async def _reservations(self) -> list[Object]:
        pages = self.connections[-1].pages(kinds.ENERGYRESERVATIONS, NAMESPACE)
        return [body async for page in pages for body in page.items]

    async def _drop(self, uid: str) -> None:
        connection = self.connections[-1]
        operation = {"op": "remove", "path": "/metadata/finalizers"}
        await connection.patch(kinds.ENERGYRESERVATIONS, uid, NAMESPACE, [operation])
        await connection.delete(kinds.ENERGYRESERVATIONS, uid, NAMESPACE)

    async def _renew(self, limit: int) -> None:
        """Put a new budget in place of the last race's, and wait until all know it."""
        connection = self.connections[-1]
        for key in list(self._jobs().keys()):
            self._jobs().offer("DELETED", {"metadata": {"namespace": key[0], "name": key[1]}})
        left = [body["metadata"]["name"] for body in await self._reservations()]
        await asyncio.gather(*(self._drop(uid) for uid in left))
        while self.book.of(NAMESPACE):  # what is still in the leader's book counts for the new one
            await asyncio.sleep(0.01)
        await connection.delete(kinds.ENERGYBUDGETS, BUDGET, NAMESPACE)
        body = energybudget(limit, "Deny", BUDGET)
        body["metadata"]["namespace"] = NAMESPACE
        made = await connection.create(kinds.ENERGYBUDGETS, body)
        while True:
            await self.leader.reconcile(NAMESPACE)
            seen = self.informer.energybudgets.get(BUDGET, NAMESPACE)
            known = seen is not None and seen.uid == made["metadata"]["uid"]
            if known and seen.body.get("status"):
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def racing(cluster: Cluster) -> AsyncIterator[Race]:
    """Connect replicas and a leader to a control plane on which the operator is installed."""
    cluster.kubectl("create", "namespace", NAMESPACE, check=False)  # it may be the second race here
    webhook, controller, admin = (
        Settings(kubeconfig=file)
        for file in (
            cluster.service_account_kubeconfig(operator.NAMESPACE, "energaizer-webhook"),
            cluster.service_account_kubeconfig(operator.NAMESPACE, "energaizer-controller"),
            cluster.kubeconfig,
        )
    )
    connections = [await Connection.connect(webhook) for _ in range(REPLICAS)]
    connections.append(await Connection.connect(admin))
    leading = await Connection.connect(controller)
    informers = [Informer.for_webhook() for _ in range(REPLICAS)]
    followed = Informer()
    stores = [(one.energybudgets, at) for one, at in zip(informers, connections, strict=False)]
    watches = [asyncio.create_task(store.run(at)) for store, at in stores]
    for store in (followed.energybudgets, followed.energyreservations):
        watches.append(asyncio.create_task(store.run(leading)))
        await store.wait()
    estimator = Estimator()
    try:
        within_s = PATIENCE * webhook.validation_deadline_s
        accounts = [
            Accounts(at, one, within_s=within_s)
            for one, at in zip(informers, connections, strict=False)
        ]
        events = Events(leading, component="race", instance="race", interval_s=60)
        context = Context.of(leading, followed, events, Metrics("race"))
        pricing = Pricing(context, estimator, lambda: World.of(()))
        book = Book(followed.energyreservations)
        leader = EnergyBudgets(context, book, pricing, controller, 1)
        yield Race(connections, accounts, leader, book, followed, webhook.validation_deadline_s)
    finally:
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        for connection in (*connections, leading):
            await connection.close()
