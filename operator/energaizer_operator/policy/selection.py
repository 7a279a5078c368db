"""Which policies are for a workload, and what they say about how to judge and to place it."""

from collections.abc import Iterable, Mapping, Sequence

from energaizer_operator.policy.records import Modes
from energaizer_operator.resources.aiworkload.spec import AIWorkloadSpec
from energaizer_operator.resources.energypolicy import EnergyPolicy, PolicyDefaults
from energaizer_operator.selectors import selects


def matching(
    policies: Iterable[EnergyPolicy],
    namespace_labels: Mapping[str, str],
    workload_labels: Mapping[str, str],
) -> tuple[EnergyPolicy, ...]:
    """Return the policies for a workload, the highest priority first, ties by name."""
    found = (
        policy
        for policy in policies
        if selects(policy.spec.namespace_selector, namespace_labels)
        and selects(policy.spec.workload_selector, workload_labels)
    )
    return tuple(sorted(found, key=lambda policy: (-policy.spec.priority, policy.metadata.name)))


def modes(policies: Sequence[EnergyPolicy], workload: AIWorkloadSpec | None = None) -> Modes:
    """Return the scalars in force: the workload's own word on placement, else the policies'.

    Args:
        policies: Matching ones, strongest first.
        workload: Spec of the AIWorkload, if there is one.
    """
    placements = [policy.spec.placement for policy in policies if policy.spec.placement]
    own = workload.placement if workload else None
    limits = workload.limits if workload else None
    plain = Modes()
    first = policies[0].spec if policies else None
    stated = [own, *placements]
    slowdowns = [limits, *placements]
    return Modes(
        uncertainty=first.uncertainty if first else plain.uncertainty,
        on_estimator_failure=first.on_estimator_failure if first else plain.on_estimator_failure,
        declared_caps=first.declared_caps if first else plain.declared_caps,
        placement_mode=next((one.mode for one in stated if one and one.mode), plain.placement_mode),
        objective=next((one.objective for one in stated if one and one.objective), plain.objective),
        max_slowdown_percent=next(
            (
                one.max_slowdown_percent
                for one in slowdowns
                if one and one.max_slowdown_percent is not None
            ),
            None,
        ),
    )


def defaults(policies: Sequence[EnergyPolicy]) -> tuple[PolicyDefaults, ...]:
    """Return the input defaults of the matching policies, strongest first."""
    return tuple(policy.spec.defaults for policy in policies if policy.spec.defaults)
