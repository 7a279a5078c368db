"""Deep compression autoencoder of SANA (AutoencoderDC; Chen et al., arXiv 2410.10733)."""

from typing import Literal

from energaizer.families.diffusion.component import Decoder
from energaizer.families.diffusion.convolutions import Filter, Plane
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Convolution, Copy, Linear, Norm, Tape
from energaizer.records import Field, model_validator

_SCALES = 2  # of linear attention: as it is, and over a window of five
_RATIO = 4  # of the pointwise widening


class AutoencoderDC(Decoder):
    """Residual blocks at large sizes, linear attention with convolutions at small ones."""

    latent_channels: int = Field(default=32, ge=1)
    attention_head_dim: int = Field(default=32, ge=1)
    decoder_block_out_channels: tuple[int, ...] = (128, 256, 512, 512, 1024, 1024)
    decoder_layers_per_block: tuple[int, ...] = (3, 3, 3, 3, 3, 3)
    decoder_block_types: tuple[Literal["ResBlock", "EfficientViTBlock"], ...] = (
        *("ResBlock",) * 3,
        *("EfficientViTBlock",) * 3,
    )
    in_channels: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _one_entry_a_stage(self) -> "AutoencoderDC":
        lists = (
            self.decoder_block_out_channels, self.decoder_layers_per_block,
            self.decoder_block_types,
        )  # fmt: skip
        if len({len(found) for found in lists}) > 1:
            raise ValueError("decoder_* lists must have one entry for each stage")
        return self

    @property
    def shrinks(self) -> int:
        """One halving between stages."""
        return 1 << (len(self.decoder_block_out_channels) - 1)

    def decode(self, to: Tape, scene: Scene) -> None:
        """Write the decoding."""
        plane = Plane(scene.height, scene.width)
        channels = self.decoder_block_out_channels[-1]
        Filter(self.latent_channels, channels).add(to, plane)
        to.pointwise(channels * plane.area, "add")
        stages = list(
            zip(
                self.decoder_block_out_channels, self.decoder_layers_per_block,
                self.decoder_block_types, strict=True,
            )
        )  # fmt: skip
        for index, (width, layers, kind) in enumerate(reversed(stages)):
            if index:
                plane = plane.grown(2)
                to.add(Copy(channels * plane.area))
                Filter(channels, width).add(to, plane)
                to.pointwise(width * plane.area, "add")
            channels = width
            if kind == "ResBlock":
                self._residual(to, width, plane, float(layers))
            else:
                self._vit(to, width, plane, float(layers))
        to.add(Norm(plane.area, channels, rms=True))
        to.pointwise(channels * plane.area, "relu")
        Filter(channels, self.in_channels).add(to, plane)
        to.layers += sum(self.decoder_layers_per_block)

    def _residual(self, to: Tape, width: int, plane: Plane, count: float) -> None:
        Filter(width, width).add(to, plane, 2.0 * count)
        to.pointwise(width * plane.area, "silu", count)
        to.add(Norm(plane.area, width, rms=True), count)
        to.add(Copy(width * plane.area), 2.0 * count)
        to.pointwise(width * plane.area, "add", count)

    def _vit(self, to: Tape, width: int, plane: Plane, count: float) -> None:
        rows, size = plane.area, self.attention_head_dim
        to.add(Linear(rows, width, width, bias=False), 3.0 * count)
        edge = (plane.height, plane.width)
        deep = Convolution(3 * width, 3 * width, edge, (5, 5), groups=3 * width, laid_out=False)
        to.add(deep, count)
        to.add(deep._replace(window=(1, 1), groups=3 * width // size), count)
        to.pointwise(_SCALES * rows * width, "relu", 2.0 * count)
        to.add(Copy(1.5 * _SCALES * rows * width), 4.0 * count)
        to.add(Linear(rows, size, _SCALES * width, bias=False), 2.0 * count, owned=False)
        to.add(Linear(rows, _SCALES * width, width, bias=False), count)
        to.add(Norm(rows, width, rms=True), 2.0 * count)
        inner = _RATIO * width
        up = Convolution(width, 2 * inner, edge, (1, 1), bias=True, laid_out=False)
        to.add(up, count)
        to.pointwise(rows * 2 * inner, "silu", count)
        to.add(up._replace(inputs=2 * inner, window=(3, 3), groups=2 * inner), count)
        to.pointwise(rows * inner, "silu", count)
        to.pointwise(rows * inner, "mul", count)
        to.add(Convolution(inner, width, edge, (1, 1), laid_out=False), count)
        to.pointwise(rows * width, "add", 2.0 * count)
        to.module(20.0 * count)
