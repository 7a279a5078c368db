"""Training to kernels: forward, backward, optimiser, and what ranks tell each other.

A step runs `micro` micro-batches on each pipeline stage, then updates. Weights, gradients and
optimiser states are spread over the replicas as ZeRO does; their collectives run beside the rest.
Ranks are numbered tensor, context, data, pipeline from the inside out.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from energaizer import backward, families, kernels, memory, networks, stacks
from energaizer.blocks import Formats, Listing, Shard, linear, pointwise
from energaizer.errors import InputError, NoEstimateError
from energaizer.families import EncoderDecoder, Network
from energaizer.kernels import COLUMN, FAMILY, FloatArray, Kernel, Program
from energaizer.links import ALL_GATHER, ALL_REDUCE, REDUCE_SCATTER, SEND
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.states import Owned
from energaizer.workload import Workload

_GRADIENT_BYTES = 2.0
_ENDS = 2  # embedding and head may count as a layer each, so that the stages are even
_AVERAGED, _GRADIENTS, _WEIGHTS = 1, 2, 3  # stages of ZeRO: what is spread
_CHEAP = {FAMILY["norm"], FAMILY["elementwise"]}  # that selective recomputation repeats
PHASES = ("forward", "backward", "optimizer")


class Pass(NamedTuple):
    """The forward pass of one micro-batch over all stages.

    Attributes:
        forward: All kernels but attention.
        attention: Attention, which selective recomputation repeats.
        adapters: Of frozen weights, if any.
        boundary: Bytes that one stage hands to the next.
        layers: Layers, or stages of a convolutional network.
        calls: Calls of framework modules that host time depends on.
    """

    forward: Listing
    attention: Listing
    adapters: Listing
    boundary: float
    layers: float
    calls: float


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
    if workload.output_tokens:
        raise InputError("training has no output tokens; set output_tokens to 0")
    _check_batch(training, workload.parallelism)
    if isinstance(workload.model, Network):
        _check_network(workload)
        formats = networks.formats_of(workload.precision)
        owned = Owned(float(workload.model.parameters), None, 2.0, cast=False)
    else:
        _check_split(workload, training)
        formats = stacks.formats_of(workload)
        _check_formats(workload, training, formats)
        owned = memory.owned_by(workload, training)
    same = {"clock_hz": None, "power_cap_w": None, "duration_s": None}
    return _lower(workload.model_copy(update=same), training, formats, owned)


def _check_batch(training: Training, split: Parallelism) -> None:
    together = training.micro_batch * split.data
    if training.global_batch % together:
        low = training.global_batch // together * together
        nearest = f"{low} or {low + together}" if low else f"{together}"
        raise InputError(
            f"global_batch {training.global_batch} does not divide by micro_batch x replicas "
            f"({together}); choose {nearest}"
        )
    micro = training.global_batch // together
    if training.interleave > 1 and micro % split.pipeline:
        whole = together * split.pipeline
        raise InputError(
            f"interleaved stages take micro-batches in groups of pipeline={split.pipeline}, not "
            f"{micro}; set global_batch to {whole * -(-training.global_batch // whole)}"
        )


def _check_network(workload: Workload) -> None:
    network, split = workload.network, workload.parallelism
    if isinstance(network, EncoderDecoder):
        raise NoEstimateError(f"training of {network.name} has no method yet; only of one stack")
    if split.gpus > split.data:
        raise NoEstimateError(
            f"splitting {network.name} over GPUs has no method; use data-parallel replicas"
        )
    fault = network.fault(workload.network_inputs)
    if fault:
        raise InputError(fault)


def _check_split(workload: Workload, training: Training) -> None:
    model, split, tokens = workload.transformer, workload.parallelism, workload.input_tokens
    alone = split.model_copy(update={"context": 1})
    stacks.check_split(workload.model_copy(update={"parallelism": alone}))
    if tokens % split.context:
        raise InputError(
            f"sequences of {tokens} tokens do not divide by context={split.context}; "
            f"choose {nearest_divisor(tokens, split.context)}"
        )
    chunks = split.pipeline * training.interleave
    if model.layers % chunks and (model.layers + _ENDS) % chunks:
        pipeline = nearest_divisor(model.layers // training.interleave, split.pipeline)
        fix = f"choose pipeline={pipeline}"
        if training.interleave > 1 and model.layers % split.pipeline == 0:
            share = model.layers // split.pipeline
            fix = f"choose interleave={nearest_divisor(share, training.interleave)}"
        raise InputError(
            f"{model.layers} layers of {model.name} do not divide into pipeline x interleave = "
            f"{chunks} equal chunks; {fix}"
        )


def nearest_divisor(whole: int, wanted: int) -> int:
    """Return the divisor of a number nearest to what was wanted; of two, the smaller."""
    fits = (part for part in range(1, min(whole, 2 * wanted) + 1) if whole % part == 0)
    return min(fits, key=lambda part: abs(part - wanted))


def _check_formats(workload: Workload, training: Training, formats: Formats) -> None:
    if workload.attention != "fused":
        raise NoEstimateError("training has a method for fused attention only; set it to fused")
    if workload.precision not in {
        Precision.BF16, Precision.FP16, Precision.FP32, Precision.TF32, Precision.FP8,
    }:  # fmt: skip
        raise NoEstimateError(
            f"training in {workload.precision} has no method yet; use bf16, fp16, tf32, fp32, fp8"
        )
    narrow = workload.weight_precision not in (None, workload.precision)
    if (narrow or formats.unpacked) and training.lora_rank is None:
        raise InputError(
            f"weights in {workload.weight_precision} cannot be trained; set lora_rank to train "
            f"adapters beside them, or weight_precision to {workload.precision}"
        )


def _transformer(
    model: Model, tokens: int, training: Training, formats: Formats, split: Parallelism
) -> Pass:
    """Return the forward pass of a transformer on one rank of each stage."""
    ranks = float(split.context)
    shard = stacks.shard_of(model, training.micro_batch, tokens / ranks, tokens, split.tensor)
    whole = shard._replace(queries=float(tokens))
    forward, attention, adapters = Listing(), Listing(), Listing()
    stacks.embed(forward, model, shard, formats)
    spread = stacks.spread_of(split)._replace(packed=True)
    stacks.fused(forward, model, shard, formats, spread)
    # Counted as in the pages of an engine: backward kernels reach about as much less than forward.
    stacks.fused_attention(attention, model, whole, formats)
    stacks.finish(forward, model, shard, shard.tokens, formats, sampled=model.language_head)
    if ranks > 1.0:  # ranks share the pairs evenly and gather the others' keys and values
        attention = Listing({_part(one, ranks): n for one, n in attention.counts.items()})
        gathered = 2.0 * whole.tokens * shard.kv_heads * shard.head_size * formats.activation
        gather = kernels.collective(ALL_GATHER, gathered, ranks, float(split.tensor))
        attention.add(gather, float(model.layers))
    if training.lora_rank is not None:
        _adapt(adapters, model, shard, training, formats)
    shared = float(split.tensor) if training.sequence_parallel else 1.0
    if shared > 1.0:
        forward = Listing({_shared(one, shard, formats, shared): n
                           for one, n in forward.counts.items()})  # fmt: skip
    boundary = shard.tokens * model.hidden_size * formats.activation / shared
    return Pass(forward, attention, adapters, boundary, float(model.layers), 0.0)


def _part(kernel: Kernel, ranks: float) -> Kernel:
    """Return the share of a kernel that one of so many ranks does."""
    grown = ("flops", "special", "onchip_bytes", "read_bytes", "write_bytes", "core_flops")
    less = {name: getattr(kernel, name) / ranks for name in grown}
    return kernel._replace(**less, blocks=max(1.0, kernel.blocks / ranks))


def _shared(kernel: Kernel, shard: Shard, formats: Formats, ranks: float) -> Kernel:
    """Return a norm of hidden states as ranks share it that otherwise each did whole."""
    wide = kernel.row_bytes == shard.hidden * formats.activation
    return _part(kernel, ranks) if wide and int(kernel.family) == FAMILY["norm"] else kernel


def _adapt(
    to: Listing, model: Model, shard: Shard, training: Training, formats: Formats
) -> None:  # fmt: skip
    """Add low-rank products beside the projections of all layers, in 16 bits, and their sums."""
    rank, layers = float(training.lora_rank or 1), float(model.layers)
    plain = formats._replace(weight=2.0, quantised_input=0.0, unpacked=False, rate="bf16")
    width, keys = shard.heads * shard.head_size, shard.kv_heads * shard.head_size
    pairs = [(shard.hidden, width, 1.0), (shard.hidden, keys, 2.0), (width, shard.hidden, 1.0)]
    if training.lora_targets == "all":
        branches = 2.0 if model.gated_mlp else 1.0
        pairs += [(shard.hidden, shard.inner, branches), (shard.inner, shard.hidden, 1.0)]
    for inner, out, count in pairs:
        linear(to, rank, inner, shard.tokens, count * layers, plain)
        linear(to, out, rank, shard.tokens, count * layers, plain)
        to.add(pointwise(shard.tokens * out, 2.0, formats.activation), count * layers)


def _network(workload: Workload, training: Training, formats: Formats) -> Pass:
    """Return the forward pass of a network."""
    tape = families.passes(workload.network, workload.network_inputs)
    fused = workload.attention == "fused"
    forward = networks.listing(tape, float(training.micro_batch), formats, fused=fused)
    return Pass(forward, Listing(), Listing(), 0.0, tape.layers, 0.0)


@lru_cache(maxsize=256)
def _lower(workload: Workload, training: Training, formats: Formats, owned: Owned) -> Program:
    split = workload.parallelism
    if isinstance(workload.model, Network):
        found = _network(workload, training, formats)
    else:
        tokens = workload.input_tokens
        found = _transformer(workload.model, tokens, training, formats, split)
    stages, micro = split.pipeline, training.global_batch / (training.micro_batch * split.data)
    steps = _steps(found, training, split, owned, micro)
    rows: dict[Kernel, FloatArray] = {}
    for index, step in enumerate(steps):
        for kernel, count in step.counts.items():
            rows.setdefault(kernel, np.zeros(len(steps)))[index] += count / stages
    each = np.ones(len(steps))
    waits = micro + (stages - 1.0) / training.interleave
    table = kernels.table(list(rows))
    counts = np.stack(list(rows.values()), axis=1)
    runs = np.array([micro, micro, 1.0])
    once = _useful(found, training.lora_rank is not None)
    return Program(
        rows=table,
        counts=counts,
        phases=PHASES,
        repetitions=each * training.steps,
        sequences=0.0 * each,
        layers=each * found.layers / stages,
        graphed=np.zeros(len(steps), dtype=np.bool_),
        calls=found.calls * each,
        slots=np.array([waits, waits, 1.0]),
        runs=runs,
        stages=stages,
        useful_flops=micro / stages * once,
        notes=_notes(workload),
    )


def _steps(
    found: Pass, training: Training, split: Parallelism, owned: Owned, micro: float
) -> tuple[Listing, Listing, Listing]:
    """Return the kernels of one micro-batch, forward and back over all stages, and of an update."""
    stages, frozen = split.pipeline, training.lora_rank is not None
    parts = (found.forward, found.attention, found.adapters)
    layers: dict[Kernel, float] = {}
    for part in parts:
        for kernel, count in part.counts.items():
            layers[kernel] = layers.get(kernel, 0.0) + count
    forward, back, optimizer = Listing(dict(layers)), Listing(), Listing()
    for part in parts:
        for kernel, count in part.counts.items():
            fixed = frozen and part is not found.adapters
            for other, times in backward.gradients(kernel, frozen=fixed):
                back.add(other, times * count)
    for kernel, count in layers.items():
        cheap = kernel in found.attention.counts or int(kernel.family) in _CHEAP
        if training.recompute == "full" or (training.recompute == "selective" and cheap):
            back.add(kernel, count)
    if stages > 1:  # activations forward, their gradients back, once for each chunk of layers
        stride = float(split.tensor * split.context * split.data)
        passed = kernels.collective(SEND, found.boundary, 2.0, stride)
        for listing in (forward, back):
            listing.add(passed, stages * training.interleave - 1.0)
    trained = owned.base if owned.adapters is None else owned.adapters
    ranks = float(split.data * split.context)
    spread = ranks if training.zero else 1.0
    optimizer.add(backward.update(trained / spread, training.optimizer), float(stages))
    if owned.cast:
        optimizer.add(kernels.copy(owned.base / spread, 2.0, 1.0), float(stages))
    if ranks > 1.0:
        _exchange(forward, back, training, split, (owned, found.layers, micro))
    return forward, back, optimizer


def _exchange(
    forward: Listing, back: Listing, training: Training, split: Parallelism,
    held: tuple[Owned, float, float],
) -> None:  # fmt: skip
    """Add what replicas tell each other about weights and gradients, beside the other kernels.

    Gradients are summed once a step, beside the last micro-batch, unless they are spread: then
    each micro-batch hands its own out. Spread weights are gathered layer by layer for each pass.
    """
    owned, layers, micro = held
    ranks, stride = float(split.data * split.context), float(split.tensor)
    apart = max(1.0, split.expert / split.tensor)  # replicas that hold other experts
    parts = (
        (owned.base - owned.routed, ranks, stride),
        (owned.routed, ranks / apart, stride * apart),
    )
    if owned.adapters is not None:
        parts = ((owned.base, ranks, stride), (0.0, 1.0, stride))
    for base, group, spacing in parts:
        if base > 0.0 and group > 1.0:
            trained = base if owned.adapters is None else owned.adapters
            told = _Told(base * owned.weight_bytes, _GRADIENT_BYTES * trained, group, spacing)
            _tell(forward, back, training, told, (float(split.pipeline), layers, micro))


class _Told(NamedTuple):
    """What a group of replicas shares: bytes of weights and gradients of each, and the group."""

    weights: float
    gradients: float
    ranks: float
    stride: float


def _tell(
    forward: Listing, back: Listing, training: Training, told: _Told,
    sizes: tuple[float, float, float],
) -> None:  # fmt: skip
    """Add the collectives of one group for stages, layers and micro-batches of such sizes."""
    stages, layers, micro = sizes
    message, each = told.gradients, layers / stages

    def of(operation: int, size: float, hidden: float) -> Kernel:
        return kernels.collective(operation, size, told.ranks, told.stride, hidden)

    if training.zero < _AVERAGED:
        back.add(of(ALL_REDUCE, message, 1.0 / micro), stages / micro)
        return
    if training.zero < _GRADIENTS:
        back.add(of(REDUCE_SCATTER, message, 1.0 / micro), stages / micro)
    else:
        back.add(of(REDUCE_SCATTER, message / each, 1.0), layers)
    if training.zero < _WEIGHTS:
        forward.add(of(ALL_GATHER, message, 1.0 / micro), stages / micro)
        return
    gathered = of(ALL_GATHER, told.weights / each, 1.0)
    forward.add(gathered, layers)
    back.add(gathered, layers)


def _useful(found: Pass, frozen: bool) -> float:
    """Return FLOP of one micro-batch over all stages that no recomputation repeats."""
    total = 0.0
    for part in (found.forward, found.attention, found.adapters):
        for kernel, count in part.counts.items():
            if not kernel.flops:
                continue
            fixed = frozen and part is not found.adapters
            rest = backward.gradients(kernel, frozen=fixed)
            total += count * (kernel.flops + sum(other.flops * n for other, n in rest))
    return total


def flop_per_step(program: Program) -> float:
    """Return FLOP of one optimiser step on one GPU, recomputation included."""
    return float(program.runs @ (program.counts @ program.rows[:, COLUMN["flops"]]))


def _notes(workload: Workload) -> tuple[str, ...]:
    model, tokens = workload.model, workload.input_tokens
    if isinstance(model, Network) or model.max_positions is None or tokens <= model.max_positions:
        return ()
    return (f"sequences exceed the {model.max_positions} positions of {model.name}",)
