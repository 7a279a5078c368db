"""Mochi 1 (Genmo): joint layers whose text stream is half as wide as the video's."""

from energaizer.families.diffusion import blocks
from energaizer.families.diffusion.component import PatchTransformer
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Attention, Copy, Linear, Norm, Tape
from energaizer.records import Field

_TIME = 256


class MochiTransformer3DModel(PatchTransformer):
    """Gated MLPs of two thirds of the usual width; RMS norms, rotary query and key."""

    num_layers: int = Field(default=48, ge=1, le=4096)
    num_attention_heads: int = Field(default=24, ge=1, le=4096)
    attention_head_dim: int = Field(default=128, ge=1, le=4096)
    pooled_projection_dim: int = Field(default=1536, ge=1)
    in_channels: int = Field(default=12, ge=1)
    text_embed_dim: int = Field(default=4096, ge=1)
    patch_size: int = Field(default=2, ge=1)

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation; the last layer's text is only attended to."""
        video, text = scene.tokens(self.patch_size), scene.joint_text
        width, small, count = self.width, self.pooled_projection_dim, float(self.num_layers)
        volume, both = self.patch_size**2, video + text
        to.add(Linear(video, self.in_channels * volume, width))
        blocks.embed(to, _TIME, width)
        to.add(Linear(text, self.text_embed_dim, small))
        to.add(Linear(text, self.text_embed_dim, 2 * self.text_embed_dim))  # pooling by attention
        to.add(Linear(1.0, self.text_embed_dim, self.text_embed_dim))
        to.add(Linear(1.0, self.text_embed_dim, width))
        self._stream(to, video, width, count)
        self._stream(to, text, small, count - 1.0)
        blocks.condition(to, width, small)
        to.add(Linear(text, small, width, bias=False), 3.0)
        to.add(Copy(both * width), 3.0 * count)
        to.add(Norm(both * self.heads, self.attention_head_dim, rms=True), 2.0 * count)
        blocks.rotate(to, video * width, 2.0 * count)
        to.add(Attention(1.0, both, both, self.heads, self.attention_head_dim), count)
        blocks.finish(to, video, width, self.in_channels * volume)
        to.layers += count

    def _stream(self, to: Tape, rows: float, features: int, count: float) -> None:
        width, inner = self.width, 4 * features * 2 // 3
        blocks.condition(to, width, 4 * features, count)
        for _ in range(4):  # before and after attention, before and after the MLP
            to.add(Norm(rows, features, rms=True), count, owned=False)
            to.pointwise(rows * features, "scale", count)
        blocks.project(to, rows, features, width, count, bias=False)
        to.add(Linear(rows, width, features), count)
        gated = blocks.Perceptron(features, inner, "silu", gated=True, bias=False)
        gated.add(to, rows, count)
        to.pointwise(rows * features, "add", 2.0 * count)
