"""Pools of like nodes, from a YAML file, as Node objects that KWOK keeps Ready."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from localcluster.errors import LocalClusterError
from localcluster.places import DEFAULT_POOLS

KWOK_ANNOTATION = "kwok.x-k8s.io/node"
"""Nodes with the value `fake` are KWOK's; another node is left to whoever made it."""

FIRST_NODE_ADDRESS = IPv4Address("10.64.0.1")

Manifest = dict[str, Any]


class NodePool(BaseModel):
    """Nodes that differ only in their names, `<pool>-0` and on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,50}[a-z0-9])?$")
    count: int = Field(default=1, ge=0, le=10_000)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    capacity: dict[str, str]
    """Extended resources included, such as `nvidia.com/gpu: "8"`."""
    allocatable: dict[str, str] = {}
    """What pods can have where it is less than the capacity; the rest is as the capacity says."""
    taints: tuple[dict[str, str], ...] = ()


class _File(BaseModel):
    """The content of a pools file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pools: tuple[NodePool, ...]


def load_pools(path: Path) -> tuple[NodePool, ...]:
    """Read a pools file.

    Args:
        path: YAML with a list `pools`; pools.yaml of localcluster is an example.
    """
    try:
        pools = _File.model_validate(yaml.safe_load(path.read_text())).pools
    except FileNotFoundError:
        raise LocalClusterError(f"{path}: no such file of node pools") from None
    except ValidationError as error:
        faults = (
            f"{'.'.join(str(part) for part in fault['loc']) or 'file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise LocalClusterError(
            f"{path}: not a list of node pools: {'; '.join(faults)}; see {DEFAULT_POOLS}"
        ) from error
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise LocalClusterError(f"{path}: not a list of node pools: {why}") from error
    names = [pool.name for pool in pools]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LocalClusterError(f"{path}: pool names must differ; used twice: {', '.join(twice)}")
    return pools


def node_manifests(pools: Iterable[NodePool]) -> list[Manifest]:
    """Return one Node a member of each pool, with its status, in order."""
    members = [(pool, f"{pool.name}-{index}") for pool in pools for index in range(pool.count)]
    return [
        _node(pool, name, FIRST_NODE_ADDRESS + number)
        for number, (pool, name) in enumerate(members)
    ]


def _node(pool: NodePool, name: str, address: IPv4Address) -> Manifest:
    """Return one Node; a label of the pool wins over one of ours."""
    common = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {**common, **pool.labels},
            "annotations": {KWOK_ANNOTATION: "fake", **pool.annotations},
        },
        "spec": {"taints": [dict(taint) for taint in pool.taints]},
        "status": {
            "capacity": dict(pool.capacity),
            "allocatable": {**pool.capacity, **pool.allocatable},
            "addresses": [
                {"type": "InternalIP", "address": str(address)},
                {"type": "Hostname", "address": name},
            ],
        },
    }
