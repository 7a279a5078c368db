"""Swin transformers: attention within shifted windows (Liu et al., arXiv 2103.14030)."""

import math
from typing import Self

from energaizer.families.network import Count, Inputs, Network
from energaizer.families.operators import Attention, Convolution, Copy, Linear, Norm, Tape
from energaizer.families.pieces import CHANNELS, Layer, classify, perceptron, project
from energaizer.records import Field

_LAYER_CALLS, _MERGE_CALLS, _OUTER_CALLS = 19.0, 4.0, 10.0


class Swin(Network):
    """A hierarchy of transformer stages, each over half the rows and columns of the last."""

    hidden_size: int = Field(ge=1, le=65536, description="features of the first stage")
    depths: tuple[Count, ...] = Field(
        min_length=1, max_length=64, description="layers of each stage"
    )
    attention_heads: tuple[Count, ...] = Field(
        min_length=1, max_length=64, description="heads of each stage"
    )
    window_size: int = Field(default=7, ge=1, le=1024, description="tokens along an edge")
    patch_size: int = Field(default=4, ge=1, le=1024)
    mlp_ratio: float = Field(default=4.0, gt=0)
    classes: int = Field(default=1000, ge=0, description="0: no classifier")

    def bare(self) -> Self:
        """Return the model without its classifier."""
        return self.model_copy(update={"classes": 0})

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the forward pass of one image."""
        width, patch, edge = self.hidden_size, self.patch_size, inputs.image_size
        patches = Convolution(
            CHANNELS, width, (edge, edge), (patch, patch), patch, bias=True, padded=False,
            laid_out=False,
        )  # fmt: skip
        to.add(patches)
        to.add(Copy(patches.results), 2.0)
        side = patches.out[0]
        to.add(Norm(float(side * side), width))
        for stage, (depth, heads) in enumerate(zip(self.depths, self.attention_heads, strict=True)):
            if stage:
                side, width = self._merge(to, side, width)
            self._layers(to, (side, width, heads), depth)
        to.add(Norm(float(side * side), width))
        to.add(Copy(float(side * side * width)))
        classify(to, width, side * side, self.classes)
        to.module(_OUTER_CALLS)

    def _merge(self, to: Tape, side: int, width: int) -> tuple[int, int]:
        """Halve rows and columns: four neighbours are concatenated and projected."""
        merged = math.ceil(side / 2)
        rows = float(merged * merged)
        to.add(Copy(rows * 4 * width))
        to.add(Norm(rows, 4 * width))
        to.add(Linear(rows, 4 * width, 2 * width, bias=False))
        to.module(_MERGE_CALLS)
        return merged, 2 * width

    def _layers(self, to: Tape, shape: tuple[int, int, int], depth: int) -> None:
        """Add the layers of a stage; every second one shifts its windows."""
        side, width, heads = shape
        window = min(self.window_size, side)
        across = math.ceil(side / window)
        tokens, seen = float(side * side), float(window * window)
        padded = across * across * seen
        shifted = depth // 2 if across > 1 else 0
        layer = Layer(width, int(self.mlp_ratio * width), heads)
        to.add(Norm(tokens, width), 2.0 * depth)
        if padded > tokens:
            to.add(Copy(padded * width), 2.0 * depth)
        to.add(Copy(padded * width), 2.0 * shifted)  # rolled, and rolled back
        to.add(Copy(padded * width), 2.0 * depth)  # into windows, and out of them
        project(to, layer, padded, depth)
        attention = Attention(
            float(across * across), seen, seen, heads, width // heads, biased=True
        )
        to.add(attention, depth)
        to.add(Copy(float(heads)), 2.0 * depth)  # the bias of a window: few elements, two kernels
        to.pointwise(attention.scores, "add", shifted)  # mask of the rolled rows
        to.own(depth * heads * (2 * self.window_size - 1) ** 2)
        perceptron(to, layer, tokens, depth)
        to.pointwise(tokens * width, "add", 2.0 * depth)
        to.module(_LAYER_CALLS * depth)
        to.layers += depth
