"""A server as data: how its boards are joined, and what it draws beside them.

A node profile lives in `profiles/nodes/*.json`. Watts beside the boards are priors from datasheets
with their own interval: never a part of board power, never mixed with it (method, 4.7).
"""

import math
from typing import Annotated, Literal, Self

from pydantic_core import ValidationError

from energaizer.errors import InputError, ProfileError
from energaizer.gpu import Source
from energaizer.links import Fabric, Level
from energaizer.records import Field, Record, model_validator
from energaizer.result import NodeEstimate, Provenance, Quantity

Positive = Annotated[float, Field(gt=0)]
Watts = Annotated[float, Field(ge=0)]

_PROCESSOR_SHARE = 0.3  # of their range: hosts feed boards, and rest beside them (prior)
_CENTRAL_90 = 1.645  # half-width of the central 90 % of a normal, in standard deviations


class Network(Record):
    """What joins boards beyond their own link: PCIe inside a node, or a fabric between nodes."""

    kind: Literal["PCIe", "InfiniBand", "RoCE", "Ethernet"]
    bandwidth: Positive = Field(description="B/s of one board in one direction, line rate")
    efficiency: float = Field(default=0.8, gt=0, le=1, description="share of it that data gets")
    hop_s: Positive = Field(description="latency of one hop, s")


class Overhead(Record):
    """Watts of a node beside its boards."""

    processors_idle_w: Watts = Field(description="all CPUs at rest")
    processors_full_w: Watts = Field(description="all CPUs at their limit")
    memory_w: Watts = Field(description="host memory in use")
    network_w: Watts = Field(description="adapters, optics and link switches")
    other_w: Watts = Field(description="storage, board, management")
    fans_idle_w: Watts = Field(description="fans at rest")
    fans_full_w: Watts = Field(description="fans when every board draws its limit")
    supply_efficiency: float = Field(gt=0, le=1, description="of the power supplies")
    log_sd: float = Field(ge=0, description="spread of ln(measured/predicted) of these watts")


class Node(Record):
    """One server.

    `link_boards` boards share the GPU's own link: those of the node, a pair on a bridge, or those
    of a whole rack behind switches. `inside` joins the pairs of one node.
    """

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    aliases: tuple[str, ...] = ()
    gpus: tuple[str, ...] = Field(default=(), description="boards that usually sit in it, by name")
    gpus_per_node: int = Field(ge=1, le=1024)
    link_boards: int = Field(ge=1, le=4096, description="boards that the GPU's own link joins")
    link_kind: Literal["switch", "mesh"] = "switch"
    inside: Network | None = Field(default=None, description="beyond the link, inside a node")
    network: Network = Field(description="between nodes")
    overhead: Overhead
    notes: tuple[str, ...] = ()
    source: Source

    @model_validator(mode="after")
    def _joined(self) -> Self:
        if self.link_boards < self.gpus_per_node and self.inside is None:
            raise ValueError("a link that joins only some boards of a node needs `inside`")
        return self

    @classmethod
    def loads(cls, text: str, where: str = "node") -> Self:
        """Read the JSON text of a node profile."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProfileError.of(where, error) from error

    def nodes_of(self, boards: int) -> int:
        """Return how many such servers hold so many boards."""
        return math.ceil(boards / self.gpus_per_node)

    def changed(self, gpus_per_node: int | None, network_bandwidth: float | None) -> "Node":
        """Return the node with other boards or another network; the rest scales with its boards.

        Args:
            gpus_per_node: Boards of a node; None: as it is.
            network_bandwidth: B/s of one board in one direction between nodes; None: as it is.

        Raises:
            InputError: The node cannot hold so many boards.
        """
        changes: dict[str, object] = {}
        if network_bandwidth is not None:
            changes["network"] = self.network.model_copy(update={"bandwidth": network_bandwidth})
        if gpus_per_node is not None:
            if gpus_per_node > max(self.gpus_per_node, self.link_boards):
                raise InputError(
                    f"{self.name} holds {self.gpus_per_node} boards, not {gpus_per_node}; name "
                    f"another node, or set gpus_per_node to {self.gpus_per_node} or less"
                )
            changes["gpus_per_node"] = gpus_per_node
            if self.link_boards == self.gpus_per_node:
                changes["link_boards"] = gpus_per_node
        return self.model_copy(update=changes) if changes else self

    def fabric(self, link: Level) -> Fabric:
        """Return what joins the boards, from the inside out.

        Args:
            link: The GPU's own link, as its coefficients have it.
        """
        levels = [link._replace(boards=float(self.link_boards), kind=self.link_kind)]
        if self.inside is not None and self.link_boards < self.gpus_per_node:
            levels.append(_level(self.inside, float(self.gpus_per_node), "switch"))
        levels.append(_level(self.network, math.inf, "network"))
        return tuple(levels)


def draw(
    node: Node, boards: Quantity, gpus: int, limit_w: float, duration_s: float
) -> NodeEstimate:
    """Return what the servers of a job draw at their sockets: `(boards + rest) / efficiency` (4.7).

    Fans follow the cube of their speed, and their speed the heat of the boards. A job that fills a
    server in part bears its share of it.

    Args:
        node: The server.
        boards: Power of all boards of the job, W.
        gpus: Those boards.
        limit_w: Limit of one board, W.
        duration_s: Length of the job, s.
    """
    above, count = node.overhead, gpus / node.gpus_per_node
    heat = min(1.0, boards.value / (gpus * limit_w))
    busy = above.processors_full_w - above.processors_idle_w
    parts = {
        "processors": above.processors_idle_w + _PROCESSOR_SHARE * busy,
        "memory": above.memory_w,
        "network": above.network_w,
        "other": above.other_w,
        "fans": above.fans_idle_w + (above.fans_full_w - above.fans_idle_w) * heat**3,
    }
    parts = {name: watts * count for name, watts in parts.items()}
    rest = sum(parts.values())
    total = (boards.value + rest) / above.supply_efficiency
    wide = math.exp(_CENTRAL_90 * above.log_sd)
    down = math.hypot(boards.value - boards.low, rest * (1.0 - 1.0 / wide))
    up = math.hypot(boards.high - boards.value, rest * (wide - 1.0))
    power = Quantity(
        value=total,
        low=total - down / above.supply_efficiency,
        high=total + up / above.supply_efficiency,
        unit="W",
        provenance=Provenance.weakest(boards.provenance, Provenance.SPECIFICATION),
        coverage=boards.coverage * boards.value / total,
    )
    energy = power._replace(
        value=total * duration_s,
        low=power.low * duration_s,
        high=power.high * duration_s,
        unit="J",
    )
    supplies = total - boards.value - rest
    return NodeEstimate(
        node=node.name,
        nodes=count,
        power=power,
        energy=energy,
        parts_w={"boards": boards.value, **parts, "supplies": supplies},
    )


def _level(network: Network, boards: float, kind: Literal["switch", "network"]) -> Level:
    return Level(boards, network.bandwidth * network.efficiency, network.hop_s, kind)
