"""Claims of devices (DRA): one of several GPUs, the one that takes least first.

A ResourceClaimTemplate names alternatives in order, and the scheduler gives the first that is free.
A driver calls its devices by product name; what a profile does not name cannot be claimed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from energaizer_operator.resources.gpuprofile import GPUProfile

DRIVERS: Final = {"NVIDIA": "gpu.nvidia.com", "AMD": "gpu.amd.com", "Intel": "gpu.intel.com"}
"""Vendor to driver, which is also the name of its DeviceClass."""
REQUEST: Final = "gpu"
MOST: Final = 8
"""Alternatives of one request that the API server takes."""


def name_of(workload: str) -> str:
    """Return the name of the template of an AIWorkload: one that its pods can name beforehand."""
    return f"{workload}-{REQUEST}"


def template(
    name: str, namespace: str, ordered: Sequence[str], profiles: Mapping[str, GPUProfile], gpus: int
) -> dict[str, Any] | None:
    """Return a ResourceClaimTemplate; None if no profile can be claimed.

    Args:
        name: Of the template.
        namespace: Of the workload.
        ordered: Profiles, the best first.
        profiles: By name.
        gpus: GPUs of one pod, all of the same kind.
    """
    choices = [_choice(profiles[one], gpus) for one in ordered if claimable(profiles[one])][:MOST]
    if not choices:
        return None
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaimTemplate",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "spec": {"spec": {"devices": {"requests": [{"name": REQUEST, "firstAvailable": choices}]}}},
    }


def claimable(profile: GPUProfile) -> bool:
    """Say whether a driver of devices knows the GPU by a name."""
    return bool(profile.spec.device_product_names) and profile.spec.vendor in DRIVERS


def _choice(profile: GPUProfile, gpus: int) -> dict[str, Any]:
    driver = DRIVERS[profile.spec.vendor]
    attribute = f"device.attributes['{driver}'].productName"
    products = [_quoted(product) for product in profile.spec.device_product_names]
    test = f"== {products[0]}" if len(products) == 1 else f"in [{', '.join(products)}]"
    return {
        "name": profile.metadata.name[:63].replace(".", "-"),
        "deviceClassName": driver,
        "selectors": [{"cel": {"expression": f"{attribute} {test}"}}],
        "allocationMode": "ExactCount",
        "count": gpus,
    }


def _quoted(text: str) -> str:
    """Return a literal of CEL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
