"""How a model is spread over GPUs."""

from pydantic import BaseModel, ConfigDict, Field


class Parallelism(BaseModel):
    """Degrees of parallelism; their product, `expert` aside, is the number of GPUs."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    tensor: int = Field(default=1, ge=1, le=1024, description="shards of every matrix (TP)")
    pipeline: int = Field(default=1, ge=1, le=1024, description="groups of layers in a row (PP)")
    data: int = Field(default=1, ge=1, le=65536, description="replicas of the model (DP)")
    expert: int = Field(default=1, ge=1, le=1024, description="ranks the experts lie on (EP)")
    context: int = Field(default=1, ge=1, le=1024, description="ranks a sequence lies on (CP)")

    @property
    def gpus(self) -> int:
        """Boards the deployment holds; expert parallelism reuses the others."""
        return self.tensor * self.pipeline * self.data * self.context
