"""Which GPU a node has: labels of many dialects and DRA devices -> profile, partition, sharing.

The first dialect that matches wins; two that disagree are a conflict, which is shown and taken for
the profile of the higher TDP. Odd text never raises: it matches nothing. Clouds' dialects are data
(`nodeSelectorTerms`); product names and device ids have rules of their own and live here.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import Field

from energaizer_operator.names import (
    LABEL_AMD_PRODUCT,
    LABEL_GPU_PROFILE,
    LABEL_NVIDIA_PRODUCT,
)
from energaizer_operator.resources.gpuprofile import GPUProfile, NodeSelectorTerm, Partition
from energaizer_operator.schema import AsList, AsMap, AsSet, Base, ObjectName

GFD_COUNT: Final = "nvidia.com/gpu.count"
GFD_REPLICAS: Final = "nvidia.com/gpu.replicas"
GFD_SHARING: Final = "nvidia.com/gpu.sharing-strategy"
AMD_PRODUCT: Final = (LABEL_AMD_PRODUCT, f"beta.{LABEL_AMD_PRODUCT}")
AMD_DEVICE: Final = ("amd.com/gpu.device-id", "beta.amd.com/gpu.device-id")
INTEL_PRODUCT: Final = "gpu.intel.com/product"
INTEL_COUNT: Final = "gpu.intel.com/device.count"
GKE_PARTITION: Final = "cloud.google.com/gke-gpu-partition-size"
GKE_SHARING: Final = "cloud.google.com/gke-gpu-sharing-strategy"
_PRODUCT_KEYS = (LABEL_NVIDIA_PRODUCT, *AMD_PRODUCT, INTEL_PRODUCT)
_SEVENTHS = 7  # compute slices of a GPU under MIG
_COUNT_KEYS = (
    GFD_COUNT,
    INTEL_COUNT,
    "cloud.google.com/gke-accelerator-count",
    "karpenter.k8s.aws/instance-gpu-count",
    "eks.amazonaws.com/instance-gpu-count",
    "gpu.nvidia.com/count",
)
_GPU_KEYS = (
    *_PRODUCT_KEYS,
    *AMD_DEVICE,
    *_COUNT_KEYS,
    "nvidia.com/gpu.present",
    "gpu.intel.com/family",
    "cloud.google.com/gke-accelerator",
    "karpenter.k8s.aws/instance-gpu-name",
    "eks.amazonaws.com/instance-gpu-name",
    "gpu.nvidia.com/model",
    "gpu.nvidia.com/class",
    "kubernetes.azure.com/accelerator",
)
_VENDOR_PREFIXES = ("nvidia-", "tesla-")
_MAX_DIGITS = 6
_NO_DEVICES: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True)
class Product:
    """A product value of a label, taken apart."""

    key: str
    """The name as it is compared: no vendor, no suffix, no case."""
    partition: str | None = None
    """`1g.10gb` of a MIG slice."""
    shared: bool = False
    usable: bool = True
    """False where MIG is on without a usable layout (`-MIG-INVALID`)."""


@dataclass(frozen=True)
class Identification:
    """What one node says about its GPUs."""

    profile: str | None = None
    partition: str | None = None
    shared: bool = False
    usable: bool = True
    gpus: int | None = None
    """Boards that labels, else drivers count; None if neither does."""
    terms: tuple[tuple[str, str], ...] = ()
    """Labels that name the profile, strongest dialect first, for `status.observedTerms`."""
    conflict: tuple[str, ...] = ()
    """All profiles that labels and devices name, if they name several."""
    gpu_node: bool = False
    """Whether anything speaks of a GPU at all, known or not."""


class Identity(Base):
    """How the GPU of one built-in profile is recognised: the shipped part of a GPUProfile."""

    resource_names: Annotated[tuple[ObjectName, ...], AsSet(8)] = ()
    product_names: Annotated[tuple[str, ...], AsSet(32)] = ()
    device_ids: Annotated[tuple[str, ...], AsSet(16)] = Field(default=(), alias="deviceIDs")
    device_product_names: Annotated[tuple[str, ...], AsSet(16)] = ()
    node_selector_terms: Annotated[tuple[NodeSelectorTerm, ...], AsList(8)] = ()
    partitions: Annotated[tuple[Partition, ...], AsMap(16, "name")] = ()


def identities(data: Mapping[str, Any]) -> dict[str, Identity]:
    """Return the shipped identities by profile name, from parsed profiles/identities.yaml."""
    return {name: Identity.model_validate(entry) for name, entry in data.items()}


def parse_product(text: str) -> Product:
    """Return a product value of a label, taken apart; never raises."""
    name = text.strip().casefold()
    for old, new in ((" ", "-"), ("_", "-"), ("(", ""), (")", "")):
        name = name.replace(old, new)
    shared = name.endswith("-shared")
    name, _, partition = name.removesuffix("-shared").partition("-mig-")
    for prefix in _VENDOR_PREFIXES:
        name = name.removeprefix(prefix)
    invalid = partition == "invalid"
    return Product(name, None if invalid else partition or None, shared, not invalid)


class Catalogue:
    """All GPUProfiles, indexed by what labels say; only read once it is made."""

    def __init__(self, profiles: Iterable[GPUProfile]) -> None:
        """Index the profiles."""
        self.profiles: Final = {profile.metadata.name: profile for profile in profiles}
        self._products: dict[str, set[str]] = {}
        self._devices: dict[str, set[str]] = {}
        self._claimed: dict[str, set[str]] = {}
        self._keys: set[str] = set()
        """Of labels by which some profile is known otherwise."""
        for name, profile in self.profiles.items():
            for product in profile.spec.product_names:
                self._products.setdefault(parse_product(product).key, set()).add(name)
            for device in profile.spec.device_ids:
                self._devices.setdefault(device, set()).add(name)
            for product in (*profile.spec.device_product_names, *profile.spec.product_names):
                self._claimed.setdefault(parse_product(product).key, set()).add(name)
            for term in profile.spec.node_selector_terms:
                self._keys.update(expression.key for expression in term.match_expressions)
            self._keys.update(term.key for term in profile.status.observed_terms)

    def identify(
        self, labels: Mapping[str, str], devices: Mapping[str, int] = _NO_DEVICES
    ) -> Identification:
        """Return what a node says about its GPUs.

        Args:
            labels: Of the node.
            devices: Boards by product, as drivers of devices publish them. They count where no
                label does, and they are no terms, since no node can be chosen by them.
        """
        found = list(self._matches(labels))
        claimed = {
            name
            for product in devices
            for name in self._claimed.get(parse_product(product).key, ())
        }
        named = sorted(claimed | {name for _, _, name in found})
        profile = found[0][2] if found else next(iter(named), None)
        if len(named) > 1:
            profile = max(named, key=self._tdp)
        product = next((parse_product(labels[key]) for key in _PRODUCT_KEYS if key in labels), None)
        slices = product.partition if product else None
        count = _gpus(labels)
        if count is not None and slices and GFD_COUNT in labels:
            count = -(-count // self._slices_per_board(profile, slices))  # GFD counts slices
        if count is None and devices:
            count = sum(devices.values())
        return Identification(
            profile=profile,
            partition=slices or labels.get(GKE_PARTITION) or None,
            shared=_shared(labels) or bool(product and product.shared),
            usable=product.usable if product else True,
            gpus=count,
            terms=tuple(dict.fromkeys((key, value) for key, value, name in found)),
            conflict=tuple(named) if len(named) > 1 else (),
            gpu_node=bool(found) or bool(devices) or any(_is_gpu_label(key) for key in labels),
        )

    def _matches(self, labels: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
        """Yield key, value and profile of each label that names one, strongest dialect first."""
        own = labels.get(LABEL_GPU_PROFILE)
        if own in self.profiles:
            yield LABEL_GPU_PROFILE, own, own
        for key in (*_PRODUCT_KEYS, *AMD_DEVICE):
            if key in labels:
                for name in sorted(self.named(key, labels[key])):
                    yield key, labels[key], name
        for key in sorted(labels):  # a node with several kinds: name in the key
            for prefix in (*AMD_PRODUCT, *AMD_DEVICE):
                if key.startswith(f"{prefix}."):
                    for name in sorted(self.named(prefix, key.removeprefix(f"{prefix}."))):
                        yield key, labels[key], name
        for name in sorted(self.profiles):
            for term in self.profiles[name].spec.node_selector_terms:
                if _holds(term, labels):
                    key = term.match_expressions[0].key
                    yield key, labels[key], name

    def _slices_per_board(self, profile: str | None, name: str) -> int:
        """Return how many slices of one size a board holds: by its profile, else by its name."""
        known = self.profiles[profile].spec.partitions if profile else ()
        for one in known:
            if one.name == name:  # permilles of sevenths and eighths are rounded up
                return max(1, 1000 // max(one.compute_permille - 1, one.memory_permille - 1, 1))
        return max(1, _SEVENTHS // (_number(name.partition("g")[0]) or _SEVENTHS))

    def named(self, key: str, value: str) -> set[str]:
        """Return the profiles that one label may stand for."""
        if key == LABEL_GPU_PROFILE:
            return {value} & self.profiles.keys()
        if key in _PRODUCT_KEYS:
            return self._products.get(parse_product(value).key, set())
        if key in AMD_DEVICE:
            return self._devices.get(value.casefold().removeprefix("0x"), set())
        named: set[str] = set()
        if key not in self._keys:
            return named
        for name, profile in self.profiles.items():
            expressions = [e for t in profile.spec.node_selector_terms for e in t.match_expressions]
            observed = profile.status.observed_terms
            if any(
                e.key == key and (value in e.values or not e.values) for e in expressions
            ) or any(term.key == key and term.value == value for term in observed):
                named.add(name)
        return named

    def _tdp(self, name: str) -> tuple[int, str]:
        return self.profiles[name].spec.thermal_design_power_watts, name


def _holds(term: NodeSelectorTerm, labels: Mapping[str, str]) -> bool:
    return all(
        expression.key in labels
        and (expression.operator == "Exists" or labels[expression.key] in expression.values)
        for expression in term.match_expressions
    )


def _is_gpu_label(key: str) -> bool:
    return key in _GPU_KEYS or key.startswith(
        tuple(f"{prefix}." for prefix in (*AMD_PRODUCT, *AMD_DEVICE))
    )


def _shared(labels: Mapping[str, str]) -> bool:
    replicas = _number(labels.get(GFD_REPLICAS)) or 1
    strategies = (labels.get(key, "none") for key in (GFD_SHARING, GKE_SHARING))
    return replicas > 1 or any(strategy not in ("none", "") for strategy in strategies)


def _gpus(labels: Mapping[str, str]) -> int | None:
    for key in _COUNT_KEYS:
        count = _number(labels.get(key))
        if count is not None:
            return count
    for prefix in (*AMD_PRODUCT, *AMD_DEVICE):
        counts = [_number(labels[key]) for key in labels if key.startswith(f"{prefix}.")]
        if counts:
            return sum(count or 0 for count in counts)
    return None


def _number(text: str | None) -> int | None:
    if text and text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS:
        return int(text)
    return None
