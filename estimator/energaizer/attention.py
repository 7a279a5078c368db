"""Fused attention as kernels: query-key pairs, the tiles that compute them, keys split for decode.

A kernel computes whole tiles of rows and keys, so that it does more than is asked for, and its
blocks may differ in length. Formulas are those of docs/method.md, 3.
"""

import math
from typing import NamedTuple

from energaizer.kernels import FAMILY, RATE, Kernel

_TILE = 128
_DECODE_ROWS = 64  # of a tile, the fewest that its tensor instructions take
_SHARED_ROWS = 2.0 * _TILE  # that use keys and values while they are near
_HEAD_SIZES = (64, 96, 128)  # for which kernels are compiled; a smaller head is filled up
_SPLIT_TOKENS = 256
_MOST_SPLITS = 32


def causal_pairs(tokens: float, window: float | None = None) -> float:
    """Return query-key pairs of a causal prompt, each token seeing at most `window` keys."""
    if window is None or window >= tokens:
        return tokens * (tokens + 1.0) / 2.0
    return window * tokens - window * (window - 1.0) / 2.0


def chunk_pairs(prefix: float, chunk: float) -> float:
    """Return query-key pairs of a chunk of a prompt after a prefix."""
    return chunk * prefix + chunk * (chunk + 1.0) / 2.0


class Heads(NamedTuple):
    """Attention of one GPU: sequences, query heads, KV heads and their size."""

    sequences: float
    heads: float
    kv_heads: float
    size: float


def prefill(
    heads: Heads, tokens: float, pairs: float, element_bytes: float, cache_bytes: float, rate: str
) -> Kernel:
    """Return fused attention over a prompt.

    A block takes 128 rows, the queries of all heads that share a KV head, and walks over tiles of
    128 keys: what is not asked for in them is computed all the same.

    Args:
        heads: Sequences, heads and head size.
        tokens: Query tokens of one sequence.
        pairs: Query-key pairs of one sequence and head.
        element_bytes: Bytes per element of Q and O.
        cache_bytes: Bytes per element of K and V.
        rate: Key of the peak rate of the two products.
    """
    tiles = math.ceil(tokens / _TILE)
    # Half of each tile on the diagonal is masked but computed.
    done = pairs if pairs >= tokens * tokens else pairs + tiles * _TILE * min(
        _TILE, tokens) / 2.0  # fmt: skip
    done = min(done, max(pairs, tokens * tokens))
    queries = heads.sequences * heads.heads
    group = heads.heads / heads.kv_heads
    mean, longest = _keys_of_blocks(tokens, pairs, group)
    blocks = heads.sequences * heads.kv_heads * math.ceil(tokens * group / _TILE)
    computed = max(blocks * _TILE * mean, queries * done)
    kv = heads.sequences * heads.kv_heads * tokens * heads.size * cache_bytes
    q = queries * tokens * heads.size * element_bytes
    filled = next((size for size in _HEAD_SIZES if size >= heads.size), heads.size)
    return Kernel(
        FAMILY["attention-prefill"], 4.0 * queries * heads.size * done, RATE[rate],
        q + 2.0 * kv, q,
        2.0 * q + 2.0 * computed * heads.size * cache_bytes / _SHARED_ROWS,
        special=computed, blocks=blocks, cacheable=0.0,
        b_bytes=cache_bytes, padding=computed * filled / (queries * done * heads.size), serial=1.0,
        longest=longest / mean,
    )  # fmt: skip


def in_pages(kernel: Kernel) -> Kernel:
    """Return attention over a prompt whose keys and values lie in pages of an engine's cache."""
    return kernel._replace(paged=1.0)


def _keys_of_blocks(tokens: float, pairs: float, group: float) -> tuple[float, float]:
    """Return keys that the mean block and the longest one compute, in whole tiles on average.

    Args:
        tokens: Query tokens of one sequence.
        pairs: Query-key pairs of one sequence and head.
        group: Query heads of a KV head, whose queries are rows of the same block.
    """
    tile = float(_TILE)
    seen, own = pairs / tokens, min(tile / group, tokens)
    if pairs >= tokens * tokens:
        whole = math.ceil(seen / tile) * tile
        return whole, whole
    most = math.ceil((seen + (tokens - 1.0) / 2.0) / tile) * tile
    if pairs >= causal_pairs(tokens):  # one ragged edge: the diagonal
        return min(seen + own / 2.0 + tile / 2.0, most), most
    both = 2.0 * tokens + 1.0  # a window has two
    window = (both - math.sqrt(both * both - 8.0 * pairs)) / 2.0
    most = math.ceil(tokens / tile) * tile
    return min(seen + own + tile, most), min(window + own + tile, most)


def decode_splits(context: float, sequences: float, kv_heads: float, units: float) -> float:
    """Return into how many blocks the keys of one KV head are split on `units` SMs, 1 to 32."""
    fills = math.ceil(units / (sequences * kv_heads))
    return float(max(1, min(_MOST_SPLITS, math.ceil(context / _SPLIT_TOKENS), fills)))


def decode(
    heads: Heads, context: float, element_bytes: float, cache_bytes: float, rate: str,
    window: float = math.inf,
) -> Kernel:  # fmt: skip
    """Return attention of one new token per sequence over the last `window` of its cached ones.

    `batch` holds the blocks without a split of the keys and `blocks` the most that a split gives:
    `timeline` takes as many as fill the SMs of a GPU. Queries that share a KV head are rows of one
    tile, which has 64 at least.

    Args:
        heads: Sequences, heads and head size.
        context: Cached tokens.
        element_bytes: Bytes per element of Q and O.
        cache_bytes: Bytes per element of K and V.
        rate: Key of the peak rate of the two products.
        window: Keys that a query sees at most.
    """
    seen = min(context, window)
    queries = heads.sequences * heads.heads
    kv = 2.0 * heads.sequences * heads.kv_heads * seen * heads.size * cache_bytes
    q = queries * heads.size * element_bytes
    groups = heads.sequences * heads.kv_heads
    group = heads.heads / heads.kv_heads
    # A window that has begun to slide need not begin with a tile.
    keys = max(seen, float(_TILE)) + (_TILE if context > seen else 0.0)
    padding = math.ceil(group / _DECODE_ROWS) * _DECODE_ROWS / group * keys / seen
    return Kernel(
        FAMILY["attention-decode"], 4.0 * queries * heads.size * seen, RATE[rate],
        kv + q, q, kv + 2.0 * q, special=queries * seen * padding,
        blocks=groups * min(_MOST_SPLITS, math.ceil(seen / _SPLIT_TOKENS)),
        batch=groups, b_bytes=cache_bytes, cacheable=0.0, in_flight=1.0, padding=padding,
        serial=1.0, alone=queries if window < math.inf or group == 1.0 else 0.0,
    )  # fmt: skip
