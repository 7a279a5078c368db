"""Bytes that training holds on one GPU: weights, gradients, optimiser, saved activations.

Mixed-precision Adam keeps 16 bytes per parameter: weight 2, gradient 2, and three 32-bit states.
ZeRO spreads them over the replicas in three stages: states, gradients too, weights too.
"""

from typing import NamedTuple

from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.recipe import Training

_WEIGHT, _GRADIENT = 2.0, 2.0
_LOGIT_BYTES = 6.0  # logits in 16 bits and their softmax in 32
_ELEMENT = 2.0
_CAST_BYTES = 2.0  # fp8 products keep a matrix and its transpose beside the 16-bit weights
_GATHERED_LAYERS = 2.0  # weights of ZeRO 3 that are whole at once: one in use, one on its way


class Owned(NamedTuple):
    """Parameters on one GPU, replicas aside, and how the frozen or trained weights are stored.

    Attributes:
        base: Parameters of the model.
        adapters: Parameters of its adapters, if only those are trained.
        weight_bytes: Per parameter of the model: 2, or what a frozen checkpoint stores.
        cast: Products run in a narrower format than weights are kept in.
        routed: Those of `base` that belong to experts.
        apart: Replicas that hold different experts, over which theirs cannot be spread.
    """

    base: float
    adapters: float | None
    weight_bytes: float
    cast: bool
    routed: float = 0.0
    apart: float = 1.0


def state_bytes(owned: Owned, training: Training, shards: float, layers: float) -> float:
    """Return bytes of weights, gradients and optimiser on one GPU.

    Args:
        owned: Parameters of one GPU before ZeRO.
        training: How the model is trained.
        shards: Ranks that ZeRO spreads them over.
        layers: Layers of one GPU, of which ZeRO 3 gathers a few.
    """
    if owned.routed:
        rest = owned._replace(base=owned.base - owned.routed, routed=0.0)
        experts = owned._replace(base=owned.routed, routed=0.0, adapters=owned.adapters and 0.0)
        few = max(1.0, shards / owned.apart)
        return state_bytes(rest, training, shards, layers) + state_bytes(
            experts, training, few, layers
        )
    over = [shards if training.zero >= stage else 1.0 for stage in (1, 2, 3)]
    trained = owned.base if owned.adapters is None else owned.adapters
    weights = owned.base * owned.weight_bytes / over[2]
    if owned.adapters is not None:
        weights += owned.adapters * _WEIGHT / over[2]
    if owned.cast:
        weights += owned.base * _CAST_BYTES / over[2]
    if training.zero == len(over):  # never more than all of them
        gathered = min(1.0, _GATHERED_LAYERS / layers) * owned.base * owned.weight_bytes
        weights = max(weights, min(weights + gathered, owned.base * owned.weight_bytes))
    return weights + trained * (_GRADIENT / over[1] + training.state_bytes / over[0])


def layer_bytes(model: Model, inner: float, training: Training, tensor: int) -> float:
    """Return bytes that one token leaves in one layer on one tensor-parallel rank until backward.

    Norms keep their inputs, products theirs, attention its q, k, v and result, a gated MLP both
    branches and their product: 32 bytes per hidden feature of a classic layer. Selective
    recomputation drops the results of norms, of attention and of the MLP's nonlinearity.

    Args:
        model: Architecture.
        inner: Width of the MLP, or of all experts that a token visits.
        training: What is recomputed, and whether ranks share norms.
        tensor: Ranks.
    """
    shared = float(tensor) if training.sequence_parallel else 1.0
    stream = _ELEMENT * model.hidden_size / shared
    if training.recompute == "full":
        return stream
    cheap = 0.0 if training.recompute == "selective" else 1.0
    attention = model.query_size * (1.0 + cheap) + 2.0 * model.key_value_size
    branches = 2.0 if model.gated_mlp else 1.0
    norms = 2.0 * stream * (1.0 + cheap)
    return norms + _ELEMENT * (attention + (branches + cheap) * inner) / tensor


def sequence_bytes(
    model: Model, inner: float, training: Training, split: Parallelism, tokens: int
) -> float:
    """Return bytes of saved activations of one sequence on the GPU that holds most, its stage 1.

    As many micro-batches are in flight as there are stages, or as there are.
    """
    stages = float(split.pipeline)
    micro = training.global_batch / (training.micro_batch * split.data)
    in_flight = min(stages, max(1.0, micro))
    if training.interleave > 1:
        in_flight *= 1.0 + (stages - 1.0) / (stages * training.interleave)
    each = layer_bytes(model, inner, training, split.tensor)
    held = each * model.layers / stages * in_flight
    logits = 0.0
    if model.language_head:
        logits = _LOGIT_BYTES * model.vocabulary_size / split.tensor
    if training.recompute == "full":  # one layer is whole again while its backward pass runs
        whole = training.model_copy(update={"recompute": "none"})
        held += layer_bytes(model, inner, whole, split.tensor)
    return tokens / split.context * (held + logits)


def adapter_parameters(model: Model, rank: int, targets: str) -> float:
    """Return parameters of the adapters of all layers: `rank (in + out)` for each projection."""
    hidden, width, keys = model.hidden_size, model.query_size, model.key_value_size
    pairs = (hidden + width) + 2 * (hidden + keys) + (width + hidden)
    if targets == "all":
        branches = 3 if model.gated_mlp else 2
        pairs += branches * (hidden + model.intermediate_size)
    return float(model.layers * rank * pairs)
