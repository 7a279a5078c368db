"""The way out of a refusal: another GPU, clock or cap, fewer replicas, and at last less work."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from energaizer_operator import ledger
from energaizer_operator.options import Option
from energaizer_operator.policy import wording
from energaizer_operator.policy.ceilings import Ceiling, ceilings_of
from energaizer_operator.policy.charge import (
    Charge,
    charge_of,
    comparable,
    possible,
    requested_replicas,
)
from energaizer_operator.policy.records import Action, Balance, Modes, Question

LEAST_SHARE = 0.1
"""Of the work: who is offered less than a tenth of what they asked for is not helped."""


def way_out(
    question: Question,
    in_force: Modes,
    charged: Option,
    ceilings: Sequence[Ceiling],
    balances: Sequence[Balance],
) -> tuple[Option | None, str]:
    """Return the cheapest option that would be admitted if it were chosen, and the words for it.

    A clock or a cap is offered only where it would be charged. GPUs that the workload's own
    selectors exclude come after those they allow, then fewer replicas, at last less work.
    """
    replicas = requested_replicas(question.options)

    def charge(option: Option) -> Charge:
        return charge_of(option, in_force.uncertainty)

    offers = sorted(
        _offers(question, in_force, balances),
        key=lambda option: (
            replicas - option.estimate.replicas,
            not option.reachable,
            charge(option).energy_joules,
            option.name,
        ),
    )
    now = {option.profile for option in possible(question, in_force)}
    shorter = question.shorter
    for option in (*offers, *((shorter.option,) if shorter else ())):
        room = all(balance.fits(option) for balance in balances)
        if room and all(ceiling.fits(option, charge(option)) for ceiling in ceilings):
            crowd = now != {option.profile}
            return option, wording.way_out(question, charged, option, crowd)
    smallest = min(offers, key=lambda option: charge(option).energy_joules, default=None)
    return None, wording.no_way_out(charged, smallest)


def shares(question: Question) -> list[tuple[float, Option]]:
    """Return how much of its work each option could do within what refuses it, most work first.

    Options are those of which no number but the energy stands in the way. Of work that never ends
    nothing is less, and of a bound nobody knows what it does.
    """
    in_force = question.in_force
    firm = [one for one in ceilings_of(question) if one.action is Action.DENY]
    purses = [one for one in question.balances if one.action is Action.DENY]
    if any(one.broken or one.seconds is not None for one in purses):
        return []
    found = []
    for option in _offers(question, in_force, ()):
        charge = charge_of(option, in_force.uncertainty)
        others = (replace(one, energy_joules=None).fits(option, charge) for one in firm)
        if option.estimate.method == "TDPBound" or not all(others):
            continue
        rooms = [one.energy_joules / charge.energy_joules for one in firm if one.energy_joules]
        rooms += [one.remaining_joules / one.need(option) for one in purses]
        share = min(rooms, default=1.0)
        if LEAST_SHARE <= share < 1.0:
            found.append((share, option))
    return sorted(found, key=lambda pair: (not pair[1].reachable, -pair[0], pair[1].name))


def _offers(question: Question, in_force: Modes, balances: Sequence[Balance]) -> Iterator[Option]:
    """Yield what may be offered: it runs, and its clock and cap would be charged."""
    for option in (*comparable(question.options), *_smaller(question, balances)):
        if option.feasibility == "Feasible" and (
            option.plain or in_force.declared_caps == "Trusted"
        ):
            yield option


def _smaller(question: Question, balances: Sequence[Balance]) -> list[Option]:
    """Return the plain options with fewer replicas, of work that never ends.

    Its power is what is charged, and that falls with the replicas; a Job's energy does not.
    """
    if not any(balance.seconds is not None for balance in balances):
        return []
    return [
        replace(option, estimate=ledger.resized(option.estimate, count))
        for option in comparable(question.options)
        if option.plain and option.reachable
        for count in range(option.estimate.replicas - 1, 0, -1)
    ]
