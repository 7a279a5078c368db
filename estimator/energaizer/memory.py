"""Bytes that a workload holds on each GPU: does it fit, and how large may its batch be."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from energaizer import families, states
from energaizer.caches import remembered
from energaizer.errors import DoesNotFitError, InputError, NoEstimateError
from energaizer.families import EncoderDecoder, Network
from energaizer.gpu import Gpu
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.result import Memory
from energaizer.units import format_bytes
from energaizer.workload import Workload

_WORKSPACE = 1.07  # 5 to 10 % beside weights, cache and activations (method, section 6)
_CHUNK_TOKENS = 8192  # a serving engine computes prompts in chunks of so many tokens
_LARGEST_BATCH = 65536
_SCORE_COPIES = 3.0  # eager attention holds scores before, in and after the softmax
_LIVE_SHARE = 1.5  # of a network: in and out of its largest operator, and what waits to be added
_DECODED_AT_ONCE = 2e9  # elements of the largest tile of a decoder
_LIVE_STREAMS = 4.0  # residual stream, norm, attention in and out


def embedding_parameters(model: Model) -> int:
    """Return parameters of embeddings, positions and head; a tied head counts once."""
    width = model.embedding_size or model.hidden_size
    words = model.vocabulary_size * width
    head = words if model.language_head and not model.tied_embeddings else 0
    learned = (model.max_positions or 0) * model.hidden_size
    return words + head + (learned if model.positions == "learned" else 0)


def layer_parameters(model: Model) -> int:
    """Return parameters of all layers, norms and routers included."""
    norms = model.norms_per_layer * model.layers * model.hidden_size
    return model.layer_parameters + model.router_parameters + norms


def parameters_on(model: Model, split: Parallelism) -> float:
    """Return parameters of all pipeline stages on one rank: experts lie on more ranks than rest."""
    rest = layer_parameters(model) + embedding_parameters(model) - model.routed_parameters
    rest += model.vision_parameters
    return rest / split.tensor + model.routed_parameters / max(split.tensor, split.expert)


def cache_bytes(model: Model, context: int, cache: Precision, tensor: int = 1) -> float:
    """Return bytes that one sequence leaves on one tensor-parallel rank: keys, values, states.

    Args:
        model: Architecture.
        context: Tokens of the sequence; windowed layers keep only their window.
        cache: Format of keys and values.
        tensor: Ranks; each keeps at least one KV head, and the whole of a latent cache.
    """
    heads = max(1.0, model.key_value_heads / tensor)
    elements = model.cached_size if model.latent else 2.0 * heads * model.head_size
    windowed = model.sliding_layers if model.sliding_window else 0
    kept = min(context, model.sliding_window or context)
    tokens = (model.attention_count - windowed) * context + windowed * kept
    states = model.recurrent.layers * model.recurrent.state_bytes if model.recurrent else 0.0
    return elements * cache.bytes_per_element * tokens + states / tensor


class _Held(NamedTuple):
    """What one GPU holds, whichever it is.

    Attributes:
        weights_bytes: Weights; in training gradients and optimiser too.
        kv_cache_bytes: Keys and values.
        activation_bytes: Activations.
        batch: Sequences of all these.
        total: Bytes of all for so many sequences.
    """

    weights_bytes: float
    kv_cache_bytes: float
    activation_bytes: float
    batch: int
    total: Callable[[float], float]


@remembered(64)
def need(workload: Workload, gpu: Gpu) -> Memory:
    """Return what one GPU holds, and the largest batch that fits (0: not even one sequence).

    The batch of training is its micro batch, and its weights include gradients and optimiser.
    """
    held = _held(workload)
    return Memory(
        weights_bytes=held.weights_bytes,
        kv_cache_bytes=held.kv_cache_bytes,
        activation_bytes=held.activation_bytes,
        total_bytes=held.total(held.batch),
        capacity_bytes=gpu.memory_bytes,
        largest_batch=_largest(held.total, gpu.memory_bytes),
    )


def fits(workload: Workload, gpu: Gpu) -> bool:
    """Return whether a GPU has room for its part of a workload."""
    held = _held(workload)
    return held.total(held.batch) <= gpu.memory_bytes


@remembered(64)
def _held(workload: Workload) -> _Held:
    if workload.training is not None:
        return _held_in_training(workload, workload.training)
    if isinstance(workload.model, Network) and workload.model.generates:
        return _held_in_generation(workload)
    if isinstance(workload.model, Network):
        return _held_by_network(workload, workload.model)
    prompt, fused = workload.prompt_tokens, workload.attention == "fused"
    weights, per_sequence, per_token, fixed = _parts(
        workload.transformer,
        (workload.precision, workload.weight_precision, workload.cache_precision),
        (prompt, workload.output_tokens), workload.attention,
        workload.parallelism,
    )  # fmt: skip

    def activations(batch: float) -> float:
        tokens = min(batch * prompt, float(_CHUNK_TOKENS)) if fused else batch * prompt
        return per_token * tokens + fixed * batch

    def total(batch: float) -> float:
        return _WORKSPACE * (weights + per_sequence * batch + activations(batch))

    batch = workload.batch
    return _Held(weights, per_sequence * batch, activations(batch), batch, total)


def _largest(total: Callable[[float], float], capacity: float) -> int:
    """Return the largest batch that fits, by halving around where straight lines would end.

    Activations grow until a chunk of a prompt is full, so that the line of many sequences and that
    of few both count.
    """
    low, high = 0, _LARGEST_BATCH + 1

    def ends() -> Iterator[float]:
        last, most = total(high - 1.0), total(float(high))
        yield high - (most - capacity) / (most - last) if last < most else _LARGEST_BATCH
        empty, one = total(0.0), total(1.0)
        yield (capacity - empty) / (one - empty) if empty < one else _LARGEST_BATCH

    for end in ends():
        for middle in (int(end), int(end) + 1):
            if low < middle < high:
                low, high = (middle, high) if total(middle) <= capacity else (low, middle)
        if high - low == 1:
            return low
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if total(middle) <= capacity else (low, middle)
    return low


def _held_in_training(workload: Workload, training: Training) -> _Held:
    """Return what a training step holds: states of its parameters, and saved activations."""
    if isinstance(workload.model, Network):
        return _held_in_network_training(workload, workload.model, training)
    model, split = workload.transformer, workload.parallelism
    held = states.state_bytes(
        owned_by(workload, training), training, float(split.data * split.context),
        model.layers / split.pipeline,
    )  # fmt: skip
    per_sequence = states.sequence_bytes(
        model, _widest(model), training, split, workload.input_tokens
    )

    def total(batch: float) -> float:
        return _WORKSPACE * (held + per_sequence * batch)

    return _Held(held, 0.0, per_sequence * training.micro_batch, training.micro_batch, total)


def checkpoint_bytes(workload: Workload, training: Training) -> float:
    """Return bytes of one checkpoint: trained weights and the states of their optimiser."""
    if isinstance(workload.model, Network):
        trained = float(workload.model.parameters)
    else:
        owned, split = owned_by(workload, training), workload.parallelism
        mine = owned.base if owned.adapters is None else owned.adapters
        trained = mine * split.tensor * split.pipeline
    return trained * (Precision.BF16.bytes_per_element + training.state_bytes)


def owned_by(workload: Workload, training: Training) -> states.Owned:
    """Return the parameters of one GPU, before ZeRO spreads them."""
    model, split = workload.transformer, workload.parallelism
    ways = split.tensor * split.pipeline
    stored = workload.weight_precision or model.weight_precision
    adapters = None
    if training.lora_rank is not None:
        adapters = states.adapter_parameters(model, training.lora_rank, training.lora_targets)
    return states.Owned(
        base=parameters_on(model, split) / split.pipeline,
        adapters=None if adapters is None else adapters / ways,
        weight_bytes=stored.bytes_per_element if adapters and stored else 2.0,
        cast=workload.precision == Precision.FP8 and adapters is None,
        routed=model.routed_parameters / max(split.tensor, split.expert) / split.pipeline,
        apart=max(1.0, split.expert / split.tensor),
    )


def _held_in_network_training(workload: Workload, network: Network, training: Training) -> _Held:
    """Return what training a network holds: states, and every operator's result until backward."""
    inputs = workload.network_inputs
    element = 4.0 if workload.precision in {Precision.FP32, Precision.TF32} else 2.0
    owned = states.Owned(float(network.parameters), None, 2.0, cast=False)
    held = states.state_bytes(owned, training, float(workload.parallelism.data), 1.0)
    tape = families.passes(network, inputs)
    # what an operator writes waits for its backward pass: half of what it reads and writes
    per_sample = element * sum(0.5 * one.elements * n for one, n in tape.counts.items())

    def total(batch: float) -> float:
        return _WORKSPACE * (held + per_sample * batch)

    return _Held(held, 0.0, per_sample * training.micro_batch, training.micro_batch, total)


def _held_by_network(workload: Workload, network: Network) -> _Held:
    """Return what a forward pass holds: weights, and the tensors around its largest operator."""
    split = workload.parallelism
    if split.gpus > split.data:
        raise NoEstimateError(
            f"splitting {network.name} over GPUs has no method; use data-parallel replicas"
        )
    inputs = workload.network_inputs
    tape = families.passes(network, inputs)
    element = 4.0 if workload.precision in {Precision.FP32, Precision.TF32} else 2.0
    weights = network.parameters * element
    per_sample = _LIVE_SHARE * tape.largest
    if workload.attention == "eager":
        per_sample += _SCORE_COPIES * tape.scores
    cache = 0.0
    if isinstance(network, EncoderDecoder) and workload.output_tokens:
        context = float(network.start_tokens(inputs) + workload.output_tokens)
        cache = network.cached_elements(context, inputs)

    def total(batch: float) -> float:
        return _WORKSPACE * (weights + element * (per_sample + cache) * batch)

    return _Held(
        weights,
        element * cache * workload.batch,
        element * per_sample * workload.batch,
        workload.batch,
        total,
    )


def _held_in_generation(workload: Workload) -> _Held:
    """Return what a board of a diffusion model holds: all weights, and its largest phase.

    Each board holds every weight; only the denoiser's tensors are split over boards.
    """
    from energaizer.families.diffusion import pipeline as diffusion  # noqa: PLC0415

    model, split = workload.network, workload.parallelism
    if not isinstance(model, diffusion.Pipeline):
        raise NoEstimateError(f"{model.name} is no diffusion model")
    setting = model.setting(workload.generation)
    phases = diffusion.tapes(model, setting, split.context)
    element = 4.0 if workload.precision in {Precision.FP32, Precision.TF32} else 2.0
    weights = model.parameters * element
    guided = 2.0 if model.guided(setting) and model.guidance == "batched" else 1.0
    denoised = guided * _LIVE_SHARE * phases.denoise.largest
    if workload.attention == "eager":
        denoised += guided * _SCORE_COPIES * phases.denoise.scores * split.ulysses
    per_sample = element * max(denoised, phases.encode.largest)
    # A decoder that is short of memory takes images one by one, and videos in tiles.
    decoded = element * min(_LIVE_SHARE * phases.decode.largest, _DECODED_AT_ONCE)

    def total(batch: float) -> float:
        return _WORKSPACE * (weights + max(per_sample * batch, decoded))

    return _Held(weights, 0.0, max(per_sample * workload.batch, decoded), workload.batch, total)


def check(workload: Workload, gpu: Gpu) -> None:
    """Raise if a workload does not fit its GPUs, or its sequences the positions of its model.

    Raises:
        InputError: The message names the longest prompt that works.
        DoesNotFitError: The message says by how much, and what would fit.
    """
    if workload.training is None and isinstance(workload.model, Model):
        _check_context(workload.model, workload.prompt_tokens, max(0, workload.output_tokens - 1))
    if fits(workload, gpu):
        return
    memory = need(workload, gpu)
    batch = "a batch" if workload.training is None else "a micro_batch"
    advice = f"{batch} of {memory.largest_batch} fits"
    if not memory.largest_batch:
        advice = f"not even one sequence fits; {_way_to_fit(workload, gpu)}"
    raise DoesNotFitError(
        f"{workload.model.name} needs {format_bytes(memory.total_bytes)} on each {gpu.name}, which "
        f"has {format_bytes(memory.capacity_bytes)}; {advice}"
    )


def _way_to_fit(workload: Workload, gpu: Gpu) -> str:
    """Return the smallest change that makes room, or what may help where none of these does."""
    one = workload.model_copy(update={"batch": 1})
    for text, changed in _changes(one):
        if need(changed, gpu).largest_batch:
            return f"{text} fits"
    return "choose a GPU with more memory or a narrower format"


def _changes(workload: Workload) -> Iterator[tuple[str, Workload]]:
    """Yield changes of a workload that save memory, the least intrusive first."""
    training, split = workload.training, workload.parallelism
    if isinstance(workload.model, Network):
        return
    if training is not None:
        for name, values in (("recompute", ("selective", "full")), ("zero", (1, 2, 3))):
            for value in values:
                saving = training.model_copy(update={name: value})
                yield f"{name}={value}", workload.model_copy(update={"training": saving})
    model = workload.model
    divided = {model.attention_heads, model.recurrent.heads if model.recurrent else 0}
    for tensor in range(split.tensor + 1, model.attention_heads + 1):
        if not any(heads % tensor for heads in divided):
            wider = split.model_copy(update={"tensor": tensor})
            yield f"tensor={tensor}", workload.model_copy(update={"parallelism": wider})


def _check_context(model: Model, prompt: int, output: int) -> None:
    longest = model.max_positions
    if longest is None or prompt + output <= longest:
        return
    fits = f"input_tokens={longest - output}"
    if output > prompt:  # the first output token comes with the prompt
        fits = f"output_tokens={max(1, longest - prompt + 1)}"
    raise InputError(
        f"a context of {prompt + output} tokens exceeds the {longest} positions of "
        f"{model.name}; choose {fits} or less"
    )


def _widest(model: Model) -> int:
    """Return the widest vector that a token has inside a layer, all its experts together."""
    found = model.intermediate_size if model.dense_count else 0
    if model.experts is not None:
        each = model.experts.per_token * model.experts.intermediate_size
        found = max(found, each + model.experts.shared_size)
    return max(found, model.recurrent.projected if model.recurrent else 0)


def _element(precision: Precision) -> float:
    """Return bytes of what is not stored small."""
    return 4.0 if precision in {Precision.FP32, Precision.TF32} else 2.0


@lru_cache(maxsize=1024)
def _weights(
    model: Model, precision: Precision, stored: Precision | None, split: Parallelism
) -> float:
    """Return bytes of weights on one GPU: the same for all lengths and batches."""
    weight = (stored or model.weight_precision or precision).bytes_per_element
    routed = model.routed_parameters / max(split.tensor, split.expert)
    small = (model.quantised_parameters - model.routed_parameters) / split.tensor + routed
    wide = parameters_on(model, split) - small
    return (small * weight + wide * max(_element(precision), weight)) / split.pipeline


@lru_cache(maxsize=4096)
def _parts(
    model: Model, formats: tuple[Precision, Precision | None, Precision | None],
    tokens: tuple[int, int], attention: str, split: Parallelism,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Return bytes of weights, of cache per sequence, per prompt token, of scores per sequence."""
    (precision, stored, cached), (tensor, stages) = formats, (split.tensor, split.pipeline)
    element = _element(precision)
    weights = _weights(model, precision, stored, split)
    prompt, output = tokens
    default = Precision.FP32 if element > Precision.BF16.bytes_per_element else Precision.BF16
    per_sequence = 0.0
    if model.causal and output:
        context = prompt + output
        per_sequence = cache_bytes(model, context, cached or default, tensor) / stages
    branches = 2.0 if model.gated_mlp else 1.0
    per_token = element * (
        _LIVE_STREAMS * model.hidden_size + (branches + 1.0) * _widest(model) / tensor
    )
    scores = 0.0
    if attention == "eager":
        scores = _SCORE_COPIES * element * model.attention_heads / tensor * prompt * prompt
    if model.language_head:
        rows = 1 if output else prompt
        scores += rows * model.vocabulary_size / tensor * element
    return weights, per_sequence, per_token, scores
