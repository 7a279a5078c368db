"""What is said of a server in steady running: latencies, throughput, watts, joules, memory."""

from pydantic import BaseModel, ConfigDict, Field

from energaizer.result import Memory, Quantity


class ServingEstimate(BaseModel):
    """Steady continuous batching of one model on some GPUs."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    time_to_first_token: Quantity = Field(description="s, mean, waiting for a step included")
    time_per_output_token: Quantity = Field(description="s, mean gap of a sequence")
    inter_token_latency: Quantity = Field(description="s, median gap of a sequence")
    longest_step: Quantity = Field(description="s, a step that computes a full chunk of prompts")
    output_tokens_per_second: Quantity = Field(description="all replicas")
    requests_per_second: Quantity = Field(description="served by all replicas")
    power: Quantity = Field(description="W, mean, all boards")
    peak_power: Quantity = Field(description="W, highest mean of a phase, all boards")
    decode_power: Quantity = Field(description="W, mean of decode steps, all boards that decode")
    prefill_power: Quantity = Field(description="W, mean of prompts, all boards that take them")
    energy_per_output_token: Quantity = Field(description="J, prompts and idle included")
    energy_per_request: Quantity = Field(description="J, idle included")
    prefill_energy_per_request: Quantity = Field(description="J")
    decode_energy_per_request: Quantity = Field(description="J")
    idle_energy_per_request: Quantity = Field(description="J, boards that wait for requests")
    batch: float = Field(description="sequences that run together on a replica, mean")
    prompts_per_step: float
    context_tokens: float = Field(description="seen by the next token, mean")
    busy_fraction: float = Field(ge=0, le=1, description="time in which a replica has work")
    host_s_per_step: float = Field(ge=0, description="in which boards wait for the engine")
    most_requests_per_second: float | None = Field(
        description="at the largest batch that fits, all replicas; None: not asked for a rate"
    )
    model: str
    gpu: str
    gpu_count: int
    prefill_gpu_count: int = Field(description="of them, boards that compute prompts alone")
    clock_hz: float
    power_cap_w: float
    memory: Memory
    profile_hash: str
    version: str
    notes: tuple[str, ...] = ()
