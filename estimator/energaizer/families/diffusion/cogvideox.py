"""CogVideoX (Yang et al., arXiv 2408.06072): text and video in one stream, modulated apart."""

from energaizer.families.diffusion import blocks
from energaizer.families.diffusion.component import PatchTransformer
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Attention, Copy, Linear, Norm, Tape
from energaizer.records import Field


class CogVideoXTransformer3DModel(PatchTransformer):
    """Layers that attend jointly with the same weights for text and video."""

    num_layers: int = Field(default=30, ge=1, le=4096)
    num_attention_heads: int = Field(default=30, ge=1, le=4096)
    attention_head_dim: int = Field(default=64, ge=1, le=4096)
    in_channels: int = Field(default=16, ge=1)
    out_channels: int = Field(default=16, ge=1)
    time_embed_dim: int = Field(default=512, ge=1)
    text_embed_dim: int = Field(default=4096, ge=1)
    patch_size: int = Field(default=2, ge=1)
    patch_size_t: int = Field(default=1, ge=1)
    use_rotary_positional_embeddings: bool = False

    @property
    def patch_frames(self) -> int:
        """Frames of a token."""
        return self.patch_size_t

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation."""
        video, text = scene.tokens(self.patch_size, self.patch_size_t), scene.joint_text
        width, count, time = self.width, float(self.num_layers), self.time_embed_dim
        volume, both = self.patch_size**2 * self.patch_size_t, video + text
        to.add(Linear(video, self.in_channels * volume, width))
        to.add(Linear(text, self.text_embed_dim, width))
        to.add(Linear(1.0, width, time))
        to.add(Linear(1.0, time, time))
        blocks.condition(to, time, 6 * width, 2.0 * count)
        to.own(2 * 2 * width * count)  # weights of the modulated norms
        blocks.modulate(to, video, width, 2.0 * count)
        blocks.modulate(to, text, width, 2.0 * count)
        to.add(Copy(both * width), 2.0 * count)
        blocks.project(to, both, width, width, count)
        to.add(Norm(both * self.heads, self.attention_head_dim), 2.0 * count)
        if self.use_rotary_positional_embeddings:
            blocks.rotate(to, video * width, 2.0 * count)
            to.add(Copy(video * width), 2.0 * count)  # back into the joint tensor
        to.add(Attention(1.0, both, both, self.heads, self.attention_head_dim), count)
        to.add(Linear(both, width, width), count)
        blocks.gate(to, both, width, 2.0 * count)
        blocks.Perceptron(width, 4 * width).add(to, both, count)
        to.add(Norm(both, width))
        blocks.condition(to, time, 2 * width)
        blocks.modulate(to, video, width)
        to.own(2 * width)
        to.add(Linear(video, width, self.out_channels * volume))
        to.add(Copy(video * self.out_channels * volume))
        to.layers += count
