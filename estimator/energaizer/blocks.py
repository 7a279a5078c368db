"""Pieces that families of models share: projections, attention, MLP, norms, embeddings.

Each piece adds its kernels to a `Listing`; equal kernels are merged with a count. Two ways to run
a model differ in their kernels, not in their mathematics: `fused`, as serving engines do, and
`eager`, as PyTorch runs a module line by line, with the layout copies, casts, masks and scalings
that a tracer does not list (method, section 3: implicit kernels).
"""

from typing import NamedTuple

from energaizer import attention, kernels
from energaizer.attention import Heads
from energaizer.kernels import Kernel

_GELU_KERNELS = 8  # gelu_new written out: 4 scalings, a power, an add, a tanh, a product
ZEROS_TOGGLE = 0.62  # zeros draw .6 of random operands, and 95 % are zero
_INDEX_OPERATIONS = 30.0  # of an element: three extents, strides of three operands, addresses
_GELU_FLOPS, _SILU_FLOPS = 8.0, 4.0
_NORM_KERNELS = 6  # RMS norm written out: cast, square, mean, rsqrt, scale, cast, weight
_DEQUANTISE_TILE = 128.0  # rows of a tile that share one unpacked weight
# bytes that a sampler moves per logit: radix passes over values and indices, sums, a scatter; of
# 0, 136 and 400 the one with the least error of J/token on left-out serving rows
_SORT_BYTES = 400.0


class Formats(NamedTuple):
    """Bytes per element and rate keys of a run."""

    activation: float
    weight: float
    cache: float
    head: float
    rate: str
    attention_rate: str
    head_rate: str
    quantised_input: float = 0.0  # bytes of an operand quantised before each product; 0: none
    unpacked: bool = False  # narrow weights that are unpacked to the rate of the activations
    toggle: float = 1.0  # energy of the input of a product, against random operands

    def wide(self) -> "Formats":
        """Return the formats of matrices that a quantised checkpoint keeps as they were."""
        return self._replace(
            weight=self.head, rate=self.head_rate, quantised_input=0.0, unpacked=False
        )


class Shard(NamedTuple):
    """What one GPU computes in one step: its share of the model and the tokens of the step."""

    sequences: float
    queries: float  # new tokens of one sequence
    context: float  # keys that the last new token sees
    heads: float
    kv_heads: float
    head_size: float
    hidden: float
    inner: float
    vocabulary: float
    ranks: float

    @property
    def tokens(self) -> float:
        """New tokens of all sequences."""
        return self.sequences * self.queries


class Listing:
    """Kernels of one step, equal ones merged, in the order of first use."""

    def __init__(self, counts: dict[Kernel, float] | None = None) -> None:
        """Begin with launches of some kernels, or of none."""
        self.counts: dict[Kernel, float] = {} if counts is None else counts

    def add(self, kernel: Kernel, count: float) -> None:
        """Add so many launches of a kernel."""
        if count > 0:
            known = len(self.counts)
            before = self.counts.setdefault(kernel, count)  # hashed once: it is half of the work
            if len(self.counts) == known:
                self.counts[kernel] = before + count


def linear(
    to: Listing, out: float, inner: float, tokens: float, count: float, formats: Formats
) -> None:
    """Add projections of `tokens` rows from `inner` to `out` features.

    Narrow weights are unpacked on the CUDA cores; a quantised input is a kernel of its own.
    """
    operand = formats.quantised_input or formats.activation
    quantise(to, tokens * inner, count, formats)
    passes = unpackings(tokens, formats)
    product = kernels.gemm(
        1.0, tokens, out, inner, (operand, formats.weight, formats.activation), formats.rate,
        resident_bytes=tokens * (inner * operand + out * formats.activation),
        toggle=formats.toggle, core_flops=2.0 * out * inner * passes,
    )  # fmt: skip
    to.add(product, count)


def quantise(to: Listing, elements: float, count: float, formats: Formats) -> None:
    """Add the kernel that makes so many elements narrow before a product, where one does."""
    if formats.quantised_input:
        read, written = elements * formats.activation, elements * formats.quantised_input
        to.add(kernels.elementwise(elements, read, written, 4.0), count)


def unpackings(rows: float, formats: Formats) -> float:
    """Return how often a product of so many rows unpacks each of its weights."""
    return max(1.0, rows / _DEQUANTISE_TILE) if formats.unpacked else 0.0


def head(to: Listing, shard: Shard, rows: float, count: float, formats: Formats) -> None:
    """Add the language head: logits of `rows` positions, in the format that heads keep."""
    sizes = (formats.activation, formats.head, formats.activation)
    to.add(kernels.gemm(1.0, rows, shard.vocabulary, shard.hidden, sizes, formats.head_rate), count)


def sampling(to: Listing, vocabulary: float, rows: float, count: float, formats: Formats) -> None:
    """Add the choice of the next token: a cast to fp32, a softmax and a search over the logits."""
    size = rows * vocabulary
    to.add(kernels.copy(size, formats.activation, 4.0), count)
    to.add(kernels.softmax(rows, vocabulary, 4.0), count)
    to.add(kernels.elementwise(size, 4.0 * size, 8.0 * rows), count)


def sort(to: Listing, logits: float) -> None:
    """Add the sort by which an engine's sampler keeps the likeliest tokens.

    Every rank of the last stage samples from all logits, whatever the split. What a sort takes
    beyond its bytes are cycles of its blocks, in which SMs are busy, not a wait of the board.
    """
    moved = logits * _SORT_BYTES / 2.0
    to.add(kernels.elementwise(logits, moved, moved, 0.0, family="sort"), 1.0)


def exchange(to: Listing, shard: Shard, count: float, formats: Formats) -> None:
    """Add the sum of partial results over tensor-parallel ranks."""
    if shard.ranks > 1:
        message = shard.tokens * shard.hidden * formats.activation
        to.add(kernels.all_reduce(message, shard.ranks), count)


def residual(to: Listing, shard: Shard, count: float, formats: Formats) -> None:
    """Add `x + y` over the hidden states of all tokens."""
    added = pointwise(shard.tokens * shard.hidden, 2.0, formats.activation)
    to.add(kernels.contiguous(added), count)


def pointwise(elements: float, inputs: float, element_bytes: float, special: float = 0.0) -> Kernel:
    """Return an elementwise kernel with so many inputs and one output of equal format."""
    size = elements * element_bytes
    return kernels.elementwise(elements, inputs * size, size, 1.0, special)


def indexed(kernel: Kernel) -> Kernel:
    """Return a streaming kernel that computes where each of its elements lies.

    A transposition or a broadcast operand costs it a division by each extent of the tensor and a
    stride for each operand, before anything is computed.
    """
    elements = kernel.blocks * kernels.BLOCK_ELEMENTS
    return kernel._replace(core_flops=kernel.core_flops + _INDEX_OPERATIONS * elements)


def tiny(to: Listing, count: float) -> None:
    """Add kernels on a handful of elements: fills, position ids, scalars moved to the board."""
    to.add(kernels.elementwise(1.0, 8.0, 8.0, 0.0), count)


def fused_attention(
    to: Listing, shard: Shard, windows: tuple[tuple[float, float], ...], formats: Formats,
    causal: bool,
) -> None:  # fmt: skip
    """Add attention of all layers as one kernel each.

    Args:
        to: Listing to extend.
        shard: Share of this GPU.
        windows: (keys that a token sees at most, layers with that window).
        formats: Bytes and rates.
        causal: A token sees only earlier ones.
    """
    heads = Heads(shard.sequences, shard.heads, shard.kv_heads, shard.head_size)
    for window, layers in windows:
        if shard.queries == 1 and causal:
            kernel = attention.decode(
                heads, shard.context, formats.activation, formats.cache, formats.attention_rate,
                window,
            )  # fmt: skip
        else:
            pairs = attention.causal_pairs(shard.queries, window)
            kernel = attention.prefill(
                heads, shard.queries, pairs if causal else shard.queries**2,
                formats.activation, formats.cache, formats.attention_rate,
            )  # fmt: skip
            kernel = attention.in_pages(kernel) if causal else kernel
        to.add(kernel, layers)


def fused_mlp(
    to: Listing, shard: Shard, gated: bool, activation: str, layers: float, formats: Formats
) -> None:
    """Add the MLP of all layers: up (and gate as one product), activation, down."""
    tokens, inner = shard.tokens, shard.inner
    branches = 2.0 if gated else 1.0
    linear(to, branches * inner, shard.hidden, tokens, layers, formats)
    size = tokens * inner * formats.activation
    to.add(kernels.elementwise(tokens * inner, branches * size, size, _SILU_FLOPS, 1.0), layers)
    linear(to, shard.hidden, inner, tokens, layers, after(activation, formats))


def after(activation: str, formats: Formats) -> Formats:
    """Return the formats of a product whose input comes from a nonlinearity of an MLP.

    A language model's ReLU leaves few units alive (3 to 5 %, published for OPT): operands that are
    mostly zero toggle fewer wires (method, 4.5).
    """
    return formats._replace(toggle=ZEROS_TOGGLE) if activation == "relu" else formats


class EagerStyle(NamedTuple):
    """How a module of a library writes attention out, line by line.

    Attributes:
        scale_on: What the scaling by 1/sqrt(d) multiplies.
        wide_softmax: Softmax in fp32 between two casts.
        where: The causal mask is a `where` over the scores, beside fills of its constants.
        mask: A mask is added to the scores.
        merged: q, k and v come from one product.
        dense_heads: q, k and v are laid out anew even for a single sequence.
        cached: Keys beyond the queries come from a cache, with which new ones are concatenated.
        calls: Modules called in a layer.
    """

    scale_on: str = "scores"
    wide_softmax: bool = True
    where: bool = False
    mask: bool = True
    merged: bool = False
    dense_heads: bool = False
    cached: bool = True
    calls: float = 14.0


def eager_attention(
    to: Listing, shard: Shard, style: EagerStyle, layers: float, formats: Formats
) -> None:
    """Add attention of all layers as PyTorch runs it line by line, without a fused kernel.

    Every score is written to memory, also those that a mask hides. Products of four-dimensional
    views copy q, k and v to a dense layout, unless there is a single sequence.
    """
    act, rate = formats.activation, formats.attention_rate
    tokens, groups = shard.tokens, shard.sequences * shard.heads
    width = shard.heads * shard.head_size
    keys = shard.sequences * shard.context * width
    scores = groups * shard.queries * shard.context
    repeats = shard.heads / shard.kv_heads
    if style.scale_on == "query":
        to.add(kernels.contiguous(pointwise(tokens * width, 1.0, act)), layers)
    if (
        style.cached and shard.queries < shard.context
    ):  # the cache is concatenated with the new keys and values
        to.add(indexed(kernels.copy(keys / repeats, act)), 2.0 * layers)
    if repeats > 1:
        to.add(indexed(kernels.copy(keys, act)), 2.0 * layers)
    if shard.sequences > 1 or style.dense_heads:
        to.add(indexed(kernels.copy(tokens * width, act)), layers)
        to.add(indexed(kernels.copy(keys, act)), 2.0 * layers)
    sizes = (act, act, act)
    near = act * (tokens * width + keys + scores)
    product = kernels.gemm(
        groups, shard.queries, shard.context, shard.head_size, sizes, rate, resident_bytes=near
    )
    to.add(product, layers)
    if style.scale_on == "scores":
        scaling = pointwise(scores, 1.0, act)
        # beside a `where`, the library divides by a tensor of one element, which is broadcast
        laid = indexed if style.where else kernels.contiguous
        to.add(laid(scaling), layers)
    if style.where:
        mask_bytes = shard.queries * shard.context
        chosen = kernels.elementwise(scores, scores * act + mask_bytes, scores * act)
        to.add(indexed(chosen), layers)
        tiny(to, 2.0 * layers)
    if style.mask:
        to.add(indexed(pointwise(scores, 1.0, act)), layers)
    wide = style.wide_softmax and act < kernels.FP32_BYTES
    if wide:
        to.add(kernels.contiguous(kernels.copy(scores, act, kernels.FP32_BYTES)), layers)
        to.add(kernels.contiguous(kernels.copy(scores, kernels.FP32_BYTES, act)), layers)
    softmax_bytes = kernels.FP32_BYTES if wide else act
    to.add(kernels.softmax(groups * shard.queries, shard.context, softmax_bytes), layers)
    product = kernels.gemm(
        groups, shard.queries, shard.head_size, shard.context, sizes, rate, resident_bytes=near
    )
    to.add(product, layers)
    if shard.queries > 1:
        to.add(indexed(kernels.copy(tokens * width, act)), layers)


def eager_activation(
    to: Listing, elements: float, name: str, gated: bool, layers: float, formats: Formats
) -> None:
    """Add the nonlinearity of an MLP: one kernel, or the eight of a written-out GELU."""
    act = formats.activation
    if name == "gelu_new":
        to.add(kernels.contiguous(pointwise(elements, 1.0, act)), (_GELU_KERNELS - 3.0) * layers)
        to.add(kernels.contiguous(pointwise(elements, 1.0, act, special=1.0)), layers)
        to.add(kernels.contiguous(pointwise(elements, 2.0, act)), 2.0 * layers)
    elif name == "relu":
        to.add(kernels.contiguous(pointwise(elements, 1.0, act)), layers)
    else:
        size = elements * act
        found = kernels.elementwise(elements, size, size, _GELU_FLOPS, 1.0)
        to.add(kernels.contiguous(found), layers)
    if gated:
        to.add(kernels.contiguous(pointwise(elements, 2.0, act)), layers)


def eager_rms_norm(to: Listing, rows: float, width: float, count: float, formats: Formats) -> None:
    """Add an RMS norm written out line by line, in fp32 between two casts."""
    act, wide, size = formats.activation, kernels.FP32_BYTES, rows * width
    if act < wide:
        to.add(kernels.copy(size, act, wide), count)
        to.add(kernels.copy(size, wide, act), count)
    to.add(pointwise(size, 1.0, wide), 2.0 * count)
    to.add(kernels.normalization(rows, width, wide)._replace(write_bytes=rows * wide), count)
    tiny(to, 2.0 * count)
    to.add(pointwise(size, 1.0, act), count)


def eager_rotary(to: Listing, tokens: float, width: float, count: float, formats: Formats) -> None:
    """Add a rotary embedding of q or k: two products, a sum, a negation and a concatenation."""
    size = tokens * width
    to.add(indexed(pointwise(size, 1.0, formats.activation)), 2.0 * count)
    to.add(pointwise(size, 2.0, formats.activation), count)
    to.add(indexed(kernels.copy(size / 2.0, formats.activation)), count)
    to.add(indexed(kernels.copy(size, formats.activation)), count)
