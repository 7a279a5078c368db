"""Attention in a graph: two products of activations around a softmax, read as one operator."""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from energaizer.families.operators import Attention
from energaizer.onnx.shapes import Shapes

_BETWEEN = {"Add", "Cast", "Div", "Dropout", "Identity", "Mul", "Sub", "Where"}
_MATRIX = 2


@dataclass(frozen=True)
class Found:
    """An attention and the nodes that it stands for, by position."""

    operator: Attention
    nodes: frozenset[int]


class Patterns:
    """Finds the attentions of a graph."""

    def __init__(self, nodes: Sequence[onnx.NodeProto], shapes: Shapes) -> None:
        """Index which node writes and which read a tensor."""
        self._nodes, self._shapes = nodes, shapes
        self._writer = {name: index for index, node in enumerate(nodes) for name in node.output}
        self._readers: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            for name in node.input:
                self._readers.setdefault(name, []).append(index)

    def all(self) -> list[Found]:
        """Return every attention, in the order of its softmax."""
        found = []
        for index, node in enumerate(self._nodes):
            if node.op_type == "Softmax":
                one = self._around(index)
                if one is not None:
                    found.append(one)
        return found

    def _around(self, softmax: int) -> Found | None:
        before = self._scores(self._nodes[softmax].input[0])
        after = self._weighted(self._nodes[softmax].output[0])
        if before is None or after is None:
            return None
        (first, passed), (second, later) = before, after
        query, key = (self._shapes.of.get(name) for name in self._nodes[first].input[:2])
        value = self._shapes.of.get(self._nodes[second].input[1])
        if query is None or key is None or value is None or len(query) < _MATRIX:
            return None
        if value[-1] != query[-1]:
            return None
        heads = 1
        for size in query[:-2]:
            heads *= size
        kinds = {self._nodes[index].op_type for index in passed}
        operator = Attention(
            1.0, float(query[-2]), float(key[-1]), heads, query[-1],
            scaled="scores" if kinds & {"Mul", "Div"} else "",
            biased=bool(kinds & {"Add", "Where"}),
        )  # fmt: skip
        return Found(operator, frozenset({first, second, softmax, *passed, *later}))

    def _scores(self, tensor: str) -> tuple[int, list[int]] | None:
        """Walk back from a softmax to the product of queries and keys."""
        passed: list[int] = []
        while True:
            index = self._writer.get(tensor)
            if index is None:
                return None
            node = self._nodes[index]
            if node.op_type == "MatMul":
                free = all(name not in self._shapes.weights for name in node.input)
                return (index, passed) if free else None
            if node.op_type not in _BETWEEN:
                return None
            passed.append(index)
            like = self._shapes.of.get(tensor)
            onward = [
                name for name in node.input
                if name not in self._shapes.weights and self._shapes.of.get(name) == like
            ]  # fmt: skip
            if not onward:
                return None
            tensor = onward[0]

    def _weighted(self, tensor: str) -> tuple[int, list[int]] | None:
        """Walk on from a softmax to the product with the values."""
        passed: list[int] = []
        while True:
            readers = self._readers.get(tensor, [])
            if len(readers) != 1:
                return None
            node = self._nodes[readers[0]]
            if node.op_type == "MatMul" and node.input[0] == tensor:
                free = node.input[1] not in self._shapes.weights
                return (readers[0], passed) if free else None
            if node.op_type not in _BETWEEN:
                return None
            passed.append(readers[0])
            tensor = node.output[0]
