"""A runtime as a table of flags, and what reading a pod gives."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NO_LITERAL = "\x00"
"""Stands in a text for what is not written there, such as the value of a Secret."""


class Input(StrEnum):
    """The inputs that arguments may state, by their path in the spec of an AIWorkload."""

    TASK = "task"
    MODEL = "model.name"
    REVISION = "model.revision"
    PRECISION = "model.precision"
    WEIGHTS = "model.weightPrecision"
    CACHE = "model.keyValueCachePrecision"
    TENSOR = "parallelism.tensor"
    PIPELINE = "parallelism.pipeline"
    DATA = "parallelism.data"
    EXPERT = "parallelism.expert"
    CONTEXT = "parallelism.context"
    SEQUENCES = "inference.batchSize"
    LENGTH = "inference.inputTokens"
    BATCH = "training.globalBatchSize"
    MICRO = "training.microBatchSize"
    STRETCH = "training.sequenceLength"
    STEPS = "training.steps"


CEILINGS = (Input.SEQUENCES, Input.LENGTH)
"""Arguments state the most of them: sequences that run together, tokens in and out of one."""


@dataclass(frozen=True)
class Reading:
    """What arguments state, and what they hide."""

    values: Mapping[str, str] = field(default_factory=dict)
    """Path of the input in spec -> text."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Path of the input -> why its value cannot be known. No weaker source may replace it."""
    ceilings: Mapping[str, int] = field(default_factory=dict)
    """Path of the input -> the most that the arguments allow."""


def common(readings: Iterable[Reading], why: str) -> Reading:
    """Return what several readings state together; an input on which they differ is unknown.

    One that is silent altogether, such as a worker that joins a server, has no part in it. One
    that leaves out what another states runs it with a default, and so differs.
    """
    found = [one for one in readings if one.values or one.unknown]
    if not found:
        return Reading()
    paths = dict.fromkeys(path for one in found for path in (*one.values, *one.unknown))
    values: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for path in paths:
        said = {one.values.get(path) for one in found}
        reason = next((one.unknown[path] for one in found if path in one.unknown), None)
        if len(said) > 1:
            unknown[path] = why
        elif reason is not None:
            unknown[path] = reason
        if said != {None} and path not in unknown:
            values[path] = found[0].values[path]
    bounded = {path for one in found for path in one.ceilings}
    ceilings = {
        path: max(one.ceilings[path] for one in found)
        for path in sorted(bounded)
        if all(path in one.ceilings for one in found)
    }
    return Reading(values, unknown, ceilings)


@dataclass(frozen=True)
class Call:
    """A runtime with the words it is given; the words may hold NO_LITERAL."""

    runtime: "Runtime"
    words: tuple[str, ...]
    environment: Mapping[str, str]
    gpus: int
    """Of the container."""
    world: int = 0
    """GPUs of the whole workload; 0: unknown."""


@dataclass(frozen=True)
class Runtime:
    """The documented flags of one serving runtime."""

    name: str
    flags: Mapping[str, Input]
    """Each takes one value."""
    variables: Mapping[str, Input] = field(default_factory=dict)
    """Environment; flags are stronger."""
    values: Mapping[Input, Mapping[str, str]] = field(default_factory=dict)
    """Text of the runtime, in lower case -> ours; what is absent here is unknown."""
    images: tuple[str, ...] = ()
    """Parts of the repository's last component."""
    commands: tuple[tuple[str, ...], ...] = ()
    """First words that start it; a program is its base name, `-m MODULE` a module of Python."""
    positional: bool = False
    """The first word after the command may be the model."""
    abbreviates: bool = False
    """Flags may be cut short, and `_` is as good as `-`, as in Python's argparse."""
    switches: frozenset[str] = frozenset()
    """Some flags without a value, which may come before the model."""
    opaque: frozenset[str] = frozenset()
    """Flags that name a file with further settings."""
    task: str = "Inference"
    spreads: bool = False
    """It divides the model over the GPUs as it thinks best where nobody says how."""
    amend: Callable[[Call, dict[str, str], dict[str, str]], None] | None = None
    """Completes values and unknowns by a documented rule of the runtime."""
