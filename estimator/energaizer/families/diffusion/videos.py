"""Decoders of latents of videos: convolutions over frames as well, each causal in time.

Wan: arXiv 2503.20314. HunyuanVideo: 2412.03603. CogVideoX: 2408.06072. LTX-Video: 2501.00103.
Mochi 1: Genmo, 2024. All are residual blocks with a doubling of size, and often of frames, between
stages; each class says how its own stages follow one another.
"""

import math
from abc import abstractmethod
from typing import Literal, NamedTuple

from energaizer.families.diffusion.component import Decoder
from energaizer.families.diffusion.convolutions import (
    Filter,
    Plane,
    Residual,
    attended,
    grouped_norm,
)
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Copy, Linear, Norm, Tape
from energaizer.records import Field

_DEPTH = 3
_TILE, _TILE_STEP = 256, 192  # pixels of a tile of HunyuanVideo, and from one to the next
_TILE_FRAMES, _TILE_FRAMES_STEP = 16, 12


def _tiled(length: int, tile: int, step: int) -> tuple[int, float]:
    """Return the length of a tile, and how many of it are decoded; the last ones are cut."""
    if length <= tile:
        return length, 1.0
    return tile, sum(min(tile, length - first) for first in range(0, length, step)) / tile


class Stage(NamedTuple):
    """One stage of a decoder, from the latent towards pixels.

    Attributes:
        channels: Channels of its blocks.
        blocks: Residual blocks.
        grows: Factor of height and width before the next stage.
        frames: Factor of frames before the next stage.
        halved: The step of size halves the channels.
        shuffled: The step is a product that widens channels, laid out anew as pixels.
    """

    channels: int
    blocks: int
    grows: int = 1
    frames: int = 1
    halved: bool = False
    shuffled: bool = False


class _Video(Decoder):
    latent_channels: int = Field(default=16, ge=1)
    out_channels: int = Field(default=3, ge=1)

    @abstractmethod
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages from the latent on."""

    @property
    def shrinks(self) -> int:
        """Product of all steps."""
        return math.prod(stage.grows for stage in self.stages()) * self._patch

    @property
    def shrinks_frames(self) -> int:
        """Product of all steps in time."""
        return math.prod(stage.frames for stage in self.stages())

    @property
    def _patch(self) -> int:
        """Edge of the patches of pixels that the last product gives."""
        return 1

    @property
    def _middle(self) -> int:
        """Attentions in the middle."""
        return 1

    def decode(self, to: Tape, scene: Scene) -> None:
        """Write the decoding."""
        plane, stages = Plane(scene.height, scene.width, scene.frames), self.stages()
        channels = stages[0].channels
        Filter(self.latent_channels, channels, depth=_DEPTH).add(to, plane)
        if self._middle:
            self._block(to, channels, channels, plane, 2.0)
            attended(to, channels, plane, self._groups, float(self._middle))
        for stage in stages:
            self._block(to, channels, stage.channels, plane, min(1.0, stage.blocks))
            self._block(to, stage.channels, stage.channels, plane, stage.blocks - 1.0)
            channels = stage.channels
            if stage.grows > 1 or stage.frames > 1:
                plane, channels = self._grow(to, stage, plane)
        self._norm(to, channels, plane)
        outputs = self.out_channels * self._patch**2
        Filter(channels, outputs, depth=_DEPTH).add(to, plane)
        to.layers += len(stages)

    @property
    def _groups(self) -> int:
        return 32

    def _norm(self, to: Tape, channels: int, plane: Plane, count: float = 1.0) -> None:
        grouped_norm(to, channels, plane, self._groups, count)

    def _block(self, to: Tape, inputs: int, outputs: int, plane: Plane, count: float) -> None:
        Residual(self._groups, depth=_DEPTH).add(to, inputs, outputs, plane, count)

    def _grow(self, to: Tape, stage: Stage, plane: Plane) -> tuple[Plane, int]:
        """Add a step of size; return the larger plane and the channels that it has."""
        channels = stage.channels
        if stage.shuffled:
            larger = plane.grown(stage.grows, stage.frames)
            widened = channels // (2 if stage.halved else 1) * stage.grows**2 * stage.frames
            Filter(channels, widened, depth=_DEPTH).add(to, plane)
            to.add(Copy(widened * plane.area))
            return larger, channels // (2 if stage.halved else 1)
        if stage.frames > 1 and stage.halved:  # frames first, by a filter over time alone
            Filter(channels, 2 * channels, window=1, depth=_DEPTH).add(to, plane)
        larger = plane.grown(stage.grows, stage.frames)
        narrower = channels // 2 if stage.halved else channels
        to.add(Copy(channels * larger.area))
        Filter(channels, narrower, depth=1 if stage.halved else _DEPTH).add(to, larger)
        return larger, narrower


class AutoencoderKLWan(_Video):
    """Wan 2.1 and 2.2: norms over channels, decoding frame by frame with a cache of frames."""

    base_dim: int = Field(default=96, ge=1)
    decoder_base_dim: int = Field(default=0, ge=0, description="0: as base_dim")
    z_dim: int = Field(default=16, ge=1)
    dim_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = Field(default=2, ge=1, le=64)
    temperal_downsample: tuple[bool, ...] = (False, True, True)
    out_channels: int = Field(default=3, ge=1)
    patch_size: int = Field(default=1, ge=1, description="edge of the patches of pixels")

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages: a step halves the channels."""
        base = self.decoder_base_dim or self.base_dim
        last = len(self.dim_mult) - 1
        later = tuple(reversed(self.temperal_downsample))
        return tuple(
            Stage(
                base * factor, self.num_res_blocks + 1,
                2 if index < last else 1, 2 if index < last and later[index] else 1,
                halved=self.patch_size == 1,
            )
            for index, factor in enumerate(reversed(self.dim_mult))
        )  # fmt: skip

    @property
    def _patch(self) -> int:
        return self.patch_size

    def decode(self, to: Tape, scene: Scene) -> None:
        """Write the decoding of a latent of `z_dim` channels."""
        latent = self.z_dim
        Filter(latent, latent, window=1).add(to, Plane(scene.height, scene.width, scene.frames))
        super(AutoencoderKLWan, self.model_copy(update={"latent_channels": latent})).decode(
            to, scene
        )

    def _norm(self, to: Tape, channels: int, plane: Plane, count: float = 1.0) -> None:
        to.add(Norm(plane.area, channels, rms=True), count)
        to.pointwise(channels * plane.area, "silu", count)

    def _block(self, to: Tape, inputs: int, outputs: int, plane: Plane, count: float) -> None:
        self._norm(to, inputs, plane, count)
        Filter(inputs, outputs, depth=_DEPTH).add(to, plane, count)
        self._norm(to, outputs, plane, count)
        Filter(outputs, outputs, depth=_DEPTH).add(to, plane, count)
        if inputs != outputs:
            Filter(inputs, outputs, window=1).add(to, plane, count)
        to.add(Copy(inputs * plane.area), 2.0 * count)  # earlier frames in front, kept for later
        to.pointwise(outputs * plane.area, "add", count)


class AutoencoderKLHunyuanVideo(_Video):
    """HunyuanVideo: three steps of size, two of them in time; decoded in overlapping tiles."""

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = Field(default=2, ge=1, le=64)
    spatial_compression_ratio: int = Field(default=8, ge=1)
    temporal_compression_ratio: int = Field(default=4, ge=1)
    norm_num_groups: int = Field(default=32, ge=1)

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages: the last steps grow in time."""
        widths = tuple(reversed(self.block_out_channels))
        steps = round(math.log2(self.spatial_compression_ratio))
        times = round(math.log2(self.temporal_compression_ratio))
        last = len(widths) - 1
        return tuple(
            Stage(
                width, self.layers_per_block + 1,
                2 if index < steps else 1, 2 if last - times <= index < last else 1,
            )
            for index, width in enumerate(widths)
        )  # fmt: skip

    @property
    def _groups(self) -> int:
        return self.norm_num_groups

    def decode(self, to: Tape, scene: Scene) -> None:
        """Write the decoding of as many whole tiles as cover the latent, overlaps twice."""
        pixels, frames = self.shrinks, self.shrinks_frames
        edge = (_TILE // pixels, _TILE_STEP // pixels)
        span = (_TILE_FRAMES // frames + 1, _TILE_FRAMES_STEP // frames)
        height, rows = _tiled(scene.height, *edge)
        width, columns = _tiled(scene.width, *edge)
        depth, spans = _tiled(scene.frames, *span)
        tiles, one = rows * columns * spans, Tape()
        super().decode(one, scene._replace(height=height, width=width, frames=depth))
        for operator, count in one.counts.items():
            to.add(operator, count * tiles, owned=False)
        to.own(one.parameters)
        to.module(one.calls * tiles)
        to.layers += one.layers


class AutoencoderKLCogVideoX(_Video):
    """CogVideoX: each norm is scaled and shifted by products of the latent, grown to its size."""

    block_out_channels: tuple[int, ...] = (128, 256, 256, 512)
    layers_per_block: int = Field(default=3, ge=1, le=64)
    temporal_compression_ratio: int = Field(default=4, ge=1)
    norm_num_groups: int = Field(default=32, ge=1)

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages: the first steps grow in time."""
        widths = tuple(reversed(self.block_out_channels))
        times, last = round(math.log2(self.temporal_compression_ratio)), len(widths) - 1
        return tuple(
            Stage(width, self.layers_per_block + 1, 2 if index < last else 1,
                  2 if index < min(times, last) else 1)
            for index, width in enumerate(widths)
        )  # fmt: skip

    @property
    def _groups(self) -> int:
        return self.norm_num_groups

    @property
    def _middle(self) -> int:
        return 0

    def decode(self, to: Tape, scene: Scene) -> None:
        """Write the decoding; two residual blocks stand in the middle, without attention."""
        channels = self.block_out_channels[-1]
        plane = Plane(scene.height, scene.width, scene.frames)
        self._block(to, channels, channels, plane, 2.0)
        super().decode(to, scene)

    def _norm(self, to: Tape, channels: int, plane: Plane, count: float = 1.0) -> None:
        grouped_norm(to, channels, plane, self._groups, count)
        to.add(Copy(self.latent_channels * plane.area), count)
        Filter(self.latent_channels, channels, window=1).add(to, plane, 2.0 * count)
        to.pointwise(channels * plane.area, "mul", count)
        to.pointwise(channels * plane.area, "add", count)

    def _block(self, to: Tape, inputs: int, outputs: int, plane: Plane, count: float) -> None:
        self._norm(to, inputs, plane, count)
        Filter(inputs, outputs, depth=_DEPTH).add(to, plane, count)
        self._norm(to, outputs, plane, count)
        Filter(outputs, outputs, depth=_DEPTH).add(to, plane, count)
        if inputs != outputs:
            Filter(inputs, outputs, window=1).add(to, plane, count)
        to.add(Copy(inputs * plane.area), 2.0 * count)
        to.pointwise(outputs * plane.area, "add", count)

    def _grow(self, to: Tape, stage: Stage, plane: Plane) -> tuple[Plane, int]:
        larger = plane.grown(stage.grows, stage.frames)
        to.add(Copy(stage.channels * larger.area), 2.0)
        Filter(stage.channels, stage.channels).add(to, larger)
        return larger, stage.channels


class AutoencoderKLMochi(_Video):
    """Mochi 1: a step is a product that widens channels, laid out anew as pixels and frames."""

    decoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 768)
    layers_per_block: tuple[int, ...] = (3, 3, 4, 6, 3)
    temporal_expansions: tuple[int, ...] = (1, 2, 3)
    spatial_expansions: tuple[int, ...] = (2, 2, 2)
    latent_channels: int = Field(default=12, ge=1)

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages: one without a step, three with, one without."""
        widths = tuple(reversed(self.decoder_block_out_channels))
        blocks = tuple(reversed(self.layers_per_block))
        grown = tuple(
            Stage(width, blocks[index + 1], space, time, shuffled=True)
            for index, (width, space, time) in enumerate(
                zip(
                    widths, reversed(self.spatial_expansions), reversed(self.temporal_expansions),
                    strict=False,
                )
            )
        )  # fmt: skip
        return (Stage(widths[0], blocks[0]), *grown, Stage(widths[-1], blocks[-1]))

    @property
    def _middle(self) -> int:
        return 0

    def _grow(self, to: Tape, stage: Stage, plane: Plane) -> tuple[Plane, int]:
        """Add a product to the channels of the next stage, times all that the step grows."""
        widths = tuple(reversed(self.decoder_block_out_channels))
        after = widths[min(widths.index(stage.channels) + 1, len(widths) - 1)]
        widened = after * stage.grows**2 * stage.frames
        to.add(Linear(plane.area, stage.channels, widened))
        to.add(Copy(widened * plane.area))
        return plane.grown(stage.grows, stage.frames), after


class AutoencoderKLLTXVideo(_Video):
    """LTX-Video: the last product gives patches of pixels, so that few elements are decoded."""

    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    decoder_block_out_channels: tuple[int, ...] = ()
    layers_per_block: tuple[int, ...] = (4, 3, 3, 3, 4)
    decoder_layers_per_block: tuple[int, ...] = ()
    spatio_temporal_scaling: tuple[bool, ...] = (True, True, True, False)
    decoder_spatio_temporal_scaling: tuple[bool, ...] = ()
    latent_channels: int = Field(default=128, ge=1)
    patch_size: int = Field(default=4, ge=1)
    timestep_conditioning: Literal[False] = False

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages: the deepest stands in the middle, each other begins with a step."""
        widths = tuple(reversed(self.decoder_block_out_channels or self.block_out_channels))
        blocks = tuple(reversed(self.decoder_layers_per_block or self.layers_per_block))
        grows = tuple(
            reversed(self.decoder_spatio_temporal_scaling or self.spatio_temporal_scaling)
        )
        middle = Stage(widths[0], blocks[0], *((2, 2) if grows[0] else (1, 1)), shuffled=True)
        later = (*grows[1:], False)
        return (
            middle,
            *(
                Stage(width, blocks[index + 1], *((2, 2) if later[index] else (1, 1)),
                      shuffled=True)
                for index, width in enumerate(widths)
            ),
        )  # fmt: skip

    @property
    def _patch(self) -> int:
        return self.patch_size

    @property
    def _middle(self) -> int:
        return 0

    def _norm(self, to: Tape, channels: int, plane: Plane, count: float = 1.0) -> None:
        to.add(Norm(plane.area, channels, rms=True), count, owned=False)
        to.pointwise(channels * plane.area, "silu", count)

    def _block(self, to: Tape, inputs: int, outputs: int, plane: Plane, count: float) -> None:
        self._norm(to, inputs, plane, count)
        Filter(inputs, outputs, depth=_DEPTH).add(to, plane, count)
        self._norm(to, outputs, plane, count)
        Filter(outputs, outputs, depth=_DEPTH).add(to, plane, count)
        if inputs != outputs:
            Filter(inputs, outputs, window=1).add(to, plane, count)
        to.pointwise(outputs * plane.area, "add", count)
