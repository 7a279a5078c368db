"""Where the boards of a workload sit: which servers hold them and what joins them."""

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from energaizer import catalog
from energaizer.links import Fabric
from energaizer.machine import Machine
from energaizer.result import Estimate, NodeEstimate
from energaizer.workload import Workload

if TYPE_CHECKING:  # one board needs no server
    from energaizer.node import Node


class Place(NamedTuple):
    """What joins boards (None: there is one), what a reader must know, and how many servers."""

    fabric: Fabric | None
    notes: tuple[str, ...]
    nodes: int


def server(workload: Workload, board: Machine, node: "Node | None" = None) -> "Node":
    """Return the server of a workload.

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
    return found.changed(workload.gpus_per_node, workload.network_bandwidth)


def of(workload: Workload, board: Machine, node: "Node | None" = None) -> Place:
    """Return where the boards of a workload sit; arguments and errors as of `server`."""
    boards = workload.parallelism.gpus
    told = (node, workload.node, workload.gpus_per_node, workload.network_bandwidth)
    if boards == 1 and told == (None,) * len(told):
        return Place(None, (), 1)
    found = server(workload, board, node)
    if boards == 1:
        return Place(None, (), 1)
    notes: tuple[str, ...] = ()
    if workload.node is None and node is None and boards > found.link_boards:
        notes = (
            f"no node given: {found.name}, {found.gpus_per_node} GPUs each, "
            f"{8e-9 * found.network.bandwidth:g} Gb/s {found.network.kind} a GPU between them",
        )
    return Place(_known(found.fabric(board.link)), notes, found.nodes_of(boards))


def drawn(
    workload: Workload, board: Machine, node: "Node | None", answer: Estimate
) -> NodeEstimate:  # fmt: skip
    """Return what the servers of an answer draw at their sockets; arguments as of `server`."""
    from energaizer.node import draw  # noqa: PLC0415

    own = server(workload, board, node)
    return draw(own, answer.power, answer.gpu_count, answer.power_cap_w, answer.duration.value)


@lru_cache(maxsize=256)
def _known(fabric: Fabric) -> Fabric:
    """Return one object for all equal fabrics, so that a cache by identity finds it again."""
    return fabric
