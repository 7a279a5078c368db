"""MobileViT: inverted residuals with transformers between them (Mehta and Rastegari, 2110.02178).

Attention runs among pixels of equal place in their patch, so that a patch of 2 x 2 makes four
independent sets of tokens; unfolding and folding are copies.
"""

import math
from typing import Self

from energaizer.families.inverted import Stage, inverted
from energaizer.families.network import Count, Inputs, Network
from energaizer.families.operators import Attention, Convolution, Copy, Norm, Tape
from energaizer.families.pieces import CHANNELS, Layer, classify, convolve, encode
from energaizer.records import Field

_HEADS, _MLP_RATIO, _PATCH = 4, 2, 2
_DEPTHS = (2, 4, 3)  # transformer layers of the three stages that have them
_REPEATS = (1, 3)  # inverted residuals of the two stages that have nothing else
_FOLDS = 2.0  # copies of an unfolding, and of a folding
_CALLS, _STAGE_CALLS = 4.0, 6.0


class MobileVit(Network):
    """A MobileViT of the three published sizes' form."""

    necks: tuple[Count, Count, Count, Count, Count, Count, Count] = Field(
        description="channels of the stem, the five stages and the last convolution"
    )
    hidden_sizes: tuple[Count, Count, Count] = Field(
        description="features of the transformers' tokens"
    )
    ratio: float = Field(default=4.0, gt=0, description="expansion of the inverted residuals")
    classes: int = Field(default=1000, ge=0, description="0: no classifier")

    def bare(self) -> Self:
        """Return the model without its classifier."""
        return self.model_copy(update={"classes": 0})

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the forward pass of one image."""
        edge = (inputs.image_size, inputs.image_size)
        stem = Convolution(CHANNELS, self.necks[0], edge, (3, 3), 2)
        convolve(to, stem, "silu", calls=_CALLS)
        channels, size = self.necks[0], stem.out
        for index, repeats in enumerate(_REPEATS):
            stage = self._stage(self.necks[index + 1])
            size = inverted(to, stage, channels, size, 1 if index == 0 else 2, 1.0)
            channels = stage.outputs
            inverted(to, stage, channels, size, 1, repeats - 1.0)
        for width, hidden, depth in zip(self.necks[3:6], self.hidden_sizes, _DEPTHS, strict=True):
            size = inverted(to, self._stage(width), channels, size, 2, 1.0)
            channels = width
            self._transform(to, (channels, hidden), size, depth)
        last = Convolution(channels, self.necks[6], size, (1, 1))
        convolve(to, last, "silu", calls=_CALLS)
        classify(to, self.necks[6], size[0] * size[1], self.classes)
        to.module(8.0)

    def _stage(self, outputs: int) -> Stage:
        return Stage(outputs=outputs, ratio=self.ratio, function="silu")

    def _transform(
        self, to: Tape, widths: tuple[int, int], size: tuple[int, int], depth: int
    ) -> None:
        """Add a local convolution, transformer layers over unfolded patches, and their fusion."""
        channels, hidden = widths
        convolve(to, Convolution(channels, channels, size, (3, 3)), "silu", calls=_CALLS)
        to.add(Convolution(channels, hidden, size, (1, 1)))
        rows, columns = (math.ceil(length / _PATCH) for length in size)
        sets, tokens = float(_PATCH * _PATCH), float(rows * columns)
        to.add(Copy(sets * tokens * hidden), 2.0 * _FOLDS)
        layer = Layer(hidden, _MLP_RATIO * hidden, _HEADS, "silu", calls=18.0)
        seen = Attention(sets, tokens, tokens, _HEADS, hidden // _HEADS)
        encode(to, layer, sets * tokens, seen, float(depth))
        to.add(Norm(sets * tokens, hidden))
        convolve(to, Convolution(hidden, channels, size, (1, 1)), "silu", calls=_CALLS)
        to.add(Copy(2.0 * channels * size[0] * size[1]))
        convolve(to, Convolution(2 * channels, channels, size, (3, 3)), "silu", calls=_CALLS)
        to.module(_STAGE_CALLS)
