"""The vision tower of a language model: a bidirectional encoder over the patches of images."""

from energaizer import attention, blocks, kernels
from energaizer.blocks import Formats, Listing, Shard
from energaizer.layers import Tower

_RGB = 3.0


def add(
    to: Listing, tower: Tower, hidden: float, tiles: float, patches: float, formats: Formats
) -> None:
    """Add one pass over some tiles: patches, layers, and the projection into the model.

    The tower of a served model runs whole on every rank, each on its share of the images.

    Args:
        to: Listing to extend.
        tower: The encoder.
        hidden: Width of the language model.
        tiles: Images, frames or tiles of them, each attending to itself alone.
        patches: Patches of one.
        formats: Bytes and rates; the tower's weights are wide.
    """
    wide, act, width = formats.wide(), formats.activation, float(tower.hidden_size)
    layers, tokens = float(tower.layers), tiles * patches
    pixels = _RGB * tower.patch**2 * tower.frames_per_patch
    blocks.linear(to, width, pixels, tokens, 1.0, wide)
    to.add(kernels.normalization(tokens, width, act, 2.0), 2.0 * layers)
    blocks.linear(to, 3.0 * width, width, tokens, layers, wide)
    blocks.linear(to, width, width, tokens, layers, wide)
    full = layers if tower.full_layers is None or not tower.window else float(tower.full_layers)
    _attention(to, tower, (tiles, patches), full, formats)
    if tower.window and layers > full:
        inside = min(float(tower.window), patches)
        _attention(to, tower, (tokens / inside, inside), layers - full, formats)
    shard = Shard(
        sequences=tiles, queries=patches, context=patches, heads=float(tower.heads),
        kv_heads=float(tower.heads), head_size=width / tower.heads, hidden=width,
        inner=float(tower.intermediate_size), vocabulary=1.0, ranks=1.0,
    )  # fmt: skip
    blocks.fused_mlp(to, shard, tower.gated_mlp, "gelu", layers, wide)
    merged, given = width * tower.merge**2, tokens / tower.merge**2
    blocks.linear(to, merged, merged, given, 1.0, wide)
    blocks.linear(to, hidden, merged, given, 1.0, wide)


def _attention(
    to: Listing, tower: Tower, groups: tuple[float, float], layers: float, formats: Formats
) -> None:
    tiles, patches = groups
    heads = attention.Heads(
        tiles, float(tower.heads), float(tower.heads), tower.hidden_size / tower.heads
    )
    kernel = attention.prefill(
        heads, patches, patches * patches, formats.activation, formats.activation,
        formats.attention_rate,
    )  # fmt: skip
    to.add(kernel, layers)
