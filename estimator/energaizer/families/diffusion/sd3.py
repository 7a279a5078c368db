"""Stable Diffusion 3 and 3.5 (Esser et al., arXiv 2403.03206): MMDiT, two streams to the end."""

from typing import Literal

from energaizer.families.diffusion import blocks
from energaizer.families.diffusion.component import PatchTransformer
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Attention, Copy, Linear, Norm, Tape
from energaizer.records import Field

_TIME = 256


class SD3Transformer2DModel(PatchTransformer):
    """Joint layers of image and text; some layers of 3.5 medium attend once more to the image."""

    in_channels: int = Field(default=16, ge=1)
    out_channels: int = Field(default=16, ge=1)
    patch_size: int = Field(default=2, ge=1)
    num_layers: int = Field(default=18, ge=1, le=4096)
    num_attention_heads: int = Field(default=18, ge=1, le=4096)
    attention_head_dim: int = Field(default=64, ge=1, le=4096)
    joint_attention_dim: int = Field(default=4096, ge=1)
    caption_projection_dim: int = Field(default=1152, ge=1)
    pooled_projection_dim: int = Field(default=2048, ge=1)
    pos_embed_max_size: int = Field(default=96, ge=1)
    dual_attention_layers: tuple[int, ...] = ()
    qk_norm: Literal["rms_norm", ""] = ""

    @property
    def attends(self) -> float:
        """One attention a layer, two in the dual ones."""
        return float(self.num_layers + len(self.dual_attention_layers))

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation; after the last layer nobody reads the text, so its half is cut."""
        image, text = scene.tokens(self.patch_size), scene.joint_text
        width, count, volume = self.width, float(self.num_layers), self.patch_size**2
        to.add(Linear(image, self.in_channels * volume, width))
        to.pointwise(image * width, "add")
        blocks.embed(to, _TIME, width)
        blocks.embed(to, self.pooled_projection_dim, width)
        to.add(Linear(text, self.joint_attention_dim, width))
        self._stream(to, image, count)
        self._stream(to, text, count - 1.0)
        blocks.condition(to, width, 2 * width)
        blocks.modulate(to, text, width)
        blocks.project(to, text, width, width)
        self._norms(to, text, 1.0)
        both = image + text
        to.add(Copy(both * width), 3.0 * count)
        to.add(Attention(1.0, both, both, self.heads, self.attention_head_dim), count)
        dual = float(len(self.dual_attention_layers))
        to.add(Linear(1.0, width, 3 * width), dual)
        blocks.project(to, image, width, width, dual)
        self._norms(to, image, dual)
        to.add(Attention(1.0, image, image, self.heads, self.attention_head_dim), dual)
        to.add(Linear(image, width, width), dual)
        to.pointwise(image * width, "scale", 2.0 * dual)
        blocks.gate(to, image, width, dual)
        blocks.finish(to, image, width, self.out_channels * volume)
        to.layers += count

    def _stream(self, to: Tape, rows: float, count: float) -> None:
        width = self.width
        blocks.condition(to, width, 6 * width, count)
        blocks.modulate(to, rows, width, 2.0 * count)
        blocks.project(to, rows, width, width, count)
        self._norms(to, rows, count)
        to.add(Linear(rows, width, width), count)
        blocks.gate(to, rows, width, 2.0 * count)
        blocks.Perceptron(width, 4 * width).add(to, rows, count)

    def _norms(self, to: Tape, rows: float, count: float) -> None:
        if self.qk_norm:
            to.add(Norm(rows * self.heads, self.attention_head_dim, rms=True), 2.0 * count)
