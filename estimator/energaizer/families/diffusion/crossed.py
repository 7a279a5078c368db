"""Denoisers that attend to themselves, then to the prompt: PixArt, Wan, LTX-Video.

PixArt: Chen et al., arXiv 2310.00426 and 2403.04692. Wan: arXiv 2503.20314. LTX-Video: HaCohen et
al., arXiv 2501.00103. Scales, shifts and gates come once for all layers; each adds its table.
"""

from abc import abstractmethod
from typing import Literal

from energaizer.families.diffusion import blocks
from energaizer.families.diffusion.component import Transformer
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Attention, Copy, Linear, Norm, Tape
from energaizer.records import Field

_TIME = 256
_PARTS = 6  # a scale, a shift and a gate for attention, and for the MLP


class _Crossed(Transformer):
    """What the three share."""

    def _caption(self, to: Tape, text: float, inputs: int, timed: bool = True) -> None:
        """Add what is computed once: the projection of the prompt, and the modulation."""
        width = self.width
        to.add(Linear(text, inputs, width))
        to.pointwise(text * width, "gelu")
        to.add(Linear(text, width, width))
        if timed:
            blocks.embed(to, _TIME, width)
        blocks.condition(to, width, _PARTS * width)

    def _layers(self, to: Tape, rows: float, text: float) -> None:
        width, count = self.width, float(self.num_layers)
        to.own(_PARTS * width * count)
        to.pointwise(_PARTS * width, "add", count)
        blocks.modulate(to, rows, width, 2.0 * count)
        blocks.project(to, rows, width, width, count)
        self._self(to, rows, count)
        to.add(Attention(1.0, rows, rows, self.heads, self.attention_head_dim), count)
        to.add(Linear(rows, width, width), count)
        blocks.gate(to, rows, width, 2.0 * count)
        self._text(to, rows, text, count)
        to.pointwise(rows * width, "add", count)
        blocks.Perceptron(width, self._inner).add(to, rows, count)
        to.layers += count

    def _finish(self, to: Tape, rows: float, outputs: int) -> None:
        width = self.width
        to.own(2 * width)
        blocks.modulate(to, rows, width)
        to.add(Linear(rows, width, outputs))
        to.add(Copy(rows * outputs))

    @property
    def _inner(self) -> int:
        return 4 * self.width

    @abstractmethod
    def _self(self, to: Tape, rows: float, count: float) -> None:
        """Add what happens to query and key before they meet."""

    def _text(self, to: Tape, rows: float, text: float, count: float) -> None:
        blocks.Crossing(self.width, self.heads).add(to, rows, text, count)


class PixArtTransformer2DModel(_Crossed):
    """PixArt-alpha and PixArt-Sigma."""

    num_layers: int = Field(default=28, ge=1, le=4096)
    num_attention_heads: int = Field(default=16, ge=1, le=4096)
    attention_head_dim: int = Field(default=72, ge=1, le=4096)
    in_channels: int = Field(default=4, ge=1)
    out_channels: int = Field(default=8, ge=1)
    patch_size: int = Field(default=2, ge=1)
    caption_channels: int = Field(default=4096, ge=1)
    use_additional_conditions: bool = False
    norm_type: Literal["ada_norm_single"] = "ada_norm_single"

    @property
    def patch(self) -> int:
        """Edge of a token."""
        return self.patch_size

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation."""
        rows, text, volume = scene.tokens(self.patch_size), float(scene.text), self.patch_size**2
        to.add(Linear(rows, self.in_channels * volume, self.width))
        to.pointwise(rows * self.width, "add")
        self._caption(to, text, self.caption_channels)
        if self.use_additional_conditions:  # resolution and aspect ratio
            blocks.embed(to, _TIME, self.width // 3, 2.0)
        self._layers(to, rows, text)
        self._finish(to, rows, self.out_channels * volume)

    def _self(self, to: Tape, rows: float, count: float) -> None:
        """Nothing: query and key meet as they are."""


class WanTransformer3DModel(_Crossed):
    """Wan 2.1 and 2.2: norms and modulation in fp32, rotary query and key."""

    patch_size: tuple[int, int, int] = (1, 2, 2)
    num_layers: int = Field(default=40, ge=1, le=4096)
    num_attention_heads: int = Field(default=40, ge=1, le=4096)
    attention_head_dim: int = Field(default=128, ge=1, le=4096)
    in_channels: int = Field(default=16, ge=1)
    out_channels: int = Field(default=16, ge=1)
    text_dim: int = Field(default=4096, ge=1)
    freq_dim: int = Field(default=256, ge=1)
    ffn_dim: int = Field(default=13824, ge=1)
    cross_attn_norm: bool = True
    qk_norm: Literal["rms_norm_across_heads"] = "rms_norm_across_heads"
    image_dim: Literal[0] = 0
    added_kv_proj_dim: Literal[0] = 0

    @property
    def patch(self) -> int:
        """Edge of a token."""
        return self.patch_size[1]

    @property
    def patch_frames(self) -> int:
        """Frames of a token."""
        return self.patch_size[0]

    @property
    def _inner(self) -> int:
        return self.ffn_dim

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation."""
        rows, text = scene.tokens(self.patch, self.patch_frames), float(scene.text)
        volume = self.patch_frames * self.patch**2
        to.add(Linear(rows, self.in_channels * volume, self.width))
        self._caption(to, text, self.text_dim)
        self._layers(to, rows, text)
        self._finish(to, rows, self.out_channels * volume)

    def _self(self, to: Tape, rows: float, count: float) -> None:
        to.add(Norm(rows, self.width, rms=True), 2.0 * count)
        blocks.rotate(to, rows * self.width, 2.0 * count)
        # The residual stream is cast to fp32 and back around each norm and gate.
        to.add(Copy(1.5 * rows * self.width), 6.0 * count)

    def _text(self, to: Tape, rows: float, text: float, count: float) -> None:
        if self.cross_attn_norm:
            to.add(Norm(rows, self.width), count)
        blocks.Crossing(self.width, self.heads, normed=True).add(to, rows, text, count)


class LTXVideoTransformer3DModel(_Crossed):
    """LTX-Video: each element of its small latent is a token."""

    num_layers: int = Field(default=28, ge=1, le=4096)
    num_attention_heads: int = Field(default=32, ge=1, le=4096)
    attention_head_dim: int = Field(default=64, ge=1, le=4096)
    in_channels: int = Field(default=128, ge=1)
    out_channels: int = Field(default=128, ge=1)
    patch_size: int = Field(default=1, ge=1)
    patch_size_t: int = Field(default=1, ge=1)
    caption_channels: int = Field(default=4096, ge=1)
    qk_norm: Literal["rms_norm_across_heads"] = "rms_norm_across_heads"

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
        rows, text = scene.tokens(self.patch_size, self.patch_size_t), float(scene.text)
        volume = self.patch_size**2 * self.patch_size_t
        to.add(Linear(rows, self.in_channels * volume, self.width))
        self._caption(to, text, self.caption_channels)
        self._layers(to, rows, text)
        self._finish(to, rows, self.out_channels * volume)

    def _self(self, to: Tape, rows: float, count: float) -> None:
        to.add(Norm(rows, self.width, rms=True), 2.0 * count)
        blocks.rotate(to, rows * self.width, 2.0 * count)

    def _text(self, to: Tape, rows: float, text: float, count: float) -> None:
        blocks.Crossing(self.width, self.heads, normed=True).add(to, rows, text, count)
