"""Verdicts on manifests, one after the other: what the first is charged, the next finds gone.

The cluster judges objects in the order in which they come, so a review does too. A budget's balance
is that of its `status`, where the file has one (`kubectl get energybudget -o yaml`); else nothing
of its limit is taken. A quota of watts is judged likewise, as if power were a resource here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from energaizer_operator import decision, ledger, watts
from energaizer_operator.contents import Contents
from energaizer_operator.decision import Claim, Decision, Purse, World
from energaizer_operator.estimation import Estimator
from energaizer_operator.offline import Item
from energaizer_operator.owners import Description
from energaizer_operator.policy import Action
from energaizer_operator.resources.energybudget import Provisional


@dataclass(frozen=True)
class Verdict:
    """One item, judged."""

    item: Item
    decided: Decision
    quota: str = ""
    """Why a quota of watts refuses its pods."""

    @property
    def action(self) -> Action:
        """Return what the cluster would do; a quota refuses pods, and nothing else."""
        described = self.item.subject.description
        if self.quota and described is not None and described.kind == "Pod":
            return Action.DENY
        return self.decided.verdict.action

    @property
    def refused(self) -> bool:
        """Say whether it would not be let in."""
        return self.action is Action.DENY

    @property
    def message(self) -> str:
        """Return why it is refused, or held."""
        if self.refused and self.decided.verdict.action is not Action.DENY:
            return self.quota
        return self.decided.verdict.message

    @property
    def warnings(self) -> list[str]:
        """Return what else to say; of a quota, where it refuses the pods and not the object."""
        waits = [] if self.refused or not self.quota else [f"its pods would wait: {self.quota}"]
        return [*self.decided.verdict.warnings, *waits]

    def lines(self) -> list[str]:
        """Return the verdict for people."""
        verdict, place = self.decided.verdict, self.item.place
        if self.decided.case.idle:
            return [f"Allow   {place}: asks for no GPU"]
        lines = [f"{self.action:<7} {place}"]
        if verdict.charged is not None:
            charged, estimate = verdict.charged, verdict.charged.estimate
            lines.append(
                f"        charged {estimate.gpu_count} x {charged.profile}: "
                f"{estimate.energy_human}, {estimate.power_human}, {estimate.method}"
            )
        if self.message:
            lines.append(f"        {self.message}")
        return lines + [f"        warning: {warning}" for warning in self.warnings]

    def document(self) -> dict[str, Any]:
        """Return the verdict for programs."""
        verdict = self.decided.verdict
        return {
            "workload": self.item.subject.name,
            "place": self.item.place,
            "action": str(self.action),
            "message": self.message,
            "warnings": self.warnings,
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
    left = list(contents.quotas)
    for number, item in enumerate(items):
        described = item.subject.description
        if described is None:  # an AIWorkload of its own is checked, and charges nothing
            yield Verdict(item, decision.decide(item.subject, world, estimator))
            continue
        namespace = described.namespace or "default"
        mine = [purse for purse in purses if purse.namespace == namespace]
        ours = decision.matching(mine, item.subject.labels)
        claim = Claim(described.kind, item.holdable, surge=described.surge)
        balances = decision.balances(ours, claim, now) if item.starts else ()
        decided = decision.decide(item.subject, world, estimator, balances)
        refused = decided.verdict.action is Action.DENY
        each, pods = (0, 0) if refused else _power(described, decided)
        there = [one for one in left if one.namespace == namespace] if pods else []
        exceeded = next(filter(None, (quota.exceeded(each) for quota in there)), "")
        verdict = Verdict(item, decided, exceeded)
        yield verdict
        if not item.starts or verdict.action in (Action.DENY, Action.HOLD):
            continue
        left = [quota.after(each, pods) if quota in there else quota for quota in left]
        names = {purse.name for purse in ours}
        purses = [
            _charged(purse, str(number), item, decided, now)
            if purse.namespace == namespace and purse.name in names
            else purse
            for purse in purses
        ]


def _power(described: Description, decided: Decision) -> tuple[int, int]:
    """Return the watts that the hungriest pod of a workload requests, and how many pods there are.

    Zero of both where it asks for no GPU.
    """
    hungriest = decided.verdict.hungriest
    if hungriest is None or decided.case.idle:
        return 0, 0
    gpus = described.gpus_per_replica
    of_gpus = max(gpus, gpus * described.replicas, 1)
    return watts.share(hungriest.estimate.power_high_watts, gpus, of_gpus), described.replicas


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
