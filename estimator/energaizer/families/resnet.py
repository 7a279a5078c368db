"""Residual networks (He et al., arXiv 1512.03385), as torchvision runs them.

In bottleneck blocks the 3x3 convolution strides ("v1.5"), which is what torchvision and the
configurations on Hugging Face do.
"""

from typing import Self

from energaizer.families.network import Count, Inputs, Network
from energaizer.families.operators import Convolution, Pool, Tape
from energaizer.families.pieces import CHANNELS, classify, convolve
from energaizer.records import Field

_STEM, _POOL = 7, 2


class ResNet(Network):
    """A residual network of basic or bottleneck blocks."""

    depths: tuple[Count, ...] = Field(
        min_length=1, max_length=64, description="blocks of each stage"
    )
    widths: tuple[Count, ...] = Field(
        min_length=1, max_length=64, description="inner channels of each stage"
    )
    expansion: int = Field(
        default=4, ge=1, description="outer over inner channels; 1: basic blocks of two 3x3"
    )
    stem_channels: int = Field(default=64, ge=1)
    classes: int = Field(default=1000, ge=0, description="0: no classifier")

    def bare(self) -> Self:
        """Return the network as it is: tables time it with its classifier."""
        return self

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the forward pass of one image."""
        edge = inputs.image_size
        stem = convolve(
            to, Convolution(CHANNELS, self.stem_channels, (edge, edge), (_STEM, _STEM), 2), "relu"
        )
        size = tuple((length - 1) // _POOL + 1 for length in stem.out)
        to.add(Pool(stem.results, self.stem_channels * size[0] * size[1]))
        entry, plane = self.stem_channels, (size[0], size[1])
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            outer = width * self.expansion
            plane = self._block(to, (entry, width), plane, 1 if stage == 0 else 2, 1.0)
            if depth > 1:
                self._block(to, (outer, width), plane, 1, depth - 1.0)
            entry = outer
        classify(to, entry, plane[0] * plane[1], self.classes, "half")
        to.module(sum(self.depths))
        to.layers = len(self.depths)

    def _block(
        self, to: Tape, channels: tuple[int, int], size: tuple[int, int], stride: int, count: float
    ) -> tuple[int, int]:
        """Add blocks; the first of a stage projects its input where shapes differ."""
        entry, inner = channels
        outer = inner * self.expansion
        if self.expansion == 1:
            first = convolve(
                to, Convolution(entry, inner, size, (3, 3), stride, zeros="half"), "relu", count
            )
            last = convolve(
                to, Convolution(inner, outer, first.out, (3, 3), zeros="half"), None, count
            )
        else:
            convolve(to, Convolution(entry, inner, size, (1, 1), zeros="half"), "relu", count)
            middle = Convolution(inner, inner, size, (3, 3), stride, zeros="half")
            convolve(to, middle, "relu", count)
            last = convolve(
                to, Convolution(inner, outer, middle.out, (1, 1), zeros="half"), None, count
            )
        if entry != outer or stride > 1:
            convolve(to, Convolution(entry, outer, size, (1, 1), stride, zeros="half"), None, count)
        to.pointwise(last.results, "add", count)
        to.pointwise(last.results, "relu", count)
        return last.out
