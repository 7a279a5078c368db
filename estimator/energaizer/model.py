"""An AI model as data: the shapes from which its kernels follow."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from energaizer.precision import Precision


class Model(BaseModel):
    """Architecture of a dense transformer, as its published configuration states it.

    Vision, speech and encoder-decoder models are its siblings in `families`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

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
    weight_precision: Precision | None = Field(
        default=None, description="of a quantised checkpoint; None: that of the activations"
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
        if self.sliding_layers > self.layers:
            raise ValueError("sliding_layers exceeds layers")
        if self.sliding_layers and self.sliding_window is None:
            raise ValueError("sliding_layers needs a sliding_window")
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
    def attention_parameters(self) -> int:
        """Parameters of the four projections of one layer."""
        matrices = self.hidden_size * (2 * self.query_size + 2 * self.key_value_size)
        bias = self.query_size + 2 * self.key_value_size if self.attention_bias else 0
        return matrices + bias + (self.hidden_size if self.mlp_bias else 0)

    @property
    def mlp_parameters(self) -> int:
        """Parameters of the MLP of one layer."""
        up = 2 if self.gated_mlp else 1
        bias = up * self.intermediate_size + self.hidden_size if self.mlp_bias else 0
        return (up + 1) * self.hidden_size * self.intermediate_size + bias

    @property
    def norm_parameters(self) -> int:
        """Parameters of all norms: those of the layers and the one outside them."""
        vectors = 2 if self.normalization == "layernorm" else 1
        per_layer = self.norms_per_layer * self.hidden_size * vectors
        per_layer += 2 * self.head_size if self.query_key_norm else 0
        return self.layers * per_layer + self.hidden_size * vectors

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
        """Parameters of the matrices of all layers: what a quantised checkpoint stores small."""
        return self.layers * (self.attention_parameters + self.mlp_parameters)

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        head = 0 if self.tied_embeddings else self.head_parameters
        return self.layer_parameters + self.norm_parameters + self.embedding_parameters + head

    def weight_bytes(self, weights: Precision, rest: Precision = Precision.BF16) -> float:
        """Return the bytes the model occupies, B.

        Args:
            weights: Format of the matrices of the layers.
            rest: Format of embeddings, head and norms, which quantised checkpoints keep wide.
        """
        wide = self.parameters - self.layer_parameters
        return self.layer_parameters * weights.bytes_per_element + wide * rest.bytes_per_element

    def bytes_read_per_step(self, weights: Precision, rest: Precision = Precision.BF16) -> float:
        """Return the weight bytes one forward step reads, B: all but the embedding table.

        Golden (estimation.md 3): Llama-3.1-8B in bf16 reads 15.009 GB.
        """
        wide = self.norm_parameters + self.head_parameters
        return self.layer_parameters * weights.bytes_per_element + wide * rest.bytes_per_element

    def key_value_bytes_per_token(self, cache: Precision = Precision.BF16) -> float:
        """Return the KV-cache bytes of one token while it is in every layer's window, B."""
        return 2 * self.layers * self.key_value_size * cache.bytes_per_element

    def key_value_bytes(self, context: int, cache: Precision = Precision.BF16) -> float:
        """Return the KV-cache bytes of one sequence, B; sliding layers hold their window at most.

        Args:
            context: Tokens of prompt and output so far.
            cache: Format of the cache.
        """
        held = context * (self.layers - self.sliding_layers)
        if self.sliding_window is not None:
            held += min(context, self.sliding_window) * self.sliding_layers
        return 2 * held * self.key_value_size * cache.bytes_per_element
