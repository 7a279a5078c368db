"""An AI model as data: the shapes from which its kernels follow."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    """Architecture of a dense transformer, as its published configuration states it.

    Families to come (MoE, vision, diffusion) add fields or siblings of this class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
    gated_mlp: bool = Field(
        default=True, description="three matrices (SwiGLU, GeGLU) instead of two"
    )
    activation: str = "silu"
    normalization: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norms_per_layer: int = Field(default=2, ge=1, le=8, description="Gemma 2 and 3 have four")
    query_key_norm: bool = False
    positions: Literal["rotary", "learned", "relative", "none"] = "rotary"
    sliding_window: int | None = Field(default=None, ge=1)
    sliding_layers: int = Field(default=0, ge=0, description="layers that see only the window")
    attention_bias: bool = False
    mlp_bias: bool = False
    tied_embeddings: bool = False
    language_head: bool = Field(
        default=True, description="False: hidden states are the output (BERT)"
    )
    embedding_size: int | None = Field(
        default=None, ge=1, description="if not hidden_size (OPT-350M)"
    )
    source: str = Field(default="", description="where the configuration was published")
