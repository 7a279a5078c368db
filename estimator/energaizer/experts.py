"""Mixture of experts: how tokens meet experts, and the kernels of one layer on one GPU.

A step reads only the experts that its tokens visit, so its bytes depend on the batch; and ranks
wait for the one with most tokens (method, section 3: MoE load).
"""

import math
from typing import NamedTuple

from energaizer import blocks, kernels
from energaizer.blocks import Formats, Listing, Shard
from energaizer.kernels import FAMILY
from energaizer.layers import Experts
from energaizer.links import ALL_TO_ALL

_SILU_FLOPS = 4.0


class Spread(NamedTuple):
    """How the experts of a layer lie on GPUs.

    Attributes:
        ranks: Ranks that hold different experts [EP].
        tensor: Shards of each expert.
        senders: Replicas whose tokens meet at the same experts; 1: tokens are on all ranks.
    """

    ranks: float = 1.0
    tensor: float = 1.0
    senders: float = 1.0


class Load(NamedTuple):
    """What the fullest rank computes in one layer: experts it reads, rows of its products."""

    touched: float
    rows: float


def touched(experts: float, per_token: float, tokens: float) -> float:
    """Return the distinct experts that so many tokens visit, `E (1 - (1 - k/E)^B)`.

    Golden: 128 experts, 8 a token, 16 tokens -> 82.42.
    """
    if per_token >= experts:
        return experts
    return -experts * math.expm1(tokens * math.log1p(-per_token / experts))


def crowding(visits: float, ranks: float) -> float:
    """Return the load of the fullest of some ranks over the mean, `1 + sqrt(2 ln n / m)`.

    Args:
        visits: Tokens times experts per token that a rank gets in the mean [m].
        ranks: Ranks [n]; the fullest gets at most everything.
    """
    if ranks <= 1.0:
        return 1.0
    return min(ranks, 1.0 + math.sqrt(2.0 * math.log(ranks) / visits))


def load(experts: Experts, tokens: float, ranks: float) -> Load:
    """Return what the fullest rank computes for so many tokens."""
    visits = tokens * experts.per_token / ranks
    more = crowding(visits, ranks)
    rows = min(visits * more, tokens * min(experts.per_token, experts.count / ranks))
    distinct = touched(float(experts.count), float(experts.per_token), tokens * rows / visits)
    return Load(min(distinct / ranks, rows), rows)


def add(
    to: Listing, experts: Experts, spread: Spread, shard: Shard, gated: bool, formats: Formats
) -> None:
    """Add the experts of all layers that hold them: router, permutation, products, sum.

    Args:
        to: Listing to extend.
        experts: The mixture.
        spread: How it lies on GPUs.
        shard: Share of this GPU; its tokens are those of one replica.
        gated: Each expert has three matrices.
        formats: Bytes and rates; the router stays in the format of activations.
    """
    layers, act, hidden = float(experts.layers), formats.activation, shard.hidden
    wide, tokens = formats.wide(), shard.tokens
    blocks.linear(to, float(experts.count), hidden, tokens, layers, wide)
    to.add(kernels.softmax(tokens, float(experts.count), act), layers)
    work = load(experts, tokens * spread.senders, spread.ranks)
    if spread.senders > 1.0:  # tokens travel to their experts and back
        message = tokens * experts.per_token * hidden * act
        to.add(kernels.collective(ALL_TO_ALL, message, spread.ranks), 2.0 * layers)
    to.add(kernels.copy(work.rows * hidden, act), layers)
    width = experts.intermediate_size / spread.tensor
    branches = 2.0 if gated else 1.0
    _product(to, work, branches * width, hidden, layers, formats)
    inner, size = work.rows * width, work.rows * width * act
    to.add(kernels.elementwise(inner, branches * size, size, _SILU_FLOPS, 1.0), layers)
    _product(to, work, hidden, width, layers, formats)
    result = tokens * hidden
    to.add(kernels.elementwise(result, work.rows * hidden * act, result * act), layers)


def _product(
    to: Listing, work: Load, out: float, inner: float, layers: float, formats: Formats
) -> None:
    """Add one product a touched expert, all in one launch: rows of each from inner to out."""
    listed = Listing()
    blocks.linear(listed, out, inner, work.rows / work.touched, 1.0, formats)
    for kernel, count in listed.counts.items():
        if not kernel.m:  # the quantised input, of one expert
            size = work.rows * inner
            operand = formats.quantised_input
            cast = kernels.elementwise(size, size * formats.activation, size * operand, 4.0)
            to.add(cast, count * layers)
            continue
        to.add(
            kernel._replace(
                family=float(FAMILY["grouped-gemm"]), batch=work.touched,
                flops=kernel.flops * work.touched, read_bytes=kernel.read_bytes * work.touched,
                write_bytes=kernel.write_bytes * work.touched,
                core_flops=kernel.core_flops * work.touched,
                resident_bytes=kernel.resident_bytes * work.touched,
            ),
            count * layers,
        )  # fmt: skip
