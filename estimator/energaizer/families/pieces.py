"""Pieces that families share: convolution with norm and activation, transformer layers, heads."""

from typing import NamedTuple

from energaizer.families.operators import (
    Attention,
    Convolution,
    Function,
    Linear,
    Norm,
    Pointwise,
    Pool,
    Tape,
    Zeros,
)

CHANNELS = 3
_SQUEEZE_CALLS = 7.0  # the module, mean, two convolutions, two functions, their container


def convolve(
    to: Tape, convolution: Convolution, activation: Function | None = None, count: float = 1.0,
    calls: float = 3.0,
) -> Convolution:  # fmt: skip
    """Add a convolution with its batch norm and activation, each a kernel; return it.

    Args:
        to: Tape to extend.
        convolution: The convolution.
        activation: Function after the norm; None: linear.
        count: How often, each time with parameters of its own.
        calls: Modules called: convolution, norm, activation, and a container if there is one.
    """
    to.add(convolution, count)
    to.add(Pointwise(convolution.results, "norm"), count)
    to.own(2 * convolution.outputs * count)
    if activation is not None:
        to.add(Pointwise(convolution.results, activation), count)
    to.module(calls * count)
    return convolution


def classify(to: Tape, width: int, area: float, classes: int, zeros: Zeros = "") -> None:
    """Add the mean over what is left of the image, and a linear classifier if there is one."""
    to.add(Pool(width * area, width))
    if classes:
        to.add(Linear(1.0, width, classes, zeros=zeros))


def squeeze_excite(
    to: Tape, channels: int, squeezed: int, area: float, count: float,
    functions: tuple[Function, Function],
) -> None:  # fmt: skip
    """Add a gate on channels: mean, two dense layers with their functions, a product.

    Args:
        to: Tape to extend.
        channels: Channels of the tensor that is gated.
        squeezed: Width between the two layers.
        area: Pixels of a channel.
        count: How often.
        functions: Function after the first layer, and the gate itself.
    """
    inner, gate = functions
    to.add(Pool(channels * area, channels), count)
    down = Convolution(channels, squeezed, (1, 1), (1, 1), bias=True)
    to.add(down, count)
    to.pointwise(squeezed, inner, count)
    to.add(down._replace(inputs=squeezed, outputs=channels), count)
    to.pointwise(channels, gate, count)
    to.pointwise(channels * area, "mul", count)
    to.module(_SQUEEZE_CALLS * count)


class Layer(NamedTuple):
    """A transformer layer.

    Attributes:
        width: Features of a token.
        inner: Features inside the MLP.
        heads: Heads.
        function: Activation of the MLP.
        calls: Modules called.
        query_bias: The query has a bias; key and value as `key_bias`, `value_bias`.
        key_bias: The key has a bias.
        value_bias: The value has a bias.
    """

    width: int
    inner: int
    heads: int
    function: Function = "gelu"
    calls: float = 15.0
    query_bias: bool = True
    key_bias: bool = True
    value_bias: bool = True


def project(to: Tape, layer: Layer, rows: float, count: float) -> None:
    """Add the four projections of self-attention."""
    width = layer.width
    for bias in (layer.query_bias, layer.key_bias, layer.value_bias, True):
        to.add(Linear(rows, width, width, bias), count)


def perceptron(to: Tape, layer: Layer, rows: float, count: float) -> None:
    """Add an MLP: up, activation, down."""
    to.add(Linear(rows, layer.width, layer.inner), count)
    activate(to, rows * layer.inner, layer.function, count)
    to.add(Linear(rows, layer.inner, layer.width), count)


def activate(to: Tape, elements: float, function: Function, count: float) -> None:
    """Add the activation of an MLP."""
    to.add(Pointwise(elements, function), count)


def encode(to: Tape, layer: Layer, rows: float, attention: Attention, count: float) -> None:
    """Add pre-norm transformer layers: norm, attention, residual, norm, MLP, residual."""
    to.add(Norm(rows, layer.width), 2.0 * count)
    project(to, layer, rows, count)
    to.add(attention, count)
    perceptron(to, layer, rows, count)
    to.pointwise(rows * layer.width, "add", 2.0 * count)
    to.module(layer.calls * count)
    to.layers += count
