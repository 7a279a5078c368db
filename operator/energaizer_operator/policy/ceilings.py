"""The numbers that a workload is held against: its user's own, and those of each policy."""

from collections.abc import Iterator
from dataclasses import dataclass

from energaizer_operator.options import Option
from energaizer_operator.policy.charge import Charge
from energaizer_operator.policy.records import Action, Question


@dataclass(frozen=True)
class Ceiling:
    """The limits of one policy, or of the user, in one shape."""

    owner: str
    action: Action
    policy: str | None = None
    energy_joules: int | None = None
    power_watts: int | None = None
    energy_per_token_microjoules: int | None = None
    allowed_profiles: tuple[str, ...] | None = None
    inputs_required: bool = False

    @property
    def numeric(self) -> bool:
        """Return whether it limits a number at all."""
        limits = (self.energy_joules, self.power_watts, self.energy_per_token_microjoules)
        return any(limit is not None for limit in limits)

    def fits(self, option: Option, charge: Charge) -> bool:
        """Say whether an option stays within it."""
        per_token = charge.energy_per_token_microjoules
        return (
            _within(charge.energy_joules, self.energy_joules)
            and _within(charge.power_watts, self.power_watts)
            and _within(per_token, self.energy_per_token_microjoules)
            and (self.allowed_profiles is None or option.profile in self.allowed_profiles)
        )


def ceilings_of(question: Question) -> Iterator[Ceiling]:
    """Yield the limits of the user, then those of the policies."""
    limits = question.limits
    if limits is not None:
        yield Ceiling(
            owner=f"limits of {question.workload}",
            action=Action.DENY,
            energy_joules=limits.max_energy_joules,
            power_watts=limits.max_power_watts,
        )
    for policy in question.policies:
        stated = policy.spec.limits
        if stated is not None:
            yield Ceiling(
                owner=f"energy policy {policy.metadata.name}",
                action=Action(policy.spec.action),
                policy=policy.metadata.name,
                energy_joules=stated.max_energy_joules,
                power_watts=stated.max_power_watts,
                energy_per_token_microjoules=stated.max_energy_per_token_microjoules,
                allowed_profiles=stated.allowed_profiles,
                inputs_required=stated.require_inputs == "Required",
            )


def _within(need: int | None, limit: int | None) -> bool:
    return need is None or limit is None or need <= limit
