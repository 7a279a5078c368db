"""Which tile and split a library would choose for a matrix product.

All 48 pairs of a tile and a split are evaluated and the fastest is taken; libraries choose nearly
that (method 2.2). What does not depend on coefficients, the `Plans` of a GPU, is kept apart, so
that a fit builds it once.
"""

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
_SHORTEST = 128.0 * SPLIT  # K that a split takes at least
_K_STEP = 32.0
_PARTIAL_BYTES = 8.0  # an fp32 partial sum is written and read
_ALIGNMENT = 16.0  # bytes that one vector load takes
_CORE_EDGE = 0.25  # CUDA-core products suffer less from small tiles


class Plans(NamedTuple):
    """Alternatives of G products over 48 plans, without coefficients.

    Attributes:
        blocks: Thread blocks, shape (G, 48).
        waves: Waves over the SMs, shape (G, 48).
        depth: K of one block, rounded up, shape (G, 48).
        operand_bytes: Bytes of operands that all blocks read, shape (G, 48).
        results: Elements of the result, shape (G,).
        allowed: The split leaves enough of K, shape (G, 48).
        on_core: The product runs on CUDA cores, shape (G, 1).
        misaligned: A row of an operand or of the result is no multiple of 16 bytes, so that a
            tensor product loads it in small pieces, shape (G, 1).
    """

    blocks: FloatArray
    waves: FloatArray
    depth: FloatArray
    operand_bytes: FloatArray
    results: FloatArray
    allowed: BoolArray
    on_core: BoolArray
    misaligned: BoolArray


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
    shape: FloatArray, operand_bytes: FloatArray, on_core: BoolArray, units: float
) -> Plans:
    """Return the 48 plans of each product.

    Args:
        shape: batch, m, n, k of each product, shape (G, 4).
        operand_bytes: Bytes per element of both operands, shape (G, 2).
        on_core: The product runs on CUDA cores, shape (G,).
        units: SMs.
    """
    batch, m, n, k = (shape[:, index : index + 1] for index in range(4))
    blocks = batch * np.ceil(m / TILE_M) * np.ceil(n / TILE_N) * SPLIT
    depth = _K_STEP * np.ceil(k / _K_STEPS)
    return Plans(
        blocks=blocks,
        waves=np.ceil(blocks / units),
        depth=depth,
        operand_bytes=blocks
        * depth
        * (TILE_M * operand_bytes[:, 0:1] + TILE_N * operand_bytes[:, 1:2]),
        results=(batch * m * n)[:, 0],
        allowed=(k >= _SHORTEST) | _WHOLE,
        on_core=on_core[:, None],
        misaligned=_misaligned(n, k, operand_bytes) & ~on_core[:, None],
    )


def _misaligned(n: FloatArray, k: FloatArray, operand_bytes: FloatArray) -> BoolArray:
    width = np.maximum(operand_bytes[:, 0:1], operand_bytes[:, 1:2])
    # Scales of blocks lie apart: a row of 1.0002-byte elements is one of bytes.
    width = 2.0 ** np.floor(np.log2(width))
    row = np.minimum(width, 2.0)  # half-precision products: wider ones keep 4-byte loads
    ragged: BoolArray = (n * row % _ALIGNMENT != 0) | (k * row % _ALIGNMENT != 0)
    return (width <= row) & ragged


def choose(plans: Plans, rates: FloatArray, units: float, time: TimeCoefficients) -> Choice:
    """Return the fastest plan of each product (2.4), cycles before the fixed cost of a kernel.

    Args:
        plans: Alternatives, over G products.
        rates: MAC per cycle and SM of each product, efficiency included, shape (G,).
        units: SMs.
        time: Coefficients of the form.
    """
    width = plans.blocks.shape[1]

    def either(tensor: float, core: float | None) -> float | FloatArray:
        return tensor if core is None else np.where(plans.on_core, core, tensor)

    split_work = np.where(
        _IS_SPLIT, 1.0 + either(time.split_overhead, time.core_split_overhead), 1.0
    )
    beta = time.stream_bytes_per_cycle * units
    # n_mma + n_red, then n_l2, as in 2.4; in place, for temporaries cost more than arithmetic
    mma = plans.waves + time.tail_overhead
    mma *= split_work * _AREA
    mma *= plans.depth + either(time.tile_prologue, time.core_prologue)
    mma *= 1.0 + np.where(plans.on_core, _CORE_EDGE, 1.0) * (time.tile_edge * _EDGE)
    if plans.misaligned.any():
        mma *= np.where(plans.misaligned, time.misaligned_factor, 1.0)
    mma /= rates[:, None]
    reduction = np.where(
        _IS_SPLIT,
        plans.results[:, None] * (_PARTIAL_BYTES * SPLIT / beta) + time.split_fixed_cycles,
        0.0,
    )
    operands = time.operand_bytes_per_cycle or 2.0 * time.stream_bytes_per_cycle
    l2 = plans.operand_bytes / (operands * units)
    total = mma + reduction
    total *= total
    total *= total
    fourth = l2 * l2
    fourth *= fourth
    total += fourth
    best = np.argmin(np.where(plans.allowed, total, np.inf), axis=1)
    flat = best + width * np.arange(len(best))
    return Choice(
        plan=best,
        mma_cycles=mma.ravel()[flat],
        l2_cycles=l2.ravel()[flat],
        cycles=np.sqrt(np.sqrt(total.ravel()[flat])),
        blocks=plans.blocks.ravel()[flat],
        waves=plans.waves.ravel()[flat],
        operand_bytes=plans.operand_bytes.ravel()[flat],
    )
