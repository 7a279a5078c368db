"""What all node labels together say: which GPUs there are, how many, which are unknown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

from energaizer_operator import owners
from energaizer_operator.cluster import Object
from energaizer_operator.identity import Identification
from energaizer_operator.resources.gpuprofile import ObservedTerm
from energaizer_operator.status import Census

_TERMS_MOST = 32


@dataclass(frozen=True)
class Survey:
    """What all nodes together say."""

    census: Mapping[str, Census] = field(default_factory=dict)
    """By profile; one that no node has is absent."""
    profiles: Mapping[str, str] = field(default_factory=dict)
    """Node to profile."""
    unprofiled: tuple[str, ...] = ()
    """GPU nodes that no profile matches."""

    def unknown_among(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """Return which of some nodes have GPUs that no profile matches, in order."""
        return tuple(sorted(set(nodes) & set(self.unprofiled))) if self.unprofiled else ()

    @property
    def in_cluster(self) -> frozenset[str]:
        """Profiles that some node has."""
        return frozenset(self.profiles.values())


def counted(
    identified: Mapping[str, Identification], capacity: Mapping[str, int]
) -> dict[str, int]:
    """Return the GPUs of each node: by its labels, else by its capacity where that is known."""
    return {
        node: capacity.get(node, 0) if found.gpus is None else found.gpus
        for node, found in identified.items()
    }


def survey(
    identified: Mapping[str, Identification],
    counts: Mapping[str, int],
    advertising: Container[str] = (),
) -> Survey:
    """Return what nodes say, given what the labels of each mean.

    Args:
        identified: By node.
        counts: GPUs by node.
        advertising: Nodes that advertise watts.
    """
    nodes: Counter[str] = Counter()
    powered: Counter[str] = Counter()
    gpus: Counter[str] = Counter()
    conflicts: dict[str, list[str]] = {}
    terms: dict[str, Counter[tuple[str, str]]] = {}
    profiles: dict[str, str] = {}
    unprofiled: list[str] = []
    for node, found in sorted(identified.items()):
        count = counts.get(node, 0)
        if found.profile is None:
            if found.gpu_node or count:
                unprofiled.append(node)
            continue
        profiles[node] = found.profile
        nodes[found.profile] += 1
        gpus[found.profile] += count
        powered[found.profile] += node in advertising
        terms.setdefault(found.profile, Counter()).update(found.terms)
        for profile in found.conflict:
            conflicts.setdefault(profile, []).append(node)
    census = {
        profile: Census(
            nodes=nodes[profile],
            gpus=gpus[profile],
            power_nodes=powered[profile],
            terms=tuple(
                ObservedTerm(key=key, value=value, nodes=number)
                for (key, value), number in terms.get(profile, Counter()).most_common(_TERMS_MOST)
            ),
            conflicts=tuple(conflicts.get(profile, ())),
        )
        for profile in {*nodes, *conflicts}
    }
    return Survey(census, profiles, tuple(unprofiled))


def gpu_capacity(node: Object) -> int:
    """Return how many GPUs a node's capacity holds; slices of a GPU are not counted."""
    capacity = node.get("status", {}).get("capacity") or {}
    whole = (
        int(value)
        for name, value in capacity.items()
        if owners.is_gpu_resource(name) and "mig-" not in name and str(value).isdecimal()
    )
    return sum(whole)
