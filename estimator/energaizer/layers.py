"""Layers beside dense attention and a dense MLP, as published configurations describe them.

Experts, latent attention, recurrent layers and the vision tower in front of a language model: each
is data from which `model` counts parameters and `stacks` lists kernels.
"""

import math
from typing import Literal, Self

from energaizer.records import Field, Record, model_validator


class Experts(Record):
    """Mixture of experts in place of the MLP of some layers."""

    count: int = Field(ge=1, le=65536, description="routed experts of a layer [E]")
    per_token: int = Field(ge=1, le=65536, description="routed experts that a token visits [k]")
    intermediate_size: int = Field(ge=1, le=1048576, description="width of one expert")
    shared_size: int = Field(
        default=0, ge=0, le=1048576, description="width of all shared experts together"
    )
    layers: int = Field(ge=1, le=4096, description="layers that hold experts")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.per_token > self.count:
            raise ValueError(
                f"experts per token ({self.per_token}) exceed the experts ({self.count}); "
                f"the most is {self.count}"
            )
        return self


class Latent(Record):
    """Multi-head latent attention (MLA): keys and values are stored as one narrow vector."""

    query_rank: int | None = Field(default=None, ge=1, description="None: one query projection")
    cache_rank: int = Field(ge=1, le=262144, description="width of the stored vector [d_c]")
    plain_size: int = Field(ge=1, le=8192, description="of a query head, without positions [d_n]")
    rotary_size: int = Field(ge=0, le=8192, description="of a query head, with positions [d_r]")
    value_size: int = Field(ge=1, le=8192, description="of a value head [d_v]")
    index_heads: int = Field(default=0, ge=0, le=4096, description="of a sparse indexer; 0: none")
    index_size: int = Field(default=0, ge=0, le=8192, description="of an index head and key")
    index_keys: int = Field(default=0, ge=0, description="keys that the indexer selects")

    @property
    def cached_size(self) -> int:
        """Elements stored per token and layer: latent vector, rotary key, index key."""
        return self.cache_rank + self.rotary_size + (self.index_size if self.index_heads else 0)

    def parameters(self, hidden: int, heads: int) -> int:
        """Return parameters of the projections of one layer."""
        wide = heads * (self.plain_size + self.rotary_size)
        rank = self.query_rank
        queries = hidden * wide if rank is None else rank * (hidden + wide)
        keys = hidden * (self.cache_rank + self.rotary_size)
        values = self.cache_rank * heads * (self.plain_size + self.value_size)
        indexer = self.index_heads * self.index_size * (rank or hidden)
        indexer += hidden * (self.index_size + self.index_heads) if self.index_heads else 0
        return queries + keys + values + heads * self.value_size * hidden + indexer


class Recurrent(Record):
    """Layers whose state does not grow with context: Mamba, Mamba-2, gated delta rule."""

    kind: Literal["mamba", "mamba2", "delta"]
    layers: int = Field(ge=1, le=4096)
    heads: int = Field(ge=1, le=1048576, description="of the values; Mamba: channels")
    head_size: int = Field(ge=1, le=8192, description="[P]; Mamba: 1")
    state_size: int = Field(ge=1, le=8192, description="[S]; delta rule: size of a key head")
    groups: int = Field(default=1, ge=1, le=4096, description="heads of B, C or of the keys")
    taps: int = Field(default=4, ge=1, le=64, description="of the short convolution")
    step_rank: int = Field(default=0, ge=0, le=65536, description="Mamba's rank of time steps")
    state_bytes_per_element: float = Field(default=4.0, gt=0, le=8.0, description="as kept, B")

    @property
    def inner(self) -> int:
        """Width of the values of one token."""
        return self.heads * self.head_size

    @property
    def mixed(self) -> int:
        """Channels of the short convolution."""
        if self.kind == "mamba":
            return self.inner
        return self.inner + 2 * self.groups * self.state_size

    @property
    def projected(self) -> int:
        """Width of the projection into a layer: values, gate, B and C or keys, steps."""
        if self.kind == "mamba":
            return 2 * self.inner
        steps = 2 * self.heads if self.kind == "delta" else self.heads
        return self.inner + self.mixed + steps

    @property
    def state_bytes(self) -> float:
        """State of one sequence and layer, B; the tail of the convolution in 16 bits."""
        tail = 2.0 * self.mixed * (self.taps - 1)
        return self.inner * self.state_size * self.state_bytes_per_element + tail

    def parameters(self, hidden: int) -> int:
        """Return parameters of one layer."""
        found = hidden * (self.projected + self.inner) + self.mixed * (self.taps + 1)
        if self.kind == "mamba":
            found += self.inner * (2 * self.step_rank + 3 * self.state_size + 2)
        return found + 3 * self.heads


class Tower(Record):
    """A vision encoder in front of a language model, and the tokens that it hands over."""

    layers: int = Field(ge=1, le=4096)
    hidden_size: int = Field(ge=1, le=65536)
    intermediate_size: int = Field(ge=1, le=1048576)
    heads: int = Field(ge=1, le=4096)
    patch: int = Field(ge=1, le=1024, description="pixels along an edge of a patch")
    merge: int = Field(default=1, ge=1, le=64, description="patches along an edge of a token")
    frames_per_patch: int = Field(default=1, ge=1, le=64, description="of a video")
    gated_mlp: bool = False
    image_size: int = Field(ge=8, le=16384, description="edge where none is named, pixels")
    tile_size: int | None = Field(
        default=None, ge=8, le=16384, description="images are cut or resized to it; None: free"
    )
    most_tiles: int = Field(default=1, ge=1, le=256, description="of one image")
    window: int | None = Field(
        default=None, ge=1, description="patches that a windowed layer attends to"
    )
    full_layers: int | None = Field(default=None, ge=0, description="without a window; None: all")

    def tiles(self, image_size: int) -> int:
        """Return the tiles of a square image; 1 where it is seen as a whole."""
        if self.tile_size is None or self.most_tiles == 1:
            return 1
        found = min(self.most_tiles, math.ceil(image_size / self.tile_size) ** 2)
        return found + 1 if found > 1 else 1  # and a thumbnail of the whole

    def patches(self, image_size: int) -> int:
        """Return the patches of one tile, or of the whole image."""
        edge = self.tile_size or image_size
        unit = self.patch * self.merge
        return (max(1, round(edge / unit)) * self.merge) ** 2

    def tokens(self, image_size: int) -> int:
        """Return the tokens that one image, or one frame, puts into a prompt."""
        return self.tiles(image_size) * (self.patches(image_size) // self.merge**2)

    @property
    def layer_parameters(self) -> int:
        """Parameters of all layers."""
        mlp = (3 if self.gated_mlp else 2) * self.hidden_size * self.intermediate_size
        return self.layers * (4 * self.hidden_size**2 + mlp)

    def parameters(self, hidden: int) -> int:
        """Return parameters of layers, patches and of the projection into a model of width."""
        merged = self.hidden_size * self.merge**2
        patches = 3 * self.patch**2 * self.frames_per_patch * self.hidden_size
        return self.layer_parameters + patches + merged * (merged + hidden)
