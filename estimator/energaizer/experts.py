"""Mixture of experts: how tokens meet experts, and the kernels of one layer on one GPU.

A step reads only the experts that its tokens visit, so its bytes depend on the batch; and ranks
wait for the one with most tokens (method, section 3: MoE load).
"""

import math
from typing import NamedTuple

from energaizer import blocks, kernels
from energaizer.blocks import Formats, Listing, Shard
from energaizer.kernels import FAMILY, Kernel
from energaizer.layers import Experts
from energaizer.links import ALL_TO_ALL

_SILU_FLOPS = 4.0
# of a library of groups: a fill, a count and starts of rows, and scales laid out for two products
_SMALL_KERNELS = 5.0
_OWN, _LIBRARY = "grouped-gemm", "gemm"
_FEW_ROWS, _MANY_ROWS, _MOST_ROWS = 16.0, 64.0, 128.0


class Spread(NamedTuple):
    """How the experts of a layer lie on GPUs.

    Attributes:
        ranks: Ranks that hold different experts [EP].
        tensor: Shards of each expert.
        senders: Replicas whose tokens meet at the same experts; 1: tokens are on all ranks.
        packed: Rows of experts follow each other without padding, as libraries for training do.
    """

    ranks: float = 1.0
    tensor: float = 1.0
    senders: float = 1.0
    packed: bool = False


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


class Groups(NamedTuple):
    """How a layer's products take rows: groups of equal height, each of one expert.

    Attributes:
        groups: That are multiplied.
        height: Rows of a group.
        filled: Rows that hold a visit of a token.
        passed: Rows that the kernels between the products take.
        summed: Rows that are summed to tokens.
        family: Family of the products.
    """

    groups: float
    height: float
    filled: float
    passed: float
    summed: float
    family: str

    @property
    def rows(self) -> float:
        """Rows that are multiplied, padding included."""
        return self.groups * self.height

    @property
    def drawing(self) -> float:
        """Filled rows that would draw as much: padding multiplies zeros."""
        return self.filled + blocks.ZEROS_TOGGLE * (self.rows - self.filled)


def groups_of(
    experts: Experts, work: Load, tokens: float, spread: Spread, formats: Formats
) -> Groups:
    """Return how a layer's rows are grouped, as vLLM 0.11 does (method, section 3).

    Its own kernel takes groups of 16 rows while there are no more tokens than experts on the rank,
    else of 64, and all visits pass between its products, also those of experts elsewhere. Experts
    stored narrower than they multiply have kernels whose groups fit the rows. Experts that
    multiply in 8 bits or fewer go to the library of other products, in groups of 128, as many as
    any routing could need: one more for each expert of the rank than all visits fill.

    Args:
        experts: The mixture.
        work: Load of the fullest rank.
        tokens: Tokens of all senders.
        spread: How experts lie on ranks.
        formats: Bytes and rates.
    """
    each, visits, local = (
        work.rows / work.touched, tokens * experts.per_token, experts.count / spread.ranks,
    )  # fmt: skip
    if spread.packed:
        return Groups(work.touched, each, *(work.rows,) * 3, _OWN)
    if formats.quantised_input:
        most = float(math.ceil((visits + local * (_MOST_ROWS - 1.0)) / _MOST_ROWS))
        return Groups(most, _MOST_ROWS, work.rows, most * _MOST_ROWS, work.rows, _LIBRARY)
    height = _FEW_ROWS if tokens <= local else _MANY_ROWS
    if formats.unpacked:
        height = min(_MOST_ROWS, max(_FEW_ROWS, 2.0 ** math.ceil(math.log2(max(1.0, each)))))
    groups = work.touched * math.ceil(each / height)
    if formats.unpacked:
        return Groups(groups, height, *(work.rows,) * 3, _LIBRARY)
    return Groups(groups, height, work.rows, visits, visits, _OWN)


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
    together = tokens * spread.senders
    work = load(experts, together, spread.ranks)
    if spread.senders > 1.0:  # tokens travel to their experts and back
        message = tokens * experts.per_token * hidden * act
        to.add(kernels.collective(ALL_TO_ALL, message, spread.ranks), 2.0 * layers)
    width, branches = experts.intermediate_size / spread.tensor, 2.0 if gated else 1.0
    mean = touched(float(experts.count), float(experts.per_token), together) / spread.ranks
    share = 1.0 if spread.packed else min(1.0, mean / work.touched)
    way = groups_of(experts, work, together, spread, formats)
    blocks.quantise(to, tokens * hidden, layers, formats)
    if formats.quantised_input and not spread.packed:
        blocks.tiny(to, _SMALL_KERNELS * layers)
    to.add(kernels.copy(work.rows * hidden, formats.quantised_input or act), layers)
    to.add(_product(way, work, (branches * width, hidden), share, formats), layers)
    inner, size = way.passed * width, way.passed * width * act
    to.add(kernels.elementwise(inner, branches * size, size, _SILU_FLOPS, 1.0), layers)
    blocks.quantise(to, inner, layers, formats)
    to.add(_product(way, work, (hidden, width), share, formats), layers)
    result = tokens * hidden
    to.add(kernels.elementwise(result, way.summed * hidden * act, result * act), layers)


def _product(
    way: Groups, work: Load, shape: tuple[float, float], share: float, formats: Formats
) -> Kernel:
    """Return one product a group, all in one launch: its rows from `shape[1]` to `shape[0]`."""
    out, inner = shape
    operand, weight = formats.quantised_input or formats.activation, formats.weight
    passes = blocks.unpackings(way.height, formats)
    product = kernels.gemm(
        way.groups, way.height, out, inner, (operand, weight, formats.activation), formats.rate,
        resident_bytes=way.rows * (inner * operand + out * formats.activation),
        core_flops=2.0 * out * inner * way.groups * passes, toggle=formats.toggle, share=share,
    )  # fmt: skip
    return product._replace(
        family=float(FAMILY[way.family]), flops=2.0 * out * inner * way.drawing,
        read_bytes=way.rows * inner * operand + work.touched * out * inner * weight,
    )  # fmt: skip
