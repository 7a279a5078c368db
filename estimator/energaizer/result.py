"""What an estimate is: numbers that travel with interval, provenance and coverage.

We made them, so nothing here is checked again: a class that is checked costs a process 20 times as
much to define, and an answer four times as much to make.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Provenance(StrEnum):
    """Where a number comes from, strongest first (docs/method.md, 1)."""

    MEASURED = "measured"
    CALIBRATED = "calibrated"
    ANALYTICAL = "analytical"
    EXTRAPOLATED = "extrapolated"
    SPECIFICATION = "specification"
    BOUND = "bound"

    @classmethod
    def weakest(cls, *provenances: "Provenance") -> "Provenance":
        """Return the weakest of some provenances: that of a sum is that of its weakest part."""
        return max(provenances, key=_STRENGTH.__getitem__)


_STRENGTH = {provenance: place for place, provenance in enumerate(Provenance)}


class Quantity(NamedTuple):
    """A number with its central 90 % prediction interval for a new measurement.

    Attributes:
        value: The number.
        low: Lower end of the interval.
        high: Upper end.
        unit: SI: W, J, s, J/token.
        provenance: Where the number comes from.
        coverage: Time-weighted share on calibrated kernels, in [0, 1].
    """

    value: float
    low: float
    high: float
    unit: str
    provenance: Provenance
    coverage: float


class Brief(NamedTuple):
    """What a job comes to, without its parts: what is said of it to a cluster.

    Attributes:
        power: W, mean over the job, all boards of the deployment.
        energy: J, whole job, all boards.
        duration: s, whole job.
        energy_per_output_token: J/token; None without output.
        decode_s: Mean time of a decode step, s; None without one.
        completed: Requests served, or optimiser steps done, in the job; 0 for a bound.
        gpu_count: Boards of the deployment.
        clock_hz: Time-weighted mean clock.
    """

    power: Quantity
    energy: Quantity
    duration: Quantity
    energy_per_output_token: Quantity | None
    decode_s: float | None
    completed: float
    gpu_count: int
    clock_hz: float


class PhaseEstimate(NamedTuple):
    """One phase of a job (prefill, decode, idle): sums and means over its repetitions.

    Attributes:
        name: Of the phase.
        count: Repetitions, e.g. decode steps.
        duration: s, all repetitions together.
        power: W, all boards of the deployment, mean over the phase.
        energy: J, all boards.
        clock_hz: Mean clock of the phase, after throttling.
        throttled: The power limit lowered the clock.
        components: J by component (idle, compute, memory, ...); they sum to `energy`.
    """

    name: str
    count: int  # type: ignore[assignment]  # a tuple has a method of that name
    duration: Quantity
    power: Quantity
    energy: Quantity
    clock_hz: float
    throttled: bool
    components: dict[str, Quantity]


class Memory(NamedTuple):
    """Bytes one GPU needs against what it has.

    Attributes:
        weights_bytes: Weights, and in training what goes with them.
        kv_cache_bytes: Keys and values of the whole batch.
        activation_bytes: Tensors between layers.
        total_bytes: All of it.
        capacity_bytes: Of the GPU.
        largest_batch: Largest batch that fits, other inputs unchanged.
    """

    weights_bytes: float
    kv_cache_bytes: float
    activation_bytes: float
    total_bytes: float
    capacity_bytes: float
    largest_batch: int


class TrainingFigures(NamedTuple):
    """What training gets done, and how well it uses its boards.

    Attributes:
        steps: Optimiser steps of the job.
        tokens: Trained on in the job; None for a network of images.
        samples: Sequences or images trained on in the job.
        step_s: s of one optimiser step, pauses apart.
        tokens_per_s: Of the whole deployment; None for images.
        samples_per_s: Of the whole deployment.
        flop: FLOP of the job that recomputation does not repeat.
        mfu: Those FLOP over peak FLOP/s of the precision, boards and step time, at least 0.
        bubble_fraction: Share of forward and backward in which a stage waits, in [0, 1).
    """

    steps: float
    tokens: float | None
    samples: float
    step_s: float
    tokens_per_s: float | None
    samples_per_s: float
    flop: float
    mfu: float
    bubble_fraction: float


class NodeEstimate(NamedTuple):
    """What the servers draw at their sockets, boards included: never mixed with board power.

    Attributes:
        node: Profile of the server.
        nodes: Servers; a part where the boards fill one in part.
        power: W, mean over the job, all nodes.
        energy: J, whole job, all nodes.
        parts_w: W by part: boards, processors, memory, network, other, fans, supplies.
    """

    node: str
    nodes: float
    power: Quantity
    energy: Quantity
    parts_w: dict[str, float]


class Estimate(NamedTuple):
    """The answer for one workload on one kind of GPU, at one clock or power cap.

    Attributes:
        power: W, mean over the job, all boards of the deployment.
        energy: J, whole job, all boards.
        duration: s, whole job.
        energy_per_output_token: J/token, prefill + decode energy over output tokens; None without
            output.
        energy_per_sample: J/image, J/sequence, J/clip of a vision, text or speech network.
        phases: Phases, in order.
        components: J by component; they sum to `energy`.
        completed: Requests served, or optimiser steps done, in the job; 0 for a bound.
        model: Its name.
        gpu: Its name.
        gpu_count: Boards of the deployment.
        clock_hz: Time-weighted mean clock.
        power_cap_w: Limit per board that was applied, W.
        memory: Of one board; None for a bound.
        training: Of training alone.
        node: Where it was asked for.
        profile_hash: Hash of the GPU profile and coefficients behind it.
        version: Of this package.
        notes: What a reader must know.
    """

    power: Quantity
    energy: Quantity
    duration: Quantity
    energy_per_output_token: Quantity | None
    energy_per_sample: Quantity | None
    phases: tuple[PhaseEstimate, ...]
    components: dict[str, Quantity]
    completed: float
    model: str
    gpu: str
    gpu_count: int
    clock_hz: float
    power_cap_w: float
    memory: Memory | None
    training: TrainingFigures | None
    node: NodeEstimate | None
    profile_hash: str
    version: str
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the answer as JSON holds it."""
        return as_json(self)


def as_json(record: Any) -> dict[str, Any]:
    """Return a named tuple as JSON holds it: a dictionary by name, what it holds likewise."""
    return {name: _plain(value) for name, value in record._asdict().items()}


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return as_json(value)
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value.value if isinstance(value, Provenance) else value
