"""Golden values of the step-by-step timeline (method, 2.4b)."""

import math

import pytest

from energaizer.stages import Chip, Product, Tile, stages
from reference_boards import PRIOR


def chip(mhz):
    return Chip(108, 1024, math.ceil(1555e9 / (mhz * 1e6)), mhz / 1410, 40e6, PRIOR.core)


GOLDEN = [
    (900, (1, 4096, 4096, 4096), (128, 128), 4, 1, 4, (64, 64),
     (10, 0.9688, 13107.2, 819200, 21324.8)),
    (900, (1, 2048, 4096, 2048), (256, 128), 3, 1, 8, (64, 64),
     (3, 0.9375, 3686.4, 245760, 10240.0)),
    (900, (96, 512, 512, 64), (128, 64), 4, 2, 4, (64, 32),
     (15, 0.8333, 14812.8, 20416, 32681.6)),
    (1410, (128, 197, 64, 197), (64, 64), 4, 3, 4, (32, 32),
     (2, 0.4902, 7753.8, 6400, 3192.7)),
]  # fmt: skip


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: str(row[1]))
def test_golden(row):
    mhz, shape, block, depth, resident, warps, warp, (rounds, reuse, start, steady, end) = row
    tile = Tile((*block, 32), (*warp, 16), warps, depth, resident)
    found = stages(Product(*shape, 2, 2), tile, chip(mhz))
    assert found.waves == rounds
    assert found.reuse == pytest.approx(reuse, abs=5e-5)
    assert found.start == pytest.approx(start, abs=0.06)
    assert found.steady == pytest.approx(steady, abs=0.06)
    assert found.end == pytest.approx(end, abs=0.06)


def test_busy_shares_and_sum():
    found = stages(
        Product(1, 4096, 4096, 4096, 2, 2), Tile((128, 128, 32), (64, 64, 16), 4, 4, 1), chip(900)
    )
    assert found.math_busy == pytest.approx(0.8)
    assert found.shared_busy == pytest.approx(0.4)
    assert found.cycles == pytest.approx(853632)
    assert found.cycles / 900e6 == pytest.approx(948.5e-6, abs=5e-8)


def test_a_single_step_has_no_loop():
    found = stages(
        Product(1, 128, 128, 16, 2, 2), Tile((128, 128, 32), (64, 64, 16), 4, 4, 1), chip(900)
    )
    assert found.steady == 128 + 256
