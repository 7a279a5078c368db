"""Workloads that nobody promised anything, but that count: each gets its reservation afterwards.

Budgets that only warn or audit promise nothing at admission. What came while the webhook was away,
or before there was a budget, is charged too, and said to be: it was not judged.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

from energaizer_operator import decision, ledger
from energaizer_operator.cluster import Object
from energaizer_operator.controller import reserving
from energaizer_operator.controller.book import Book
from energaizer_operator.controller.loop import Context, Result
from energaizer_operator.controller.pricing import Priced, Pricing
from energaizer_operator.decision import Purse, purse_of
from energaizer_operator.events import Subject
from energaizer_operator.lifetimes import life_of
from energaizer_operator.names import LABEL_WORKLOAD, EventReason
from energaizer_operator.policy import Action
from energaizer_operator.records import WorkloadKey

log = logging.getLogger(__name__)


class Charges:
    """Reserves for one workload what it was never promised."""

    def __init__(
        self, context: Context, book: Book, pricing: Pricing, token: int, shown_s: float
    ) -> None:
        """Share the book of reservations; `token` numbers this leadership.

        Args:
            context: What reconcilers share.
            book: Reservations.
            pricing: Says what a workload would be charged.
            token: Number of this leadership.
            shown_s: For how long the metric tells of pods after they were found, s.
        """
        self._context, self._book, self._pricing = context, book, pricing
        self._token, self._shown_s = token, shown_s
        self._found: dict[tuple[str, str], tuple[int, float]] = {}
        context.metrics.budgets.unbudgeted = self.unbudgeted

    def unbudgeted(self) -> Mapping[str, int]:
        """Return, by namespace, the pods that a firm budget should have judged and did not.

        They leave when they are charged, or gone, and the next audit finds them no more.
        """
        oldest = time.monotonic() - self._shown_s
        self._found = {key: one for key, one in self._found.items() if one[1] >= oldest}
        counts: Counter[str] = Counter()
        for (namespace, _), (pods, _) in self._found.items():
            counts[namespace] += pods
        return counts

    async def reconcile(self, key: WorkloadKey) -> Result:
        """Make sure that a workload counts against every budget that selects it."""
        now = datetime.now(UTC)
        purses = [
            purse_of(record.body, now) for record in self._context.informer.energybudgets.of(key[1])
        ]
        priced = await self._pricing.of(key) if purses else None
        if priced is None:
            return Result.UNCHANGED
        life, found = life_of(priced.body), decision.matching(purses, priced.labels)
        if life.suspended or life.ended or not found:
            return Result.UNCHANGED
        return await self._charge(key[1], priced, found, life.replicas)

    async def _charge(
        self, namespace: str, priced: Priced, purses: tuple[Purse, ...], pods: int
    ) -> Result:
        names = [purse.name for purse in purses]
        page = self._book.get((namespace, priced.reference.uid))
        if page is not None:
            spec = page.reservation.spec
            if page.leaving or set(names) <= set(spec.budget_names):
                return Result.UNCHANGED
            wanted = tuple(sorted({*spec.budget_names, *names})[:8])
            changed = spec.model_copy(update={"budget_names": wanted})
            await reserving.rewrite(self._context, self._book, namespace, changed)
            return Result.CHANGED
        firm = [one.full_name for one in purses if one.action in (Action.DENY, Action.HOLD)]
        if firm and priced.described.gpus:
            self._found[namespace, priced.reference.uid] = (pods, time.monotonic())
        if priced.estimate is None:
            return Result.PENDING
        workload = priced.labels[LABEL_WORKLOAD]
        now = datetime.now(UTC)
        estimate = ledger.surged(priced.estimate, priced.described.surge)
        spec = reserving.of_estimate(estimate, priced.reference, workload, names, now)
        await reserving.reserve(self._context, self._book, namespace, spec, self._token)
        if firm:
            await self._tell(priced, namespace, firm)
        return Result.CHANGED

    async def _tell(self, priced: Priced, namespace: str, budgets: list[str]) -> None:
        note = f"runs without having been judged; charged to {', '.join(budgets)} now"
        log.warning("%s %s", priced.reference.name, note, extra={"namespace": namespace})
        body: Object = {
            **priced.body,
            "apiVersion": priced.reference.api_version,
            "kind": priced.reference.kind,
        }
        await self._context.events.emit(
            Subject.of(body), EventReason.UNBUDGETED_POD, note, type_="Warning", action="Charge"
        )
