"""Which tile and split a library would choose for a matrix product.

All 48 pairs of a tile and a split are evaluated and the fastest is taken; libraries choose nearly
that (method 2.2). What does not depend on coefficients, the `Plans` of a GPU, is kept apart, so
that a fit builds it once.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer.coefficients import TimeCoefficients

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

TILES = (
    (256, 128), (128, 256), (256, 64), (64, 256), (128, 128), (128, 64), (64, 128), (64, 64),
    (256, 32), (32, 256), (128, 32), (32, 128),
)  # fmt: skip
SPLITS = (1, 2, 4, 8)
_PAIRS = np.array([(a, b, s) for a, b in TILES for s in SPLITS], dtype=np.float64)
TILE_M, TILE_N, SPLIT = _PAIRS[:, 0], _PAIRS[:, 1], _PAIRS[:, 2]
_EDGE = 64.0 / TILE_M + 64.0 / TILE_N
_AREA = TILE_M * TILE_N
_IS_SPLIT = SPLIT > 1.0
_WHOLE = SPLIT == 1.0
_K_STEPS = 32.0 * SPLIT
_SHORTEST = np.where(_WHOLE, 0.0, 128.0 * SPLIT)  # K that a split takes at least
_K_STEP = 32.0
_PARTIAL_BYTES = 8.0  # an fp32 partial sum is written and read
_HALF = 2.0  # bytes of an element
_ALIGNMENT = 16.0  # bytes that one vector load takes
_LOADED_RATE = 1024.0  # MAC per cycle and SM beside which loads of single elements are told
_KEPT = 256  # products up to which what their rows leave as it is is kept: some 300 kB
_CORE_EDGE = 0.25  # CUDA-core products suffer less from small tiles


class Form(NamedTuple):
    """What the choice reads of a GPU: of one for all products, or one row for each of G.

    Numbers are floats or of shape (G, 1), the rest of shape (48,) or (G, 48).

    Attributes:
        work: MAC of a block for each element of K by plan, with what splits and small tiles add.
        core_work: The same on CUDA cores.
        prologue: Elements of K paid before the main loop.
        core_prologue: The same on CUDA cores.
        tail: Waves added to every launch.
        misaligned: Work of a tensor product whose rows break 16-byte alignment, relative, where
            an SM multiplies `_LOADED_RATE`.
        reduction: Cycles of the sum over splits for each element of the result, by plan.
        reduction_fixed: Cycles of that sum besides, by plan.
        operand_rate: Bytes of operands per cycle of the whole GPU.
    """

    work: FloatArray
    core_work: FloatArray
    prologue: float | FloatArray
    core_prologue: float | FloatArray
    tail: float | FloatArray
    misaligned: float | FloatArray
    reduction: FloatArray
    reduction_fixed: FloatArray
    operand_rate: float | FloatArray


def form_of(time: TimeCoefficients, units: float) -> Form:
    """Return what the choice reads of one GPU.

    Args:
        time: Coefficients of the form.
        units: SMs.
    """

    def work(overhead: float, edge: float) -> FloatArray:
        split = np.where(_IS_SPLIT, 1.0 + overhead, 1.0)
        return split * _AREA * (1.0 + edge * (time.tile_edge * _EDGE))

    overhead, prologue = time.core_split_overhead, time.core_prologue
    beta = time.stream_bytes_per_cycle * units
    return Form(
        work=work(time.split_overhead, 1.0),
        core_work=work(time.split_overhead if overhead is None else overhead, _CORE_EDGE),
        prologue=time.tile_prologue,
        core_prologue=time.tile_prologue if prologue is None else prologue,
        tail=time.tail_overhead,
        misaligned=time.misaligned_factor,
        reduction=np.where(_IS_SPLIT, _PARTIAL_BYTES * SPLIT / beta, 0.0),
        reduction_fixed=np.where(_IS_SPLIT, time.split_fixed_cycles, 0.0),
        operand_rate=(time.operand_bytes_per_cycle or 2.0 * time.stream_bytes_per_cycle) * units,
    )


def stacked(forms: Sequence[Form]) -> Form:
    """Return the forms of several GPUs as one, GPUs in front."""
    return Form(*(np.array(each).reshape(len(forms), -1) for each in zip(*forms, strict=True)))


def rows_of(form: Form, row: npt.NDArray[np.intp]) -> Form:
    """Return the form of several GPUs with one row for each product.

    Args:
        form: Of all GPUs (`stacked`).
        row: GPU of each product, shape (G,).
    """
    return Form(*(np.asarray(each)[row] for each in form))


class Plans(NamedTuple):
    """Alternatives of G products over 48 plans, without coefficients.

    Attributes:
        blocks: Thread blocks, shape (G, 48).
        waves: Waves over the SMs, shape (G, 48); infinity where too little of K is left to split.
        depth: K of one block, rounded up, shape (G, 48).
        operand_bytes: Bytes of operands that all blocks read, shape (G, 48).
        results: Elements of the result, shape (G, 1).
        on_core: The product runs on CUDA cores, shape (G, 1).
        misaligned: A row of an operand or of the result is no multiple of 16 bytes, so that a
            tensor product loads it in small pieces, shape (G, 1).
    """

    blocks: FloatArray
    waves: FloatArray
    depth: FloatArray
    operand_bytes: FloatArray
    results: FloatArray
    on_core: BoolArray
    misaligned: BoolArray


def part(plans: Plans, kept: BoolArray) -> Plans:
    """Return the alternatives of some of the products, mask of shape (G,)."""
    return Plans(
        plans.blocks[kept], plans.waves[kept], plans.depth[kept], plans.operand_bytes[kept],
        plans.results[kept], plans.on_core[kept], plans.misaligned[kept],
    )  # fmt: skip


class Choice(NamedTuple):
    """The fastest plan of each product; arrays of shape (G,)."""

    plan: npt.NDArray[np.intp]
    mma_cycles: FloatArray
    l2_cycles: FloatArray
    cycles: FloatArray
    blocks: FloatArray
    waves: FloatArray
    operand_bytes: FloatArray


def alternatives(
    shape: FloatArray, operand_bytes: FloatArray, on_core: BoolArray, units: float | FloatArray
) -> Plans:
    """Return the 48 plans of each product.

    Args:
        shape: batch, m, n, k of each product, shape (G, 4).
        operand_bytes: Bytes per element of both operands, shape (G, 2).
        on_core: The product runs on CUDA cores, shape (G,).
        units: SMs, of one GPU or of that of each product, shape (G, 1).
    """
    batch, m, n = (shape[:, index : index + 1] for index in range(3))
    told = (shape[:, 2:4], operand_bytes, on_core)
    if len(shape) > _KEPT:
        fixed = _fixed(*told)
    else:
        fixed = _fixed_again(*(array.tobytes() for array in told))
    blocks = batch * np.ceil(m / TILE_M) * fixed.columns * SPLIT
    waves = np.ceil(blocks / units)
    if fixed.some_short:
        waves[fixed.short] = np.inf
    return Plans(
        blocks=blocks,
        waves=waves,
        depth=fixed.depth,
        operand_bytes=blocks * fixed.depth * fixed.tile_bytes,
        results=batch * m * n,
        on_core=on_core[:, None],
        misaligned=fixed.misaligned,
    )


class _Fixed(NamedTuple):
    """What of the plans of G products does not depend on their rows, as tokens are.

    Attributes:
        columns: Tiles side by side, shape (G, 48).
        depth: As that of `Plans`.
        tile_bytes: Bytes of operands that a block reads for each element of K, shape (G, 48).
        short: Too little of K is left to split, shape (G, 48).
        some_short: It is so of some plan.
        misaligned: As that of `Plans`.
    """

    columns: FloatArray
    depth: FloatArray
    tile_bytes: FloatArray
    short: BoolArray
    some_short: bool
    misaligned: BoolArray


@lru_cache(maxsize=16)
def _fixed_again(rows: bytes, operand_bytes: bytes, on_core: bytes) -> _Fixed:
    return _fixed(
        np.frombuffer(rows).reshape(-1, 2),
        np.frombuffer(operand_bytes).reshape(-1, 2),
        np.frombuffer(on_core, dtype=np.bool_),
    )


def _fixed(rows: FloatArray, operand_bytes: FloatArray, on_core: BoolArray) -> _Fixed:
    n, k = rows[:, 0:1], rows[:, 1:2]
    short = k < _SHORTEST
    return _Fixed(
        columns=np.ceil(n / TILE_N),
        depth=_K_STEP * np.ceil(k / _K_STEPS),
        tile_bytes=TILE_M * operand_bytes[:, 0:1] + TILE_N * operand_bytes[:, 1:2],
        short=short,
        some_short=bool(short.any()),
        misaligned=_misaligned(rows, operand_bytes) & ~on_core[:, None],
    )


def _misaligned(rows: FloatArray, operand_bytes: FloatArray) -> BoolArray:
    """Return whether n or k elements are no multiple of 16 bytes, shape (G, 1)."""
    width = np.maximum(operand_bytes[:, 0:1], operand_bytes[:, 1:2])
    # Scales of blocks lie apart: a row of 1.0002-byte elements is one of bytes.
    width = np.ldexp(0.5, np.frexp(width)[1])
    # Half-precision products and narrower: wider ones keep 4-byte loads.
    beyond = np.add.reduce((rows * width) % _ALIGNMENT, axis=1, keepdims=True)
    ragged: BoolArray = (width <= _HALF) & (beyond > 0)
    return ragged


def choose(plans: Plans, rates: FloatArray, form: Form) -> Choice:
    """Return the fastest plan of each product (2.4), cycles before the fixed cost of a kernel.

    Args:
        plans: Alternatives, over G products.
        rates: MAC per cycle and SM of each product, efficiency included, shape (G,).
        form: What is read of the GPU.
    """
    work, prologue = form.work, form.prologue
    if np.count_nonzero(plans.on_core):  # a fifth of the time of any()
        work = np.where(plans.on_core, form.core_work, work)
        prologue = np.where(plans.on_core, form.core_prologue, prologue)
    # n_mma + n_red, then n_l2, as in 2.4; in place, for temporaries cost more than arithmetic
    mma = plans.waves + form.tail
    mma *= work
    mma *= plans.depth + prologue
    if np.count_nonzero(plans.misaligned):
        # Single elements pass an SM's load units as slowly whatever its tensor cores reach.
        loading = (form.misaligned - 1.0) * (rates[:, None] / _LOADED_RATE)
        mma *= np.where(plans.misaligned, 1.0 + loading, 1.0)
    mma /= rates[:, None]
    total = plans.results * form.reduction
    total += form.reduction_fixed
    total += mma
    total *= total
    total *= total
    l2 = plans.operand_bytes / form.operand_rate
    fourth = l2 * l2
    fourth *= fourth
    total += fourth
    best = total.argmin(axis=1)
    flat = best + total.shape[1] * np.arange(len(best))
    return Choice(
        plan=best,
        mma_cycles=mma.ravel()[flat],
        l2_cycles=l2.ravel()[flat],
        cycles=np.sqrt(np.sqrt(total.ravel()[flat])),
        blocks=plans.blocks.ravel()[flat],
        waves=plans.waves.ravel()[flat],
        operand_bytes=plans.operand_bytes.ravel()[flat],
    )
