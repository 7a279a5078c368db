"""How a model is spread over GPUs."""

from energaizer.records import Field, Record, model_validator


class Parallelism(Record):
    """Degrees of parallelism; the product of all but `expert` and `ring` is the number of GPUs."""

    tensor: int = Field(default=1, ge=1, le=1024, description="shards of every matrix (TP)")
    pipeline: int = Field(default=1, ge=1, le=1024, description="groups of layers in a row (PP)")
    data: int = Field(default=1, ge=1, le=65536, description="replicas of the model (DP)")
    expert: int = Field(default=1, ge=1, le=1024, description="ranks the experts lie on (EP)")
    context: int = Field(default=1, ge=1, le=1024, description="ranks a sequence lies on (CP)")
    ring: int = Field(
        default=1, ge=1, le=1024,
        description="of `context`: ranks that pass keys on; the others exchange heads (Ulysses)",
    )  # fmt: skip

    uneven: bool = Field(
        default=False, description="stages may differ by a layer, as vLLM and SGLang split them"
    )

    @model_validator(mode="after")
    def _ring_divides(self) -> "Parallelism":
        if self.context % self.ring:
            raise ValueError(
                f"ring {self.ring} must divide context {self.context}; try context {self.ring}"
            )
        return self

    @property
    def ulysses(self) -> int:
        """Ranks that exchange heads, so that each attends with its own to the whole sequence."""
        return self.context // self.ring

    @property
    def gpus(self) -> int:
        """Boards the deployment holds; expert parallelism reuses the others."""
        return self.tensor * self.pipeline * self.data * self.context
