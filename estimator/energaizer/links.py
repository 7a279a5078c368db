"""Seconds and bytes of collectives over the links between boards (method, section 3)."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


def ring_all_reduce(
    message: FloatArray, ranks: FloatArray, hop_s: float, bandwidth: float
) -> FloatArray:
    """Return seconds of an all-reduce around a ring.

    Args:
        message: Bytes per rank, shape (K,).
        ranks: Boards that take part, shape (K,).
        hop_s: Latency of one hop, s.
        bandwidth: B/s in one direction, efficiency included.
    """
    hops = 2.0 * (ranks - 1.0)
    return hops * hop_s + hops * message / (ranks * bandwidth)


def one_shot_all_reduce(
    message: FloatArray, ranks: FloatArray, hop_s: float, bandwidth: float
) -> FloatArray:
    """Return seconds of an all-reduce in which each rank reads all others at once."""
    return np.where(ranks > 1.0, hop_s + (ranks - 1.0) * message / bandwidth, 0.0)


def all_reduce(
    message: FloatArray, ranks: FloatArray, hop_s: float, bandwidth: float
) -> FloatArray:
    """Return seconds of the faster of both algorithms."""
    return np.minimum(
        ring_all_reduce(message, ranks, hop_s, bandwidth),
        one_shot_all_reduce(message, ranks, hop_s, bandwidth),
    )


def all_gather(
    message: FloatArray, ranks: FloatArray, hop_s: float, bandwidth: float
) -> FloatArray:
    """Return seconds of an all-gather or a reduce-scatter: half of an all-reduce."""
    return 0.5 * ring_all_reduce(message, ranks, hop_s, bandwidth)


def all_to_all(
    message: FloatArray, ranks: FloatArray, hop_s: float, bandwidth: float
) -> FloatArray:
    """Return seconds of an all-to-all exchange."""
    others = ranks - 1.0
    return others * hop_s + others * message / (ranks * bandwidth)


def sent_bytes(message: FloatArray, ranks: FloatArray) -> FloatArray:
    """Return bytes that one rank sends in an all-reduce around a ring."""
    return 2.0 * (ranks - 1.0) / ranks * message


def pipeline_bubble(stages: int, micro_batches: int, interleaves: int = 1) -> float:
    """Return the share of a pipeline's time in which a stage waits, in [0, 1)."""
    return (stages - 1) / (interleaves * micro_batches + stages - 1)
