"""What is said of a server in steady running: latencies, throughput, watts, joules, memory."""

from typing import Any, NamedTuple

from energaizer import result
from energaizer.result import Memory, Quantity


class ServingEstimate(NamedTuple):
    """Steady continuous batching of one model on some GPUs.

    What is not listed means what it does in `result.Estimate`.

    Attributes:
        time_to_first_token: s, mean, waiting for a step included.
        time_per_output_token: s, mean gap of a sequence.
        inter_token_latency: s, median gap of a sequence.
        longest_step: s, a step that computes a full chunk of prompts.
        output_tokens_per_second: All replicas.
        requests_per_second: Served by all replicas.
        power: W, mean, all boards.
        peak_power: W, highest mean of a phase, all boards.
        decode_power: W, mean of decode steps, all boards that decode.
        prefill_power: W, mean of prompts, all boards that take them.
        energy_per_output_token: J, prompts and idle included.
        energy_per_request: J, idle included.
        prefill_energy_per_request: J.
        decode_energy_per_request: J.
        idle_energy_per_request: J, boards that wait for requests.
        batch: Sequences that run together on a replica, mean.
        prompts_per_step: Prompts that a step computes, mean.
        context_tokens: Seen by the next token, mean.
        busy_fraction: Share of time in which a replica has work, in [0, 1].
        host_s_per_step: s in which boards wait for the engine.
        most_requests_per_second: At the largest batch that fits, all replicas; None: not asked
            for a rate.
        gpu_count: Boards of all replicas.
        prefill_gpu_count: Of them, boards that compute prompts alone.
    """

    time_to_first_token: Quantity
    time_per_output_token: Quantity
    inter_token_latency: Quantity
    longest_step: Quantity
    output_tokens_per_second: Quantity
    requests_per_second: Quantity
    power: Quantity
    peak_power: Quantity
    decode_power: Quantity
    prefill_power: Quantity
    energy_per_output_token: Quantity
    energy_per_request: Quantity
    prefill_energy_per_request: Quantity
    decode_energy_per_request: Quantity
    idle_energy_per_request: Quantity
    batch: float
    prompts_per_step: float
    context_tokens: float
    busy_fraction: float
    host_s_per_step: float
    most_requests_per_second: float | None
    model: str
    gpu: str
    gpu_count: int
    prefill_gpu_count: int
    clock_hz: float
    power_cap_w: float
    memory: Memory
    profile_hash: str
    version: str
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the answer as JSON holds it."""
        return result.as_json(self)
