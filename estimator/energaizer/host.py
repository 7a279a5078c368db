"""What the machine around a GPU adds: time to launch kernels and to run a step of an engine.

Launch cost belongs to CPU, driver and framework, not to the GPU, so it has profiles of its own:
`profiles/hosts/*.json`.
"""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from energaizer.errors import ProfileError
from energaizer.gpu import Source


class LaunchCost(BaseModel):
    """Host time of one step, in seconds: parts that overlap with the GPU, and gaps that do not.

    `T = pn(T_gpu, launches launch_s + calls call_s + step_s + sequences sequence_s; 6) + gaps`
    (method, 2.8 and 6).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    launch_s: float = Field(ge=0, description="per kernel launch [tau]")
    call_s: float = Field(default=0.0, ge=0, description="per call of a framework module")
    step_s: float = Field(ge=0, description="per step, overlapped [c0]")
    sequence_s: float = Field(default=0.0, ge=0, description="per running sequence, overlapped")
    gap_step_s: float = Field(default=0.0, ge=0, description="per step, the GPU waits")
    gap_sequence_s: float = Field(default=0.0, ge=0, description="per sequence, the GPU waits")
    gap_layer_s: float = Field(default=0.0, ge=0, description="per layer, the GPU waits")


class Host(BaseModel):
    """A host profile: one cost for prompts, one for decode steps (often a replayed graph)."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    prefill: LaunchCost
    decode: LaunchCost
    log_sd: float = Field(default=0.7, ge=0, description="spread of ln(launch cost)")
    source: Source

    @classmethod
    def loads(cls, text: str, where: str = "host") -> Self:
        """Read the JSON text of a host profile."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise ProfileError.of(where, error) from error
