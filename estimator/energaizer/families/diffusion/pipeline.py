"""Pipelines: what reads the prompt, what denoises, what decodes, and how they are used."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from energaizer.families.diffusion.component import Decoder, Denoiser
from energaizer.families.diffusion.scene import Scene
from energaizer.families.diffusion.text import TextEncoder
from energaizer.families.generation import Generation
from energaizer.families.network import Inputs, Network
from energaizer.families.operators import Tape
from energaizer.records import AS_IT_IS, Field, field_validator

_LEAST = 64  # pixels


class Setting(NamedTuple):
    """A generation with nothing left out."""

    height: int
    width: int
    frames: int
    steps: int
    guidance_scale: float


class Tapes(NamedTuple):
    """Operators of the three phases, of one sample each."""

    encode: Tape
    denoise: Tape
    decode: Tape


class Pipeline(Network):
    """A diffusion model with everything it needs from prompt to pixels."""

    generates: ClassVar[bool] = True

    height: int = Field(ge=_LEAST, le=16384)
    width: int = Field(ge=_LEAST, le=16384)
    frames: int = Field(default=1, ge=1, le=16384)
    steps: int = Field(ge=1, le=10000)
    guidance_scale: float = Field(ge=0, le=1000)
    guidance: Literal["batched", "sequential", "embedded"] = Field(
        description="both halves of classifier-free guidance together, one after the other, or an "
        "input of a model that was distilled"
    )
    text_tokens: int = Field(ge=0, le=65536, description="of the prompt, as the denoiser sees it")
    text_encoders: tuple[TextEncoder, ...]
    denoiser: Annotated[Denoiser, AS_IT_IS]
    denoisers: int = Field(
        default=1, ge=1, le=16, description="alike, held in memory; each step runs one"
    )
    decoder: Annotated[Decoder, AS_IT_IS]
    decoding: Literal["one board", "every board"] = Field(
        default="one board",
        description="of boards that share a latent: one decodes it while the others wait, as "
        "pipelines of xDiT do; or each decodes it, as where xDiT only takes the denoiser over",
    )

    @field_validator("denoiser")
    @classmethod
    def _denoiser(cls, given: Any) -> Any:
        return Denoiser.described(given) if isinstance(given, Mapping) else given

    @field_validator("decoder")
    @classmethod
    def _decoder(cls, given: Any) -> Any:
        return Decoder.described(given) if isinstance(given, Mapping) else given

    def setting(self, asked: Generation | None) -> Setting:
        """Return a generation completed by the model's own settings."""
        asked = asked or Generation()
        found = {name: getattr(asked, name) for name in Setting._fields}
        return Setting(
            **{
                name: getattr(self, name) if value is None else value
                for name, value in found.items()
            }
        )

    def fault_of(self, setting: Setting) -> str | None:
        """Return why the model cannot make such an image or video, and what to do; None: it can."""
        step = self.decoder.shrinks * self.denoiser.patch
        for name, pixels in (("height", setting.height), ("width", setting.width)):
            if pixels % step or pixels < step:
                near = max(step, round(pixels / step) * step)
                return f"{name} of {self.name} must be a multiple of {step} pixels; try {near}"
        again = self.decoder.shrinks_frames
        if (setting.frames - 1) % again:
            near = max(0, round((setting.frames - 1) / again)) * again + 1
            return f"frames of {self.name} must be a multiple of {again} plus 1; try {near}"
        if setting.frames > 1 and self.frames == 1:
            return f"{self.name} makes images; leave frames out"
        return None

    def scene(self, setting: Setting, boards: int = 1) -> Scene:
        """Return the latent of a generation that so many boards share."""
        small, few = self.decoder.shrinks, self.decoder.shrinks_frames
        return Scene(
            setting.height // small, setting.width // small, (setting.frames - 1) // few + 1,
            self.text_tokens, boards,
        )  # fmt: skip

    def guided(self, setting: Setting) -> bool:
        """Return whether each step runs with and without the prompt."""
        return self.guidance != "embedded" and setting.guidance_scale > 1.0

    def in_words(self, asked: Generation | None) -> str:
        """Return size, frames, steps and guidance in one line."""
        made = self.setting(asked)
        size = f"{self.sample} of {made.width} x {made.height}"
        frames = f", {made.frames} frames" if made.frames > 1 else ""
        passes = "guided, 2 passes a step" if self.guided(made) else "1 pass a step"
        return f"{size}{frames}, {made.steps} steps, {passes}"

    def forward(self, to: Tape, inputs: Inputs) -> None:
        """Write one evaluation of the denoiser for a square image."""
        edge = inputs.image_size // self.decoder.shrinks
        self.denoiser.denoise(to, Scene(edge, edge, 1, self.text_tokens))

    @property
    def native(self) -> Inputs:
        """The square of the published height."""
        return Inputs(self.height, 1)

    @property
    def parts(self) -> dict[str, int]:
        """Parameters of text encoders, denoiser and decoder; each denoiser is counted once."""
        phases = tapes(self, self.setting(None))
        return {
            "text encoders": round(phases.encode.parameters),
            "denoiser": round(phases.denoise.parameters),
            "decoder": round(phases.decode.parameters),
        }

    @property
    def parameters(self) -> int:
        """All parameters that a pipeline holds."""
        parts = self.parts
        return sum(parts.values()) + (self.denoisers - 1) * parts["denoiser"]

    @property
    def macs(self) -> float:
        """Products of one evaluation of the denoiser at the published size."""
        return tapes(self, self.setting(None)).denoise.macs

    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return what a person may ask, as (label, value)."""
        guidance = {"batched": "classifier-free, one batch", "sequential": "classifier-free, twice",
                    "embedded": "distilled, no second pass"}[self.guidance]  # fmt: skip
        made = f"{self.width} x {self.height}"
        if self.frames > 1:
            made += f", {self.frames} frames"
        parts = (
            (f"Parameters of {name}", f"{count / 1e9:.3g} B") for name, count in self.parts.items()
        )
        return (
            ("Published size", made),
            ("Denoising steps", str(self.steps)),
            ("Guidance", guidance),
            ("Text encoders", ", ".join(text.name for text in self.text_encoders) or "none"),
            ("Denoiser", self.denoiser.class_name),
            ("Decoder", self.decoder.class_name),
            *parts,
        )


class ImagePipeline(Pipeline):
    """Text to image."""

    sample: ClassVar[str] = "image"


class VideoPipeline(Pipeline):
    """Text to video."""

    sample: ClassVar[str] = "video"


@lru_cache(maxsize=1024)
def tapes(pipeline: Pipeline, setting: Setting, boards: int = 1) -> Tapes:
    """Return the phases of one sample on one of so many boards; shared, so never add to them.

    Text encoders and decoder run whole, where they run; the denoiser's attentions hold a board's
    share of queries, and of keys.
    """
    found = Tapes(Tape(), Tape(), Tape())
    for encoder in pipeline.text_encoders:
        encoder.encode(found.encode)
    scene = pipeline.scene(setting, boards)
    pipeline.denoiser.denoise(found.denoise, scene)
    pipeline.decoder.decode(found.decode, scene)
    return found
