"""A matrix product step by step, when its tile is known: prologue, main loop, epilogue in cycles.

The closed form of `timeline` needs no tile and serves estimates; this one says where the cycles of
one product go (method, 2.4b). The first group of loads is paid once, a ragged last step of K is
split off, and a full wave writes its results through to DRAM.
"""

import math
from typing import NamedTuple

from energaizer import traffic, waves
from energaizer.priors import CoreLatencies

_MMA_K = 16  # one tensor instruction multiplies 16x16 by 16x8
_MMA_M, _MMA_N, _MMA_FLOP = 16, 8, 4096
_QUARTERS = 4  # an SM has four, each with its tensor core


class Tile(NamedTuple):
    """How a library cuts a product.

    Attributes:
        block: Rows, columns and K of a block tile [bM, bN, bK].
        warp: Rows, columns and K of a warp tile [wM, wN, wK].
        warps: Warps of a block [omega].
        depth: Steps of K in flight [D_p].
        resident: Blocks that one SM holds [C].
    """

    block: tuple[int, int, int]
    warp: tuple[int, int, int]
    warps: int
    depth: int
    resident: int


class Chip(NamedTuple):
    """A GPU at one clock, as far as a single product sees it.

    Attributes:
        units: SMs [N].
        mac_per_cycle: MAC per cycle and SM of the product's format [R].
        memory_bytes_per_cycle: DRAM bandwidth over the clock, rounded up [B_c].
        clock_share: Clock over the reference clock.
        l2_bytes: Capacity of L2.
        core: Widths and latencies of its architecture.
    """

    units: int
    mac_per_cycle: float
    memory_bytes_per_cycle: float
    clock_share: float
    l2_bytes: float
    core: CoreLatencies


class Product(NamedTuple):
    """Batch, rows, columns and K of a product, and bytes per element, in and out."""

    batch: int
    m: int
    n: int
    k: int
    element_bytes: float
    out_bytes: float


class Stages(NamedTuple):
    """Cycles of a product.

    Attributes:
        waves: Waves, the last one included [W].
        reuse: Share of loads that L2 serves [h].
        start: Prologues of all waves.
        steady: Main loops.
        end: Epilogues.
        math_busy: Share of a full wave's main loop in which tensor cores work.
        shared_busy: Share in which shared memory is read.
    """

    waves: int
    reuse: float
    start: float
    steady: float
    end: float
    math_busy: float
    shared_busy: float

    @property
    def cycles(self) -> float:
        """All cycles of the product."""
        return self.start + self.steady + self.end


class _Loop(NamedTuple):
    """Steps of K: S in all, in S_D groups, the last of r steps; bytes of a step, and the last."""

    steps: int
    groups: int
    last_steps: int
    step_bytes: float
    last_bytes: float
    slices: int
    last_slices: int


def _loop(product: Product, tile: Tile) -> _Loop:
    rows, columns, depth = tile.block
    steps = math.ceil(product.k / depth)
    rest = (product.k - 1) % depth + 1
    loaded = (min(rows, product.m) + min(columns, product.n)) * product.element_bytes
    return _Loop(
        steps=steps,
        groups=math.ceil(steps / tile.depth),
        last_steps=(steps - 1) % tile.depth + 1,
        step_bytes=loaded * min(depth, product.k),
        last_bytes=loaded * rest,
        slices=math.ceil(depth / tile.warp[2]),
        last_slices=math.ceil(rest / tile.warp[2]),
    )


def _slice_cycles(product: Product, tile: Tile, chip: Chip, on_sm: int) -> tuple[float, float]:
    """Return cycles to load and to multiply one slice of K of a warp tile, `on_sm` blocks a SM."""
    rows, columns, depth = tile.warp
    moved = tile.warps * on_sm * (rows + columns) * depth * product.element_bytes
    load = max(moved / chip.core.shared_bytes_per_cycle, chip.core.shared_cycles)
    per_quarter = 2.0 * chip.mac_per_cycle / _QUARTERS
    each = _MMA_FLOP / per_quarter * (rows / _MMA_M) * (columns / _MMA_N)
    issued = math.ceil(tile.warps * on_sm / _QUARTERS) * each
    return load, depth / _MMA_K * max(issued, chip.core.mma_cycles)


def _wave(
    product: Product, tile: Tile, chip: Chip, reuse: float, held: tuple[int, int, bool]
) -> tuple[float, float, float, float, float]:
    """Return start, steady, end of one wave, and the cycles of its math and shared memory.

    Args:
        product: What is multiplied.
        tile: How it is cut.
        chip: The GPU at its clock.
        reuse: Share of loads that L2 serves.
        held: Blocks in flight, blocks on a busy SM, and whether this is the last wave.
    """
    blocks, on_sm, last = held
    core, loop = chip.core, _loop(product, tile)
    far = core.dram_cycles * chip.clock_share

    def fetch(size: float) -> float:
        return max(
            size * blocks / core.l2_bytes_per_cycle,
            core.l2_cycles,
            (1.0 - reuse) * size * blocks / chip.memory_bytes_per_cycle,
            far,
        )

    full = fetch(tile.depth * loop.step_bytes)
    final = fetch((loop.last_steps - 1) * loop.step_bytes + loop.last_bytes)
    load, multiply = _slice_cycles(product, tile, chip, on_sm)
    stage = load + multiply + (loop.slices - 1) * max(load, multiply)
    ragged = load + multiply + (loop.last_slices - 1) * max(load, multiply)
    steady = ragged
    if loop.steps > 1:
        fed = ragged + ((loop.groups - 2) * full + final if loop.groups > 1 else 0.0)
        steady = max((loop.steps - 1) * stage + ragged, fed)
    rows, columns, _ = tile.warp
    written = min(tile.block[0], product.m) * min(tile.block[1], product.n) * product.out_bytes
    spilled = max(0.0, blocks * written - chip.l2_bytes) if last else blocks * written
    stored = tile.warps * on_sm * rows * columns * product.out_bytes / core.shared_bytes_per_cycle
    end = max(stored, core.shared_cycles) + max(
        blocks * written / core.l2_bytes_per_cycle,
        core.l2_cycles,
        spilled / chip.memory_bytes_per_cycle,
        far,
    )
    slices = (loop.steps - 1) * loop.slices + loop.last_slices
    start = full if loop.groups > 1 else final
    return start, steady, end, slices * multiply / steady, slices * load / steady


def stages(product: Product, tile: Tile, chip: Chip) -> Stages:
    """Return the cycles of a product with a known tile (2.4b).

    Args:
        product: What is multiplied.
        tile: How a library cuts it.
        chip: The GPU at its clock.
    """
    rows, columns, _ = tile.block
    blocks = product.batch * math.ceil(product.m / rows) * math.ceil(product.n / columns)
    spread = waves.waves(blocks, tile.resident, chip.units)
    count, loop = int(spread.rounds), _loop(product, tile)
    needed = product.batch * (product.m + product.n) * product.k * product.element_bytes
    moved = blocks * ((loop.steps - 1) * loop.step_bytes + loop.last_bytes)
    reuse = traffic.ideal_reuse(needed, moved)
    in_flight = chip.units * tile.resident
    whole = _wave(product, tile, chip, reuse, (in_flight, tile.resident, False))
    rest = blocks - (count - 1) * in_flight
    last = _wave(product, tile, chip, reuse, (rest, int(spread.on_busy), True))
    start, steady, end = ((count - 1) * whole[i] + last[i] for i in range(3))
    busy = whole if count > 1 else last
    return Stages(count, reuse, start, steady, end, busy[3], busy[4])
