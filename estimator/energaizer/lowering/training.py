"""Training of dense transformers to kernels: forward, backward, optimiser, gradient exchange.

Each product of the forward pass has two in the backward pass, one for its input and one for its
weights, so that a token costs about 6 FLOP per parameter (method, section 3: training). Mixed
precision Adam moves 28 bytes per parameter and step. Gradients are summed over the replicas once a
step, beside the backward pass.
"""

from functools import lru_cache

import numpy as np

from energaizer import kernels, memory, stacks
from energaizer.blocks import Formats, Listing
from energaizer.errors import InputError, NoEstimateError
from energaizer.kernels import COLUMN, FAMILY, FloatArray, Kernel, Program
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import RATE_KEYS
from energaizer.workload import Training, Workload

_ADAM_READ_BYTES, _ADAM_WRITE_BYTES = 14.0, 14.0  # gradient 2 + states 12; states 12 + weight 2
_ADAM_FLOPS = 12.0
_GRADIENT_BYTES = 2.0
_FLASH_BACKWARD = 2.5  # five products where the forward pass has two
_COPIES = {FAMILY["copy"], FAMILY["gather"]}


def lower(workload: Workload) -> Program:
    """Return the kernels of one optimiser step on one GPU.

    Raises:
        InputError: The global batch does not divide by replicas and micro batches, or the split
            does not divide the model.
        NoEstimateError: The workload needs a method that this room lacks.
    """
    training = workload.training
    if training is None:
        raise InputError("no training block; add one, or lower the workload as serving")
    stacks.check_split(workload)
    if workload.output_tokens:
        raise InputError("training has no output tokens; set output_tokens to 0")
    if workload.attention != "fused":
        raise NoEstimateError("training has a method for fused attention only; set it to fused")
    formats = stacks.formats_of(workload)
    if formats.unpacked or formats.quantised_input:
        raise NoEstimateError(
            f"training in {workload.precision} has no method yet; use bf16, fp16, tf32 or fp32"
        )
    together = training.micro_batch * workload.parallelism.data
    if training.global_batch % together:
        raise InputError(
            f"global_batch {training.global_batch} does not divide by micro_batch x replicas "
            f"({together}); choose a multiple"
        )
    return _lower(
        workload.transformer, workload.input_tokens, training, formats, workload.parallelism
    )


@lru_cache(maxsize=256)
def _lower(
    model: Model, tokens: int, training: Training, formats: Formats, split: Parallelism
) -> Program:
    stages, micro = split.pipeline, training.global_batch / (training.micro_batch * split.data)
    shard = stacks.shard_of(model, training.micro_batch, tokens, tokens, split.tensor)
    forward, attention = Listing(), Listing()
    stacks.embed(forward, model, shard, formats)
    stacks.fused(forward, model, shard, formats, stacks.spread_of(split))
    stacks.fused_attention(attention, model, shard, formats)
    stacks.finish(forward, model, shard, shard.tokens, formats, sampled=model.language_head)
    layers = forward.counts | attention.counts
    backward = Listing()
    for kernel, count in layers.items():
        for other, times in gradients(kernel):
            backward.add(other, times * count)
    again: dict[Kernel, float] = {}
    if training.recompute != "none":
        again = layers if training.recompute == "full" else attention.counts
    for kernel, count in again.items():
        backward.add(kernel, count)
    if stages > 1:  # activations forward, their gradients back
        message = shard.tokens * model.hidden_size * formats.activation
        for listing in (forward, backward):
            listing.add(kernels.all_reduce(message, 2.0), stages - 1.0)
    optimizer = Listing()
    owned = parameters_of(model, split)
    states = owned / (split.data if training.sharded_optimizer else 1)
    optimizer.add(adam(states), float(stages))
    if split.data > 1:
        exchange = kernels.all_reduce(_GRADIENT_BYTES * owned, float(split.data))
        backward.add(exchange._replace(link_hidden=1.0), stages / micro)
    steps = (forward.counts | attention.counts, backward.counts, optimizer.counts)
    found: dict[Kernel, FloatArray] = {}
    for index, counts in enumerate(steps):
        for kernel, count in counts.items():
            found.setdefault(kernel, np.zeros(len(steps)))[index] += count / stages
    waits = micro + stages - 1.0
    each = np.ones(len(steps))
    return Program(
        rows=kernels.table(list(found)),
        counts=np.stack(list(found.values()), axis=1),
        phases=("forward", "backward", "optimizer"),
        repetitions=each * training.steps,
        sequences=0.0 * each,
        layers=each * model.layers / stages,
        graphed=np.zeros(len(steps), dtype=np.bool_),
        calls=0.0 * each,
        slots=np.array([waits, waits, 1.0]),
        runs=np.array([micro, micro, 1.0]),
        stages=stages,
        notes=_notes(model, tokens, split),
    )


def gradients(kernel: Kernel) -> tuple[tuple[Kernel, float], ...]:
    """Return the kernels that the backward pass runs for one of the forward pass, with counts.

    A product has two: the gradient of its input and that of its weights, of equal FLOP. Others
    read what the forward pass read and its result's gradient, and write as much as it read.
    """
    if kernel.m:
        sizes = (kernel.b_bytes, kernel.a_bytes, kernel.a_bytes)
        key = RATE_KEYS[int(kernel.rate)]
        inputs = kernels.gemm(kernel.batch, kernel.m, kernel.k, kernel.n, sizes, key)
        weights = kernels.gemm(kernel.batch, kernel.n, kernel.k, kernel.m, sizes, key)
        return tuple((found._replace(family=kernel.family), 1.0) for found in (inputs, weights))
    if int(kernel.family) == FAMILY["attention-prefill"]:
        grown = ("flops", "special", "onchip_bytes", "read_bytes", "write_bytes")
        more = {name: _FLASH_BACKWARD * getattr(kernel, name) for name in grown}
        return ((kernel._replace(**more), 1.0),)
    if int(kernel.family) in _COPIES or int(kernel.family) == FAMILY["collective"]:
        return ((kernel, 1.0),)
    read = kernel.read_bytes + kernel.write_bytes
    twice = kernel._replace(
        read_bytes=read, write_bytes=kernel.read_bytes, onchip_bytes=read + kernel.read_bytes,
        core_flops=2.0 * kernel.core_flops,
    )  # fmt: skip
    return ((twice, 1.0),)


def adam(parameters: float) -> Kernel:
    """Return the optimiser's update of so many parameters: 28 bytes each (section 3)."""
    update = kernels.elementwise(
        parameters, _ADAM_READ_BYTES * parameters, _ADAM_WRITE_BYTES * parameters, _ADAM_FLOPS
    )
    return update._replace(family=float(FAMILY["optimizer"]), cacheable=0.0)


def parameters_of(model: Model, split: Parallelism) -> float:
    """Return parameters that one GPU owns under tensor and pipeline parallelism."""
    return memory.parameters_on(model, split) / split.pipeline


def flop_per_step(program: Program) -> float:
    """Return FLOP of one optimiser step on one GPU."""
    return float(program.runs @ (program.counts @ program.rows[:, COLUMN["flops"]]))


def _notes(model: Model, tokens: int, split: Parallelism) -> tuple[str, ...]:
    found = []
    if model.max_positions is not None and tokens > model.max_positions:
        found.append(f"sequences exceed the {model.max_positions} positions of {model.name}")
    if split.data > 1:
        found.append("gradients travel over the board's own link; between nodes they are slower")
    return tuple(found)
