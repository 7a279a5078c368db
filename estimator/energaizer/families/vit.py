"""Vision transformers (Dosovitskiy et al., arXiv 2010.11929; DeiT, Touvron et al., 2012.12877)."""

from typing import Literal, Self

from energaizer.families.network import Inputs, Network
from energaizer.families.operators import Attention, Convolution, Copy, Linear, Norm, Tape
from energaizer.families.pieces import CHANNELS, Layer, encode
from energaizer.records import Field

_OUTER_CALLS = 8.0


class VisionTransformer(Network):
    """A transformer over the patches of an image, and a class token."""

    layers: int = Field(ge=1, le=4096)
    hidden_size: int = Field(ge=1, le=65536)
    intermediate_size: int = Field(ge=1, le=1048576)
    attention_heads: int = Field(ge=1, le=4096)
    patch_size: int = Field(default=16, ge=1, le=1024)
    special_tokens: int = Field(
        default=1, ge=0, le=64, description="beside patches: of class, of distillation"
    )
    classes: int = Field(default=1000, ge=0, description="0: no classifier")
    head: Literal["classifier", "pooler"] = "classifier"

    def bare(self) -> Self:
        """Return the model that gives hidden states, whose head is a pooler."""
        return self.model_copy(update={"head": "pooler"})

    def tokens(self, image_size: int) -> int:
        """Return patches of an image and special tokens."""
        return (image_size // self.patch_size) ** 2 + self.special_tokens

    @property
    def least_image(self) -> int:
        """One patch."""
        return self.patch_size

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write the forward pass of one image."""
        edge, patch, width = inputs.image_size, self.patch_size, self.hidden_size
        tokens = float(self.tokens(edge))
        patches = Convolution(
            CHANNELS, width, (edge, edge), (patch, patch), patch, bias=True, padded=False,
            laid_out=False,
        )  # fmt: skip
        to.add(patches)
        to.add(Copy(patches.results), 2.0)
        to.add(Copy(tokens * width))  # the class token in front
        to.pointwise(tokens * width, "add")
        to.own((self.special_tokens + self.tokens(self.image_size)) * width)
        layer = Layer(width, self.intermediate_size, self.attention_heads)
        size = width // self.attention_heads
        seen = Attention(1.0, tokens, tokens, self.attention_heads, size, wide=True)
        encode(to, layer, tokens, seen, float(self.layers))
        to.add(Norm(tokens, width))
        if self.head == "pooler":
            to.add(Linear(1.0, width, width))
            to.pointwise(width, "tanh")
        elif self.classes:
            to.add(Linear(1.0, width, self.classes))
        to.module(_OUTER_CALLS)
