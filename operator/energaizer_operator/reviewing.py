"""Verdicts on manifests, one after the other: what the first is charged, the next finds gone.

The cluster judges objects in the order in which they come, so a review does too. A budget's balance
is that of its `status`, where the file has one (`kubectl get energybudget -o yaml`); else nothing
of its limit is taken.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from energaizer_operator import decision, ledger
from energaizer_operator.decision import Claim, Decision, Purse, World
from energaizer_operator.estimation import Estimator
from energaizer_operator.offline import Contents, Item
from energaizer_operator.policy import Action
from energaizer_operator.resources.energybudget import Provisional


@dataclass(frozen=True)
class Verdict:
    """One item, judged."""

    item: Item
    decided: Decision

    @property
    def refused(self) -> bool:
        """Say whether it would not be let in."""
        return self.decided.verdict.action is Action.DENY

    def lines(self) -> list[str]:
        """Return the verdict for people."""
        verdict, place = self.decided.verdict, self.item.place
        if self.decided.case.idle:
            return [f"Allow   {place}: asks for no GPU"]
        lines = [f"{verdict.action:<7} {place}"]
        if verdict.charged is not None:
            charged, estimate = verdict.charged, verdict.charged.estimate
            lines.append(
                f"        charged {estimate.gpu_count} x {charged.profile}: "
                f"{estimate.energy_human}, {estimate.power_human}, {estimate.method}"
            )
        if verdict.message:
            lines.append(f"        {verdict.message}")
        return lines + [f"        warning: {warning}" for warning in verdict.warnings]

    def document(self) -> dict[str, Any]:
        """Return the verdict for programs."""
        verdict = self.decided.verdict
        return {
            "workload": self.item.subject.name,
            "place": self.item.place,
            "action": str(verdict.action),
            "message": verdict.message,
            "warnings": list(verdict.warnings),
            "violations": [
                {"owner": one.owner, "limit": one.limit, "action": str(one.action)}
                for one in verdict.violations
            ],
            "charged": verdict.charged.estimate.to_dict() if verdict.charged else None,
            "alternative": verdict.alternative.estimate.to_dict() if verdict.alternative else None,
            "problems": [problem.message for problem in self.decided.case.resolution.problems],
        }


def review(
    items: Sequence[Item], contents: Contents, world: World, estimator: Estimator, now: datetime
) -> Iterator[Verdict]:
    """Yield the verdict on each item, in their order."""
    purses = [decision.purse_of(body, now) for body in contents.budgets]
    for number, item in enumerate(items):
        described = item.subject.description
        if described is None:  # an AIWorkload of its own is checked, and charges nothing
            yield Verdict(item, decision.decide(item.subject, world, estimator))
            continue
        namespace = described.namespace or "default"
        mine = [purse for purse in purses if purse.namespace == namespace]
        ours = decision.matching(mine, item.subject.labels)
        claim = Claim(described.kind, item.holdable)
        balances = decision.balances(ours, claim, now) if item.starts else ()
        decided = decision.decide(item.subject, world, estimator, balances)
        yield Verdict(item, decided)
        if item.starts and decided.verdict.action not in (Action.DENY, Action.HOLD):
            names = {purse.name for purse in ours}
            purses = [
                _charged(purse, str(number), item, decided, now)
                if purse.namespace == namespace and purse.name in names
                else purse
                for purse in purses
            ]


def _charged(purse: Purse, uid: str, item: Item, decided: Decision, now: datetime) -> Purse:
    """Return a budget with what one more workload takes of it."""
    charged, described = decided.verdict.charged, item.subject.description
    if purse.budget is None or charged is None or described is None:
        return purse
    identity = (uid, described.kind, described.name or uid)
    entry: Provisional = ledger.entry_of(purse.budget, identity, charged.estimate, now)
    status = purse.budget.status
    reserved = (status.reserved_joules or 0) + entry.energy_joules
    budget = purse.budget.model_copy(
        update={"status": status.model_copy(update={"reserved_joules": reserved})}
    )
    return replace(purse, budget=budget)
