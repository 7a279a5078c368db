"""Recurrent layers (Mamba, Mamba-2, gated delta rule): projections, short convolution, state.

A prompt is scanned in chunks of 64 tokens; a decode step reads and writes the state of every
sequence, whatever its context (method, section 3).
"""

from energaizer import blocks, kernels
from energaizer.blocks import Formats, Listing, Shard
from energaizer.kernels import FAMILY, RATE, Kernel
from energaizer.layers import Recurrent

_CHUNK = 64.0
_STATE_FLOPS = 6.0  # of a decode step, per element of state: decay, outer product, read-out
_MAMBA_FLOPS = 9.0  # of Mamba's scan, per channel, state and token, beside an exponential


def add(to: Listing, layer: Recurrent, shard: Shard, formats: Formats) -> None:
    """Add all recurrent layers on one GPU; heads are shared out over tensor-parallel ranks."""
    layers, act, ranks = float(layer.layers), formats.activation, shard.ranks
    tokens, hidden, inner = shard.tokens, shard.hidden, layer.inner / ranks
    mixed = layer.mixed / ranks
    blocks.linear(to, layer.projected / ranks, hidden, tokens, layers, formats)
    to.add(kernels.depthwise(tokens, mixed, (1.0, 1.0), float(layer.taps), (act, act)), layers)
    if layer.kind == "mamba":
        narrow = float(layer.step_rank + 2 * layer.state_size)
        blocks.linear(to, narrow, inner, tokens, layers, formats)
        blocks.linear(to, inner, float(layer.step_rank or 1), tokens, layers, formats)
    to.add(_update(layer, shard, act) if shard.queries == 1 else _scan(layer, shard, act), layers)
    if layer.kind != "mamba":
        to.add(kernels.normalization(tokens, inner, act, 2.0), layers)
    blocks.linear(to, hidden, inner, tokens, layers, formats)
    blocks.exchange(to, shard, layers, formats)


def _update(layer: Recurrent, shard: Shard, act: float) -> Kernel:
    """Return one decode step of one layer: every state is read and written."""
    elements = shard.sequences * layer.inner * layer.state_size / shard.ranks
    state = shard.sequences * layer.state_bytes / shard.ranks
    special = elements if layer.kind == "mamba" else 0.0
    stream = shard.sequences * (layer.mixed + layer.inner) / shard.ranks * act
    kernel = kernels.elementwise(elements, state + stream, state, _STATE_FLOPS)
    return kernel._replace(family=float(FAMILY["state-space"]), special=special, cacheable=0.0)


def _scan(layer: Recurrent, shard: Shard, act: float) -> Kernel:
    """Return the scan of a prompt by one layer: 2 H (2 P S + 64 (P + S) + 64 P) FLOP a token."""
    tokens, heads = shard.tokens, layer.heads / shard.ranks
    stream = tokens * (layer.mixed + layer.inner) / shard.ranks * act
    states = tokens / _CHUNK * layer.state_bytes / shard.ranks
    kernel = kernels.elementwise(
        tokens * layer.inner / shard.ranks, stream + states, stream / 2.0 + states
    )._replace(family=float(FAMILY["state-space"]))
    if layer.kind == "mamba":
        elements = tokens * layer.inner * layer.state_size / shard.ranks
        return kernel._replace(core_flops=_MAMBA_FLOPS * elements, special=elements)
    size, state = layer.head_size, layer.state_size
    each = 2.0 * (2.0 * size * state + _CHUNK * (size + state) + _CHUNK * size)
    return kernel._replace(flops=tokens * heads * each, rate=float(RATE["bf16"]))
