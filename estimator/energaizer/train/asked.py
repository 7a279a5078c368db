"""What a person types about training -> Workload: tokens or steps, GPUs or degrees, defaults."""

import math
from collections.abc import Mapping
from typing import Any

from energaizer import arguments
from energaizer.arguments import Described
from energaizer.errors import InputError
from energaizer.families import Network
from energaizer.model import Model
from energaizer.recipe import Training, steps_for
from energaizer.units import parse_amount, parse_duration, parse_rate
from energaizer.workload import Workload

DEFAULT_SEQUENCE = 4096
_RENAMED = {"storage_bandwidth": "storage", "stall_s": "stall"}


def workload(model: Model | Network, given: Mapping[str, Any]) -> Described:
    """Return the training run that command-line options describe.

    Args:
        model: What is trained.
        given: Options by name; None: not given.

    Raises:
        InputError: A value is illegal, or two contradict each other.
    """
    told = {name: value for name, value in given.items() if value is not None}
    notes: list[str] = []
    split = _spread(told)
    fields = {name: told[name] for name in Training.model_fields if name in told}
    if "global_batch" not in fields:
        fields["global_batch"] = split.get("data", 1) * fields.get("micro_batch", 1)
        notes.append(f"--global-batch not given: {fields['global_batch']}, one micro-batch each")
    sequence = None
    if not isinstance(model, Network):
        sequence = told.get("sequence_length")
        if sequence is None:
            sequence = min(DEFAULT_SEQUENCE, model.max_positions or DEFAULT_SEQUENCE)
            notes.append(f"--sequence-length not given: {sequence} assumed")
    elif "sequence_length" in told and not model.takes_tokens:
        raise InputError(f"--sequence-length: {model.name} takes images only; leave it out")
    if "tokens" in told:
        if "steps" in told:
            raise InputError("--tokens and --steps both say how long; keep one")
        if sequence is None:
            raise InputError(f"--tokens: {model.name} is trained on images; give --steps")
        amount = arguments.parsed(told["tokens"], "--tokens", parse_amount)
        fields["steps"] = steps_for(amount, fields["global_batch"], sequence)
    elif "steps" not in told:
        notes.append("neither --tokens nor --steps given: one step")
    for name, parse in (("storage_bandwidth", parse_rate), ("stall_s", parse_duration)):
        option = _RENAMED[name]
        if option in told:
            fields[name] = arguments.parsed(told[option], f"--{option}", parse)
    training = arguments.checked(Training, fields)
    rest = {name: told[name] for name in _SHARED if name in told}
    described = arguments.workload(
        model, rest | split | {"input_tokens": sequence, "output_tokens": 0}
    )
    whole = arguments.checked(Workload, dict(described.workload) | {"training": training})
    return Described(whole, (*notes, *described.notes))


_SHARED = (
    "precision", "weight_precision", "node", "gpus_per_node", "network", "node_power", "clock",
    "power_cap", "image_size",
)  # fmt: skip


def _spread(told: Mapping[str, Any]) -> dict[str, int]:
    """Return the degrees, with replicas that fill the GPUs where only their number is given."""
    degrees = ("tensor", "pipeline", "data", "expert", "context")
    split = {part: told[part] for part in degrees if part in told}
    copy = math.prod(max(1, split.get(part, 1)) for part in ("tensor", "pipeline", "context"))
    gpus = told.get("gpus")
    if gpus is None:
        return split
    if gpus % (copy * split.get("data", 1)):
        low = gpus // copy * copy
        nearest = f"{low} or {low + copy}" if low else f"{copy}"
        raise InputError(
            f"--gpus: {gpus} GPUs do not divide by tensor x pipeline x context x data = "
            f"{copy * split.get('data', 1)}; choose {nearest}, or other degrees"
        )
    if split.get("data", gpus // copy) != gpus // copy:
        raise InputError(
            f"--gpus: {gpus} GPUs hold {gpus // copy} replicas, not {split['data']}; "
            "leave --data-parallel out"
        )
    return split | {"data": gpus // copy}
