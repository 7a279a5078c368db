"""Where the boards of a workload sit: which servers hold them and what joins them."""

from functools import lru_cache
from typing import NamedTuple

from energaizer import catalog
from energaizer.links import Fabric
from energaizer.machine import Machine
from energaizer.node import Node
from energaizer.workload import Workload


class Place(NamedTuple):
    """The servers of a workload, what joins its boards (None: one), and what a reader must know."""

    node: Node
    fabric: Fabric | None
    notes: tuple[str, ...]
    nodes: int


def of(workload: Workload, board: Machine, node: Node | None = None) -> Place:
    """Return where the boards of a workload sit.

    Args:
        workload: What is run.
        board: The GPU.
        node: The server; None: the catalogue's of the workload's `node`, or the board's usual one.

    Raises:
        UnknownNameError: No profile has that name.
        InputError: The node cannot hold so many boards.
    """
    found = node or (
        catalog.node(workload.node) if workload.node else catalog.usual_node(board.gpu)
    )
    found = found.changed(workload.gpus_per_node, workload.network_bandwidth)
    boards = workload.parallelism.gpus
    if boards == 1:
        return Place(found, None, (), 1)
    notes: tuple[str, ...] = ()
    if workload.node is None and node is None and boards > found.link_boards:
        notes = (
            f"no node given: {found.name}, {found.gpus_per_node} GPUs each, "
            f"{8e-9 * found.network.bandwidth:g} Gb/s {found.network.kind} a GPU between them",
        )
    return Place(found, _known(found.fabric(board.link)), notes, found.nodes_of(boards))


@lru_cache(maxsize=256)
def _known(fabric: Fabric) -> Fabric:
    """Return one object for all equal fabrics, so that a cache by identity finds it again."""
    return fabric
