"""EnergyBudget: book what was promised, let held work go, write down what is left.

One look is at all budgets of a namespace, one look at a time, since a workload may count against
several. Its order survives a crash between any two steps: a reservation is created before its
promise is struck out, and a hold is lifted after its reservation exists. The next look, of whatever
leader, finds what is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from energaizer_operator import budgetstatus, decision, human, ledger
from energaizer_operator.cluster import Conflict, Missing, Object
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.drift import Drift
from energaizer_operator.controller.holding import Holds
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.population import Population
from energaizer_operator.controller.pricing import Pricing
from energaizer_operator.controller.promises import Promises
from energaizer_operator.controller.writing import same
from energaizer_operator.decision import Purse, purse_of
from energaizer_operator.events import Subject
from energaizer_operator.informer import Key, WorkloadRecord
from energaizer_operator.kinds import ENERGYBUDGETS
from energaizer_operator.ledger import Closing
from energaizer_operator.metrics import BudgetSeries
from energaizer_operator.names import ConditionType, EventReason
from energaizer_operator.newest import Newest
from energaizer_operator.policy import Action
from energaizer_operator.records import WorkloadKey
from energaizer_operator.resources.energybudget import EnergyBudget, EnergyBudgetStatus
from energaizer_operator.schema import EstimateSummary
from energaizer_operator.settings import Settings

log = logging.getLogger(__name__)

_TRIES = 8
_LATER_S = 1.0
_CROWD = 16  # of 128 places
UNSETTLED_S = 15.0
"""Until the next look where a held workload could not be priced, or not be let go."""
_GRACE_S = 5.0
"""A workload this old that nobody promised anything was not judged."""


@dataclass
class _Look:
    """One look at a namespace."""

    namespace: str
    now: datetime
    purses: dict[str, Purse]
    bodies: dict[str, Object]
    closings: dict[str, Closing] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    free: list[WorkloadRecord] = field(default_factory=list)
    """Held workloads that no budget holds any more."""
    granted: dict[str, set[str]] = field(default_factory=dict)
    """Held workload -> budgets that promised it what it needs."""
    unsettled: bool = False
    """Whether a held workload has no price yet, or was not let go though it should be."""


class EnergyBudgets:
    """Keeps the budgets of one namespace."""

    def __init__(
        self, context: Context, book: Book, pricing: Pricing, settings: Settings, token: int
    ) -> None:
        """Share the book of reservations; `token` numbers this leadership."""
        self._context, self._book = context, book
        self.population = Population(context.informer)
        self._promises = Promises(context, book, self.population, token)
        self._holds = Holds(context, pricing)
        self._newest = Newest(context.informer.energybudgets)
        self._drift = Drift(settings.budget_resync_s)
        self._granted: dict[str, set[str]] = {}
        """Namespace -> held workloads that all their budgets promised what they need."""
        self._unbooked: dict[str, int] = {}
        """Namespace -> promises that were waiting at the last look."""
        self.again: Callable[[str, float], None] = lambda _namespace, _delay_s: None
        """Asks for another look at a namespace."""
        self.unjudged: Callable[[WorkloadKey], None] = lambda _key: None
        """Told of workloads that run without a reservation."""

    @property
    def crowded(self) -> bool:
        """Say whether many promises wait to be booked: admission ends where they are too many."""
        return any(count > _CROWD for count in self._unbooked.values())

    def known(self) -> list[str]:
        """Return the namespaces that have budgets."""
        return sorted({record.namespace for record in self._context.informer.energybudgets})

    async def reconcile(self, namespace: str) -> Result:
        """Bring all budgets of a namespace up to date."""
        look = self._begin(namespace)
        self._forget(namespace, look.purses)
        if not look.purses and not any(one.life.held for one in self.population.roots(namespace)):
            self._context.metrics.budgets.held_oldest.pop(namespace, None)
            self._unbooked.pop(namespace, None)
            self._granted.pop(namespace, None)
            return Result.GONE
        granted = self._granted.setdefault(namespace, set())
        lost = await self._promises.book_all(namespace, look.purses, granted, look.now)
        result = Result.PENDING
        for _ in range(_TRIES):  # while the webhook promises on, a slow look would always lose
            look = self._begin(namespace)
            self._close(look, lost)
            await self._consider_held(look)
            result = await self._write(look)
            if result is not Result.PENDING:
                break
        if result is not Result.PENDING:
            await self._release(look)
        self._report_unjudged(look)
        self._plan(look, result)
        return Result.UNCHANGED if result is Result.PENDING else result

    def _begin(self, namespace: str) -> _Look:
        now = datetime.now(UTC)
        bodies: dict[str, Object] = {
            record.name: self._newest.get((namespace, record.name)) or record.body
            for record in self._context.informer.energybudgets.of(namespace)
        }
        purses = {name: purse_of(body, now) for name, body in bodies.items()}
        waiting = [len(one.budget.status.provisional) for one in purses.values() if one.budget]
        self._unbooked[namespace] = max(waiting, default=0)
        return _Look(namespace, now, purses, bodies)

    def _close(self, look: _Look, lost: set[str]) -> None:
        """Compute the balance of each budget from the reservations."""
        reservations = self._book.of(look.namespace)
        for name, purse in look.purses.items():
            if purse.budget is None:
                continue
            base = self._drift.base((look.namespace, name), purse.budget)
            ours = [one for one in reservations if name in one.spec.budget_names]
            look.closings[name] = ledger.close(base, ours, look.now, lost)
            look.pending[name] = 0

    async def _consider_held(self, look: _Look) -> None:
        """Promise held workloads what they need, in their order, as far as there is room."""
        held = [one for one in self.population.roots(look.namespace) if one.life.held]
        living = {one.uid for one in held}
        self._holds.forget(look.namespace, living)
        self._granted[look.namespace] &= living
        for record in await self._holds.queue(held):
            if self._book.get((look.namespace, record.uid)) is not None:
                continue
            priced = await self._holds.price(record)
            look.unsettled |= priced is None or priced.estimate is None
            if priced is None:
                continue
            purses = decision.matching(look.purses.values(), priced.labels)
            if not any(purse.action is Action.HOLD for purse in purses):
                look.free.append(record)
                continue
            firm = [one for one in purses if one.action in (Action.HOLD, Action.DENY)]
            if priced.estimate is not None and all(one.budget for one in firm):
                identity = (record.uid, record.kind, record.name)
                self._grant(look, identity, priced.estimate, firm)
            if record.uid not in look.granted:
                for purse in firm:
                    look.pending[purse.name] = look.pending.get(purse.name, 0) + 1

    def _grant(
        self,
        look: _Look,
        identity: tuple[str, str, str],
        estimate: EstimateSummary,
        purses: list[Purse],
    ) -> None:
        """Promise a workload what it needs of all its budgets, or of none."""
        after: dict[str, Closing] = {}
        for purse in purses:
            budget, closing = purse.budget, look.closings.get(purse.name)
            if budget is None or closing is None:
                return
            entry = ledger.entry_of(budget, identity, estimate, look.now)
            balance = EnergyBudgetStatus(
                consumed_joules=closing.consumed,
                reserved_joules=closing.reserved,
                provisional=closing.provisional,
            )
            try:
                promised = ledger.admit(budget.spec, balance, entry)
            except ledger.FullError:
                promised = None
            if promised is None:
                return
            after[purse.name] = replace(closing, provisional=promised.provisional)
        look.closings |= after
        look.granted[identity[0]] = set(after)

    async def _write(self, look: _Look) -> Result:
        """Write each balance that changed, guarded by the version that it was computed from."""
        result, written = Result.UNCHANGED, set()
        for name, purse in look.purses.items():
            outcome = await self._write_one(look, name, purse)
            if outcome is Result.PENDING:
                result = Result.PENDING
                continue
            written.add(name)
            if outcome is Result.CHANGED and result is Result.UNCHANGED:
                result = Result.CHANGED
        self._granted[look.namespace] |= {
            uid for uid, names in look.granted.items() if names <= written
        }
        return result

    async def _write_one(self, look: _Look, name: str, purse: Purse) -> Result:
        key, body = (look.namespace, name), look.bodies[name]
        wanted = self._wanted(look, key, purse)
        if not same(body.get("status") or {}, wanted.to_dict()):
            cluster, began = self._context.cluster, time.monotonic()
            try:
                stored = await cluster.replace(
                    ENERGYBUDGETS, {**body, "status": wanted.to_dict()}, sub="status"
                )
            except Conflict:
                self._context.metrics.budget_conflict("retried")
                await self._newest.newer(cluster, key, body, time.monotonic() - began)
                return Result.PENDING
            except Missing:
                return Result.GONE
            self._newest.wrote(key, stored)
            await self._tell(key, stored, purse.budget, wanted)
            outcome = Result.CHANGED
        else:
            outcome = Result.UNCHANGED
        if purse.budget is not None:
            self._drift.wrote(key, wanted)
            self._show(key, purse.budget, wanted)
        return outcome

    def _wanted(self, look: _Look, key: Key, purse: Purse) -> EnergyBudgetStatus:
        body, budget = look.bodies[key[1]], purse.budget
        if budget is None:
            generation = body["metadata"].get("generation")
            stored = EnergyBudgetStatus.model_validate(body.get("status") or {}, extra="ignore")
            return budgetstatus.broken_status(generation, stored, purse.problem, look.now)
        closing = look.closings[key[1]]
        left = {entry.uid for entry in closing.provisional}
        gone = [entry for entry in budget.status.provisional if entry.uid not in left]
        booked = sum(entry.energy_joules for entry in gone if self._book.get((key[0], entry.uid)))
        drift = self._drift.check(key, budget, closing, booked)
        pending = look.pending.get(key[1], 0)
        return budgetstatus.budget_status(budget, closing, pending, drift, look.now)

    async def _release(self, look: _Look) -> None:
        """Let go what has its reservation, and what no budget holds any more."""
        for record in self.population.roots(look.namespace):
            if not record.life.held:
                continue
            page = self._book.get((look.namespace, record.uid))
            if page is not None:
                joules = human.energy(page.reservation.spec.energy_joules)
                names = ", ".join(page.reservation.spec.budget_names)
                gone = await self._holds.release(record, f"{joules} reserved in {names}")
                look.unsettled |= not gone
        for record in look.free:
            gone = await self._holds.release(record, "no energy budget holds it any more")
            look.unsettled |= not gone

    def _report_unjudged(self, look: _Look) -> None:
        """Tell of workloads that run without a reservation, once they are not quite new."""
        promised = {
            entry.uid for closing in look.closings.values() for entry in closing.provisional
        }
        for record in self.population.roots(look.namespace):
            life = record.life
            known = record.uid in promised or self._book.get((look.namespace, record.uid))
            if known or life.suspended or life.ended:
                continue
            age = (look.now - _time(life.created, look.now)).total_seconds()
            if age >= _GRACE_S:
                self.unjudged((record.kind, record.namespace, record.name))
            else:
                self.again(look.namespace, _GRACE_S - age + _LATER_S)

    def _plan(self, look: _Look, result: Result) -> None:
        """Ask for the next look, where time alone brings news."""
        if result is Result.PENDING or look.granted:
            self.again(look.namespace, 0.0)
            return
        if look.unsettled:
            self.again(look.namespace, UNSETTLED_S)
        moments = [closing.span.end for closing in look.closings.values() if closing.span.end]
        if any(closing.provisional for closing in look.closings.values()):
            self.again(look.namespace, _LATER_S)
        if moments:
            delay = (min(moments) - look.now).total_seconds()
            self.again(look.namespace, max(0.1, min(delay + 0.1, 3600.0)))

    def _show(self, key: Key, budget: EnergyBudget, wanted: EnergyBudgetStatus) -> None:
        metrics, end = self._context.metrics.budgets, wanted.window_end_time
        metrics.records[key] = BudgetSeries(
            limit_j=budget.spec.limit_joules,
            reserved_j=(wanted.reserved_joules or 0) + ledger.promised(wanted),
            consumed_j=wanted.consumed_joules or 0,
            window_end=end.timestamp() if end else None,
            pending=wanted.pending_workloads or 0,
            drift_j=self._drift.lately(key),
        )
        now = datetime.now(UTC)
        ages = [
            (now - _time(one.life.created, now)).total_seconds()
            for one in self.population.roots(key[0])
            if one.life.held
        ]
        metrics.held_oldest[key[0]] = max(ages, default=0.0)

    async def _tell(
        self, key: Key, stored: Object, before: EnergyBudget | None, wanted: EnergyBudgetStatus
    ) -> None:
        """Write an event where a budget passed its limit, or its balance had to be repaired."""
        told = {
            ConditionType.EXCEEDED: EventReason.BUDGET_EXCEEDED,
            ConditionType.DRIFTED: EventReason.BUDGET_DRIFTED,
        }
        was = _true(before.status if before else EnergyBudgetStatus())
        for condition in wanted.conditions:
            reason = told.get(ConditionType(condition.type))
            if reason and condition.status == "True" and condition.type not in was:
                log.warning("budget %s: %s", "/".join(key), condition.message)
                await self._context.events.emit(
                    Subject.of(stored), reason, condition.message, type_="Warning", action="Count"
                )

    def _forget(self, namespace: str, present: Container[str]) -> None:
        """Drop the series of budgets that are gone."""
        records = self._context.metrics.budgets.records
        for key in [one for one in records if one[0] == namespace and one[1] not in present]:
            del records[key]
            self._drift.forget(key)


def _true(status: EnergyBudgetStatus) -> set[str]:
    return {condition.type for condition in status.conditions if condition.status == "True"}


def _time(text: str, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(text) if text else otherwise
