"""Networks of inverted residuals: MobileNetV2, MobileNetV3, EfficientNet, as torchvision runs them.

A block widens its input with a 1x1 convolution, filters each channel by itself, may gate channels
(squeeze-excite), and narrows again. Sources: Sandler et al. (arXiv 1801.04381), Howard et al.
(1905.02244), Tan and Le (1905.11946).
"""

import math
from typing import Literal, Self

from energaizer.families.network import Inputs, Network
from energaizer.families.operators import Convolution, Function, Linear, Tape, Zeros
from energaizer.families.pieces import CHANNELS, classify, convolve, squeeze_excite
from energaizer.records import Field, Record

_MULTIPLE = 8
_LARGEST_CUT = 0.9  # rounding down loses at most a tenth of the channels
_CALLS, _BLOCK_CALLS = 4.0, 3.0  # a convolution in its container; a block around its parts


def divisible(channels: float) -> int:
    """Return channels rounded to a multiple of 8, as the papers' reference code rounds them."""
    rounded = max(_MULTIPLE, int(channels + _MULTIPLE / 2) // _MULTIPLE * _MULTIPLE)
    return rounded + _MULTIPLE if rounded < _LARGEST_CUT * channels else rounded


class Stage(Record):
    """Blocks of one shape; the first may stride and change the channels."""

    outputs: int = Field(ge=1)
    repeats: int = Field(default=1, ge=1)
    window: int = Field(default=3, ge=1)
    stride: int = Field(default=1, ge=1)
    ratio: float = Field(default=1.0, gt=0, description="channels inside over channels in")
    expanded: int | None = Field(default=None, ge=1, description="channels inside; None: by ratio")
    squeeze: Literal["", "input", "expanded"] = Field(
        default="", description="gate channels, through a quarter of these"
    )
    function: Literal["relu", "silu", "hardswish"] = "relu"


class InvertedResiduals(Network):
    """A network of inverted residuals between a strided stem and a pooled classifier."""

    stages: tuple[Stage, ...] = Field(min_length=1)
    stem_channels: int = Field(ge=1)
    head_channels: int = Field(ge=1, description="of the last convolution")
    classifier_channels: int = Field(
        default=0, ge=0, description="of a dense layer before the last"
    )
    function: Literal["relu", "silu", "hardswish"] = Field(
        default="relu", description="of stem and head"
    )
    classes: int = Field(default=1000, ge=0, description="0: no classifier")

    def bare(self) -> Self:
        """Return the network as it is: tables time it with its classifier."""
        return self

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the forward pass of one image."""
        edge = (inputs.image_size, inputs.image_size)
        stem = Convolution(CHANNELS, self.stem_channels, edge, (3, 3), 2)
        convolve(to, stem, self.function, calls=_CALLS)
        channels, size = self.stem_channels, stem.out
        for stage in self.stages:
            size = inverted(to, stage, channels, size, stage.stride, 1.0)
            channels = stage.outputs
            if stage.repeats > 1:
                inverted(to, stage, channels, size, 1, stage.repeats - 1.0)
        head = Convolution(channels, self.head_channels, size, (1, 1))
        convolve(to, head, self.function, calls=_CALLS)
        width, area = self.head_channels, size[0] * size[1]
        if self.classifier_channels:
            classify(to, width, area, 0)
            to.add(Linear(1.0, width, self.classifier_channels))
            to.pointwise(self.classifier_channels, self.function)
            to.add(Linear(1.0, self.classifier_channels, self.classes))
        else:
            classify(to, width, area, self.classes)
        to.module(8.0)
        to.layers = len(self.stages)


class MobileNetV2(InvertedResiduals):
    """MobileNetV2: linear bottlenecks, no gates."""


class MobileNetV3(InvertedResiduals):
    """MobileNetV3: gates and hard activations, found by search."""


class EfficientNet(InvertedResiduals):
    """EfficientNet: one base network, widened and deepened together."""


def inverted(
    to: Tape, stage: Stage, channels: int, size: tuple[int, int], stride: int, count: float
) -> tuple[int, int]:
    """Add inverted residuals of a stage; return the size of their output."""
    inner = stage.expanded or divisible(channels * stage.ratio)
    if inner != channels:
        wide = Convolution(channels, inner, size, (1, 1))
        convolve(to, wide, stage.function, count, _CALLS)
    filters = (stage.window, stage.window)
    middle = Convolution(inner, inner, size, filters, stride, groups=inner)
    convolve(to, middle, stage.function, count, _CALLS)
    area = middle.out[0] * middle.out[1]
    if stage.squeeze == "input":
        squeezed, functions = max(1, channels // 4), _SOFT
        squeeze_excite(to, inner, squeezed, area, count, functions)
    elif stage.squeeze == "expanded":
        squeeze_excite(to, inner, divisible(inner // 4), area, count, _HARD)
    zeros: Zeros = "half" if stage.function == "relu" else ""
    last = Convolution(inner, stage.outputs, middle.out, (1, 1), zeros=zeros)
    convolve(to, last, None, count, _CALLS - 1.0)
    if stride == 1 and channels == stage.outputs:
        to.pointwise(last.results, "add", count)
    to.module(_BLOCK_CALLS * count)
    return last.out


_SOFT: tuple[Function, Function] = ("silu", "sigmoid")
_HARD: tuple[Function, Function] = ("relu", "hardsigmoid")
# window, stride, ratio, outputs, repeats of EfficientNet-B0 (Tan and Le, table 1)
_BASE = (
    (3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3), (5, 2, 6, 192, 4), (3, 1, 6, 320, 1),
)  # fmt: skip
_BASE_STEM, _HEAD_OVER_LAST = 32, 4


def efficientnet(width: float, depth: float) -> dict[str, object]:
    """Return the shapes of an EfficientNet scaled in width and depth from the base network."""
    stages = [
        {
            "window": window, "stride": stride, "ratio": ratio, "outputs": divisible(out * width),
            "repeats": math.ceil(repeats * depth), "squeeze": "input", "function": "silu",
        }
        for window, stride, ratio, out, repeats in _BASE
    ]  # fmt: skip
    return {
        "stages": stages,
        "stem_channels": divisible(_BASE_STEM * width),
        "head_channels": _HEAD_OVER_LAST * divisible(_BASE[-1][3] * width),
        "function": "silu",
    }


# ratio, outputs, repeats, stride of MobileNetV2 (Sandler et al., table 2)
_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
_V2_STEM, _V2_HEAD = 32, 1280


def mobilenet_v2(width: float, *, whole_head: bool = True) -> dict[str, object]:
    """Return the shapes of a MobileNetV2 of another width.

    Args:
        width: Factor on all channels.
        whole_head: Narrow networks keep the last convolution as wide as it was.
    """
    stages = [
        {"ratio": ratio, "outputs": divisible(out * width), "repeats": repeats, "stride": stride}
        for ratio, out, repeats, stride in _V2
    ]
    head = _V2_HEAD if whole_head and width < 1 else divisible(_V2_HEAD * width)
    return {"stages": stages, "stem_channels": divisible(_V2_STEM * width), "head_channels": head}
