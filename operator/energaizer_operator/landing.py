"""On which GPUs a pod may still land, and what a user writes so that it lands on one of them.

A demand that we do not understand, or on a label that names no GPU of ours, excludes nothing: the
charge is of the dearest GPU that is possible.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from energaizer_operator.identity import Catalogue
from energaizer_operator.names import LABEL_GPU_PROFILE, RESOURCE_AMD, RESOURCE_INTEL_PREFIX
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.shapes import at, items, mapping


def possible(
    catalogue: Catalogue, pod_spec: Mapping[str, Any], resources: Iterable[str]
) -> frozenset[str]:
    """Return the profiles on which the scheduler may still put a pod.

    Vendor by the resource that is asked for, then nodeSelector and required node affinity.

    Args:
        catalogue: All profiles.
        pod_spec: Of the pod.
        resources: Names of the GPU resources that it asks for; without any all vendors are left.
    """
    names = _serving(catalogue, tuple(resources))
    for key, value in mapping(pod_spec.get("nodeSelector")).items():
        demand = {"key": key, "operator": "In", "values": [value]}
        names &= _left(catalogue, demand, names)
    affinity = at(pod_spec, "affinity", "nodeAffinity")
    required = at(affinity, "requiredDuringSchedulingIgnoredDuringExecution")
    terms = [term for term in items(required.get("nodeSelectorTerms")) if term]
    if not terms:
        return names
    left: set[str] = set()
    for term in terms:
        of_term = names
        for expression in items(term.get("matchExpressions")):
            of_term &= _left(catalogue, expression, of_term)
        left |= of_term
    return frozenset(left)


def remedies(catalogue: Catalogue) -> dict[str, str]:
    """Return, per profile, the nodeSelector that chooses it alone, where one label can."""
    texts = {}
    for name, profile in catalogue.profiles.items():
        observed = sorted(profile.status.observed_terms, key=lambda term: -term.nodes)
        pairs = [(term.key, term.value) for term in observed]
        for term in profile.spec.node_selector_terms:
            first = term.match_expressions[0]
            if len(term.match_expressions) == 1 and first.values:
                pairs.append((first.key, first.values[0]))
        pairs.sort(key=lambda pair: pair[0] != LABEL_GPU_PROFILE)
        for key, value in pairs:
            if catalogue.named(key, value) == {name}:
                texts[name] = f"nodeSelector {key}: {value}"
                break
    return texts


@lru_cache(maxsize=16)  # pods ask for few resources, and all by the same catalogue
def _serving(catalogue: Catalogue, resources: tuple[str, ...]) -> frozenset[str]:
    """Return the profiles that can be what one of some resources stands for; all if none is."""
    known = catalogue.profiles.items()
    return frozenset(name for name, one in known if not resources or _serves(one, resources))


def _left(
    catalogue: Catalogue, expression: Mapping[str, Any], names: frozenset[str]
) -> frozenset[str]:
    """Return which of some profiles one demand on node labels leaves possible."""
    key, operator, stated = (expression.get(part) for part in ("key", "operator", "values"))
    values = [one for one in stated if isinstance(one, str)] if isinstance(stated, list) else []
    if not isinstance(key, str) or not values:
        return names
    if operator == "In":
        named = [catalogue.named(key, value) for value in values]
        return names & set().union(*named) if all(named) else names
    if operator == "NotIn":
        known = catalogue.profiles
        return frozenset(n for n in names if not _all_nodes_carry(known[n], key, values))
    return names


def _all_nodes_carry(profile: GPUProfile, key: str, values: list[str]) -> bool:
    """Return whether every node of a profile that we know has one of some values of a label."""
    status = profile.status
    carriers = sum(
        term.nodes for term in status.observed_terms if term.key == key and term.value in values
    )
    return bool(status.nodes) and carriers >= (status.nodes or 0)


def _serves(profile: GPUProfile, resources: Iterable[str]) -> bool:
    """Return whether a GPU can be what one of some resources stands for."""
    vendors = {_vendor(resource) for resource in resources}
    return profile.spec.vendor in vendors or bool(set(profile.spec.resource_names) & set(resources))


def _vendor(resource: str) -> str:
    if resource == RESOURCE_AMD:
        return "AMD"
    return "Intel" if resource.startswith(RESOURCE_INTEL_PREFIX) else "NVIDIA"
