"""Promises of joules by several replicas at once: one guarded write of a budget's status each.

Every replica gathers what waits for a budget and evaluates it, one after the other, on a running
copy; what fits is written with the version that was read. Who loses the race reads again and
evaluates again. Nobody is refused on a copy that came from a watch, which may be old.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
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

LONGEST_PAUSE_S = 0.2

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
    due: float
    """Time of the loop from which no write takes it along any more."""


class Accounts:
    """Writes promises into budgets."""

    def __init__(
        self,
        cluster: Cluster,
        informer: Informer,
        conflict: Callable[[str], None] = lambda _: None,
        within_s: float = 1.0,
    ) -> None:
        """Follow the budgets of `informer`.

        Args:
            cluster: Where the budgets are.
            informer: Of the webhook.
            conflict: Told of races: `retried`, `exhausted`.
            within_s: A wish that no write has carried by then is let go, s. It leaves a write's
                time to the caller's deadline: who gives up while a write carries its wish
                holds joules until they are taken back, and others are refused for them.
        """
        self._cluster, self._conflict, self._within_s = cluster, conflict, within_s
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
        loop = asyncio.get_running_loop()
        wish = _Wish(uid, ask, loop.create_future(), loop.time() + self._within_s)
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
        now = asyncio.get_running_loop().time()
        batch += self._waiting.pop(key, [])
        for wish in batch:
            if wish.ask is not None and now > wish.due and not wish.receipt.done():
                self._conflict("exhausted")
                why = "too many workloads ask this energy budget at once"
                wish.receipt.set_exception(BusyError(why))
        batch[:] = [wish for wish in batch if not wish.receipt.done()]
        batch.sort(key=lambda wish: wish.ask is not None)  # what is taken back makes room
        return bool(batch)

    async def _serve(self, key: Key, batch: list[_Wish]) -> None:
        """Write one batch, however often that takes; who joins it late has tries of its own.

        What is evaluated on a copy that may be old is told only once a write proved it current, or
        after a read where there is nothing to write.
        """
        body, attempt = self._newest.get(key), 0
        while self._gather(key, batch):
            fresh = body is None
            if body is None:
                body = await self._cluster.find(ENERGYBUDGETS, key[1], key[0])
            if body is None:  # deleted: it limits nobody any more
                _tell(batch, [Receipt()] * len(batch))
                return
            status, outcomes = _evaluate(body, batch)
            if status is None and not fresh:
                body = None
                continue
            if status is None:
                _tell(batch, outcomes)
                return
            began = time.monotonic()
            try:
                newer = EnergyBudgetStatus.unknown(body.get("status") or {})
                stored = {**body, "status": {**newer, **status.to_dict()}}
                written = await self._cluster.replace(ENERGYBUDGETS, stored, sub="status")
            except Missing:
                body = None
                continue
            except Conflict:
                self._conflict("retried")
                took_s = time.monotonic() - began
                longest_s = min(LONGEST_PAUSE_S, took_s * 2**attempt)
                body = await self._newest.newer(self._cluster, key, body, longest_s)
                attempt += 1
                continue
            self._newest.wrote(key, written)
            for wish, outcome in zip(batch, outcomes, strict=True):
                # Too late for somebody, who said no meanwhile: take it back.
                if wish.receipt.cancelled() and isinstance(outcome, Receipt) and outcome.new:
                    self._add(key, wish.uid, None)
            _tell(batch, outcomes)
            return


def _evaluate(
    body: Object, batch: list[_Wish]
) -> tuple[EnergyBudgetStatus | None, list[Receipt | BusyError]]:
    """Return the status to write, None if there is nothing to, and what to tell each of them.

    Raises:
        BusyError: The budget is so new that the leader has not looked at it.
    """
    purse = purse_of(body, datetime.now(UTC))
    budget = purse.budget
    if budget is None:
        return None, [Receipt(purse if wish.ask else None) for wish in batch]
    if budget.status.observed_generation is None:
        raise BusyError(f"energy budget {purse.full_name} is new; the controller has yet to see it")
    status = budget.status
    outcomes: list[Receipt | BusyError] = []
    for wish in batch:
        if wish.ask is None:
            status = ledger.withdraw(status, wish.uid)
            outcomes.append(Receipt())
            continue
        try:
            after = ledger.admit(budget.spec, status, wish.ask(budget))
        except ledger.FullError:
            why = f"energy budget {purse.full_name} waits for the controller to book its promises"
            outcomes.append(BusyError(why))
            continue
        if after is None:
            left = budget.model_copy(update={"status": status})
            outcomes.append(Receipt(Purse(purse.namespace, purse.name, purse.action, left)))
            continue
        outcomes.append(Receipt(new=after is not status))
        status = after
    return (None if status is budget.status else status), outcomes


def _tell(batch: list[_Wish], outcomes: Sequence[Receipt | BusyError]) -> None:
    for wish, outcome in zip(batch, outcomes, strict=True):
        if wish.receipt.done():
            continue
        if isinstance(outcome, BusyError):
            wish.receipt.set_exception(outcome)
        else:
            wish.receipt.set_result(outcome)
