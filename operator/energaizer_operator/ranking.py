"""What else would be possible for a workload, the best first, as its status shows it."""

from collections.abc import Sequence
from typing import Final

from energaizer_operator.options import Option, cost
from energaizer_operator.resources.aiworkload.status import Candidate
from energaizer_operator.schema import Objective

MOST: Final = 32
"""That a status holds."""
USUAL: Final = 16
"""That it holds where nobody needs more: each takes the API server a quarter of a millisecond."""


def candidates(
    options: Sequence[Option],
    objective: Objective,
    *,
    most: int = MOST,
    declared: tuple[int | None, int | None] = (None, None),
) -> tuple[Candidate, ...]:
    """Return the options as the status shows them: feasible first, then by the objective.

    Args:
        options: Those with fewer replicas than others are left out.
        objective: What makes one better than another.
        most: How many. Boards at their own or the declared setting come before better others.
        declared: Clock (MHz) and cap (W) that the user states.
    """
    replicas = max((option.estimate.replicas for option in options), default=0)
    unique = {
        option.name: option for option in options if option.estimate.replicas == replicas
    }.values()
    ranked = sorted(
        unique,
        key=lambda one: (
            one.feasibility != "Feasible",
            not one.reachable,
            cost(one, objective),
            one.name,
        ),
    )
    if len(ranked) > most:
        usual = [
            one
            for one in ranked
            if one.plain or (one.clock_megahertz, one.power_cap_watts) == declared
        ]
        kept = list(dict.fromkeys(one.name for one in (*usual, *ranked)))[:most]
        ranked = [one for one in ranked if one.name in kept]
    return tuple(
        Candidate(
            name=option.name,
            profile=option.profile,
            clock_megahertz=option.clock_megahertz,
            power_cap_watts=option.power_cap_watts,
            power_watts=option.estimate.power_watts,
            duration_seconds=option.estimate.duration_seconds,
            energy_joules=option.estimate.energy_joules,
            energy_high_joules=option.estimate.energy_high_joules,
            feasibility=option.feasibility,
            rank=rank,
        )
        for rank, option in enumerate(ranked, start=1)
    )
