"""Whole stacks of layers: embeddings, layers, head, as one GPU runs them in one step.

What prompts, decode steps and training share; the rooms of `lowering` choose the steps.
"""

import itertools

import numpy as np

from energaizer import blocks, experts, kernels, latent, recurrence, tower
from energaizer.blocks import EagerStyle, Formats, Listing, Shard
from energaizer.errors import InputError, NoEstimateError
from energaizer.experts import Spread
from energaizer.kernels import FloatArray
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.workload import Workload

_FULL = float("inf")
_EXACT_STEPS = 4
# Three Gauss-Legendre points of [-1, 1], as numpy.polynomial gives them: importing it takes 3 ms.
_NODES = np.array([-0.7745966692414834, 0.0, 0.7745966692414834])
_WEIGHTS = np.array([0.5555555555555557, 0.8888888888888888, 0.5555555555555557])
_WIDE = {Precision.FP32: 4.0, Precision.TF32: 4.0}
_ATTENTION_RATE = {Precision.FP32: "fp32", Precision.TF32: "tf32", Precision.FP16: "fp16"}
_STYLES = {
    "bert": EagerStyle(wide_softmax=False, calls=18.0),
    "roberta": EagerStyle(wide_softmax=False, calls=18.0),
    "gpt2": EagerStyle(wide_softmax=False, where=True, mask=False, merged=True, calls=13.0),
    "opt": EagerStyle(scale_on="query", dense_heads=True, calls=11.0),
    "phi3": EagerStyle(merged=True),
}


def style_of(model: Model) -> EagerStyle:
    """Return how the library that a model comes from writes its attention out."""
    return _STYLES.get(model.family, EagerStyle())


def formats_of(workload: Workload) -> Formats:
    """Return bytes per element and rate keys of a workload.

    Embeddings, head, attention and the residual stream keep 16 bits when products run in fewer.
    """
    math = workload.precision
    stored = workload.weight_precision or workload.transformer.weight_precision or math
    activation = _WIDE.get(math, 2.0)
    narrow = math.bytes_per_element < activation
    attention = _ATTENTION_RATE.get(math, "bf16")
    cache = workload.cache_precision
    wide_head = activation if not narrow else Precision.BF16.bytes_per_element
    return Formats(
        activation=activation,
        weight=stored.bytes_per_element,
        cache=activation if cache is None else cache.bytes_per_element,
        head=wide_head,
        rate=math.rate_key,
        attention_rate=attention,
        head_rate=attention,
        quantised_input=math.bytes_per_element if narrow and math != Precision.INT4 else 0.0,
        unpacked=stored.bytes_per_element < math.bytes_per_element or math == Precision.INT4,
    )


def windows_of(model: Model) -> tuple[tuple[float, float], ...]:
    """Return (keys that a token sees at most, layers) for full and for windowed layers."""
    windowed = float(model.sliding_layers) if model.sliding_window else 0.0
    full = model.attention_count - windowed
    found = ((_FULL, full), (float(model.sliding_window or 1), windowed))
    return tuple((window, layers) for window, layers in found if layers)


def check_split(workload: Workload) -> None:
    """Raise if a model cannot be spread that way; the message says what to change.

    Raises:
        InputError: The split does not divide the model.
        NoEstimateError: There is no method for that kind of split.
    """
    model, split = workload.transformer, workload.parallelism
    _divides(model.attention_heads, split.tensor, f"heads of {model.name}", "tensor")
    if model.recurrent is not None:
        _divides(model.recurrent.heads, split.tensor, f"state heads of {model.name}", "tensor")
    if split.pipeline > model.layers:
        raise InputError(
            f"pipeline={split.pipeline} exceeds the {model.layers} layers of {model.name}; "
            f"the most is {model.layers}"
        )
    if split.expert > 1:
        _check_experts(model, split)
    if split.context > 1:
        raise NoEstimateError("context parallelism has no method yet; set it to 1")
    if workload.attention == "eager" and (model.experts or model.latent or model.recurrent):
        raise NoEstimateError(f"eager attention of {model.name} has no method; use fused")


def check_stages(model: Model, split: Parallelism) -> None:
    """Raise if the stages of a deployment differ and nobody said that they may.

    Raises:
        InputError: The message names the nearest number of stages that are equal.
    """
    if model.layers % split.pipeline and not split.uneven:
        raise InputError(
            f"{model.layers} layers of {model.name} do not divide by pipeline={split.pipeline}; "
            f"choose {_nearest(_divisors(model.layers), split.pipeline)}, or allow uneven stages "
            "if the engine makes them (vLLM, SGLang)"
        )


def _check_experts(model: Model, split: Parallelism) -> None:
    if model.experts is None:
        raise InputError(f"{model.name} has no experts; set expert parallelism to 1")
    _divides(model.experts.count, split.expert, f"experts of {model.name}", "expert")
    boards = split.tensor * split.data
    small, large = sorted((split.expert, split.tensor))
    if boards % split.expert or large % small:
        fits = [n for n in _divisors(model.experts.count) if boards % n == 0]
        fits = [n for n in fits if max(n, split.tensor) % min(n, split.tensor) == 0]
        raise InputError(
            f"expert={split.expert} does not fit tensor={split.tensor} x data={split.data}; "
            f"choose {_nearest(fits, split.expert)}"
        )


def _divides(whole: int, parts: int, what: str, degree: str) -> None:
    if whole % parts:
        raise InputError(
            f"{whole} {what} do not divide by {degree}={parts}; "
            f"choose {_nearest(_divisors(whole), parts)}"
        )


def _divisors(whole: int) -> list[int]:
    return [number for number in range(1, min(whole, 1024) + 1) if whole % number == 0]


def _nearest(allowed: list[int], wanted: int) -> int:
    return min(allowed, key=lambda number: abs(number - wanted))


def shard_of(model: Model, sequences: float, queries: float, context: float, tensor: int) -> Shard:
    """Return what one tensor-parallel rank computes; each keeps at least one KV head."""
    return Shard(
        sequences=sequences,
        queries=queries,
        context=context,
        heads=model.attention_heads / tensor,
        kv_heads=max(1.0, model.key_value_heads / tensor),
        head_size=float(model.head_size),
        hidden=float(model.hidden_size),
        inner=model.intermediate_size / tensor,
        vocabulary=model.vocabulary_size / tensor,
        ranks=float(tensor),
    )


def spread_of(split: Parallelism) -> Spread:
    """Return how experts lie on the ranks of a deployment.

    Up to the tensor-parallel degree the tokens are on all ranks already, and the sum over ranks
    brings results together; beyond, those of several replicas meet at their experts.
    """
    return Spread(
        ranks=float(split.expert),
        tensor=max(1.0, split.tensor / split.expert),
        senders=max(1.0, split.expert / split.tensor),
    )


def embed(to: Listing, model: Model, shard: Shard, formats: Formats) -> None:
    """Add the look-up of tokens, positions and token types."""
    width = float(model.embedding_size or model.hidden_size)
    to.add(kernels.gather(shard.tokens, width, formats.activation), 1.0)
    if model.positions == "learned":
        to.add(kernels.gather(shard.tokens, shard.hidden, formats.activation), 1.0)
        blocks.residual(to, shard, 1.0, formats)
    if not model.causal:  # token types of an encoder, and the norm of its embeddings
        to.add(kernels.gather(shard.tokens, shard.hidden, formats.activation), 1.0)
        blocks.residual(to, shard, 1.0, formats)
    if model.embedding_size:
        blocks.linear(to, shard.hidden, width, shard.tokens, 1.0, formats)
        blocks.linear(to, width, shard.hidden, shard.tokens, 1.0, formats)


def finish(
    to: Listing, model: Model, shard: Shard, rows: float, formats: Formats, *, sampled: bool
) -> None:
    """Add what follows the layers: head and choice of a token, or an encoder's pooler.

    Args:
        to: Listing to extend.
        model: Architecture.
        shard: Share of this GPU.
        rows: Positions whose logits are wanted.
        formats: Bytes and rates.
        sampled: A token is chosen for each row.
    """
    if model.language_head:
        blocks.head(to, shard, rows, 1.0, formats)
        if sampled:
            blocks.sampling(to, float(model.vocabulary_size), rows, 1.0, formats)
    elif not model.causal:  # the pooler of an encoder: first token, dense, tanh
        blocks.linear(to, shard.hidden, shard.hidden, shard.sequences, 1.0, formats)
        to.add(blocks.pointwise(shard.sequences * shard.hidden, 1.0, formats.activation, 1.0), 1.0)


def fused(
    to: Listing, model: Model, shard: Shard, formats: Formats, spread: Spread | None = None
) -> None:
    """Add the layers as a serving engine runs them: one kernel a piece, neighbours merged.

    Args:
        to: Listing to extend.
        model: Architecture.
        shard: Share of this GPU.
        formats: Bytes and rates of what a quantised checkpoint stores small.
        spread: How experts lie on ranks; None: each is cut like the other matrices.
    """
    layers, tokens = float(model.layers), shard.tokens
    norms = model.norms_per_layer * layers
    to.add(kernels.normalization(tokens, shard.hidden, formats.activation, 2.0), norms)
    to.add(kernels.normalization(tokens, shard.hidden, formats.activation), 1.0)
    outer = formats if model.quantised == "layers" else formats.wide()
    if model.attention_count:
        _attention_projections(to, model, shard, outer)
    if model.recurrent is not None:
        recurrence.add(to, model.recurrent, shard, outer)
    dense = formats.wide() if model.quantised == "experts" else formats
    count = float(model.dense_count)
    if count:
        blocks.fused_mlp(to, shard, model.gated_mlp, model.activation, count, dense)
        blocks.exchange(to, shard, count, formats)
    found = model.experts
    if found is not None:
        lies = spread or Spread(tensor=shard.ranks)
        experts.add(to, found, lies, shard, model.gated_mlp, formats)
        if found.shared_size:
            shared = shard._replace(inner=found.shared_size / shard.ranks)
            blocks.fused_mlp(
                to, shared, model.gated_mlp, model.activation, float(found.layers), dense
            )
        blocks.exchange(to, shard, float(found.layers), formats)


def _attention_projections(to: Listing, model: Model, shard: Shard, formats: Formats) -> None:
    """Add what surrounds attention in all layers that have it."""
    layers, tokens = float(model.attention_count), shard.tokens
    if model.latent is not None:
        latent.projections(to, model.latent, shard, layers, formats)
        blocks.exchange(to, shard, layers, formats)
        return
    width, kv_width = shard.heads * shard.head_size, shard.kv_heads * shard.head_size
    queries = 2.0 * width if model.gated_attention else width
    blocks.linear(to, queries + 2.0 * kv_width, shard.hidden, tokens, layers, formats)
    if model.query_key_norm:
        heads = tokens * (shard.heads + shard.kv_heads)
        to.add(kernels.normalization(heads, shard.head_size, formats.activation), layers)
    if model.positions == "rotary":
        to.add(blocks.pointwise(tokens * (width + kv_width), 1.0, formats.activation), layers)
    if model.causal:
        to.add(kernels.copy(2.0 * tokens * kv_width, formats.activation, formats.cache), layers)
    if model.gated_attention:
        to.add(blocks.pointwise(tokens * width, 2.0, formats.activation, 1.0), layers)
    blocks.linear(to, shard.hidden, width, tokens, layers, formats)
    blocks.exchange(to, shard, layers, formats)


def fused_attention(to: Listing, model: Model, shard: Shard, formats: Formats) -> None:
    """Add the attention of all layers as one kernel each."""
    if model.latent is not None:
        latent.attention(to, model.latent, shard, float(model.attention_count), formats)
    elif model.attention_count:
        blocks.fused_attention(to, shard, windows_of(model), formats, model.causal)


def look(to: Listing, model: Model, images: float, image_size: int, formats: Formats) -> None:
    """Add the vision tower over so many images or frames of one edge length."""
    seen = model.vision
    if seen is not None and images > 0:
        tiles = images * seen.tiles(image_size)
        patches = float(seen.patches(image_size))
        tower.add(to, seen, float(model.hidden_size), tiles, patches, formats)


def eager(to: Listing, model: Model, shard: Shard, formats: Formats) -> None:
    """Add the layers, without their attention, as PyTorch runs them line by line."""
    layers, tokens, act = float(model.layers), shard.tokens, formats.activation
    style = style_of(model)
    blocks.tiny(to, 8.0)  # position ids, mask bookkeeping
    width, kv_width = shard.heads * shard.head_size, shard.kv_heads * shard.head_size
    norms = model.norms_per_layer * layers + 1.0
    if model.normalization == "rmsnorm":
        blocks.eager_rms_norm(to, tokens, shard.hidden, norms, formats)
    else:
        to.add(kernels.normalization(tokens, shard.hidden, act), norms)
    if style.merged:
        blocks.linear(to, width + 2.0 * kv_width, shard.hidden, tokens, layers, formats)
    else:
        blocks.linear(to, width, shard.hidden, tokens, layers, formats)
        blocks.linear(to, kv_width, shard.hidden, tokens, 2.0 * layers, formats)
    if model.query_key_norm:
        for heads in (shard.heads, shard.kv_heads):
            blocks.eager_rms_norm(to, tokens * heads, shard.head_size, layers, formats)
    if model.positions == "rotary":
        blocks.eager_rotary(to, tokens, width, layers, formats)
        blocks.eager_rotary(to, tokens, kv_width, layers, formats)
    blocks.linear(to, shard.hidden, width, tokens, layers, formats)
    blocks.exchange(to, shard, layers, formats)
    blocks.residual(to, shard, 2.0 * layers, formats)
    branches = 2.0 if model.gated_mlp else 1.0
    blocks.linear(to, shard.inner, shard.hidden, tokens, branches * layers, formats)
    blocks.eager_activation(
        to, tokens * shard.inner, model.activation, model.gated_mlp, layers, formats
    )
    down = blocks.after(model.activation, formats)
    blocks.linear(to, shard.hidden, shard.inner, tokens, layers, down)
    blocks.exchange(to, shard, layers, formats)


def eager_attention(to: Listing, model: Model, shard: Shard, formats: Formats) -> None:
    """Add the attention of all layers line by line, and the mask that they share."""
    style = style_of(model)
    if style.mask and model.causal:
        mask = shard.sequences * shard.queries * shard.context
        to.add(blocks.pointwise(mask, 1.0, kernels.FP32_BYTES), 3.0)
        to.add(kernels.copy(mask, kernels.FP32_BYTES, formats.activation), 1.0)
    blocks.eager_attention(to, shard, style, float(model.layers), formats)


def decode_contexts(
    first: float, last: float, breaks: tuple[float, ...]
) -> tuple[FloatArray, FloatArray]:
    """Return contexts that stand for the steps `first`, `first + 1`, ..., `last`, with weights.

    Weights (Gauss points, split where a window fills) sum to the number of steps, and the weighted
    sum of any affine function over the points is its sum over all steps; between breaks the same
    holds for polynomials of degree five in the limit of many steps.

    Args:
        first: Context of the first step.
        last: Context of the last step, at least `first`.
        breaks: Contexts at which a sliding window fills.
    """
    steps = last - first + 1.0
    if steps <= _EXACT_STEPS:
        return np.arange(first, last + 1.0), np.ones(int(steps))
    low, high = first - 0.5, last + 0.5
    edges = [low, *sorted({edge for edge in breaks if low < edge < high}), high]
    points, weights = [], []
    for start, stop in itertools.pairwise(edges):
        half = (stop - start) / 2.0
        points.append(start + half + half * _NODES)
        weights.append(half * _WEIGHTS)
    return np.concatenate(points), np.concatenate(weights)
