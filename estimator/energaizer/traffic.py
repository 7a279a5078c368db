"""Bytes that reach DRAM: panels read again, residency in L2, too few bytes in flight."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
_MOST_PASSES = 16.0


def panel_rereads(
    panels: tuple[FloatArray, FloatArray], waves: FloatArray, l2_bytes: float | FloatArray
) -> FloatArray:
    """Return bytes that a product reads beyond its compulsory traffic, shape (G,) (2.4).

    Once the smaller operand no longer fits half of the usable L2, the larger is read again.

    Args:
        panels: Bytes of both operands of one product of the batch, each of shape (G,).
        waves: Waves of the chosen plan, shape (G,).
        l2_bytes: Usable capacity of L2, B.
    """
    small = np.minimum(*panels)
    large = np.maximum(*panels)
    half = l2_bytes / 2.0
    passes = np.minimum(np.maximum(np.minimum(small / half, waves), 1.0), _MOST_PASSES)
    return np.where(small > half, 0.5 * large * (passes - 1.0), 0.0)


def resident_fraction(stream_bytes: FloatArray, l2_bytes: float | FloatArray) -> FloatArray:
    """Return the share of a streaming kernel's bytes that stays in L2, in [0, 1] (section 3)."""
    share: FloatArray = np.minimum(np.maximum(1.0 - stream_bytes / l2_bytes, 0.0), 1.0)
    return share


def row_rereads(row_bytes: FloatArray, longest_row: float | FloatArray) -> FloatArray:
    """Return how often a reduction reads its input beyond once: rows that do not fit on chip."""
    return (row_bytes > longest_row).astype(np.float64)


def in_flight_fraction(
    blocks: FloatArray,
    block_bytes: float | FloatArray,
    bandwidth: float | FloatArray,
    latency_s: float | FloatArray,
) -> FloatArray:
    """Return the share of the DRAM rate that so few blocks reach, by Little's law, in (0, 1]."""
    return np.minimum(1.0, blocks * block_bytes / (bandwidth * latency_s))


def ideal_reuse(operand_bytes: float, moved_bytes: float) -> float:
    """Return the share of tile loads that L2 could serve if it held everything [h], in [0, 1]."""
    return max(0.0, 1.0 - operand_bytes / moved_bytes)
