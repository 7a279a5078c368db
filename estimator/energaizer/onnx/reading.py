"""From a file to a network: operators of all nodes, and what has no method."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from energaizer.errors import InputError, NoEstimateError, ProfileError, shorten
from energaizer.families.operators import Operator, Tape
from energaizer.onnx.attention import Patterns
from energaizer.onnx.network import Graph
from energaizer.onnx.nodes import UnsupportedError, operators
from energaizer.onnx.shapes import Shape, Shapes, infer

_MOST_UNMODELLED = 0.1  # of the bytes: beyond it there is no honest estimate (docs/method.md, 1)
_SHOWN = 8
_INDICES = {onnx.TensorProto.INT64, onnx.TensorProto.INT32, onnx.TensorProto.BOOL}  # no weights


@dataclass
class _Read:
    """Operators of a graph, and nodes without a method by kind and reason."""

    counts: dict[Operator, float]
    missed: Counter[tuple[str, str]]
    missed_elements: float = 0.0
    nodes: int = 0


def load(path: Path, given: Mapping[str, Shape], batch: int = 1) -> Graph:
    """Return the network that an ONNX file describes, on one sample.

    Args:
        path: The file; weights in files beside it are not needed.
        given: Sizes by input, or one size by symbol.
        batch: Samples that are to run together; a graph of a fixed batch takes no other.

    Raises:
        InputError: There is no such file, it is no graph, or a size is missing.
        NoEstimateError: Too much of it has no method; the message lists what.
        ProfileError: The file cannot be read.
    """
    if not path.is_file():
        raise InputError(f"no file {path}; give an ONNX graph")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"{path} is unreadable: {error.strerror}") from error
    except (DecodeError, ValueError):
        raise InputError(f"{path} is no ONNX graph; export the model anew") from None
    if not model.graph.node:
        raise InputError(f"{path} holds no node; is it an ONNX graph?")
    shapes = infer(model, given)
    if batch > 1 and not shapes.batched:
        raise InputError(
            f"--batch: the first dimension of {path.name} is fixed; leave --batch out, or export "
            "with a free first dimension"
        )
    found = _operators(list(model.graph.node), shapes)
    unmodelled = _cover(found, path.name)
    notes = [f"{kind} ({count}): {why}" for (kind, why), count in found.missed.items()]
    if notes:
        notes = [f"not modelled, below a tenth of the bytes: {'; '.join(notes[:_SHOWN])}"]
    if not shapes.batched:
        notes.append("the first dimension is fixed: one sample is one run of the graph")
    weights = sum(
        int(shapes.elements(tensor.name))
        for tensor in model.graph.initializer
        if tensor.data_type not in _INDICES
    )
    return Graph(
        name=shorten(path.stem, 200), operators=tuple(found.counts.items()), weights=weights,
        nodes=found.nodes, notes=tuple(notes), source=f"ONNX graph {path.name}",
        unmodelled=unmodelled,
    )  # fmt: skip


def _operators(nodes: list[onnx.NodeProto], shapes: Shapes) -> _Read:
    patterns = Patterns(nodes, shapes).all()
    first = {min(found.nodes): found for found in patterns}
    inside = {index for found in patterns for index in found.nodes}
    read = _Read({}, Counter())
    for index, node in enumerate(nodes):
        if index in first:
            _count(read, first[index].operator)
        if index in inside or all(name in shapes.weights for name in node.output):
            continue
        try:
            each = operators(node, shapes)
        except UnsupportedError as why:
            read.missed[node.op_type, str(why)] += 1
            read.missed_elements += sum(shapes.elements(name) for name in node.input)
            read.missed_elements += sum(shapes.elements(name) for name in node.output)
            continue
        for operator in each:
            _count(read, operator)
    return read


def _count(read: _Read, operator: Operator) -> None:
    read.counts[operator] = read.counts.get(operator, 0.0) + 1.0
    read.nodes += 1


def _cover(found: _Read, name: str) -> float:
    """Return the share of elements that no method covers; refuse a graph of which it is large."""
    known = sum(count * operator.elements for operator, count in found.counts.items())
    total = known + found.missed_elements
    if found.missed and not _small(found, total):
        listed = "; ".join(
            f"{kind} ({count}): {why}" for (kind, why), count in found.missed.most_common(_SHOWN)
        )
        raise NoEstimateError(
            f"{name}: more than a tenth of the work has no method: {listed}; replace these nodes "
            "or export without them"
        )
    return found.missed_elements / total if total > 0 else 0.0


def _small(found: _Read, total: float) -> bool:
    """Return whether what was missed is small: its products are unknown where it may hold any."""
    hidden = {"LSTM", "GRU", "RNN", "If", "Loop", "Scan"}
    if any(kind in hidden for kind, _ in found.missed):
        return False
    tape = Tape()
    for operator, count in found.counts.items():
        tape.add(operator, count)
    return total > 0 and found.missed_elements <= _MOST_UNMODELLED * total
