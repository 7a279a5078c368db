"""T5: encoder and decoder with relative positions (Raffel et al., arXiv 1910.10683)."""

from typing import ClassVar, Literal

from energaizer.families.network import EncoderDecoder, Inputs
from energaizer.families.operators import (
    Attention,
    Linear,
    Lookup,
    Norm,
    Pointwise,
    Tape,
    Zeros,
)
from energaizer.records import Field

_ENCODER_CALLS, _DECODER_CALLS, _OUTER_CALLS = 17.0, 26.0, 4.0
_BUCKETS = 32


class T5(EncoderDecoder):
    """A T5 of any size; version 1.1 and FLAN gate their MLP and untie their head."""

    takes_images: ClassVar[bool] = False
    takes_tokens: ClassVar[bool] = True
    sample: ClassVar[str] = "sequence"

    layers: int = Field(ge=1, le=4096, description="of the encoder")
    decoder_layers: int = Field(ge=1, le=4096)
    hidden_size: int = Field(ge=1, le=65536)
    intermediate_size: int = Field(ge=1, le=1048576)
    attention_heads: int = Field(ge=1, le=4096)
    head_size: int = Field(ge=1, le=8192)
    vocabulary_size: int = Field(default=32128, ge=1, le=4194304)
    gated_mlp: bool = False
    function: Literal["relu", "gelu_new"] = "relu"
    tied_embeddings: bool = True

    @property
    def width(self) -> int:
        """Features of all heads."""
        return self.attention_heads * self.head_size

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the encoder over one sequence."""
        tokens = float(inputs.tokens)
        to.own(self.vocabulary_size * self.hidden_size + 2 * _BUCKETS * self.attention_heads)
        to.add(Lookup(tokens, self.hidden_size))
        self._bias(to, tokens, tokens)
        self._attend(to, self._seen(tokens, tokens), tokens, self.layers)
        self._perceptron(to, tokens, self.layers)
        to.add(Norm(tokens, self.hidden_size, rms=True))
        to.module(_ENCODER_CALLS * self.layers + _OUTER_CALLS)
        to.layers += self.layers

    def bridge(self, to: Tape, inputs: Inputs) -> None:
        """Write keys and values of cross-attention."""
        rows = float(inputs.tokens)
        to.add(Linear(rows, self.hidden_size, self.width, bias=False), 2.0 * self.decoder_layers)
        to.module(2.0 * self.decoder_layers)

    def decode(self, to: Tape, queries: float, context: float, inputs: Inputs) -> None:
        """Write one decoder step."""
        layers, width = self.decoder_layers, self.hidden_size
        to.add(Lookup(queries, width))
        self._bias(to, queries, context)
        seen = self._seen(queries, context)._replace(causal=True, cached=True)
        self._attend(to, seen, queries, layers)
        to.add(Norm(queries, width, rms=True), layers)
        to.add(Linear(queries, width, self.width, bias=False), layers)
        to.add(self._seen(queries, float(inputs.tokens)), layers)
        to.add(Linear(queries, self.width, width, bias=False), layers)
        to.pointwise(queries * width, "add", layers)
        self._perceptron(to, queries, layers)
        to.add(Norm(queries, width, rms=True))
        head = Linear(queries, width, self.vocabulary_size, bias=False)
        to.add(head, owned=not self.tied_embeddings)
        to.module(_DECODER_CALLS * layers + _OUTER_CALLS)
        to.layers += layers

    def start_tokens(self, inputs: Inputs) -> int:
        """Return the one token that every output starts with."""
        del inputs
        return 1

    def cached_elements(self, context: float, inputs: Inputs) -> float:
        """Return keys and values of the text written so far and of the text read."""
        return 2.0 * self.decoder_layers * self.width * (context + inputs.tokens)

    def _seen(self, queries: float, keys: float) -> Attention:
        return Attention(
            1.0, queries, keys, self.attention_heads, self.head_size, scaled="", biased=True,
            wide=True,
        )  # fmt: skip

    def _bias(self, to: Tape, queries: float, keys: float) -> None:
        """Add the relative positions that all layers share: bucket, look up, add the mask."""
        pairs = queries * keys
        to.add(Lookup(pairs, self.attention_heads))
        to.pointwise(pairs * self.attention_heads, "add")

    def _attend(self, to: Tape, seen: Attention, rows: float, layers: int) -> None:
        width = self.hidden_size
        to.add(Norm(rows, width, rms=True), layers)
        to.add(Linear(rows, width, self.width, bias=False), 3.0 * layers)
        to.add(seen, layers)
        to.add(Linear(rows, self.width, width, bias=False), layers)
        to.pointwise(rows * width, "add", layers)

    def _perceptron(self, to: Tape, rows: float, layers: int) -> None:
        width, inner = self.hidden_size, self.intermediate_size
        to.add(Norm(rows, width, rms=True), layers)
        branches = 2.0 if self.gated_mlp else 1.0
        to.add(Linear(rows, width, inner, bias=False), branches * layers)
        to.add(Pointwise(rows * inner, self.function), layers)
        if self.gated_mlp:
            to.pointwise(rows * inner, "mul", layers)
        zeros: Zeros = "most" if self.function == "relu" else ""
        to.add(Linear(rows, inner, width, bias=False, zeros=zeros), layers)
        to.pointwise(rows * width, "add", layers)
