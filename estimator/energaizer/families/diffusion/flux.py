"""FLUX.1 (Black Forest Labs) and HunyuanVideo (Tencent, arXiv 2412.03603): joint, then parallel.

Layers of two streams, image and text, each with its own weights, attend jointly; later layers hold
one stream and run attention beside the MLP.
"""

from energaizer.families.diffusion import blocks
from energaizer.families.diffusion.component import Transformer
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Attention, Copy, Linear, Norm, Tape
from energaizer.records import Field

_TIME = 256


class _Joint(Transformer):
    """What both share."""

    num_layers: int = Field(ge=0, le=4096)
    num_single_layers: int = Field(ge=0, le=4096)
    num_attention_heads: int = Field(default=24, ge=1, le=4096)
    attention_head_dim: int = Field(default=128, ge=1, le=4096)
    pooled_projection_dim: int = Field(default=768, ge=1)
    guidance_embeds: bool = False

    @property
    def attends(self) -> float:
        """One attention a layer."""
        return float(self.num_layers + self.num_single_layers)

    def _stack(self, to: Tape, image: float, text: float, inner: int) -> None:
        width, both = self.width, image + text
        blocks.embed(to, _TIME, width, 2.0 if self.guidance_embeds else 1.0)
        blocks.embed(to, self.pooled_projection_dim, width)
        seen = Attention(1.0, both, both, self.heads, self.attention_head_dim)
        count = float(self.num_layers)
        blocks.condition(to, width, 6 * width, 2.0 * count)
        for rows in (image, text):
            blocks.modulate(to, rows, width, 2.0 * count)
            blocks.project(to, rows, width, width, count)
            to.add(Norm(rows * self.heads, self.attention_head_dim, rms=True), 2.0 * count)
            to.add(Linear(rows, width, width), count)
            blocks.gate(to, rows, width, 2.0 * count)
            blocks.Perceptron(width, inner).add(to, rows, count)
        to.add(Copy(both * width), 3.0 * count)
        blocks.rotate(to, both * width, 2.0 * count)
        to.add(seen, count)
        count = float(self.num_single_layers)
        blocks.condition(to, width, 3 * width, count)
        blocks.modulate(to, both, width, count)
        blocks.project(to, both, width, width, count)
        to.add(Norm(both * self.heads, self.attention_head_dim, rms=True), 2.0 * count)
        blocks.rotate(to, both * width, 2.0 * count)
        to.add(seen, count)
        to.add(Linear(both, width, inner), count)
        to.pointwise(both * inner, "gelu", count)
        to.add(Copy(both * (width + inner)), count)
        to.add(Linear(both, width + inner, width), count)
        blocks.gate(to, both, width, count)
        to.layers += self.attends


class FluxTransformer2DModel(_Joint):
    """FLUX: patches come packed, so that a token holds `in_channels` values."""

    num_layers: int = Field(default=19, ge=0, le=4096)
    num_single_layers: int = Field(default=38, ge=0, le=4096)
    in_channels: int = Field(default=64, ge=1)
    joint_attention_dim: int = Field(default=4096, ge=1)

    @property
    def patch(self) -> int:
        """Packing of two by two."""
        return 2

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation."""
        image, text = scene.tokens(self.patch), scene.joint_text
        to.add(Linear(image, self.in_channels, self.width))
        to.add(Linear(text, self.joint_attention_dim, self.width))
        self._stack(to, image, text, 4 * self.width)
        blocks.finish(to, image, self.width, self.in_channels)


class HunyuanVideoTransformer3DModel(_Joint):
    """HunyuanVideo: the text of a language model passes a refiner of its own first."""

    num_layers: int = Field(default=20, ge=0, le=4096)
    num_single_layers: int = Field(default=40, ge=0, le=4096)
    num_refiner_layers: int = Field(default=2, ge=0, le=4096)
    in_channels: int = Field(default=16, ge=1)
    out_channels: int = Field(default=16, ge=1)
    mlp_ratio: float = Field(default=4.0, gt=0, le=64)
    patch_size: int = Field(default=2, ge=1)
    patch_size_t: int = Field(default=1, ge=1)
    guidance_embeds: bool = True
    text_embed_dim: int = Field(default=4096, ge=1)

    @property
    def patch(self) -> int:
        """Edge of a token."""
        return self.patch_size

    @property
    def patch_frames(self) -> int:
        """Frames of a token."""
        return self.patch_size_t

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation."""
        video, text = scene.tokens(self.patch_size, self.patch_size_t), scene.joint_text
        volume, width = self.patch_size**2 * self.patch_size_t, self.width
        to.add(Linear(video, self.in_channels * volume, width))
        self._refine(to, text)
        self._stack(to, video, text, round(self.mlp_ratio * width))
        blocks.finish(to, video, width, self.out_channels * volume)

    def _refine(self, to: Tape, text: float) -> None:
        width, count = self.width, float(self.num_refiner_layers)
        blocks.embed(to, _TIME, width)
        blocks.embed(to, self.text_embed_dim, width)
        to.add(Linear(text, self.text_embed_dim, width))
        blocks.condition(to, width, 2 * width, count)
        to.add(Norm(text, width), 2.0 * count)
        blocks.project(to, text, width, width, count)
        to.add(Attention(1.0, text, text, self.heads, self.attention_head_dim), count)
        to.add(Linear(text, width, width), count)
        blocks.Perceptron(width, round(self.mlp_ratio * width), "silu").add(to, text, count)
        blocks.gate(to, text, width, 2.0 * count)
