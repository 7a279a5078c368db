"""Decoder of latents of images (AutoencoderKL; Rombach et al., arXiv 2112.10752)."""

from typing import Literal

from energaizer.families.diffusion.component import Decoder
from energaizer.families.diffusion.convolutions import (
    Filter,
    Plane,
    Residual,
    attended,
    grouped_norm,
)
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Copy, Tape
from energaizer.records import Field


class AutoencoderKL(Decoder):
    """Residual blocks, attention in the middle, a doubling of size between stages."""

    block_out_channels: tuple[int, ...] = Field(default=(64,), min_length=1, max_length=16)
    layers_per_block: int = Field(default=1, ge=1, le=64)
    latent_channels: int = Field(default=4, ge=1)
    norm_num_groups: int = Field(default=32, ge=1)
    out_channels: int = Field(default=3, ge=1)
    use_post_quant_conv: bool = True
    mid_block_add_attention: Literal[True] = True

    @property
    def shrinks(self) -> int:
        """One halving between stages."""
        return 1 << (len(self.block_out_channels) - 1)

    def decode(self, to: Tape, scene: Scene) -> None:
        """Write the decoding; frames are decoded one by one, as images."""
        plane = Plane(scene.height, scene.width, scene.frames)
        latent, groups = self.latent_channels, self.norm_num_groups
        block = Residual(groups)
        channels = self.block_out_channels[-1]
        if self.use_post_quant_conv:
            Filter(latent, latent, window=1).add(to, plane)
        Filter(latent, channels).add(to, plane)
        block.add(to, channels, channels, plane, 2.0)
        attended(to, channels, plane, groups)
        for index, width in enumerate(reversed(self.block_out_channels)):
            if index:
                plane = plane.grown(2)
                to.add(Copy(channels * plane.area))
                Filter(channels, channels).add(to, plane)
            block.add(to, channels, width, plane)
            block.add(to, width, width, plane, float(self.layers_per_block))
            channels = width
        grouped_norm(to, channels, plane, groups)
        Filter(channels, self.out_channels).add(to, plane)
        to.layers += len(self.block_out_channels)
