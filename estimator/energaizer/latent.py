"""Multi-head latent attention: projections of low rank, a narrow cache, absorbed decode steps.

A prompt expands keys and values and attends as usual; a decode step multiplies the queries into the
latent space instead, where all heads share one cached vector (method, section 3).
"""

from energaizer import blocks, kernels
from energaizer.attention import Heads, causal_pairs, decode, in_pages, prefill
from energaizer.blocks import Formats, Listing, Shard
from energaizer.kernels import Kernel
from energaizer.layers import Latent

_INDEX_BYTES = 1.0  # an index key is stored and multiplied in 8 bits


def projections(to: Listing, latent: Latent, shard: Shard, layers: float, formats: Formats) -> None:
    """Add what surrounds attention in all layers: down and up projections, norms, the cache."""
    tokens, hidden, act = shard.tokens, shard.hidden, formats.activation
    wide = shard.heads * (latent.plain_size + latent.rotary_size)
    stored = float(latent.cache_rank + latent.rotary_size)
    rank = float(latent.query_rank or 0)
    # Both down projections are one product, which every rank repeats.
    blocks.linear(to, rank + stored, hidden, tokens, layers, formats)
    to.add(kernels.normalization(tokens, float(latent.cache_rank), act), layers)
    if rank:
        to.add(kernels.normalization(tokens, rank, act), layers)
    blocks.linear(to, wide, rank or hidden, tokens, layers, formats)
    rotated = tokens * (shard.heads + 1.0) * latent.rotary_size
    to.add(blocks.pointwise(rotated, 1.0, act), layers)
    to.add(kernels.copy(tokens * stored, act, formats.cache), layers)
    if latent.index_heads:
        queries = float(latent.index_heads * latent.index_size)
        blocks.linear(to, queries, rank or hidden, tokens, layers, formats)
        narrow = float(latent.index_size + latent.index_heads)
        blocks.linear(to, narrow, hidden, tokens, layers, formats)
    if shard.queries == 1:
        sizes = (act, formats.weight, act)
        for out, inner in (
            (latent.cache_rank, latent.plain_size), (latent.value_size, latent.cache_rank),
        ):  # fmt: skip
            product = kernels.gemm(
                shard.heads, tokens, float(out), float(inner), sizes, formats.rate
            )
            to.add(product, layers)
    else:
        expanded = shard.heads * (latent.plain_size + latent.value_size)
        blocks.linear(to, expanded, float(latent.cache_rank), tokens, layers, formats)
    blocks.linear(to, hidden, shard.heads * latent.value_size, tokens, layers, formats)


def attention(to: Listing, latent: Latent, shard: Shard, layers: float, formats: Formats) -> None:
    """Add the attention of all layers, and the search of a sparse indexer before it."""
    seen = shard.context
    if latent.index_heads:
        to.add(_search(latent, shard, formats), layers)
        seen = min(seen, float(latent.index_keys))
    if shard.queries == 1:
        to.add(absorbed(latent, shard, seen, formats), layers)
        return
    heads = Heads(
        shard.sequences, shard.heads, shard.heads,
        (latent.plain_size + latent.rotary_size + latent.value_size) / 2.0,
    )  # fmt: skip
    kernel = prefill(
        heads, shard.queries, causal_pairs(shard.queries, seen),
        formats.activation, formats.activation, formats.attention_rate,
    )  # fmt: skip
    to.add(in_pages(kernel), layers)


def absorbed(latent: Latent, shard: Shard, seen: float, formats: Formats) -> Kernel:
    """Return absorbed decode attention: 2 H s (2 d_c + d_r) FLOP, one vector a cached token."""
    heads = Heads(shard.sequences, shard.heads, 1.0, float(latent.cache_rank))
    kernel = decode(heads, seen, formats.activation, formats.cache, formats.attention_rate)
    flops = 2.0 * shard.sequences * shard.heads * seen
    flops *= 2.0 * latent.cache_rank + latent.rotary_size
    stored = shard.sequences * seen * (latent.cache_rank + latent.rotary_size) * formats.cache
    queries = kernel.write_bytes
    return kernel._replace(
        flops=flops, read_bytes=stored + queries, onchip_bytes=stored + 2.0 * queries
    )


def _search(latent: Latent, shard: Shard, formats: Formats) -> Kernel:
    """Return the scores of all keys against the index queries, and the choice of the highest."""
    pairs = shard.sequences * (shard.context if shard.queries == 1 else causal_pairs(shard.queries))
    flops = 2.0 * latent.index_heads * latent.index_size * pairs
    keys = shard.sequences * shard.context * latent.index_size * _INDEX_BYTES
    scores = pairs * formats.activation
    kernel = kernels.elementwise(pairs, keys + scores, scores)
    rate = kernels.RATE[formats.attention_rate]
    return kernel._replace(
        family=float(kernels.FAMILY["attention-decode"]), flops=flops, rate=float(rate)
    )
