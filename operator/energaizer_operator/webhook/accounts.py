"""Promises of joules by several replicas at once: one guarded write of a budget's status each.

Every replica gathers what waits for a budget and evaluates it, one after the other, on a running
copy; what fits is written with the version that was read. Who loses the race reads again and
evaluates again. Nobody is refused on a copy that came from a watch, which may be old.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from energaizer_operator import ledger
from energaizer_operator.cluster import Cluster, Conflict, Missing, Object
from energaizer_operator.decision import Purse, purse_of
from energaizer_operator.informer import Informer, Key
from energaizer_operator.kinds import ENERGYBUDGETS
from energaizer_operator.newest import Newest
from energaizer_operator.resources.energybudget import (
    EnergyBudget,
    EnergyBudgetStatus,
    Provisional,
)

BATCH = 32
RETRIES = 8
"""The third loser of three replicas wins by its third try; what is more covers the leader."""
JITTER_S = (0.005, 0.025)

log = logging.getLogger(__name__)

Ask = Callable[[EnergyBudget], Provisional]
"""Says what is asked of a budget, by the specification of now."""


class BusyError(Exception):
    """Nobody could say in time; the same request may be sent again."""


@dataclass(frozen=True)
class Receipt:
    """What became of a wish: promised, now or before, or refused by a budget without room."""

    refused_by: Purse | None = None
    new: bool = False


@dataclass
class _Wish:
    """An entry to add, or to take back."""

    uid: str
    ask: Ask | None
    receipt: "asyncio.Future[Receipt]"
    losses: int = 0
    """Writes that carried it and lost their race."""


class Accounts:
    """Writes promises into budgets."""

    def __init__(
        self,
        cluster: Cluster,
        informer: Informer,
        conflict: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Follow the budgets of `informer`; tell `conflict` of races: `retried`, `exhausted`."""
        self._cluster, self._conflict = cluster, conflict
        self._newest = Newest(informer.energybudgets)
        self._waiting: dict[Key, list[_Wish]] = {}
        self._working: dict[Key, asyncio.Task[None]] = {}

    async def promise(self, key: Key, uid: str, ask: Ask) -> Receipt:
        """Promise an object what it asks of a budget.

        Raises:
            BusyError: Too many wrote at once, or too much is waiting to be booked.
            ClusterError: The API server does not answer.
        """
        return await self._queue(key, uid, ask)

    async def withdraw(self, key: Key, uid: str) -> None:
        """Take a promise back."""
        await self._queue(key, uid, None)

    async def _queue(self, key: Key, uid: str, ask: Ask | None) -> Receipt:
        wish = self._add(key, uid, ask)
        return await wish.receipt

    def _add(self, key: Key, uid: str, ask: Ask | None) -> _Wish:
        wish = _Wish(uid, ask, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(key, []).append(wish)
        if key not in self._working:
            self._working[key] = asyncio.create_task(self._work(key), name=f"budget {key[1]}")
        return wish

    async def _work(self, key: Key) -> None:
        """Serve what waits for one budget until nothing does."""
        batch: list[_Wish] = []
        try:
            while self._gather(key, batch):
                try:
                    await self._serve(key, batch)
                except Exception as error:  # noqa: BLE001 - each of them is told
                    for wish in batch:
                        if not wish.receipt.done():
                            wish.receipt.set_exception(error)
        finally:
            self._waiting.pop(key, None)
            del self._working[key]

    def _gather(self, key: Key, batch: list[_Wish]) -> bool:
        """Let go of who was told, or gave up, and take in who came; return whether any is left.

        It is asked before each try, so that the slower writes are, the more each of them carries.
        """
        left = [wish for wish in batch if not wish.receipt.done()]
        waiting = self._waiting.get(key, [])
        room = BATCH - len(left)
        batch[:], self._waiting[key] = left + waiting[:room], waiting[room:]
        return bool(batch or self._waiting[key])

    async def _serve(self, key: Key, batch: list[_Wish]) -> None:
        """Write one batch, however often that takes; who joins it late has tries of its own."""
        body = self._newest.get(key)
        fresh = body is None
        attempt = 0
        while self._gather(key, batch) and batch:
            if body is None:
                body, fresh = await self._read(key), True
            if body is None:  # deleted: it limits nobody any more
                _tell(batch, {wish.uid: Receipt() for wish in batch})
                return
            status, receipts = _evaluate(body, batch)
            refused = any(receipt.refused_by for receipt in receipts.values())
            if refused and not fresh:
                body = None
                continue
            if status is None:
                _tell(batch, receipts)
                return
            try:
                stored = {**body, "status": status.to_dict()}
                written = await self._cluster.replace(ENERGYBUDGETS, stored, sub="status")
            except Conflict:
                self._conflict("retried")
                self._lost(batch)
                if attempt:
                    await asyncio.sleep(random.uniform(*JITTER_S))  # noqa: S311 - spreads load
                body, attempt = None, attempt + 1
                continue
            self._newest.wrote(key, written)
            for wish in batch:  # too late for somebody, who said no meanwhile: take it back
                if wish.receipt.cancelled() and receipts[wish.uid].new:
                    self._add(key, wish.uid, None)
            _tell(batch, receipts)
            return

    def _lost(self, batch: list[_Wish]) -> None:
        """Count a lost race, and give up for who lost too many."""
        for wish in batch:
            wish.losses += 1
            if wish.losses > RETRIES and not wish.receipt.done():
                self._conflict("exhausted")
                wish.receipt.set_exception(
                    BusyError("too many workloads ask this energy budget at once")
                )

    async def _read(self, key: Key) -> Object | None:
        try:
            return await self._cluster.get(ENERGYBUDGETS, key[1], key[0])
        except Missing:
            return None


def _evaluate(
    body: Object, batch: list[_Wish]
) -> tuple[EnergyBudgetStatus | None, dict[str, Receipt]]:
    """Return the status to write, None if there is nothing to, and what to tell each of them.

    Raises:
        BusyError: The budget is so new that the leader has not looked at it.
    """
    purse = purse_of(body, datetime.now(UTC))
    budget = purse.budget
    if budget is None:
        return None, {wish.uid: Receipt(purse if wish.ask else None) for wish in batch}
    if budget.status.observed_generation is None:
        raise BusyError(f"energy budget {purse.full_name} is new; the controller has yet to see it")
    status, receipts = budget.status, {}
    for wish in batch:
        if wish.ask is None:
            status, receipts[wish.uid] = ledger.withdraw(status, wish.uid), Receipt()
            continue
        entry = wish.ask(budget)
        try:
            after = ledger.admit(budget.spec, status, entry)
        except ledger.FullError:
            raise BusyError(
                f"energy budget {purse.full_name} waits for the controller to book its promises"
            ) from None
        receipts[wish.uid] = Receipt(new=after is not status and after is not None)
        if after is None:
            left = budget.model_copy(update={"status": status})
            refusing = Purse(purse.namespace, purse.name, purse.action, left)
            receipts[wish.uid] = Receipt(refused_by=refusing)
        else:
            status = after
    return (None if status is budget.status else status), receipts


def _tell(batch: list[_Wish], receipts: dict[str, Receipt]) -> None:
    for wish in batch:
        if not wish.receipt.done():
            wish.receipt.set_result(receipts[wish.uid])
