"""Nodes of a graph -> operators of a tape: one function a kind of node."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import onnx

from energaizer.families.operators import (
    Attention,
    Convolution,
    Copy,
    Function,
    Linear,
    Lookup,
    Norm,
    Operator,
    Pointwise,
    Pool,
    Product,
    Softmax,
)
from energaizer.onnx.shapes import Shapes

_PLANE = 4  # dimensions of a batch of feature maps


class UnsupportedError(Exception):
    """A node has no method; the message says why."""


def operators(node: onnx.NodeProto, shapes: Shapes) -> tuple[Operator, ...]:
    """Return what a node computes on one sample; none for one that only renames a tensor.

    Raises:
        UnsupportedError: There is no method for it, or a shape is unknown.
    """
    if node.domain not in {"", "ai.onnx", "com.microsoft"}:
        raise UnsupportedError(f"domain {node.domain}")
    if node.op_type in _FREE:
        return ()
    if node.op_type in _POINTWISE:
        return _pointwise(node, shapes)
    reader = _READERS.get(node.op_type)
    if reader is None:
        raise UnsupportedError(_WITHOUT_METHOD.get(node.op_type, "no method"))
    known = [name for name in (*node.input[:1], *node.output[:1]) if name]
    if any(name not in shapes.of for name in known):
        raise UnsupportedError("its shape is unknown; fix sizes with --shape")
    return tuple(reader(node, shapes))


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    for attribute in node.attribute:
        if attribute.name == name:
            return onnx.helper.get_attribute_value(attribute)
    return default


def _out(node: onnx.NodeProto, shapes: Shapes) -> float:
    return shapes.elements(node.output[0])


def _pointwise(node: onnx.NodeProto, shapes: Shapes) -> tuple[Operator, ...]:
    size = _out(node, shapes)
    if not size:
        raise UnsupportedError("its shape is unknown; fix sizes with --shape")
    whole = [name for name in node.input if name and shapes.elements(name) >= size]
    function = _POINTWISE[node.op_type]
    if function == "add" and len(whole) < 2:  # noqa: PLR2004  # one side is spread over the other
        function = "scale"
    return (Pointwise(size, function),)


def _convolution(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    entering, weight, leaving = (
        shapes.of[name] for name in (node.input[0], node.input[1], node.output[0])
    )
    if len(entering) not in {_PLANE - 1, _PLANE}:
        raise UnsupportedError("convolutions over volumes")
    strides = _attribute(node, "strides", [1])
    window = tuple(weight[2:]) if len(weight) == _PLANE else (weight[2], 1)
    out = tuple(leaving[2:]) if len(leaving) == _PLANE else (leaving[2], 1)
    into = tuple(entering[2:]) if len(entering) == _PLANE else (entering[2], 1)
    stride = int(strides[0])
    expected = tuple((length - 1) // stride + 1 for length in into)
    # Padding and dilation change only the size of the output: keep that, whatever they are.
    size = into if expected == out else tuple((length - 1) * stride + 1 for length in out)
    return [
        Convolution(
            entering[1], leaving[1], (size[0], size[1]), (window[0], window[1]), stride,
            int(_attribute(node, "group", 1)), bias=len(node.input) > 2,  # noqa: PLR2004
            frames=max(1, entering[0]),
        )
    ]  # fmt: skip


def _transposed(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    entering, weight = shapes.of[node.input[0]], shapes.of[node.input[1]]
    places = math.prod(entering) / entering[1]
    group = int(_attribute(node, "group", 1))
    yield Linear(places, entering[1] // group, math.prod(weight[1:]) * group, bias=False)
    yield Copy(_out(node, shapes))


def _gemm(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    entering, leaving = shapes.of[node.input[0]], shapes.of[node.output[0]]
    inner = entering[0] if _attribute(node, "transA", 0) else entering[1]
    yield Linear(float(leaving[0]), inner, leaving[1], bias=len(node.input) > 2)  # noqa: PLR2004


def _matmul(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    first, second = (shapes.of.get(name) for name in node.input[:2])
    leaving = shapes.of[node.output[0]]
    if first is None or second is None:
        raise UnsupportedError("a shape is unknown; fix sizes with --shape")
    if node.input[1] in shapes.weights and len(second) == 2:  # noqa: PLR2004  # a dense layer
        yield Linear(math.prod(first[:-1]), second[0], second[1], bias=False)
        return
    rows = leaving[-2] if len(leaving) > 1 else 1
    yield Product(math.prod(leaving[:-2]), rows, first[-1], leaving[-1])


def _attention(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    query, key = shapes.of[node.input[0]], shapes.of[node.input[1]]
    heads = int(_attribute(node, "q_num_heads", 0) or _attribute(node, "num_heads", 0))
    causal = bool(_attribute(node, "is_causal", 0))
    if len(query) == _PLANE:
        batch, heads, rows, size = query
        yield Attention(batch, float(rows), float(key[2]), heads, size, causal=causal)
        return
    if not heads:
        raise UnsupportedError("attention of three dimensions without a number of heads")
    size = query[2] // heads
    yield Attention(query[0], float(query[1]), float(key[1]), heads, size, causal=causal)


def _norm(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    shape = shapes.of[node.input[0]]
    axis = int(_attribute(node, "axis", -1)) % len(shape)
    width = math.prod(shape[axis:])
    rms = "RMS" in node.op_type or "Simplified" in node.op_type
    if node.op_type.startswith("Skip"):
        yield Pointwise(float(math.prod(shape)), "add")
    yield Norm(math.prod(shape) / width, width, rms)


def _grouped(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    shape = shapes.of[node.input[0]]
    groups = int(_attribute(node, "num_groups", shape[1]))
    yield Norm(float(shape[0] * groups), round(math.prod(shape[1:]) / groups))


def _softmax(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    shape = shapes.of[node.input[0]]
    width = shape[int(_attribute(node, "axis", -1)) % len(shape)]
    yield Softmax(math.prod(shape) / width, float(width))


def _pool(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    yield Pool(shapes.elements(node.input[0]), _out(node, shapes))


def _copy(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    yield Copy(sum(shapes.elements(name) for name in node.output) or _out(node, shapes))


def _gather(node: onnx.NodeProto, shapes: Shapes) -> Iterable[Operator]:
    if node.input[0] in shapes.weights:
        width = shapes.of[node.input[0]][-1]
        yield Lookup(_out(node, shapes) / width, width)
    else:
        yield Copy(_out(node, shapes))


_FREE = frozenset(
    {"Constant", "ConstantOfShape", "Dropout", "Flatten", "Identity", "Range", "Reshape", "Shape",
     "Size", "Squeeze", "Unsqueeze"}
)  # fmt: skip
_POINTWISE: dict[str, Function] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Mod", "Where", "Pow", "And", "Or",
                     "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Sum",
                     "Mean", "PRelu", "BitShift"), "add"),
    **dict.fromkeys(("Abs", "Cast", "CastLike", "Ceil", "Clip", "Floor", "Neg", "Not", "Round",
                     "Sign", "Trunc", "Reciprocal", "IsNaN", "IsInf", "QuantizeLinear",
                     "DequantizeLinear"), "scale"),
    **dict.fromkeys(("Cos", "Erf", "Exp", "Log", "Sin", "Sqrt", "Tan", "Tanh", "Atan"), "tanh"),
    **dict.fromkeys(("Sigmoid", "Softplus", "Softsign"), "sigmoid"),
    **dict.fromkeys(("Swish", "Mish", "QuickGelu", "Elu", "Selu", "Celu"), "silu"),
    **dict.fromkeys(("LeakyRelu", "Relu", "ThresholdedRelu"), "relu"),
    **dict.fromkeys(("Gelu", "FastGelu", "BiasGelu"), "gelu"),
    "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish",
    "BatchNormalization": "norm",
}  # fmt: skip
_READERS: dict[str, Callable[[onnx.NodeProto, Shapes], Iterable[Operator]]] = {
    "Attention": _attention,
    "MultiHeadAttention": _attention,
    "Conv": _convolution,
    "ConvTranspose": _transposed,
    "Gather": _gather,
    "Gemm": _gemm,
    "GroupNormalization": _grouped,
    "InstanceNormalization": _grouped,
    "MatMul": _matmul,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    **dict.fromkeys(("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization",
                     "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), _norm),
    **dict.fromkeys(("ArgMax", "ArgMin", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
                     "LpPool", "MaxPool", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
                     "ReduceProd", "ReduceSum", "ReduceSumSquare", "TopK", "CumSum"), _pool),
    **dict.fromkeys(("Compress", "Concat", "DepthToSpace", "Expand", "GatherElements", "GatherND",
                     "OneHot", "Pad", "Resize", "ReverseSequence", "ScatterElements", "ScatterND",
                     "Slice", "SpaceToDepth", "Split", "Tile", "Transpose", "Trilu", "Upsample"),
                    _copy),
}  # fmt: skip
_WITHOUT_METHOD = {
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "recurrence: steps follow one another"),
    **dict.fromkeys(("If", "Loop", "Scan"), "control flow: what runs depends on data"),
}
