"""Charging what is about to run to the budgets that select it, in the order of their names.

The object is known by its own UID, which the API server has given it by now, so that a review that
is sent again finds its promise, and the leader finds the object. What is refused takes back what it
was promised by other budgets; what is cut short is dropped by the leader after a minute. Pods that
are judged one by one charge what they are all a part of, which is thereby charged once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from energaizer_operator import ledger
from energaizer_operator.decision import Purse, held_for
from energaizer_operator.policy import Action
from energaizer_operator.resources.energybudget import EnergyBudget, Provisional
from energaizer_operator.schema import EstimateSummary
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.review import MalformedReviewError
from energaizer_operator.webhook.view import metadata_of


@dataclass(frozen=True)
class Debtor:
    """The object that is charged."""

    namespace: str
    uid: str
    kind: str
    name: str
    before: EstimateSummary | None = None
    """Estimate of what it is already, where an update is judged; at the height of a roll-out."""
    surge: int = 0
    """Pods that a rolling update may run beside its replicas."""

    @classmethod
    def of(
        cls,
        namespace: str,
        obj: Mapping[str, object],
        before: EstimateSummary | None = None,
        surge: int = 0,
    ) -> "Debtor":
        """Return the object of a review."""
        metadata = metadata_of(obj)
        uid, name = str(metadata.get("uid") or ""), str(metadata.get("name") or "")
        return cls(namespace, uid, str(obj.get("kind")), name, before, surge)


def held(judge: Judge, debtor: Debtor, purses: tuple[Purse, ...]) -> dict[str, int]:
    """Return what budgets hold for an object already, J.

    What nobody reserved yet counts as what its present form would need, since it will be charged
    for that: an update pays for the difference.
    """
    now = datetime.now(UTC)
    reserved = held_for(judge.view.reservation(debtor.namespace, debtor.uid), purses, now)
    if debtor.before is None:
        return reserved
    demand = ledger.Demand.of(debtor.before, endless=debtor.kind in ledger.ENDLESS)
    return {
        purse.name: max(reserved.get(purse.name, 0), ledger.need(demand, purse.budget.spec, now))
        for purse in purses
        if purse.budget is not None
    }


async def charge(
    judge: Judge, debtor: Debtor, estimate: EstimateSummary, purses: tuple[Purse, ...]
) -> Purse | None:
    """Charge an object to some budgets; return the first without room, as it is now.

    Raises:
        BusyError: Too many wrote at once.
        ClusterError: The API server does not answer.
        MalformedReviewError: The object has no UID or name that a budget could hold joules for; the
            API server gives both before it asks us, so this is not let in.
    """
    booked = held(judge, debtor, purses)
    estimate = ledger.surged(estimate, debtor.surge)
    promised: list[Purse] = []
    for purse in purses:
        if purse.budget is None:
            return purse

        def ask(budget: EnergyBudget, already: int = booked.get(purse.name, 0)) -> Provisional:
            identity = (debtor.uid, debtor.kind, debtor.name)
            return ledger.entry_of(budget, identity, estimate, datetime.now(UTC), already)

        try:
            wanted = ask(purse.budget)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise MalformedReviewError(f"nobody to charge: {where}: {fault['msg']}") from None
        if wanted.energy_joules == 0 and booked:
            continue  # who shrinks asks for nothing, and is let in whatever is left
        receipt = await judge.accounts.promise((debtor.namespace, purse.name), debtor.uid, ask)
        if receipt.refused_by is not None:
            for other in promised:
                await judge.accounts.withdraw((debtor.namespace, other.name), debtor.uid)
            return receipt.refused_by
        if receipt.new:
            promised.append(purse)
    return None


def refusing(purses: tuple[Purse, ...], *, holdable: bool) -> tuple[Purse, ...]:
    """Return the budgets that refuse what they have no room for."""
    return tuple(one for one in purses if one.acts(holdable=holdable) is Action.DENY)
