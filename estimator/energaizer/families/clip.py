"""CLIP: an image tower and a text tower side by side (Radford et al., arXiv 2103.00020)."""

from typing import ClassVar, Literal, Self

from energaizer.families.network import Inputs, Network
from energaizer.families.operators import Attention, Convolution, Copy, Linear, Lookup, Norm, Tape
from energaizer.families.pieces import CHANNELS, Layer, project
from energaizer.records import Field

_LAYER_CALLS, _TOWER_CALLS, _MLP_RATIO = 14.0, 8.0, 4


class Clip(Network):
    """Both towers, or one of them, over a batch of pairs of image and text."""

    takes_tokens: ClassVar[bool] = True
    default_tokens: ClassVar[int | None] = 77
    sample: ClassVar[str] = "pair"

    layers: int = Field(ge=1, le=4096, description="of the image tower")
    hidden_size: int = Field(ge=1, le=65536)
    attention_heads: int = Field(ge=1, le=4096)
    patch_size: int = Field(ge=1, le=1024)
    text_layers: int = Field(default=12, ge=1, le=4096)
    text_hidden_size: int = Field(ge=1, le=65536)
    text_attention_heads: int = Field(ge=1, le=4096)
    vocabulary_size: int = Field(default=49408, ge=1, le=4194304)
    max_positions: int = Field(default=77, ge=1, description="longest text, tokens")
    projection_size: int = Field(ge=1, description="features that both towers end in")
    towers: Literal["both", "image", "text"] = "both"

    def bare(self) -> Self:
        """Return the image tower alone, as tables of vision models time it."""
        return self.model_copy(update={"towers": "image"})

    @property
    def least_image(self) -> int:
        """One patch."""
        return self.patch_size

    def fault(self, inputs: Inputs) -> str | None:
        """Return why the model cannot take such inputs."""
        if inputs.tokens > self.max_positions:
            return f"{self.name} takes texts of at most {self.max_positions} tokens"
        return super().fault(inputs)

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the forward pass of one pair."""
        if self.towers != "text":
            self._image(to, inputs.image_size)
        if self.towers != "image":
            self._text(to, float(inputs.tokens))

    def _image(self, to: Tape, edge: int) -> None:
        width, patch = self.hidden_size, self.patch_size
        patches = Convolution(
            CHANNELS, width, (edge, edge), (patch, patch), patch, padded=False, laid_out=False
        )
        tokens = float((edge // patch) ** 2 + 1)
        to.add(patches)
        to.add(Copy(patches.results), 2.0)
        to.add(Copy(tokens * width))
        to.pointwise(tokens * width, "add")
        to.own(width + ((self.image_size // patch) ** 2 + 1) * width)
        to.add(Norm(tokens, width))
        self._tower(to, (tokens, width, self.attention_heads), self.layers, causal=False)
        to.add(Norm(1.0, width))
        to.add(Linear(1.0, width, self.projection_size, bias=False))

    def _text(self, to: Tape, tokens: float) -> None:
        width = self.text_hidden_size
        to.add(Lookup(tokens, width), 2.0)
        to.own((self.vocabulary_size + self.max_positions) * width + 1)
        to.pointwise(tokens * width, "add")
        shape = (tokens, width, self.text_attention_heads)
        self._tower(to, shape, self.text_layers, causal=True)
        to.add(Norm(tokens, width))
        to.add(Linear(1.0, width, self.projection_size, bias=False))

    def _tower(self, to: Tape, shape: tuple[float, int, int], layers: int, *, causal: bool) -> None:
        tokens, width, heads = shape
        layer = Layer(width, _MLP_RATIO * width, heads)
        to.add(Norm(tokens, width), 2.0 * layers)
        project(to, layer, tokens, layers)
        seen = Attention(
            1.0, tokens, tokens, heads, width // heads, causal=causal, biased=causal, wide=True
        )
        to.add(seen, layers)
        inner = tokens * layer.inner
        to.add(Linear(tokens, width, layer.inner), layers)
        to.pointwise(inner, "scale", layers)  # x sigmoid(1.702 x), written out
        to.pointwise(inner, "sigmoid", layers)
        to.pointwise(inner, "mul", layers)
        to.add(Linear(tokens, layer.inner, width), layers)
        to.pointwise(tokens * width, "add", 2.0 * layers)
        to.module(_LAYER_CALLS * layers + _TOWER_CALLS)
        to.layers += layers
