"""Vision models to kernels: residual convolutional networks and vision transformers, run eagerly.

A convolution is an implicit product: its traffic is the true input, never the expanded matrix. What
a tracer does not list is generated: batch norm, residual adds, pooling, and the layout copies
around half-precision convolutions of a channels-first tensor.
"""

from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from energaizer import blocks, kernels
from energaizer.blocks import EagerStyle, Formats, Listing, Shard
from energaizer.kernels import FAMILY, Kernel, Program
from energaizer.precision import Precision

_COPY_LAUNCH = 0.15  # a helper kernel inside one library call, in launches
_CHANNELS = 3.0
_RELU_TOGGLE = 0.8  # half of what a ReLU passes on is zero, and zeros draw .6 of random operands


class ConvNet(BaseModel):
    """A residual network of bottleneck blocks, as its paper states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: Literal["resnet"] = "resnet"
    depths: tuple[int, ...] = Field(description="blocks of each stage")
    widths: tuple[int, ...] = Field(description="inner channels of each stage")
    expansion: int = Field(default=4, ge=1, description="outer over inner channels of a block")
    stem_channels: int = Field(default=64, ge=1)
    image_size: int = Field(default=224, ge=8)
    classes: int = Field(default=1000, ge=1)
    source: str = ""


class VisionTransformer(BaseModel):
    """A transformer over the patches of an image, as its configuration states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: Literal["vit"] = "vit"
    layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    attention_heads: int = Field(ge=1)
    image_size: int = Field(default=224, ge=8)
    patch_size: int = Field(default=16, ge=1)
    source: str = ""

    @property
    def tokens(self) -> int:
        """Patches of an image and the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1


def formats_of(precision: Precision) -> Formats:
    """Return bytes and rates of an eager run; convolutions in fp32 run on tensor cores as TF32."""
    wide = precision in {Precision.FP32, Precision.TF32}
    size = kernels.FP32_BYTES if wide else 2.0
    rate = precision.rate_key
    return Formats(size, size, size, size, rate, rate, rate)


class Filter(NamedTuple):
    """A convolution layer: channels, height and width of its square input, filter and stride."""

    inputs: float
    outputs: float
    size: float
    edge: float
    stride: float = 1.0


def convolution(images: float, layer: Filter, formats: Formats) -> Kernel:
    """Return a convolution as an implicit product with its true traffic (section 3).

    Filters are padded to keep the size, but for those that tile the image (edge equals stride).
    """
    out = np.floor((layer.size - 1.0) / layer.stride) + 1.0
    if layer.edge == layer.stride:
        out = layer.size / layer.stride
    act = formats.activation
    depth = layer.inputs * layer.edge**2
    rate = "tf32" if formats.rate == "fp32" else formats.rate
    product = kernels.gemm(
        1.0, images * out * out, layer.outputs, depth, (act, formats.weight, act), rate
    )
    read = images * layer.inputs * layer.size**2 * act
    return product._replace(
        family=FAMILY["convolution"],
        read_bytes=read + depth * layer.outputs * formats.weight,
        resident_bytes=read + product.write_bytes,
        toggle=formats.toggle,
    )


def _convolve(to: Listing, images: float, layer: Filter, count: float, formats: Formats) -> float:
    """Add a convolution with its batch norm and layout copies; return elements of its output."""
    kernel = convolution(images, layer, formats)
    to.add(kernel, count)
    out = kernel.m * kernel.n
    if formats.activation < kernels.FP32_BYTES:
        for elements in (images * layer.inputs * layer.size**2, out):
            copied = kernels.copy(elements, formats.activation)
            to.add(copied._replace(launches=_COPY_LAUNCH), count)
    to.add(blocks.pointwise(out, 1.0, formats.activation), count)
    return out


def resnet(model: ConvNet, images: int, precision: Precision) -> Program:
    """Return one forward pass of a residual network over a batch of images."""
    formats, to = formats_of(precision), Listing()
    act, batch = formats.activation, float(images)

    def relu(elements: float, count: float) -> None:
        to.add(blocks.pointwise(elements, 1.0, act), count)

    size = model.image_size / 2.0
    stem = Filter(_CHANNELS, float(model.stem_channels), float(model.image_size), 7.0, 2.0)
    out = _convolve(to, batch, stem, 1.0, formats)
    relu(out, 1.0)
    formats = formats._replace(toggle=_RELU_TOGGLE)
    to.add(kernels.elementwise(out, out * act, out / 4.0 * act), 1.0)
    size /= 2.0
    inputs = float(model.stem_channels)
    convolutions = 1.0
    for stage, (depth, width) in enumerate(zip(model.depths, model.widths, strict=True)):
        stride = 1.0 if stage == 0 else 2.0
        inner, outer = float(width), float(width * model.expansion)
        for first, count in ((True, 1.0), (False, depth - 1.0)):
            step = stride if first else 1.0
            entry = inputs if first else outer
            narrow = Filter(entry, inner, size, 1.0)
            relu(_convolve(to, batch, narrow, count, formats), count)
            middle = Filter(inner, inner, size, 3.0, step)
            relu(_convolve(to, batch, middle, count, formats), count)
            out = _convolve(to, batch, Filter(inner, outer, size / step, 1.0), count, formats)
            convolutions += 3.0 * count
            if first:
                _convolve(to, batch, Filter(entry, outer, size, 1.0, step), 1.0, formats)
                convolutions += 1.0
            size = size / step
            to.add(blocks.pointwise(out, 2.0, act), count)
            relu(out, count)
        inputs = outer
    pooled = batch * inputs
    to.add(kernels.elementwise(pooled * size * size, pooled * size * size * act, pooled * act), 1.0)
    blocks.linear(to, float(model.classes), inputs, batch, 1.0, formats)
    # A convolution, its norm and its activation are a module each; a block is one more.
    return _program(to, images, len(model.depths), 3.0 * convolutions + sum(model.depths))


_VIT = EagerStyle(mask=False, calls=15.0)


def vision_transformer(model: VisionTransformer, images: int, precision: Precision) -> Program:
    """Return one forward pass of a vision transformer over a batch of images."""
    formats, to = formats_of(precision), Listing()
    act, layers = formats.activation, float(model.layers)
    heads = float(model.attention_heads)
    tokens = float(model.tokens)
    shard = Shard(
        sequences=float(images), queries=tokens, context=tokens, heads=heads, kv_heads=heads,
        head_size=model.hidden_size / heads, hidden=float(model.hidden_size),
        inner=float(model.intermediate_size), vocabulary=1.0, ranks=1.0,
    )  # fmt: skip
    edge = float(model.patch_size)
    patched = Filter(_CHANNELS, shard.hidden, float(model.image_size), edge, edge)
    patches = convolution(float(images), patched, formats)
    to.add(patches, 1.0)
    to.add(kernels.copy(patches.m * patches.n, act), 2.0)
    to.add(kernels.copy(shard.tokens * shard.hidden, act), 1.0)
    to.add(blocks.pointwise(shard.tokens * shard.hidden, 2.0, act), 1.0)
    to.add(kernels.normalization(shard.tokens, shard.hidden, act), 2.0 * layers + 1.0)
    blocks.linear(to, shard.hidden, shard.hidden, shard.tokens, 4.0 * layers, formats)
    blocks.eager_attention(to, shard, _VIT, layers, formats)
    blocks.residual(to, shard, 2.0 * layers, formats)
    blocks.linear(to, shard.inner, shard.hidden, shard.tokens, layers, formats)
    blocks.eager_activation(to, shard.tokens * shard.inner, "gelu", False, layers, formats)
    blocks.linear(to, shard.hidden, shard.inner, shard.tokens, layers, formats)
    blocks.linear(to, shard.hidden, shard.hidden, shard.sequences, 1.0, formats)
    to.add(blocks.pointwise(shard.sequences * shard.hidden, 1.0, act, 1.0), 1.0)
    return _program(to, images, model.layers, layers * _VIT.calls + 8.0)


def _program(to: Listing, images: int, layers: float, calls: float) -> Program:
    one = np.ones(1)
    return Program(
        rows=kernels.table(list(to.counts)),
        counts=np.array([list(to.counts.values())]),
        phases=("forward",),
        repetitions=one,
        sequences=one * images,
        layers=one * layers,
        graphed=np.zeros(1, dtype=np.bool_),
        calls=one * calls,
        slots=one,
        runs=one,
    )
