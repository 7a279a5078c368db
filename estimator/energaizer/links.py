"""Seconds and bytes of collectives over the links between boards (method, section 3).

Ranks are numbered so that those that talk most sit closest: tensor, then context, data, pipeline.
A group is its number of ranks and the `stride` between neighbours in that numbering. A `Fabric`
lists what joins boards from the inside out, NVLink before PCIe before the network, and a collective
runs level by level: scattered inside a domain, exchanged between domains, gathered inside.
"""

import math
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
OPERATIONS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "send")
ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL, SEND = range(len(OPERATIONS))


class Level(NamedTuple):
    """What joins so many boards.

    Attributes:
        boards: Boards that it joins, inner levels included; infinity: any number.
        bandwidth: B/s of one board in one direction, efficiency included.
        hop_s: Latency of one hop, s.
        kind: A switch; a mesh, a link to each peer, of which a group of few boards uses few; or a
            network, over which libraries reduce in trees.
    """

    boards: float
    bandwidth: float
    hop_s: float
    kind: Literal["switch", "mesh", "network"] = "switch"


Fabric = tuple[Level, ...]
"""Levels from the inside out."""


class Exchange(NamedTuple):
    """What K collectives cost one rank.

    Attributes:
        seconds: Time, shape (K,).
        sent_bytes: Bytes that it sends, shape (K,).
    """

    seconds: FloatArray
    sent_bytes: FloatArray


def exchange(
    operation: FloatArray, message: FloatArray, ranks: FloatArray, stride: FloatArray,
    fabric: Fabric,
) -> Exchange:  # fmt: skip
    """Return time and traffic of collectives over a fabric.

    Args:
        operation: Index of OPERATIONS, shape (K,).
        message: Bytes: the whole vector of a reduction or gathering, what one rank has for all (its
            own share included) in an all-to-all, or what it sends, shape (K,).
        ranks: Boards of the group, shape (K,); 1: nothing to do.
        stride: Boards from one rank of the group to the next, shape (K,).
        fabric: What joins them.
    """
    seconds, sent = np.zeros_like(message), np.zeros_like(message)
    inner = np.ones_like(message)
    for level in fabric:
        members = np.clip(np.floor(level.boards / stride), inner, ranks)
        here = members / inner
        if (here > 1.0).any():
            spent, share = _at(level, operation, message, (inner, members, ranks))
            # Peers of an all-to-all are spoken to at once, over all levels: the slowest counts.
            together = operation == ALL_TO_ALL
            seconds = np.where(together, np.maximum(seconds, spent), seconds + spent)
            sent = sent + share
        inner = members
    return Exchange(seconds, sent)


def _at(
    level: Level, operation: FloatArray, message: FloatArray,
    groups: tuple[FloatArray, FloatArray, FloatArray],
) -> Exchange:  # fmt: skip
    """Return what one level adds: `inner` ranks already speak as one, `members` do after it."""
    inner, members, ranks = groups
    here = members / inner
    usable = np.ones_like(here)
    if level.kind == "mesh" and math.isfinite(level.boards):
        usable = np.clip((here - 1.0) / (level.boards - 1.0), 1.0 / level.boards, 1.0)
    bandwidth = level.bandwidth * usable
    part = message / inner
    passes = np.where(operation == ALL_REDUCE, 2.0, 1.0)
    ring = passes * (here - 1.0) * (level.hop_s + part / (here * bandwidth))
    alone = (operation == ALL_REDUCE) & (here == ranks)
    one_shot = np.where(alone, level.hop_s + (here - 1.0) * part / bandwidth, np.inf)
    seconds = np.where(here > 1.0, np.minimum(ring, one_shot), 0.0)
    sent = passes * (here - 1.0) / here * part
    if level.kind == "network":  # two trees share a message: hops grow with the logarithm
        tree = 2.0 * (np.log2(here) * level.hop_s + part / bandwidth)
        seconds = np.where(operation == ALL_REDUCE, np.minimum(seconds, tree), seconds)
    swapped = (members - inner) / ranks * message
    swapping = (members - inner) * level.hop_s + swapped / bandwidth
    first = (here > 1.0) & (inner == 1.0)
    passing = np.where(first, level.hop_s + message / bandwidth, 0.0)
    choices = [operation == ALL_TO_ALL, operation == SEND]
    return Exchange(
        np.select(choices, [swapping, passing], seconds),
        np.select(choices, [swapped, np.where(first, message, 0.0)], sent),
    )


def pipeline_bubble(stages: int, micro_batches: int, interleaves: int = 1) -> float:
    """Return the share of a pipeline's time in which a stage waits, in [0, 1)."""
    return (stages - 1) / (interleaves * micro_batches + stages - 1)
