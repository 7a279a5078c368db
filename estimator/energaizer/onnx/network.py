"""A network that a graph describes: its operators on one sample, as they were read."""

from typing import ClassVar

from energaizer.families.network import Inputs, Network
from energaizer.families.operators import Operator, Tape
from energaizer.records import Field


class Graph(Network):
    """One run of a graph on one sample."""

    takes_images: ClassVar[bool] = False
    sample: ClassVar[str] = "sample"

    family: str = "onnx"
    operators: tuple[tuple[Operator, float], ...] = Field(exclude=True, repr=False)
    weights: int = Field(ge=0, description="elements of all weights")
    nodes: int = Field(ge=0, description="nodes that do work")

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the operators; a graph has one size of input."""
        del inputs
        for operator, count in self.operators:
            to.add(operator, count, owned=False)
        to.own(self.weights)
        to.module(self.nodes)

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return how large the graph is."""
        return (("Nodes", str(self.nodes)),)
