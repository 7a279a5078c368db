"""Pieces of denoisers as diffusers runs them, kernel by kernel, without a compiler."""

from typing import NamedTuple

from energaizer.families.operators import Attention, Copy, Function, Linear, Norm, Tape

_BLOCK_CALLS = 12.0
"""Framework modules called by one attention or MLP with its norms."""


def modulate(to: Tape, rows: float, width: int, count: float = 1.0) -> None:
    """Add a norm without weights, times one plus a scale, plus a shift."""
    to.add(Norm(rows, width), count, owned=False)
    to.pointwise(width, "scale", count)
    to.pointwise(rows * width, "scale", 2.0 * count)
    to.module(2.0 * count)


def gate(to: Tape, rows: float, width: int, count: float = 1.0) -> None:
    """Add a result times its gate to the residual stream."""
    to.pointwise(rows * width, "scale", count)
    to.pointwise(rows * width, "add", count)


def condition(to: Tape, inputs: int, outputs: int, count: float = 1.0) -> None:
    """Add scales, shifts and gates from the embedding of time: an activation and a product."""
    to.pointwise(inputs, "silu", count)
    to.add(Linear(1.0, inputs, outputs), count)
    to.module(3.0 * count)


def embed(to: Tape, inputs: int, width: int, count: float = 1.0) -> None:
    """Add an embedding of a number or a pooled text: two products with an activation between."""
    to.add(Linear(1.0, inputs, width), count)
    to.pointwise(width, "silu", count)
    to.add(Linear(1.0, width, width), count)
    to.module(6.0 * count)


def rotate(to: Tape, elements: float, count: float = 1.0) -> None:
    """Add a rotary embedding in fp32: a rotated copy, two casts, two products, a sum, a cast.

    An element of fp32 counts as two of half precision.
    """
    to.add(Copy(elements / 2.0), count)
    to.add(Copy(elements), count)
    to.add(Copy(1.5 * elements), 3.0 * count)
    to.pointwise(2.0 * elements, "scale", 2.0 * count)
    to.pointwise(2.0 * elements, "add", count)


def project(
    to: Tape, rows: float, inputs: int, width: int, count: float = 1.0, *, bias: bool = True
) -> None:
    """Add the products of query, key and value."""
    to.add(Linear(rows, inputs, width, bias), 3.0 * count)
    to.module(_BLOCK_CALLS * count)


class Crossing(NamedTuple):
    """Attention of all tokens to the prompt.

    Attributes:
        width: Features of a token.
        heads: Heads.
        source: Features of a token of the prompt; 0: `width`.
        normed: Query and key are normed over all heads.
    """

    width: int
    heads: int
    source: int = 0
    normed: bool = False

    def add(self, to: Tape, rows: float, text: float, count: float) -> None:
        """Add its four products, norms if wanted, and the attention, for `rows` tokens."""
        width, source = self.width, self.source or self.width
        to.add(Linear(rows, width, width), count)
        to.add(Linear(text, source, width), 2.0 * count)
        if self.normed:
            to.add(Norm(rows, width, rms=True), count)
            to.add(Norm(text, width, rms=True), count)
        to.add(Attention(1.0, rows, text, self.heads, width // self.heads), count)
        to.add(Linear(rows, width, width), count)
        to.module(_BLOCK_CALLS * count)


class Perceptron(NamedTuple):
    """An MLP: up, activation, down; a gated one computes both branches as one product."""

    width: int
    inner: int
    function: Function = "gelu"
    gated: bool = False
    bias: bool = True

    def add(self, to: Tape, rows: float, count: float = 1.0) -> None:
        """Add it for `rows` tokens."""
        width, inner = self.width, self.inner
        to.add(Linear(rows, width, 2 * inner if self.gated else inner, self.bias), count)
        to.pointwise(rows * inner, self.function, count)
        if self.gated:
            to.pointwise(rows * inner, "mul", count)
        to.add(Linear(rows, inner, width, self.bias), count)
        to.module(5.0 * count)


def finish(to: Tape, rows: float, width: int, outputs: int) -> None:
    """Add the last norm with its scale and shift, and the product that gives patches."""
    condition(to, width, 2 * width)
    modulate(to, rows, width)
    to.add(Linear(rows, width, outputs))
    to.add(Copy(rows * outputs))
