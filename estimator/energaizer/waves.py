"""Thread blocks over SMs: how many rounds, and how full the last one is (method 2.3)."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Waves(NamedTuple):
    """Waves of T blocks with C resident per SM; arrays in the shape of the input.

    Attributes:
        rounds: Waves, the last one included [W].
        busy: SMs with the most blocks in the last wave [n_b].
        on_busy: Blocks on each of those [c_b].
        on_others: Blocks on each other SM [c_l].
    """

    rounds: FloatArray
    busy: FloatArray
    on_busy: FloatArray
    on_others: FloatArray


def waves(blocks: npt.ArrayLike, resident: npt.ArrayLike, units: float) -> Waves:
    """Return how T blocks spread over `units` SMs that hold `resident` blocks each.

    In the last wave `busy` SMs hold `on_busy` blocks and the rest `on_others`.
    """
    total = np.asarray(blocks, dtype=np.float64)
    each = np.asarray(resident, dtype=np.float64)
    return Waves(
        rounds=np.ceil(total / (units * each)),
        busy=(total - 1.0) % units + 1.0,
        on_busy=(np.ceil(total / units) - 1.0) % each + 1.0,
        on_others=np.floor(total / units) % each,
    )


def active_fraction(
    blocks: npt.ArrayLike, units: float | FloatArray, tail_share: float | FloatArray = 1.0
) -> FloatArray:
    """Return the share of SMs that work while a kernel runs, in (0, 1] (2.5).

    Args:
        blocks: Thread blocks.
        units: SMs.
        tail_share: What an SM counts that has none of the last wave's blocks, in [0, 1].
    """
    rounds = np.asarray(blocks, dtype=np.float64) / units
    first = np.minimum(1.0, rounds)
    share: FloatArray = first - (1.0 - tail_share) * (first - rounds / np.ceil(rounds))
    return share
