"""UNets of Stable Diffusion 1, 2 and XL (Rombach et al., arXiv 2112.10752; SDXL, 2307.01952)."""

from typing import ClassVar, Literal

from energaizer.families.diffusion.component import Denoiser
from energaizer.families.diffusion.convolutions import Filter, Plane, Residual, grouped_norm
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Attention, Copy, Linear, Norm, Tape
from energaizer.records import Field, model_validator

_TIME_RATIO = 4
Depth = int | tuple[int | tuple[int, ...], ...]
_DOWN = Literal["CrossAttnDownBlock2D", "DownBlock2D"]
_UP = Literal["CrossAttnUpBlock2D", "UpBlock2D"]


class UNet2DConditionModel(Denoiser):
    """Residual blocks with attention to themselves and the prompt, down and up again."""

    splits: ClassVar[bool] = False

    in_channels: int = Field(default=4, ge=1)
    out_channels: int = Field(default=4, ge=1)
    block_out_channels: tuple[int, ...] = Field(default=(320, 640, 1280, 1280), min_length=1)
    layers_per_block: int = Field(default=2, ge=1, le=64)
    down_block_types: tuple[_DOWN, ...] = (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D")
    up_block_types: tuple[_UP, ...] = ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)
    mid_block_type: Literal["UNetMidBlock2DCrossAttn", "UNetMidBlock2D"] = "UNetMidBlock2DCrossAttn"
    cross_attention_dim: int = Field(default=1280, ge=1)
    attention_head_dim: int | tuple[int, ...] = 8
    transformer_layers_per_block: Depth = 1
    reverse_transformer_layers_per_block: Depth = ()
    use_linear_projection: bool = False
    norm_num_groups: int = Field(default=32, ge=1)
    addition_embed_type: Literal["text_time", ""] = ""
    projection_class_embeddings_input_dim: int = Field(default=0, ge=0)
    class_embed_type: Literal[""] = ""
    encoder_hid_dim_type: Literal[""] = ""

    @model_validator(mode="after")
    def _one_entry_a_stage(self) -> "UNet2DConditionModel":
        stages = len(self.block_out_channels)
        lists = (self.down_block_types, self.up_block_types, self.attention_head_dim,
                 self.transformer_layers_per_block)  # fmt: skip
        if any(isinstance(found, tuple) and len(found) != stages for found in lists):
            raise ValueError("lists of blocks, heads and layers must have one entry for each stage")
        return self

    @property
    def attends(self) -> float:
        """None is over the whole latent at its full size alone."""
        return 0.0

    @property
    def heads(self) -> int:
        """Heads at full size."""
        return self._heads(0)

    @property
    def width(self) -> int:
        """Channels at full size."""
        return self.block_out_channels[0]

    def _heads(self, stage: int) -> int:
        heads = self.attention_head_dim
        return heads if isinstance(heads, int) else heads[stage]

    def _depth(self, stage: int, block: int, *, up: bool = False) -> int:
        """Return transformer layers behind a residual block; stages count from full size."""
        found, index = self.transformer_layers_per_block, stage
        if up and self.reverse_transformer_layers_per_block:
            found = self.reverse_transformer_layers_per_block
            index = len(self.block_out_channels) - 1 - stage
        depth = found if isinstance(found, int) else found[index]
        return depth if isinstance(depth, int) else depth[block]

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation: down, the middle, and up over what was kept on the way."""
        widths, plane = self.block_out_channels, Plane(scene.height, scene.width, scene.frames)
        time, text = _TIME_RATIO * widths[0], float(scene.text)
        block = Residual(self.norm_num_groups, time)
        self._embed(to, time)
        Filter(self.in_channels, widths[0]).add(to, plane)
        planes: list[Plane] = []
        kept, channels, last = [widths[0]], widths[0], len(widths) - 1
        for index, (width, kind) in enumerate(zip(widths, self.down_block_types, strict=True)):
            for layer in range(self.layers_per_block):
                block.add(to, channels, width, plane)
                channels = width
                if kind == "CrossAttnDownBlock2D":
                    self._attend(to, plane, text, index, self._depth(index, layer))
                kept.append(width)
            if index < last:
                planes.append(plane)
                Filter(width, width, stride=2).add(to, plane)
                plane = plane.shrunk()
                kept.append(width)
        attends = self.mid_block_type == "UNetMidBlock2DCrossAttn"
        block.add(to, channels, channels, plane, 2.0 if attends else 1.0)
        if attends:
            self._attend(to, plane, text, last, self._depth(last, 0))
        for index, up in enumerate(self.up_block_types):
            stage = last - index
            width = widths[stage]
            for layer in range(self.layers_per_block + 1):
                both = channels + kept.pop()
                to.add(Copy(both * plane.area))
                block.add(to, both, width, plane)
                channels = width
                if up == "CrossAttnUpBlock2D":
                    self._attend(to, plane, text, stage, self._depth(stage, layer, up=True))
            if index < last:
                plane = planes.pop()
                to.add(Copy(channels * plane.area))
                Filter(channels, channels).add(to, plane)
        grouped_norm(to, channels, plane, self.norm_num_groups)
        Filter(channels, self.out_channels).add(to, plane)
        to.layers += 2.0 * len(widths) + 1.0

    def _embed(self, to: Tape, time: int) -> None:
        to.add(Linear(1.0, self.block_out_channels[0], time))
        to.add(Linear(1.0, time, time))
        if self.addition_embed_type:  # pooled text and sizes of the image
            to.add(Linear(1.0, self.projection_class_embeddings_input_dim, time))
            to.add(Linear(1.0, time, time))

    def _attend(self, to: Tape, plane: Plane, text: float, stage: int, depth: int) -> None:
        rows, count, heads = plane.area, float(depth), self._heads(stage)
        width = self.block_out_channels[stage]
        grouped_norm(to, width, plane, self.norm_num_groups, active=False)
        to.add(Copy(rows * width), 2.0)
        to.add(Linear(rows, width, width), 2.0)
        to.add(Norm(rows, width), 3.0 * count)
        to.add(Linear(rows, width, width, bias=False), 3.0 * count)
        to.add(Attention(1.0, rows, rows, heads, width // heads), count)
        to.add(Linear(rows, width, width), count)
        to.add(Linear(rows, width, width, bias=False), count)
        to.add(Linear(text, self.cross_attention_dim, width, bias=False), 2.0 * count)
        to.add(Attention(1.0, rows, text, heads, width // heads), count)
        to.add(Linear(rows, width, width), count)
        to.add(Linear(rows, width, 8 * width), count)
        to.pointwise(rows * 4 * width, "gelu", count)
        to.pointwise(rows * 4 * width, "mul", count)
        to.add(Linear(rows, 4 * width, width), count)
        to.pointwise(rows * width, "add", 3.0 * count)
        to.pointwise(rows * width, "add")
        to.module(35.0 * count + 5.0)
