"""How a model is trained: batches, optimiser, what is recomputed, sharded, adapted, saved."""

import math
from typing import Literal, Self

from energaizer.records import Field, Record, model_validator

Optimizer = Literal["adam", "adam-8bit", "sgd"]
# Bytes per parameter that an optimiser keeps: a 32-bit copy of the weights and its moments.
_STATE_BYTES: dict[str, float] = {"adam": 12.0, "adam-8bit": 6.0, "sgd": 8.0}


class Training(Record):
    """Mixed-precision training on sequences of `input_tokens` tokens, or images of a network."""

    global_batch: int = Field(ge=1, le=1048576, description="sequences of a step, all replicas")
    micro_batch: int = Field(default=1, ge=1, le=65536, description="sequences that run together")
    steps: int = Field(default=1, ge=1, le=2**53 - 1, description="optimiser steps")
    optimizer: Optimizer = Field(default="adam", description="what keeps states of each parameter")
    recompute: Literal["none", "selective", "full"] = Field(
        default="none",
        description="selective: attention, norms, nonlinearities; full: the whole forward pass",
    )
    zero: int = Field(
        default=0,
        ge=0,
        le=3,
        description="spread over the replicas: 1 optimiser states, 2 gradients too, 3 weights too "
        "(FSDP)",
    )
    interleave: int = Field(default=1, ge=1, le=64, description="chunks of layers on each stage")
    sequence_parallel: bool = Field(
        default=True, description="tensor-parallel ranks share the norms between their products"
    )
    lora_rank: int | None = Field(
        default=None, ge=1, le=65536, description="train adapters of this rank; None: all weights"
    )
    lora_targets: Literal["attention", "all"] = Field(
        default="all", description="projections that get an adapter"
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="steps from one checkpoint to the next; None: none"
    )
    storage_bandwidth: float = Field(
        default=2e9, gt=0, description="B/s that one node writes of a checkpoint"
    )
    stall_s: float = Field(
        default=0.0, ge=0, le=86400, description="seconds of each step that wait for input"
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.micro_batch > self.global_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} exceeds global_batch {self.global_batch}; set it "
                f"to {self.global_batch} or less"
            )
        return self

    @property
    def state_bytes(self) -> float:
        """Bytes per trained parameter of the optimiser."""
        return _STATE_BYTES[self.optimizer]

    @property
    def checkpoints(self) -> int:
        """Checkpoints of the job."""
        return self.steps // self.checkpoint_every if self.checkpoint_every else 0


def steps_for(tokens: float, global_batch: int, sequence: int) -> int:
    """Return the optimiser steps that train on so many tokens, at least one."""
    return max(1, math.ceil(tokens / (global_batch * sequence)))
