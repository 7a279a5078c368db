"""What drivers of devices (DRA) publish: the GPUs of each node, from its ResourceSlices.

A driver may offer a board whole and in parts (MIG), so boards are counted, not devices. A pool that
a driver writes anew has slices of two generations for a while; only the newest counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from energaizer_operator.claims import DRIVERS

_PRODUCT: Final = ("productName", "model")
_BOARD: Final = ("parentUUID", "parentPciAddr", "uuid", "pciAddr")
"""Attributes that name the board, of a part of one first; the device's own name is the last."""


@dataclass(frozen=True, slots=True)
class SliceRecord:
    """What we follow of a ResourceSlice."""

    node: str
    """Empty for devices of no single node, and of a driver that has no GPUs."""
    pool: tuple[str, str] = ("", "")
    """Driver and name."""
    generation: int = 0
    boards: frozenset[tuple[str, str]] = frozenset()
    """Board and product; a product that the driver does not tell is empty."""


def slice_record(body: Mapping[str, Any]) -> SliceRecord:
    """Keep the boards of a ResourceSlice (`resource.k8s.io/v1`)."""
    spec = body["spec"]
    driver, pool = str(spec.get("driver")), spec.get("pool") or {}
    if driver not in DRIVERS.values():
        return SliceRecord("")
    return SliceRecord(
        node=str(spec.get("nodeName") or ""),
        pool=(driver, str(pool.get("name"))),
        generation=int(pool.get("generation") or 0),
        boards=frozenset(_board(device, driver) for device in spec.get("devices") or ()),
    )


def boards(records: Iterable[SliceRecord]) -> dict[str, dict[str, int]]:
    """Return how many boards of each product every node has."""
    newest: dict[tuple[str, str], int] = {}
    kept = [record for record in records if record.node]
    for record in kept:
        newest[record.pool] = max(newest.get(record.pool, 0), record.generation)
    by_node: dict[str, set[tuple[str, str, str]]] = {}
    for record in kept:
        if record.generation == newest[record.pool]:
            driver = record.pool[0]
            found = {(driver, board, product) for board, product in record.boards}
            by_node.setdefault(record.node, set()).update(found)
    counted: dict[str, dict[str, int]] = {}
    for node, devices in by_node.items():
        of_node = counted.setdefault(node, {})
        for _, _, product in sorted(devices):
            of_node[product] = of_node.get(product, 0) + 1
    return counted


def _board(device: Mapping[str, Any], driver: str) -> tuple[str, str]:
    attributes = device.get("attributes") or {}

    def first(names: Iterable[str]) -> str:
        for name in names:
            value = attributes.get(name) or attributes.get(f"{driver}/{name}") or {}
            if text := value.get("string"):
                return str(text)
        return ""

    return first(_BOARD) or str(device.get("name")), first(_PRODUCT)
