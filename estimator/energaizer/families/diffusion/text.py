"""Text encoders of pipelines: CLIP, T5, BERT, or the layers of a language model."""

from typing import Literal

from energaizer.families.operators import Attention, Function, Linear, Lookup, Norm, Tape
from energaizer.records import Field, Record


class TextEncoder(Record):
    """A transformer that reads the prompt once, padded to `tokens`."""

    name: str = Field(description="t5-xxl, clip-l, ...")
    layers: int = Field(ge=1, le=4096)
    hidden_size: int = Field(ge=1, le=65536)
    intermediate_size: int = Field(ge=1, le=1048576)
    attention_heads: int = Field(ge=1, le=4096)
    key_value_heads: int | None = Field(default=None, ge=1, le=4096, description="None: as heads")
    head_size: int | None = Field(default=None, ge=1, le=4096, description="None: hidden/heads")
    vocabulary_size: int = Field(ge=1)
    tokens: int = Field(ge=1, le=65536, description="length that prompts are padded to")
    gated: bool = False
    rms: bool = False
    bias: bool = True
    positions: int = Field(default=0, ge=0, description="rows of a table of positions")
    causal: bool = False
    projection_size: int = Field(default=0, ge=0, description="of the pooled text; 0: none")
    function: Function = "gelu"
    norms: Literal[2, 4] = Field(default=2, description="norms of a layer")

    def encode(self, to: Tape) -> None:
        """Write one prompt."""
        rows, width, count = float(self.tokens), self.hidden_size, float(self.layers)
        size = self.head_size or width // self.attention_heads
        inner, spread = self.intermediate_size, self.attention_heads * size
        narrow = (self.key_value_heads or self.attention_heads) * size
        to.own((self.vocabulary_size + self.positions) * width)
        to.add(Lookup(rows, width))
        to.add(Norm(rows, width, self.rms), self.norms * count + 1.0)
        to.add(Linear(rows, width, spread, self.bias), count)
        to.add(Linear(rows, width, narrow, self.bias), 2.0 * count)
        to.add(
            Attention(1.0, rows, rows, self.attention_heads, size, causal=self.causal, biased=True),
            count,
        )
        to.add(Linear(rows, spread, width, self.bias), count)
        to.add(Linear(rows, width, inner, self.bias), count * (2.0 if self.gated else 1.0))
        to.pointwise(rows * inner, self.function, count)
        if self.gated:
            to.pointwise(rows * inner, "mul", count)
        to.add(Linear(rows, inner, width, self.bias), count)
        to.pointwise(rows * width, "add", 2.0 * count)
        if self.projection_size:
            to.add(Linear(1.0, width, self.projection_size, bias=False))
        to.module(15.0 * count)
        to.layers += count
