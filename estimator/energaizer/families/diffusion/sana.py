"""SANA (Xie et al., arXiv 2410.10629, 2501.18427): linear attention, and convolutions as MLP."""

import math
from typing import Literal

from energaizer.families.diffusion import blocks
from energaizer.families.diffusion.component import PatchTransformer
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Convolution, Copy, Linear, Norm, Tape
from energaizer.records import Field

_TIME = 256
_PARTS = 6


class SanaTransformer2DModel(PatchTransformer):
    """A token an element of a latent that is 32 times smaller than the image."""

    in_channels: int = Field(default=32, ge=1)
    out_channels: int = Field(default=32, ge=1)
    num_attention_heads: int = Field(default=70, ge=1, le=4096)
    attention_head_dim: int = Field(default=32, ge=1, le=4096)
    num_layers: int = Field(default=20, ge=1, le=4096)
    num_cross_attention_heads: int = Field(default=20, ge=1, le=4096)
    cross_attention_head_dim: int = Field(default=112, ge=1, le=4096)
    cross_attention_dim: int = Field(default=2240, ge=1)
    caption_channels: int = Field(default=2304, ge=1)
    mlp_ratio: float = Field(default=2.5, gt=0, le=64)
    patch_size: int = Field(default=1, ge=1)
    qk_norm: Literal["rms_norm_across_heads", ""] = ""
    guidance_embeds: bool = False

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation."""
        rows, text, width = scene.tokens(self.patch_size), float(scene.text), self.width
        count, volume = float(self.num_layers), self.patch_size**2
        to.add(Linear(rows, self.in_channels * volume, width))
        blocks.embed(to, _TIME, width, 2.0 if self.guidance_embeds else 1.0)
        blocks.condition(to, width, _PARTS * width)
        to.add(Linear(text, self.caption_channels, width))
        to.pointwise(text * width, "gelu")
        to.add(Linear(text, width, width))
        to.add(Norm(text, width, rms=True))
        to.own(_PARTS * width * count)
        to.pointwise(_PARTS * width, "add", count)
        blocks.modulate(to, rows, width, 2.0 * count)
        self._linear_attention(to, rows, count)
        blocks.gate(to, rows, width, 2.0 * count)
        crossing = blocks.Crossing(
            width, self.num_cross_attention_heads, self.cross_attention_dim, bool(self.qk_norm)
        )
        crossing.add(to, rows, text, count)
        to.pointwise(rows * width, "add", count)
        self._mix(to, scene, count)
        to.own(2 * width)
        blocks.modulate(to, rows, width)
        to.add(Linear(rows, width, self.out_channels * volume))
        to.layers += count

    def _linear_attention(self, to: Tape, rows: float, count: float) -> None:
        """Keys with values first, then queries with the small result, in fp32 beside casts."""
        width, size = self.width, self.attention_head_dim
        blocks.project(to, rows, width, width, count, bias=False)
        if self.qk_norm:
            to.add(Norm(rows, width, rms=True), 2.0 * count)
        to.pointwise(rows * width, "relu", 2.0 * count)
        to.add(Copy(1.5 * rows * width), 4.0 * count)
        to.add(Copy(2.0 * rows * width), count)  # a row of ones beside the values
        to.add(Linear(rows, size, width, bias=False), 2.0 * count, owned=False)
        to.pointwise(2.0 * rows * width, "mul", count)
        to.add(Linear(rows, width, width), count)

    def _mix(self, to: Tape, scene: Scene, count: float) -> None:
        """Pointwise up, depthwise over neighbours, gate, pointwise down."""
        inner, width = int(self.mlp_ratio * self.width), self.width
        plane = (
            math.ceil(scene.height / self.patch_size / scene.boards),
            scene.width // self.patch_size,
        )
        rows = float(plane[0] * plane[1])
        to.add(Convolution(width, 2 * inner, plane, (1, 1), bias=True, laid_out=False), count)
        to.pointwise(rows * 2 * inner, "silu", count)
        deep = Convolution(
            2 * inner, 2 * inner, plane, (3, 3), groups=2 * inner, bias=True, laid_out=False
        )
        to.add(deep, count)
        to.pointwise(rows * inner, "silu", count)
        to.pointwise(rows * inner, "mul", count)
        to.add(Convolution(inner, width, plane, (1, 1), laid_out=False), count)
        to.add(Copy(rows * width), 2.0 * count)
        to.module(8.0 * count)
