"""What the forms of `demand` read of a GPU, or of several: coefficients as numbers and arrays.

Of one GPU they are floats; of several, each kernel of an array finds those of its own.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer import links, tiling
from energaizer.caches import remembered
from energaizer.kernels import RATE, FloatArray
from energaizer.machine import Machine

IntArray = npt.NDArray[np.intp]
_FP32 = RATE["fp32"]
_KEPT = 512  # kernels up to which what they read is kept: some 500 kB


class Numbers(NamedTuple):
    """What the forms read of a GPU: floats, or shape (K,) for kernels of several GPUs."""

    units: float | FloatArray
    core_rate: float | FloatArray  # MAC per cycle and SM on CUDA cores
    l2_bytes: float | FloatArray  # usable
    bandwidth: float | FloatArray
    communicating: float | FloatArray  # share of SMs that a collective keeps busy
    stream_bytes_per_cycle: float | FloatArray
    elements_per_cycle: float | FloatArray
    contiguous_issue: float | FloatArray
    special_per_cycle: float | FloatArray
    row_bytes: float | FloatArray
    block_bytes_in_flight: float | FloatArray
    memory_latency_s: float | FloatArray
    kernel_cycles: float | FloatArray
    kernel_s: float | FloatArray
    tail_share: float | FloatArray


class Families(NamedTuple):
    """What the forms read of the family of each of K kernels; arrays of shape (K,).

    Attributes:
        compute: Efficiency of compute.
        memory: Efficiency of DRAM.
        fixed_s: Extra seconds per launch.
        reduction_s: Those of a launch that splits its keys.
        block_cycles: Extra cycles of an SM per block.
        toggle: Energy by the values of operands.
        paged_share: Share of compute where keys lie in pages.
        narrow_rate: Rate of an 8-bit cache against 16 bits.
        whole_heads: 1 where decode may give each query head a block.
    """

    compute: FloatArray
    memory: FloatArray
    fixed_s: FloatArray
    reduction_s: FloatArray
    block_cycles: FloatArray
    toggle: FloatArray
    paged_share: FloatArray
    narrow_rate: FloatArray
    whole_heads: FloatArray


class Read(NamedTuple):
    """What is read of a GPU, or of several, for K kernels.

    Attributes:
        numbers: Of each kernel.
        of_products: The same of the products alone.
        tiles: Coefficients of the choice of tiles.
        rates: MAC per cycle and SM, shape (K,).
        families: Of the family of each kernel.
        fabrics: Which of the kernels run on boards that the same joins, and what.
    """

    numbers: Numbers
    of_products: Numbers
    tiles: tiling.Form
    rates: FloatArray
    families: Families
    fabrics: Sequence[tuple[slice, links.Fabric]]


class Board(NamedTuple):
    """What is read of one GPU, whatever the kernels; `families` is that of all, (9, families)."""

    numbers: Numbers
    tiles: tiling.Form
    families: FloatArray


@remembered(256)
def of(machine: Machine) -> Board:
    """Return what is read of a GPU, found once for each."""
    time, units = machine.coefficients.time, machine.units
    # Loads of narrow elements are issued, not streamed: a limit by count, not by bytes.
    issued = time.elements_per_cycle
    numbers = Numbers(
        units=units,
        core_rate=float(machine.rates[_FP32]),
        l2_bytes=time.usable_l2_fraction * machine.gpu.l2_bytes,
        bandwidth=machine.gpu.memory_bandwidth,
        communicating=min(1.0, machine.coefficients.link.channels / units),
        stream_bytes_per_cycle=time.stream_bytes_per_cycle,
        elements_per_cycle=math.inf if issued is None else issued,
        contiguous_issue=time.contiguous_issue,
        special_per_cycle=time.special_per_cycle,
        row_bytes=time.row_bytes,
        block_bytes_in_flight=time.block_bytes_in_flight,
        memory_latency_s=time.memory_latency_s,
        kernel_cycles=time.kernel_cycles,
        kernel_s=time.kernel_s,
        tail_share=machine.coefficients.power.tail_share,
    )
    families = np.stack([getattr(machine, name) for name in Families._fields])
    return Board(numbers, tiling.form_of(time, units), families)


class Boards(NamedTuple):
    """What is read of B GPUs, whatever the kernels, GPUs in front; `numbers` has them behind."""

    numbers: FloatArray
    tiles: tiling.Form
    families: FloatArray
    rates: FloatArray
    links: tuple[links.Fabric, ...]


@lru_cache(maxsize=64)
def together(machines: tuple[Machine, ...]) -> Boards:
    """Return what is read of several GPUs, in their order."""
    boards = [of(machine) for machine in machines]
    return Boards(
        np.array([board.numbers for board in boards]).T,
        tiling.stacked([board.tiles for board in boards]),
        np.stack([board.families for board in boards]),
        np.stack([machine.rates for machine in machines]),
        tuple((machine.link,) for machine in machines),
    )


class Places(NamedTuple):
    """Which board, rate and family each of K kernels has, and which are products; indices."""

    board: IntArray
    products: IntArray
    rate: IntArray
    family: IntArray


def read(machines: tuple[Machine, ...], places: Places) -> Read:
    """Return what K kernels read of several GPUs, without fabrics; nobody writes into it.

    Programs of one structure read the same, whatever their tokens, so that what a few of them read
    is kept; many programs are seldom asked about together again.
    """
    if len(places.board) > _KEPT:
        return _read(machines, places)
    return _read_again(machines, *(place.tobytes() for place in places))


@lru_cache(maxsize=16)
def _read_again(machines: tuple[Machine, ...], *places: bytes) -> Read:
    return _read(machines, Places(*(np.frombuffer(place, dtype=np.intp) for place in places)))


def _read(machines: tuple[Machine, ...], places: Places) -> Read:
    found, (of, products, rate, family) = together(machines), places
    at = of[products]
    return Read(
        Numbers(*found.numbers.take(of, axis=1)),
        Numbers(*found.numbers.take(at, axis=1)),
        tiling.rows_of(found.tiles, at),
        found.rates[of, rate],
        Families(*np.ascontiguousarray(found.families[of, :, family].T)),
        (),
    )
