"""How many GPUs one pod holds: from the limits of its containers, and from its claims (DRA)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from energaizer_operator.names import (
    RESOURCE_AMD,
    RESOURCE_INTEL,
    RESOURCE_INTEL_PREFIX,
    RESOURCE_NVIDIA,
    RESOURCE_NVIDIA_CLAIMED_PART,
    RESOURCE_NVIDIA_MIG_PREFIX,
    RESOURCE_NVIDIA_SHARED,
    RESOURCE_WATTS,
)
from energaizer_operator.shapes import Json, count, items, mapping, text

_GPUS = frozenset({RESOURCE_NVIDIA, RESOURCE_NVIDIA_SHARED, RESOURCE_AMD})
_INTEL_MONITORING = "_monitoring"  # gpu.intel.com/i915_monitoring: a sensor, not a GPU
_CLASSES = {
    "gpu.nvidia.com": RESOURCE_NVIDIA,
    "mig.nvidia.com": RESOURCE_NVIDIA_CLAIMED_PART,
    "gpu.amd.com": RESOURCE_AMD,
    "gpu.intel.com": RESOURCE_INTEL,
}
"""Device classes of the vendors' drivers -> the resource by which a device plugin offers the same.

Counting claims under that name lets everything else see one kind of GPU.
"""
_CLAIMS_MOST = 32


@dataclass(frozen=True)
class Claim:
    """A ResourceClaim or a template of one that a pod names."""

    kind: str
    """ResourceClaim or ResourceClaimTemplate."""
    name: str


def is_gpu_resource(name: str) -> bool:
    """Return whether an extended resource is a GPU, or a part of one."""
    if name.startswith(RESOURCE_INTEL_PREFIX):
        return not name.endswith(_INTEL_MONITORING)
    return name in _GPUS or name.startswith(RESOURCE_NVIDIA_MIG_PREFIX)


def gpu_requests(pod_spec: Json) -> dict[str, int]:
    """Return the GPUs that one pod holds, by resource, from the limits of its containers.

    As the scheduler counts: containers and sidecars (init containers that restart always) run
    together; each other init container runs before them, beside the sidecars started so far.
    """
    together: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in items(pod_spec.get("initContainers")):
        limits = gpus_of(container)
        if container.get("restartPolicy") == "Always":
            add(together, limits)
        else:
            for name, number in limits.items():
                peak[name] = max(peak.get(name, 0), number + together.get(name, 0))
    for container in items(pod_spec.get("containers")):
        add(together, gpus_of(container))
    names = {*together, *peak}
    return {name: max(together.get(name, 0), peak.get(name, 0)) for name in sorted(names)}


def first_gpu_container(pod_spec: Json) -> int | None:
    """Return the index in `containers` of the first one that asks for a GPU; None if none does."""
    for index, container in enumerate(items(pod_spec.get("containers"))):
        if gpus_of(container):
            return index
    return None


def gpus_of(container: Json) -> dict[str, int]:
    """Return the GPUs that one container asks for, by resource."""
    resources = mapping(container.get("resources"))
    # A request without a limit is refused by the API server for extended resources, but a
    # manifest read offline may have it, and a limit alone sets the request.
    found: dict[str, int] = {}
    for section in ("requests", "limits"):
        for name, quantity in mapping(resources.get(section)).items():
            if is_gpu_resource(str(name)) and (number := _quantity(quantity)):
                found[str(name)] = number
    return found


def counts_watts(pod_spec: Json) -> bool:
    """Return whether a pod requests watts, so that its node and quota count them."""
    containers = [*items(pod_spec.get("initContainers")), *items(pod_spec.get("containers"))]
    return any(
        RESOURCE_WATTS in mapping(mapping(one.get("resources")).get("requests"))
        for one in containers
    )


def claims_of(pod_spec: Json) -> tuple[Claim, ...]:
    """Return the claims that a pod names; one that only an init container uses counts too."""
    found = []
    for entry in items(pod_spec.get("resourceClaims"))[:_CLAIMS_MOST]:
        template, claim = (
            text(entry.get("resourceClaimTemplateName")),
            entry.get("resourceClaimName"),
        )
        if template:
            found.append(Claim("ResourceClaimTemplate", template))
        elif text(claim):
            found.append(Claim("ResourceClaim", text(claim)))
    return tuple(found)


def claimed_gpus(claim: Json) -> dict[str, int]:
    """Return the GPUs of a ResourceClaim or ResourceClaimTemplate, by resource.

    Of alternatives (`firstAvailable`) the largest counts, since any may be given; `All` devices of
    a node counts as one, the least that it can be. Classes of other devices count nothing.
    """
    spec = mapping(claim.get("spec"))
    devices = mapping((mapping(spec.get("spec")) or spec).get("devices"))
    found: dict[str, int] = {}
    for request in items(devices.get("requests"))[:_CLAIMS_MOST]:
        choices = [mapping(request.get("exactly")), *items(request.get("firstAvailable"))]
        if "deviceClassName" in request:  # v1beta1 has the fields of `exactly` here
            choices.append(request)
        most: dict[str, int] = {}
        for choice in choices:
            resource = _CLASSES.get(text(choice.get("deviceClassName")))
            if resource is not None:
                number = count(choice.get("count"))
                most[resource] = max(most.get(resource, 0), 1 if number is None else number)
        add(found, most)
    return found


def add(total: dict[str, int], more: Mapping[str, int], times: int = 1) -> None:
    """Add GPUs by resource to a total."""
    for name, number in more.items():
        total[name] = total.get(name, 0) + number * times


def _quantity(value: object) -> int:
    """Return a whole number of devices from a Kubernetes quantity; 0 if it is none."""
    written = str(value)
    for suffix, factor in (("k", 1000), ("", 1)):
        digits = written.removesuffix(suffix) if suffix else written
        if written.endswith(suffix) and digits.isascii() and digits.isdigit() and len(digits) <= 9:  # noqa: PLR2004 - no node has a billion GPUs
            return int(digits) * factor
    return 0
