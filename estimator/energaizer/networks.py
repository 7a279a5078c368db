"""Networks to kernels: each operator of a tape as a framework launches it, for a whole batch.

Layers run one by one: batch norm, activations, pooling, squeeze-excite, residual adds, and the
layout copies before half-precision convolutions of a channels-first tensor are kernels of their
own, which a tracer does not list (method, section 3: implicit kernels). Only attention has a fused
form.
"""

from functools import singledispatch

from energaizer import attention, blocks, kernels
from energaizer.attention import Heads
from energaizer.blocks import EagerStyle, Formats, Listing, Shard
from energaizer.errors import NoEstimateError
from energaizer.families.operators import (
    Attention,
    Convolution,
    Copy,
    Linear,
    Lookup,
    Norm,
    Pointwise,
    Pool,
    Product,
    Softmax,
    Tape,
    Zeros,
)
from energaizer.precision import Precision

_HELPER_LAUNCH = 0.15  # what a helper kernel inside one library call costs the host, in launches
_NORM_HELPERS = 2.0  # of a batch norm in half precision: its mean copied, its deviation inverted
_RELU_TOGGLE = 0.8  # half of what a ReLU passes on is zero, and zeros draw .6 of random operands
_COSTS = {
    "add": (2.0, 1.0, 0.0),
    "mul": (2.0, 1.0, 0.0),
    "scale": (1.0, 1.0, 0.0),
    "norm": (1.0, 1.0, 0.0),
    "relu": (1.0, 1.0, 0.0),
    "silu": (1.0, 4.0, 1.0),
    "hardswish": (1.0, 4.0, 0.0),
    "hardsigmoid": (1.0, 3.0, 0.0),
    "sigmoid": (1.0, 3.0, 1.0),
    "tanh": (1.0, 1.0, 1.0),
}
"""Tensors read, FLOP and exponentials an element."""
_PRECISIONS = {Precision.FP32, Precision.TF32, Precision.FP16, Precision.BF16}


def formats_of(precision: Precision) -> Formats:
    """Return bytes and rates of a run; convolutions in fp32 run on tensor cores as TF32.

    Raises:
        NoEstimateError: The format needs kernels that have no method here.
    """
    if precision not in _PRECISIONS:
        raise NoEstimateError(
            f"networks beside language models have no method in {precision} yet; "
            "use bf16, fp16, tf32 or fp32"
        )
    wide = precision in {Precision.FP32, Precision.TF32}
    size = kernels.FP32_BYTES if wide else Precision.BF16.bytes_per_element
    rate = precision.rate_key
    return Formats(size, size, size, size, rate, rate, rate)


def listing(tape: Tape, batch: float, formats: Formats, *, fused: bool) -> Listing:
    """Return the kernels of a batch of samples.

    Args:
        tape: Operators of one sample.
        batch: Samples that run together.
        formats: Bytes and rates.
        fused: Attention is one kernel, else written out.
    """
    to = Listing()
    for operator, count in tape.counts.items():
        if fused and isinstance(operator, Attention):
            _fused_attention(operator, to, batch, count, formats)
        else:
            _add(operator, to, batch, count, formats)
    return to


def _toggling(zeros: Zeros, formats: Formats) -> Formats:
    if zeros == "half":
        return formats._replace(toggle=_RELU_TOGGLE)
    return blocks.after("relu", formats) if zeros else formats


@singledispatch
def _add(operator: object, to: Listing, batch: float, count: float, formats: Formats) -> None:
    del to, batch, count, formats
    raise TypeError(f"no kernel for {operator!r}")


@_add.register
def _(operator: Convolution, to: Listing, batch: float, count: float, formats: Formats) -> None:
    act = formats.activation
    plane = float(operator.size[0] * operator.size[1] * operator.frames)
    out = float(operator.out[0] * operator.out[1] * operator.frames)
    inputs, outputs, groups = (
        float(channels) for channels in (operator.inputs, operator.outputs, operator.groups)
    )
    sizes, taps = (act, formats.weight), float(operator.taps)
    if operator.depthwise:
        to.add(kernels.depthwise(batch, outputs, (plane, out), taps, sizes), count)
        return
    rate = "tf32" if formats.rate == "fp32" else formats.rate
    product = kernels.convolution(batch, (inputs, outputs, groups), (plane, out), taps, sizes, rate)
    if operator.depth > 1:  # over frames: other kernels, which reach far less of the peak
        product = product._replace(family=float(kernels.FAMILY["convolution-3d"]))
    to.add(product._replace(toggle=_toggling(operator.zeros, formats).toggle), count)
    if operator.laid_out and act < kernels.FP32_BYTES:  # read channels-last, written as they were
        laid = kernels.copy(batch * inputs * plane, act)
        to.add(laid._replace(launches=_HELPER_LAUNCH), count)


@_add.register
def _(operator: Linear, to: Listing, batch: float, count: float, formats: Formats) -> None:
    rows, formats = batch * operator.rows, _toggling(operator.zeros, formats)
    blocks.linear(to, float(operator.outputs), float(operator.inputs), rows, count, formats)


@_add.register
def _(operator: Product, to: Listing, batch: float, count: float, formats: Formats) -> None:
    act = formats.activation
    product = kernels.gemm(
        batch * operator.pairs, operator.rows, operator.columns, operator.inner, (act, act, act),
        formats.rate,
    )  # fmt: skip
    to.add(product._replace(resident_bytes=act * batch * operator.elements), count)


@_add.register
def _(operator: Softmax, to: Listing, batch: float, count: float, formats: Formats) -> None:
    to.add(kernels.softmax(batch * operator.rows, operator.width, formats.activation), count)


@_add.register
def _(operator: Norm, to: Listing, batch: float, count: float, formats: Formats) -> None:
    rows, width = batch * operator.rows, float(operator.width)
    if operator.rms:
        blocks.eager_rms_norm(to, rows, width, count, formats)
    else:
        to.add(kernels.normalization(rows, width, formats.activation), count)


@_add.register
def _(operator: Pointwise, to: Listing, batch: float, count: float, formats: Formats) -> None:
    elements, act = batch * operator.size, formats.activation
    if operator.function not in _COSTS:
        blocks.eager_activation(to, elements, operator.function, False, count, formats)
        return
    inputs, flops, special = _COSTS[operator.function]
    size = elements * act
    found = kernels.elementwise(elements, inputs * size, size, flops, special)
    if operator.function != "norm":
        to.add(kernels.contiguous(found), count)
        return
    to.add(found, count)  # statistics of a batch norm are broadcast over pixels
    if act < kernels.FP32_BYTES:  # the framework's own code; in fp32 the library's single kernel
        helper = kernels.elementwise(1.0, 8.0, 8.0, 0.0)
        to.add(helper._replace(launches=_HELPER_LAUNCH), _NORM_HELPERS * count)


@_add.register
def _(operator: Copy, to: Listing, batch: float, count: float, formats: Formats) -> None:
    to.add(blocks.indexed(kernels.copy(batch * operator.size, formats.activation)), count)


@_add.register
def _(operator: Pool, to: Listing, batch: float, count: float, formats: Formats) -> None:
    read, written = batch * operator.inputs, batch * operator.outputs
    act = formats.activation
    to.add(kernels.elementwise(read, read * act, written * act), count)


@_add.register
def _(operator: Lookup, to: Listing, batch: float, count: float, formats: Formats) -> None:
    rows = batch * operator.rows
    to.add(kernels.gather(rows, float(operator.width), formats.activation), count)


@_add.register
def _(operator: Attention, to: Listing, batch: float, count: float, formats: Formats) -> None:
    style = EagerStyle(
        scale_on=operator.scaled, wide_softmax=operator.wide, mask=operator.biased,
        cached=operator.cached,
    )  # fmt: skip
    heads = float(operator.heads)
    shard = Shard(
        sequences=batch * operator.groups, queries=operator.queries, context=operator.keys,
        heads=heads, kv_heads=heads, head_size=float(operator.size),
        hidden=heads * operator.size, inner=1.0, vocabulary=1.0, ranks=1.0,
    )  # fmt: skip
    blocks.eager_attention(to, shard, style, count, formats)


def _fused_attention(
    operator: Attention, to: Listing, batch: float, count: float, formats: Formats
) -> None:
    """Add attention as one kernel; keys may be others than the queries' own."""
    heads = Heads(
        batch * operator.groups, float(operator.heads), float(operator.heads), float(operator.size)
    )
    act, cache, rate = formats.activation, formats.cache, formats.attention_rate
    queries, keys = operator.queries, operator.keys
    if queries == 1 and operator.cached:
        to.add(attention.decode(heads, keys, act, cache, rate), count)
        return
    if operator.causal:
        pairs = attention.causal_pairs(queries)
        to.add(attention.prefill(heads, queries, pairs, act, cache, rate), count)
        return
    # Every query sees every key: a square of the larger side, cut to what there is.
    share = queries * keys / max(queries, keys) ** 2
    whole = attention.prefill(heads, max(queries, keys), max(queries, keys) ** 2, act, cache, rate)
    moved = batch * operator.groups * operator.heads * operator.size
    to.add(
        whole._replace(
            flops=whole.flops * share,
            special=whole.special * share,
            read_bytes=moved * (queries * act + 2.0 * keys * cache),
            write_bytes=moved * queries * act,
            onchip_bytes=whole.onchip_bytes * share,
            blocks=max(1.0, whole.blocks * queries / max(queries, keys)),
        ),
        count,
    )
