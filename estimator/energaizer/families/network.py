"""What all vision, speech and encoder-decoder models share: a name, inputs, one forward pass."""

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple, Self

from energaizer.families.generation import Generation
from energaizer.records import Field, Record, model_validator

if TYPE_CHECKING:  # loaded with the first network
    from energaizer.families.operators import Tape

Count = Annotated[int, Field(ge=1, le=65536)]
_ALIKE = ("depths", "widths", "attention_heads")  # one entry a stage, where they are lists


class Inputs(NamedTuple):
    """Size of one sample: pixels along an edge of an image, tokens of a text."""

    image_size: int
    tokens: int


class Network(Record, ABC):
    """A model whose unit of work is one forward pass; subclasses write it onto a tape."""

    takes_images: ClassVar[bool] = True
    takes_tokens: ClassVar[bool] = False
    decodes: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    default_tokens: ClassVar[int | None] = None
    sample: ClassVar[str] = "image"

    name: str
    aliases: tuple[str, ...] = ()
    family: str = Field(description="resnet, vit, swin, t5, ...")
    image_size: int = Field(default=224, ge=8, le=16384, description="pixels along an edge")
    notes: tuple[str, ...] = Field(default=(), description="what this description leaves out")
    source: str = Field(default="", description="where the architecture was published")
    unmodelled: float = Field(
        default=0.0, ge=0, lt=1, description="share of its elements that no operator stands for"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        lists = [getattr(self, name, None) for name in _ALIKE]
        if len({len(found) for found in lists if isinstance(found, tuple)}) > 1:
            raise ValueError(f"{', '.join(_ALIKE)} must have one entry for each stage")
        for prefix in ("", "text_"):
            width = getattr(self, f"{prefix}hidden_size", None)
            heads = getattr(self, f"{prefix}attention_heads", None)
            if not isinstance(width, int) or not isinstance(heads, int):
                continue
            if width % heads and not hasattr(self, "head_size"):
                raise ValueError(f"{prefix}hidden_size must be a multiple of {heads} heads")
        return self

    @abstractmethod
    def forward(self, to: "Tape", inputs: Inputs) -> None:
        """Write the forward pass of one sample; of an encoder-decoder, its encoder."""

    def bare(self) -> Self:
        """Return the model without its task's head, as measured tables time it."""
        return self

    def in_words(self, asked: Generation | None) -> str:
        """Return what a model that generates is asked for, in one line."""
        raise NotImplementedError(f"{self.name} generates nothing: {asked}")

    def fault(self, inputs: Inputs) -> str | None:
        """Return why the model cannot take such inputs, and what to do; None: it can."""
        if self.takes_images and inputs.image_size < self.least_image:
            return f"{self.name} takes images of at least {self.least_image} pixels"
        return None

    @property
    def least_image(self) -> int:
        """Smallest image of which something is left at the last layer, pixels."""
        return 32

    @property
    def native(self) -> Inputs:
        """Inputs the model was published with."""
        return Inputs(self.image_size, self.default_tokens or 1)

    @property
    def parameters(self) -> int:
        """All parameters, heads included; what is shared counts once."""
        return round(passes(self, self.native).parameters)

    @property
    def macs(self) -> float:
        """Products of one forward pass at the native inputs, attention included."""
        return passes(self, self.native).macs

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return what a person may ask about the architecture, as (label, value)."""
        return tuple(
            (name.replace("_", " ").capitalize(), _words(getattr(self, name)))
            for name in type(self).model_fields
            if name not in Network.model_fields
        )


class EncoderDecoder(Network):
    """A network that encodes once and then writes token by token."""

    decodes: ClassVar[bool] = True

    @abstractmethod
    def bridge(self, to: "Tape", inputs: Inputs) -> None:
        """Write what is computed once for the decoder: cross-attention's keys and values."""

    @abstractmethod
    def decode(self, to: "Tape", queries: float, context: float, inputs: Inputs) -> None:
        """Write one decoder step of `queries` new tokens, the last of which sees `context`."""

    @abstractmethod
    def start_tokens(self, inputs: Inputs) -> int:
        """Return tokens that the decoder is given before it writes."""

    @abstractmethod
    def cached_elements(self, context: float, inputs: Inputs) -> float:
        """Return elements of keys and values that one sequence holds, cross-attention included."""

    @property
    def parameters(self) -> int:
        """All parameters, encoder and decoder."""
        from energaizer.families.operators import Tape  # noqa: PLC0415

        to = Tape(parameters=passes(self, self.native).parameters)
        self.bridge(to, self.native)
        self.decode(to, 1.0, 1.0, self.native)
        return round(to.parameters)


@lru_cache(maxsize=1024)
def passes(network: Network, inputs: Inputs) -> "Tape":
    """Return the forward pass of one sample; shared between callers, so never add to it."""
    from energaizer.families.operators import Tape  # noqa: PLC0415

    to = Tape()
    network.forward(to, inputs)
    return to


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        if value and isinstance(value[0], Record):
            return f"{len(value)}"
        return ", ".join(_words(part) for part in value)
    return "yes" if value is True else "no" if value is False else str(value)
