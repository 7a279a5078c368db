"""Which GPU a node has: labels of many dialects -> profile name, partition, sharing.

The first dialect that matches wins; two that disagree are a conflict, which the caller shows and
charges at the higher TDP. Odd text never raises: it matches nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from energaizer_operator.resources.gpuprofile import GPUProfile, NodeSelectorTerm
from energaizer_operator.schema import Base


@dataclass(frozen=True)
class Product:
    """A product value of a label, taken apart."""

    key: str
    """The name as it is compared: no vendor, no suffix, lower case."""
    partition: str | None = None
    """1g.10gb of a MIG slice."""
    shared: bool = False
    usable: bool = True
    """False where MIG is on without a usable layout (`-MIG-INVALID`)."""


@dataclass(frozen=True)
class Identification:
    """What the labels of one node say about its GPUs."""

    profile: str | None = None
    dialect: str | None = None
    """The label key that decided."""
    value: str | None = None
    partition: str | None = None
    shared: bool = False
    usable: bool = True
    gpus: int | None = None
    conflict: tuple[str, ...] = ()
    """All profiles that the labels name, if more than one."""
    gpu_node: bool = False
    """Whether the labels speak of a GPU at all, known or not."""
    terms: tuple[tuple[str, str], ...] = field(default=())
    """Labels that name the profile, for `status.observedTerms`."""


class Identity(Base):
    """How one profile is recognised: data shipped for the GPUs that we know."""

    resource_names: tuple[str, ...] = Field(default=(), strict=False)
    product_names: tuple[str, ...] = Field(default=(), strict=False)
    device_ids: tuple[str, ...] = Field(default=(), alias="deviceIDs", strict=False)
    device_product_names: tuple[str, ...] = Field(default=(), strict=False)
    node_selector_terms: tuple[NodeSelectorTerm, ...] = Field(default=(), strict=False)


class Catalogue:
    """All GPUProfiles, indexed by what labels say."""

    def __init__(self, profiles: Iterable[GPUProfile]) -> None:
        """Index the profiles once; a Catalogue is then only read."""
        raise NotImplementedError

    def identify(self, labels: Mapping[str, str]) -> Identification:
        """Return what the labels of a node say about its GPUs."""
        raise NotImplementedError

    def possible(self, pod_spec: Mapping[str, Any]) -> frozenset[str]:
        """Return the profiles that a pod's nodeSelector and required affinity leave possible."""
        raise NotImplementedError

    def remedies(self) -> Mapping[str, str]:
        """Return, per profile, the nodeSelector that chooses it, for messages."""
        raise NotImplementedError


def parse_product(text: str) -> Product:
    """Return a product value of a label, taken apart; never raises."""
    raise NotImplementedError


def identities(data: Mapping[str, Any]) -> dict[str, Identity]:
    """Return the shipped identities by profile name, from the parsed file."""
    raise NotImplementedError
