"""Shapes of a graph's tensors: symbols given values, then inferred by onnx itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx
from onnx import shape_inference

from energaizer.errors import InputError, NoEstimateError, one_line

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Shapes:
    """What is known of the tensors of a graph.

    Attributes:
        of: Shape by tensor.
        weights: Tensors that hold weights or constants, and what only follows from them.
        batched: The graph takes any number of samples.
    """

    of: Mapping[str, Shape]
    weights: frozenset[str]
    batched: bool
    unknown: frozenset[str] = field(default=frozenset())

    def elements(self, tensor: str) -> float:
        """Return elements of a tensor; 0 where its shape is unknown."""
        return float(math.prod(self.of[tensor])) if tensor in self.of else 0.0


def infer(model: onnx.ModelProto, given: Mapping[str, Shape]) -> Shapes:
    """Return the shapes of all tensors on one sample.

    Args:
        model: The graph; the sizes of its inputs are changed in place.
        given: Sizes by input, or one size by symbol.

    Raises:
        InputError: A size is missing, or names nothing in the graph.
        NoEstimateError: The graph contradicts itself.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    batched = _resolve(inputs, given)
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=False, data_prop=True)
    except (shape_inference.InferenceError, ValueError) as error:
        raise NoEstimateError(f"the graph's shapes contradict: {one_line(error)}") from None
    found: dict[str, Shape] = {
        tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer
    }
    graph = inferred.graph
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        dims = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in kind.shape.dim]
        if kind.HasField("shape") and all(dim >= 0 for dim in dims):
            found[value.name] = tuple(dims)
    fixed = set(constants)
    for node in model.graph.node:  # nodes are sorted: what follows from constants is one
        if all(name in fixed for name in node.input if name):
            fixed.update(node.output)
    return Shapes(found, frozenset(fixed), batched)


def _resolve(inputs: list[onnx.ValueInfoProto], given: Mapping[str, Shape]) -> bool:
    """Give every symbol a value; return whether the first dimension is a free batch."""
    used, batched, missing = set(), bool(inputs), []
    for value in inputs:
        dims = value.type.tensor_type.shape.dim
        wanted = given.get(value.name)
        if wanted is not None:
            used.add(value.name)
            if len(wanted) != len(dims):
                raise InputError(
                    f"--shape: {value.name} has {len(dims)} dimensions, not {len(wanted)}"
                )
        for index, dim in enumerate(dims):
            symbol = dim.dim_param
            free = not dim.HasField("dim_value")
            if index == 0:
                batched &= free
            if wanted is not None:
                dim.dim_value = wanted[index]
            elif free and symbol in given:
                used.add(symbol)
                dim.dim_value = given[symbol][0]
            elif free and index == 0:
                dim.dim_value = 1
            elif free:
                missing.append(f"{symbol or f'dimension {index}'} of {value.name}")
    if missing:
        raise InputError(
            f"--shape: no size for {', '.join(dict.fromkeys(missing))}; give NAME=SIZE for a "
            "symbol, or INPUT=1,3,224,224"
        )
    unused = set(given) - used
    if unused:
        known = ", ".join(value.name for value in inputs)
        raise InputError(
            f"--shape: the graph has no input or symbol {', '.join(sorted(unused))}; its inputs "
            f"are {known}"
        )
    return batched
