"""HunyuanDiT (Tencent, arXiv 2405.08748): crossed layers whose second half reads the first's."""

from energaizer.families.diffusion import blocks
from energaizer.families.diffusion.component import PatchTransformer
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Attention, Copy, Linear, Norm, Tape
from energaizer.records import Field

_TIME = 256
_POOL_HEADS = 8
_META = 6 * 256  # sizes and crop of the training image, embedded


class HunyuanDiT2DModel(PatchTransformer):
    """Two text encoders, whose tokens stand side by side; rotary attention with normed q and k."""

    num_layers: int = Field(default=40, ge=2, le=4096)
    num_attention_heads: int = Field(default=16, ge=1, le=4096)
    attention_head_dim: int = Field(default=88, ge=1, le=4096)
    hidden_size: int = Field(default=1408, ge=1)
    in_channels: int = Field(default=4, ge=1)
    patch_size: int = Field(default=2, ge=1)
    mlp_ratio: float = Field(default=4.3637, gt=0, le=64)
    cross_attention_dim: int = Field(default=1024, ge=1)
    cross_attention_dim_t5: int = Field(default=2048, ge=1)
    pooled_projection_dim: int = Field(default=1024, ge=1)
    text_len: int = Field(default=77, ge=1)
    text_len_t5: int = Field(default=256, ge=1)
    learn_sigma: bool = True
    use_style_cond_and_image_meta_size: bool = True

    @property
    def width(self) -> int:
        """Features of a token."""
        return self.hidden_size

    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation."""
        rows, text = scene.tokens(self.patch_size), float(self.text_len + self.text_len_t5)
        width, volume, context = self.width, self.patch_size**2, self.cross_attention_dim
        to.add(Linear(rows, self.in_channels * volume, width))
        to.add(Linear(float(self.text_len_t5), self.cross_attention_dim_t5, 4 * context * 2))
        to.pointwise(self.text_len_t5 * 8.0 * context, "silu")
        to.add(Linear(float(self.text_len_t5), 4 * context * 2, context))
        to.own(text * context)
        self._time(to)
        self._layers(to, rows, text)
        outputs = self.in_channels * (2 if self.learn_sigma else 1) * volume
        blocks.finish(to, rows, width, outputs)

    def _time(self, to: Tape) -> None:
        """Add the embedding of time, of the pooled text and of the image's sizes."""
        width, pooled = self.width, self.cross_attention_dim_t5
        blocks.embed(to, _TIME, width)
        to.own((self.text_len_t5 + 1) * pooled)
        to.add(Linear(float(self.text_len_t5 + 1), pooled, pooled), 2.0)
        to.add(Linear(1.0, pooled, pooled))
        to.add(Linear(1.0, pooled, self.pooled_projection_dim))
        extra = self.pooled_projection_dim
        if self.use_style_cond_and_image_meta_size:
            extra += _META + width
            to.own(width)
        to.add(Linear(1.0, extra, 4 * width))
        to.pointwise(4.0 * width, "silu")
        to.add(Linear(1.0, 4 * width, width))

    def _layers(self, to: Tape, rows: float, text: float) -> None:
        width, count = self.width, float(self.num_layers)
        size, second = self.attention_head_dim, float(self.num_layers // 2 - 1)
        to.add(Copy(2.0 * rows * width), second)
        to.add(Norm(rows, 2 * width), second)
        to.add(Linear(rows, 2 * width, width), second)
        blocks.condition(to, width, width, count)
        to.add(Norm(rows, width), 3.0 * count)
        to.pointwise(rows * width, "scale", count)
        blocks.project(to, rows, width, width, count)
        to.add(Norm(rows * self.heads, size), 3.0 * count)
        to.add(Norm(text * self.heads, size), count)
        blocks.rotate(to, rows * width, 3.0 * count)
        to.add(Attention(1.0, rows, rows, self.heads, size), count)
        to.add(Linear(rows, width, width), count)
        blocks.Crossing(width, self.heads, self.cross_attention_dim).add(to, rows, text, count)
        blocks.Perceptron(width, int(self.mlp_ratio * width)).add(to, rows, count)
        to.pointwise(rows * width, "add", 3.0 * count)
        to.layers += count
