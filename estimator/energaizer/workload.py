"""A workload: a model with its inputs, as a user means them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from energaizer import families
from energaizer.errors import NoEstimateError
from energaizer.families import Generation, Inputs, Network
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.records import AS_IT_IS, Field, Record, model_validator

_HOST = "serving"


class Workload(Record):
    """A model, its inputs and how it is run; the GPU is the other argument of `estimate`.

    The job is `requests` requests in batches of `batch`, what `requests_per_second` brings in
    `duration_s`, or steady running for `duration_s`; one batch if nothing of it is given. Boards
    that are held longer than the work takes are idle for the rest.
    """

    model: Annotated[Model | Network, AS_IT_IS]
    batch: int = Field(
        default=1, ge=1, le=65536, description="sequences or images that run together on a replica"
    )
    input_tokens: int = Field(
        ge=1, le=16777216, description="tokens of one prompt; 1, without meaning, for images alone"
    )
    image_size: int | None = Field(
        default=None, ge=8, le=16384, description="pixels along an edge; None: the model's own"
    )
    images: int = Field(
        default=0, ge=0, le=4096, description="in each prompt of a vision-language model"
    )
    frames: int = Field(
        default=0, ge=0, le=65536, description="of video in each prompt of such a model"
    )
    generation: Generation | None = Field(
        default=None, description="image or video of a diffusion model; None: the model's own"
    )
    output_tokens: int = Field(
        default=0, ge=0, le=16777216, description="0: prefill or encoder only"
    )
    requests: int | None = Field(default=None, ge=1, le=2**53 - 1)
    requests_per_second: float | None = Field(
        default=None, gt=0, le=1e9, description="arrivals at the whole deployment"
    )
    duration_s: float | None = Field(
        default=None, gt=0, le=3.2e9, description="how long the GPUs are held"
    )
    precision: Precision = Precision.BF16
    weight_precision: Precision | None = Field(default=None, description="None: as `precision`")
    cache_precision: Precision | None = Field(
        default=None, description="KV cache; None: as activations"
    )
    parallelism: Parallelism = Parallelism()
    attention: Literal["fused", "eager"] = "fused"
    host: str = Field(default=_HOST, description="host profile: serving, pytorch-eager, ...")
    node: str | None = Field(
        default=None, description="node profile; None: the one that the GPU usually sits in"
    )
    gpus_per_node: int | None = Field(default=None, ge=1, le=1024, description="None: the node's")
    network_bandwidth: float | None = Field(
        default=None, gt=0, description="B/s of a GPU between nodes, one way; None: the node's"
    )
    node_power: bool = Field(
        default=False, description="estimate what nodes draw beside their boards, too"
    )
    training: Training | None = Field(
        default=None, description="train on sequences of `input_tokens` instead of serving"
    )
    clock_hz: float | None = Field(default=None, gt=0, description="locked clock; None: boost")
    power_cap_w: float | None = Field(default=None, gt=0, description="per board; None: its limit")

    @model_validator(mode="before")
    @classmethod
    def _describe_network(cls, given: Any) -> Any:
        """Read a network by its family, and take its own tokens where none are given."""
        if not isinstance(given, Mapping):
            return given
        model = given.get("model")
        if isinstance(model, Mapping) and model.get("family") in families.FAMILIES:
            model = families.schema(model["family"]).model_validate(model)
            given = {**given, "model": model}
        if isinstance(model, Network) and given.get("input_tokens") is None:
            tokens = model.default_tokens if model.takes_tokens else 1
            if tokens is not None:
                given = {**given, "input_tokens": tokens}
        return given

    @model_validator(mode="after")
    def _one_amount_of_work(self) -> "Workload":
        sees = isinstance(self.model, Network) or self.model.vision is not None
        if (self.images or self.frames) and not sees:
            raise ValueError(f"images: {self.model.name} has no vision tower; set it to 0")
        if self.requests_per_second is not None:
            if self.requests is not None:
                raise ValueError("requests and requests_per_second exclude each other; give one")
            if self.duration_s is None:
                raise ValueError("requests_per_second needs duration_s: for how long?")
        return self

    @model_validator(mode="after")
    def _only_what_generates(self) -> "Workload":
        makes = isinstance(self.model, Network) and self.model.generates
        if self.generation is not None and not makes:
            raise ValueError(f"{self.model.name} makes no images; leave generation out")
        if makes and self.image_size is not None:
            raise ValueError(f"{self.model.name} takes a height and a width; leave image_size out")
        if makes and self.output_tokens:
            raise ValueError(f"{self.model.name} writes no tokens; set output_tokens to 0")
        return self

    @property
    def transformer(self) -> Model:
        """The model, where only a dense transformer has a method.

        Raises:
            NoEstimateError: It is none.
        """
        if not isinstance(self.model, Model):
            raise NoEstimateError(f"{self.model.name} has a method for forward passes only")
        return self.model

    @property
    def prompt_tokens(self) -> int:
        """Tokens of one prompt, those of its images and frames included."""
        if not isinstance(self.model, Model) or self.model.vision is None:
            return self.input_tokens
        seen, edge = self.model.vision, self.edge
        return self.input_tokens + round(self.pictures * seen.tokens(edge))

    @property
    def pictures(self) -> float:
        """Images of one prompt, and frames as far as a tower sees them apart."""
        if not isinstance(self.model, Model) or self.model.vision is None:
            return 0.0
        return self.images + self.frames / self.model.vision.frames_per_patch

    @property
    def edge(self) -> int:
        """Pixels along an edge of the images of a prompt; 1 where there is no vision tower."""
        if not isinstance(self.model, Model) or self.model.vision is None:
            return 1
        return self.image_size or self.model.vision.image_size

    @property
    def network(self) -> Network:
        """The model, where it is a vision, speech or encoder-decoder network.

        Raises:
            NoEstimateError: It is none.
        """
        if not isinstance(self.model, Network):
            raise NoEstimateError(f"{self.model.name} is a dense transformer")
        return self.model

    @property
    def has_tokens(self) -> bool:
        """Whether a sample holds tokens, not only an image."""
        return isinstance(self.model, Model) or self.model.takes_tokens

    @property
    def host_profile(self) -> str:
        """The host profile that was named, else that of training or of networks.

        Networks other than language models run in a framework, not in a serving engine.
        """
        if self.host != _HOST:
            return self.host
        if self.training is not None:
            return "training"
        if not isinstance(self.model, Model):
            return "diffusion" if self.model.generates else "pytorch-eager"
        return self.host

    @property
    def network_inputs(self) -> Inputs:
        """Size of one sample of a network."""
        return Inputs(self.image_size or self.network.image_size, self.input_tokens)
