"""Components of a pipeline, described by the fields of their `config.json` in diffusers.

A field that this package does not read changes no shape; one that does, in a way without a method,
is refused where the component is described.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar, Self

from energaizer.errors import NoEstimateError, shorten
from energaizer.families.diffusion.scene import Scene
from energaizer.families.operators import Tape
from energaizer.records import Field, Record, model_validator

_ROOMS = {
    "AutoencoderDC": "compression",
    "AutoencoderKL": "images",
    "AutoencoderKLCogVideoX": "videos",
    "AutoencoderKLHunyuanVideo": "videos",
    "AutoencoderKLLTXVideo": "videos",
    "AutoencoderKLMochi": "videos",
    "AutoencoderKLWan": "videos",
    "CogVideoXTransformer3DModel": "cogvideox",
    "FluxTransformer2DModel": "flux",
    "HunyuanDiT2DModel": "hunyuan",
    "HunyuanVideoTransformer3DModel": "flux",
    "LTXVideoTransformer3DModel": "crossed",
    "MochiTransformer3DModel": "mochi",
    "PixArtTransformer2DModel": "crossed",
    "SD3Transformer2DModel": "sd3",
    "SanaTransformer2DModel": "sana",
    "UNet2DConditionModel": "unet",
    "WanTransformer3DModel": "crossed",
}
"""Class of diffusers -> the room that holds its namesake, imported with its first model."""


class Component(Record, ABC, extra="ignore"):
    """A part of a pipeline; subclasses carry the name and fields of their class in diffusers."""

    class_name: str = ""

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, given: Any) -> Any:
        if isinstance(given, Mapping):  # a missing value stands for the class's default
            named = {name: value for name, value in given.items() if value is not None}
            return named | {"class_name": cls.__name__}
        return given

    @classmethod
    def described(cls, given: Any) -> Self:
        """Return the component that a configuration of diffusers describes, by its class.

        Raises:
            NoEstimateError: The class has no method.
            pydantic.ValidationError: A field is missing or impossible.
        """
        if isinstance(given, cls):
            return given
        name = given.get("_class_name") or given.get("class_name")
        room = _ROOMS.get(str(name))
        found = getattr(import_module(f"energaizer.families.diffusion.{room}"), name, None) if (
            room) else None  # fmt: skip
        if found is None or not issubclass(found, cls):
            known = ", ".join(sorted(_ROOMS))
            raise NoEstimateError(
                f'no method for a {cls.__name__.lower()} of class "{shorten(str(name), 60)}"; '
                f"known are {known}"
            )
        checked: Self = found.model_validate(given)
        return checked


class Denoiser(Component):
    """What predicts the noise of a latent, once or twice a step."""

    @abstractmethod
    def denoise(self, to: Tape, scene: Scene) -> None:
        """Write one evaluation of one sample."""

    splits: ClassVar[bool] = True  # its tokens may be shared between boards

    @property
    @abstractmethod
    def attends(self) -> float:
        """Attentions of one evaluation over the whole latent: what sequence parallelism splits."""

    @property
    def heads(self) -> int:
        """Heads of those attentions, which Ulysses spreads over boards."""
        return 1

    @property
    def width(self) -> int:
        """Features of a token."""
        return 1

    @property
    def patch(self) -> int:
        """Edge of the latent that a size must be a multiple of."""
        return 1

    @property
    def patch_frames(self) -> int:
        """Latent frames of a token."""
        return 1


class Transformer(Denoiser):
    """A denoiser of layers that attend once each, with as many heads as its class states."""

    num_layers: int = Field(ge=1, le=4096)
    num_attention_heads: int = Field(ge=1, le=4096)
    attention_head_dim: int = Field(ge=1, le=4096)

    @property
    def heads(self) -> int:
        """Heads of every attention."""
        return self.num_attention_heads

    @property
    def width(self) -> int:
        """Features of a token."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def attends(self) -> float:
        """One attention over the latent a layer."""
        return float(self.num_layers)


class PatchTransformer(Transformer):
    """One whose tokens are square patches of the latent."""

    patch_size: int = Field(ge=1)

    @property
    def patch(self) -> int:
        """Edge of a token."""
        return self.patch_size


class Decoder(Component):
    """What turns a latent into pixels, once."""

    @abstractmethod
    def decode(self, to: Tape, scene: Scene) -> None:
        """Write the decoding of one latent."""

    @property
    @abstractmethod
    def shrinks(self) -> int:
        """Pixels along an edge of one element of the latent."""

    @property
    def shrinks_frames(self) -> int:
        """Frames of one frame of the latent; the first stands alone."""
        return 1
