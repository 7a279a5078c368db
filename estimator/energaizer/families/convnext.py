"""ConvNeXt: depthwise 7x7 convolutions and dense layers per pixel (Liu et al., arXiv 2201.03545).

Layer norms and dense layers run channels-last, convolutions channels-first: each block lays its
tensor out twice.
"""

from typing import Self

from energaizer.families.network import Count, Inputs, Network
from energaizer.families.operators import Convolution, Copy, Linear, Norm, Pointwise, Pool, Tape
from energaizer.families.pieces import CHANNELS
from energaizer.records import Field

_WINDOW, _PATCH, _MLP_RATIO = 7, 4, 4
_BLOCK_CALLS, _STAGE_CALLS, _OUTER_CALLS = 10.0, 4.0, 6.0


class ConvNext(Network):
    """Stages of ConvNeXt blocks."""

    depths: tuple[Count, ...] = Field(
        min_length=1, max_length=64, description="blocks of each stage"
    )
    widths: tuple[Count, ...] = Field(
        min_length=1, max_length=64, description="channels of each stage"
    )
    classes: int = Field(default=1000, ge=0, description="0: no classifier")

    def bare(self) -> Self:
        """Return the model without its classifier."""
        return self.model_copy(update={"classes": 0})

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the forward pass of one image."""
        size, channels = (inputs.image_size, inputs.image_size), CHANNELS
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            patch = 2 if stage else _PATCH
            down = Convolution(
                channels, width, size, (patch, patch), patch, bias=True, padded=False
            )
            if stage:
                _norm(to, channels, size)
            to.add(down)
            channels, size = width, down.out
            if not stage:
                _norm(to, channels, size)
            self._blocks(to, channels, size, float(depth))
        area = size[0] * size[1]
        to.add(Pool(float(channels * area), channels))
        to.add(Norm(1.0, channels))
        if self.classes:
            to.add(Linear(1.0, channels, self.classes))
        to.module(_OUTER_CALLS + _STAGE_CALLS * len(self.depths))
        to.layers = len(self.depths)

    def _blocks(self, to: Tape, width: int, size: tuple[int, int], count: float) -> None:
        rows = float(size[0] * size[1])
        filters = (_WINDOW, _WINDOW)
        to.add(Convolution(width, width, size, filters, groups=width, bias=True), count)
        to.add(Copy(rows * width), 2.0 * count)
        to.add(Norm(rows, width), count)
        to.add(Linear(rows, width, _MLP_RATIO * width), count)
        to.add(Pointwise(rows * _MLP_RATIO * width, "gelu"), count)
        to.add(Linear(rows, _MLP_RATIO * width, width), count)
        to.pointwise(rows * width, "scale", count)
        to.own(width * count)
        to.pointwise(rows * width, "add", count)
        to.module(_BLOCK_CALLS * count)


def _norm(to: Tape, width: int, size: tuple[int, int]) -> None:
    """Add a layer norm over the channels of a channels-first tensor."""
    rows = float(size[0] * size[1])
    to.add(Copy(rows * width), 2.0)
    to.add(Norm(rows, width))
