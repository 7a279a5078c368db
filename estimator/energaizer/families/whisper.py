"""Whisper: 30 seconds of audio encoded once, text decoded (Radford et al., arXiv 2212.04356).

Shorter audio is padded to 30 s, so that a clip always makes 3000 frames and 1500 tokens.
"""

from typing import ClassVar

from energaizer.families.network import EncoderDecoder, Inputs
from energaizer.families.operators import (
    Attention,
    Convolution,
    Copy,
    Linear,
    Lookup,
    Norm,
    Pointwise,
    Tape,
)
from energaizer.families.pieces import Layer, perceptron, project
from energaizer.records import Field

_ENCODER_CALLS, _DECODER_CALLS, _OUTER_CALLS = 13.0, 20.0, 6.0
_WINDOW = 3


class Whisper(EncoderDecoder):
    """Whisper of any size; `input_tokens` are those that the decoder is given before it writes."""

    takes_images: ClassVar[bool] = False
    takes_tokens: ClassVar[bool] = True
    default_tokens: ClassVar[int | None] = 4
    sample: ClassVar[str] = "clip"

    layers: int = Field(ge=1, le=4096, description="of the encoder")
    decoder_layers: int = Field(ge=1, le=4096)
    hidden_size: int = Field(ge=1, le=65536)
    intermediate_size: int = Field(ge=1, le=1048576)
    attention_heads: int = Field(ge=1, le=4096)
    mel_bins: int = Field(default=80, ge=1, le=4096)
    frames: int = Field(default=3000, ge=2, le=1048576, description="of the spectrogram")
    vocabulary_size: int = Field(default=51865, ge=1, le=4194304)
    max_positions: int = Field(default=448, ge=1, description="longest text, tokens")

    @property
    def tokens(self) -> int:
        """Encoder tokens of a clip: half its frames."""
        return (self.frames - 1) // 2 + 1

    @property
    def layer(self) -> Layer:
        """Shape of a layer; keys have no bias."""
        return Layer(self.hidden_size, self.intermediate_size, self.attention_heads, key_bias=False)

    def fault(self, inputs: Inputs) -> str | None:
        """Return why the model cannot take such inputs."""
        if inputs.tokens > self.max_positions:
            return f"{self.name} holds texts of at most {self.max_positions} tokens"
        return None

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the encoder over one clip."""
        del inputs
        width, filters = self.hidden_size, (_WINDOW, 1)
        first = Convolution(self.mel_bins, width, (self.frames, 1), filters, bias=True)
        second = Convolution(width, width, first.out, filters, 2, bias=True)
        for convolution in (first, second):
            to.add(convolution)
            to.add(Pointwise(convolution.results, "gelu"))
        rows, layers = float(self.tokens), self.layers
        to.add(Copy(rows * width))
        to.pointwise(rows * width, "add")
        to.own(self.tokens * width)
        to.add(Norm(rows, width), 2.0 * layers + 1.0)
        project(to, self.layer, rows, layers)
        to.add(self._seen(rows, rows), layers)
        perceptron(to, self.layer, rows, layers)
        to.pointwise(rows * width, "add", 2.0 * layers)
        to.module(_ENCODER_CALLS * layers + _OUTER_CALLS)
        to.layers += layers

    def bridge(self, to: Tape, inputs: Inputs) -> None:
        """Write keys and values of cross-attention."""
        del inputs
        rows, width = float(self.tokens), self.hidden_size
        for bias in (False, True):
            to.add(Linear(rows, width, width, bias), self.decoder_layers)
        to.module(2.0 * self.decoder_layers)

    def decode(self, to: Tape, queries: float, context: float, inputs: Inputs) -> None:
        """Write one decoder step."""
        del inputs
        layers, width = self.decoder_layers, self.hidden_size
        to.own((self.vocabulary_size + self.max_positions) * width)
        to.add(Lookup(queries, width), 2.0)
        to.pointwise(queries * width, "add")
        to.add(Norm(queries, width), 3.0 * layers + 1.0)
        project(to, self.layer, queries, layers)
        to.add(self._seen(queries, context)._replace(causal=True, cached=True), layers)
        to.add(Linear(queries, width, width), 2.0 * layers)  # query and output, across
        to.add(self._seen(queries, float(self.tokens)), layers)
        perceptron(to, self.layer, queries, layers)
        to.pointwise(queries * width, "add", 3.0 * layers)
        to.add(Linear(queries, width, self.vocabulary_size, bias=False), owned=False)
        to.module(_DECODER_CALLS * layers + _OUTER_CALLS)
        to.layers += layers

    def start_tokens(self, inputs: Inputs) -> int:
        """Return the tokens that say language and task."""
        return inputs.tokens

    def cached_elements(self, context: float, inputs: Inputs) -> float:
        """Return keys and values of the text written so far and of the clip."""
        del inputs
        return 2.0 * self.decoder_layers * self.hidden_size * (context + self.tokens)

    def _seen(self, queries: float, keys: float) -> Attention:
        size = self.hidden_size // self.attention_heads
        return Attention(1.0, queries, keys, self.attention_heads, size, scaled="query")
