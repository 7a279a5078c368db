"""Which policies are for a workload, and which inputs they state for it."""

from collections.abc import Iterable, Mapping, Sequence

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


def defaults(policies: Sequence[EnergyPolicy]) -> tuple[PolicyDefaults, ...]:
    """Return the input defaults of the matching policies, strongest first."""
    return tuple(policy.spec.defaults for policy in policies if policy.spec.defaults)
