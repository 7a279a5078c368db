"""An AI model as data: the shapes from which its kernels follow."""

from typing import Literal, Self

from energaizer.layers import Experts, Latent, Recurrent, Tower
from energaizer.precision import Precision
from energaizer.records import Field, Record, model_validator


class Model(Record):
    """Architecture of a language model, as its published configuration states it.

    Its layers hold attention and an MLP unless `experts`, `latent` and `recurrent` say otherwise.

    Vision, speech and encoder-decoder models are its siblings in `families`.
    """

    name: str
    aliases: tuple[str, ...] = ()
    family: str = Field(description="model_type of the configuration: llama, qwen2, bert, ...")
    layers: int = Field(ge=1, le=4096)
    hidden_size: int = Field(ge=1, le=262144)
    intermediate_size: int = Field(ge=1, le=1048576)
    attention_heads: int = Field(ge=1, le=4096)
    key_value_heads: int = Field(ge=1, le=4096)
    head_size: int = Field(ge=1, le=8192)
    vocabulary_size: int = Field(ge=1, le=4194304)
    max_positions: int | None = Field(
        default=None, ge=1, description="longest context it was made for"
    )
    causal: bool = Field(default=True, description="False for encoders, which cannot decode")
    gated_mlp: bool = Field(default=True, description="three matrices (SwiGLU, GeGLU), else two")
    activation: str = "silu"
    normalization: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norms_per_layer: int = Field(default=2, ge=1, le=8, description="Gemma 2 and 3 have four")
    query_key_norm: bool = False
    positions: Literal["rotary", "learned", "relative", "none"] = "rotary"
    sliding_window: int | None = Field(default=None, ge=1)
    sliding_layers: int = Field(default=0, ge=0, description="layers that see only the window")
    attention_bias: bool = Field(default=False, description="bias of the q, k, v projections")
    mlp_bias: bool = Field(default=False, description="bias of the MLP and output projections")
    tied_embeddings: bool = False
    language_head: bool = Field(
        default=True, description="False: hidden states are the output (BERT)"
    )
    embedding_size: int | None = Field(
        default=None, ge=1, description="if not hidden_size (OPT-350M)"
    )
    attention_layers: int | None = Field(
        default=None, ge=0, description="layers with attention; None: all"
    )
    dense_layers: int | None = Field(
        default=None, ge=0, description="layers with a dense MLP; None: all without experts"
    )
    gated_attention: bool = Field(default=False, description="queries come with a gate as wide")
    experts: Experts | None = None
    latent: Latent | None = None
    recurrent: Recurrent | None = None
    vision: Tower | None = None
    checkpoint_precision: Precision | None = Field(
        default=None,
        description="format that it is published in, which servers compute with unless told "
        "otherwise: torch_dtype of its configuration, of the tuned variant where they differ",
    )
    weight_precision: Precision | None = Field(
        default=None, description="of a quantised checkpoint; None: that of the activations"
    )
    quantised: Literal["layers", "mlp", "experts"] = Field(
        default="layers", description="matrices that `weight_precision` covers"
    )
    notes: tuple[str, ...] = Field(default=(), description="what this description leaves out")
    source: str = Field(default="", description="where the configuration was published")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.attention_heads % self.key_value_heads:
            raise ValueError(
                f"attention_heads ({self.attention_heads}) must be a multiple of "
                f"key_value_heads ({self.key_value_heads})"
            )
        if self.sliding_layers > self.attention_count:
            raise ValueError("sliding_layers exceeds the layers with attention")
        if self.sliding_layers and self.sliding_window is None:
            raise ValueError("sliding_layers needs a sliding_window")
        for name, count in (
            ("attention_layers", self.attention_count),
            ("dense_layers", self.dense_count),
            ("experts.layers", self.experts.layers if self.experts else 0),
            ("recurrent.layers", self.recurrent.layers if self.recurrent else 0),
        ):
            if not 0 <= count <= self.layers:
                raise ValueError(f"{name} ({count}) must lie between 0 and layers ({self.layers})")
        return self

    def bare(self) -> Self:
        """Return the model without its language head: hidden states are its output."""
        return self.model_copy(update={"language_head": False})

    @property
    def query_size(self) -> int:
        """Width of the queries of one token, elements."""
        return self.attention_heads * self.head_size

    @property
    def key_value_size(self) -> int:
        """Width of the keys of one token (and again of the values), elements."""
        return self.key_value_heads * self.head_size

    @property
    def attention_count(self) -> int:
        """Layers with attention."""
        return self.layers if self.attention_layers is None else self.attention_layers

    @property
    def dense_count(self) -> int:
        """Layers with a dense MLP."""
        if self.dense_layers is not None:
            return self.dense_layers
        return self.layers - (self.experts.layers if self.experts else 0)

    @property
    def attention_parameters(self) -> int:
        """Parameters of the projections of one layer."""
        if self.latent is not None:
            return self.latent.parameters(self.hidden_size, self.attention_heads)
        queries = (3 if self.gated_attention else 2) * self.query_size
        matrices = self.hidden_size * (queries + 2 * self.key_value_size)
        bias = self.query_size + 2 * self.key_value_size if self.attention_bias else 0
        return matrices + bias + (self.hidden_size if self.mlp_bias else 0)

    @property
    def mlp_parameters(self) -> int:
        """Parameters of the dense MLP of one layer."""
        bias = self._branches * self.intermediate_size + self.hidden_size if self.mlp_bias else 0
        return self._matrices(self.intermediate_size) + bias

    @property
    def _branches(self) -> int:
        return 2 if self.gated_mlp else 1

    def _matrices(self, width: int) -> int:
        return (self._branches + 1) * self.hidden_size * width

    @property
    def routed_parameters(self) -> int:
        """Parameters of all routed experts of all layers."""
        if self.experts is None:
            return 0
        each = self._matrices(self.experts.intermediate_size)
        return self.experts.layers * self.experts.count * each

    @property
    def shared_parameters(self) -> int:
        """Parameters of the shared experts of all layers."""
        if self.experts is None:
            return 0
        return self.experts.layers * self._matrices(self.experts.shared_size)

    @property
    def router_parameters(self) -> int:
        """Parameters of all routers, which stay wide."""
        found = self.experts
        return found.layers * found.count * self.hidden_size if found else 0

    @property
    def recurrent_parameters(self) -> int:
        """Parameters of all recurrent layers."""
        if self.recurrent is None:
            return 0
        return self.recurrent.layers * self.recurrent.parameters(self.hidden_size)

    @property
    def norm_parameters(self) -> int:
        """Parameters of all norms: those of the layers and the one outside them."""
        vectors = 2 if self.normalization == "layernorm" else 1
        found = (self.norms_per_layer * self.layers + 1) * self.hidden_size * vectors
        return found + (2 * self.head_size * self.attention_count if self.query_key_norm else 0)

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the token and position tables, and of a projection in and out of them."""
        width = self.embedding_size or self.hidden_size
        table = self.vocabulary_size * width
        if self.positions == "learned":
            table += (self.max_positions or 0) * self.hidden_size
        return table + (2 * width * self.hidden_size if width != self.hidden_size else 0)

    @property
    def head_parameters(self) -> int:
        """Parameters of the matrix that turns hidden states into logits; 0 without a head."""
        if not self.language_head:
            return 0
        return self.vocabulary_size * (self.embedding_size or self.hidden_size)

    @property
    def layer_parameters(self) -> int:
        """Parameters of the matrices of all layers, routers and norms aside."""
        dense = self.attention_count * self.attention_parameters
        dense += self.dense_count * self.mlp_parameters + self.recurrent_parameters
        return dense + self.routed_parameters + self.shared_parameters

    @property
    def quantised_parameters(self) -> int:
        """Parameters that a quantised checkpoint of this model stores small."""
        if self.quantised == "experts":
            return self.routed_parameters
        if self.quantised == "mlp":
            mlp = self.dense_count * self.mlp_parameters
            return mlp + self.routed_parameters + self.shared_parameters
        return self.layer_parameters

    @property
    def vision_parameters(self) -> int:
        """Parameters of the vision tower, which stay wide."""
        return self.vision.parameters(self.hidden_size) if self.vision else 0

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        head = 0 if self.tied_embeddings else self.head_parameters
        layers = self.layer_parameters + self.router_parameters + self.vision_parameters
        return layers + self.norm_parameters + self.embedding_parameters + head

    @property
    def active_parameters(self) -> int:
        """Parameters that one token of text meets: of the experts, only those it visits."""
        idle = self.vision_parameters
        if self.experts is not None:
            share = 1.0 - self.experts.per_token / self.experts.count
            idle += round(self.routed_parameters * share)
        return self.parameters - idle

    def weight_bytes(self, weights: Precision, rest: Precision = Precision.BF16) -> float:
        """Return the bytes the model occupies, B.

        Args:
            weights: Format of what a quantised checkpoint stores small.
            rest: Format of embeddings, head, norms and of what it keeps wide.
        """
        small = self.quantised_parameters
        wide = self.parameters - small
        return small * weights.bytes_per_element + wide * rest.bytes_per_element

    def bytes_read_per_step(self, weights: Precision, rest: Precision = Precision.BF16) -> float:
        """Return the weight bytes one wide forward step reads, B: all but the embedding table.

        Golden (docs/method.md, 3): Llama-3.1-8B in bf16 reads 15.009 GB.
        """
        small = self.quantised_parameters
        wide = self.layer_parameters + self.router_parameters - small
        wide += self.norm_parameters + self.head_parameters
        return small * weights.bytes_per_element + wide * rest.bytes_per_element

    @property
    def cached_size(self) -> int:
        """Elements that one token leaves in the cache of one layer."""
        return self.latent.cached_size if self.latent else 2 * self.key_value_size

    def key_value_bytes_per_token(self, cache: Precision = Precision.BF16) -> float:
        """Return the KV-cache bytes of one token while it is in every layer's window, B."""
        return self.attention_count * self.cached_size * cache.bytes_per_element

    def key_value_bytes(self, context: int, cache: Precision = Precision.BF16) -> float:
        """Return the KV-cache bytes of one sequence, B, without recurrent state.

        Sliding layers hold their window at most.

        Args:
            context: Tokens of prompt and output so far.
            cache: Format of the cache.
        """
        held = context * (self.attention_count - self.sliding_layers)
        if self.sliding_window is not None:
            held += min(context, self.sliding_window) * self.sliding_layers
        return held * self.cached_size * cache.bytes_per_element
