"""Operators of a network on one sample: shapes, parameters and products, before any kernel.

A family writes its forward pass onto a `Tape`, once, from its published architecture; parameters,
products, working memory and, a layer higher, kernels all follow from the same tape. Counts are per
sample (an image, a sequence): lowering multiplies by the batch.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Zeros = Literal["", "half", "most"]  # of the input of a product, as a nonlinearity leaves them
Function = Literal[
    "add", "mul", "scale", "norm", "relu", "gelu", "gelu_new", "silu", "hardswish", "hardsigmoid",
    "sigmoid", "tanh",
]  # fmt: skip


class Convolution(NamedTuple):
    """A convolution over a plane of `size`; a signal is a plane of width 1, a video many planes.

    Attributes:
        inputs: Channels read.
        outputs: Channels written.
        size: Height and width of the input.
        window: Height and width of the filter.
        stride: Step in both directions.
        groups: Groups of channels; as many as channels make it depthwise.
        bias: The outputs have a bias.
        padded: Half a window of zeros surrounds the input, else none.
        laid_out: In half precision a channels-first tensor is laid out anew before.
        zeros: How much of the input is zero: products of zeros draw less.
        frames: Planes of a video, as many in as out.
        depth: Planes that an output sums.
    """

    inputs: int
    outputs: int
    size: tuple[int, int]
    window: tuple[int, int]
    stride: int = 1
    groups: int = 1
    bias: bool = False
    padded: bool = True
    laid_out: bool = True
    zeros: Zeros = ""
    frames: int = 1
    depth: int = 1

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        (height, width), (tall, wide) = self.size, self.window
        return (self._along(height, tall), self._along(width, wide))

    def _along(self, length: int, window: int) -> int:
        if self.padded:
            return (length - 1) // self.stride + 1
        return (length - window) // self.stride + 1

    @property
    def taps(self) -> int:
        """Inputs that one output sums."""
        return self.inputs // self.groups * self.window[0] * self.window[1] * self.depth

    @property
    def depthwise(self) -> bool:
        """Each channel has its own filter."""
        return self.groups > 1 and self.groups == self.inputs

    @property
    def parameters(self) -> int:
        """Parameters, bias included."""
        return self.outputs * (self.taps + self.bias)

    @property
    def macs(self) -> float:
        """Products of one sample."""
        return float(self.results * self.taps)

    @property
    def results(self) -> int:
        """Elements of the output of one sample."""
        return self.outputs * math.prod(self.out) * self.frames

    @property
    def elements(self) -> float:
        """Elements in and out."""
        return float(self.inputs * math.prod(self.size) * self.frames + self.results)


class Linear(NamedTuple):
    """A dense layer over `rows` rows of a sample."""

    rows: float
    inputs: int
    outputs: int
    bias: bool = True
    zeros: Zeros = ""

    @property
    def parameters(self) -> int:
        """Parameters, bias included."""
        return self.outputs * (self.inputs + self.bias)

    @property
    def macs(self) -> float:
        """Products of one sample."""
        return self.rows * self.inputs * self.outputs

    @property
    def elements(self) -> float:
        """Elements in and out."""
        return self.rows * (self.inputs + self.outputs)


class Norm(NamedTuple):
    """A layer norm, or an RMS norm without bias, over rows of a sample."""

    rows: float
    width: int
    rms: bool = False

    @property
    def parameters(self) -> int:
        """Weights, and biases of a layer norm."""
        return self.width * (1 if self.rms else 2)

    @property
    def elements(self) -> float:
        """Elements in and out."""
        return 2.0 * self.rows * self.width


class Pointwise(NamedTuple):
    """One function of each element; `add` and `mul` take two tensors, the others one."""

    size: float
    function: Function

    @property
    def elements(self) -> float:
        """Elements in and out."""
        return (3.0 if self.function in {"add", "mul"} else 2.0) * self.size


class Copy(NamedTuple):
    """A tensor laid out anew: a transposition, a partition into windows, a concatenation."""

    size: float

    @property
    def elements(self) -> float:
        """Elements in and out."""
        return 2.0 * self.size


class Pool(NamedTuple):
    """A maximum or mean over windows: elements in, elements out."""

    inputs: float
    outputs: float

    @property
    def elements(self) -> float:
        """Elements in and out."""
        return self.inputs + self.outputs


class Lookup(NamedTuple):
    """Rows of an embedding table; the table is counted once, by whoever owns it."""

    rows: float
    width: int

    @property
    def elements(self) -> float:
        """Elements out."""
        return self.rows * self.width


class Product(NamedTuple):
    """Products of two tensors that are both activations, so many pairs side by side."""

    pairs: float
    rows: float
    inner: float
    columns: float

    @property
    def macs(self) -> float:
        """Products of one sample."""
        return self.pairs * self.rows * self.inner * self.columns

    @property
    def elements(self) -> float:
        """Elements in and out."""
        rows, inner, columns = self.rows, self.inner, self.columns
        return self.pairs * (rows * inner + inner * columns + rows * columns)


class Softmax(NamedTuple):
    """A softmax over rows, outside an attention."""

    rows: float
    width: float

    @property
    def elements(self) -> float:
        """Elements in and out."""
        return 2.0 * self.rows * self.width


class Attention(NamedTuple):
    """Attention of a sample, without its projections.

    Attributes:
        groups: Independent sets of tokens: windows of an image, else 1.
        queries: New tokens of a set.
        keys: Tokens that they see.
        heads: Heads.
        size: Width of a head.
        causal: A token sees only earlier ones.
        cached: Earlier keys and values come from a cache that grows.
        scaled: What 1/sqrt(d) multiplies when written out: scores, query or nothing.
        biased: A bias or mask is added to the scores when written out.
        wide: The softmax runs in fp32 when written out.
    """

    groups: float
    queries: float
    keys: float
    heads: int
    size: int
    causal: bool = False
    cached: bool = False
    scaled: Literal["scores", "query", ""] = "scores"
    biased: bool = False
    wide: bool = False

    @property
    def macs(self) -> float:
        """Products of both halves, every pair of query and key counted."""
        return 2.0 * self.scores * self.size

    @property
    def scores(self) -> float:
        """Pairs of query and key of all heads."""
        return self.groups * self.heads * self.queries * self.keys

    @property
    def elements(self) -> float:
        """Queries, keys, values and results."""
        return 2.0 * self.groups * self.heads * self.size * (self.queries + self.keys)


Operator = (
    Convolution | Linear | Product | Norm | Softmax | Pointwise | Copy | Pool | Lookup | Attention
)


@dataclass
class Tape:
    """Operators of a forward pass of one sample, equal ones merged, in the order of first use.

    Attributes:
        counts: How often each operator runs.
        parameters: Parameters of what ran, and of tables that were declared.
        macs: Products, attention included.
        largest: Elements in and out of the largest operator.
        scores: Scores of the largest attention.
        calls: Modules of a framework that were called.
        layers: Layers, or stages of a convolutional network.
    """

    counts: dict[Operator, float] = field(default_factory=dict)
    parameters: float = 0.0
    macs: float = 0.0
    largest: float = 0.0
    scores: float = 0.0
    calls: float = 0.0
    layers: float = 0.0

    def add(self, operator: Operator, count: float = 1.0, *, owned: bool = True) -> None:
        """Add so many runs of an operator, each with parameters of its own unless not `owned`."""
        if count <= 0:
            return
        self.counts[operator] = self.counts.get(operator, 0.0) + count
        if isinstance(operator, Convolution | Linear | Norm):
            self.parameters += count * operator.parameters * owned
        if isinstance(operator, Convolution | Linear | Product | Attention):
            self.macs += count * operator.macs
        self.largest = max(self.largest, operator.elements)
        if isinstance(operator, Attention):
            self.scores = max(self.scores, operator.scores)

    def own(self, parameters: float) -> None:
        """Declare parameters that no operator carries: tables, tokens, scales."""
        self.parameters += parameters

    def module(self, count: float) -> None:
        """Count calls of framework modules."""
        self.calls += count

    def pointwise(self, size: float, function: Function, count: float = 1.0) -> None:
        """Add a function of each of so many elements."""
        self.add(Pointwise(size, function), count)
