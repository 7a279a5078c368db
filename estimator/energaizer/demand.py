"""What kernels ask of a GPU at any clock: tiles, cycles and bytes (method, 2.4 and 3).

Nothing here depends on the clock, so that it is found once for a program. Several programs and GPUs
are asked about at once by one array that holds the kernels of all of them: the arithmetic is small
beside the calls that do it, and a cluster has many kinds of GPU.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer import boards, links, tiling, traffic, waves
from energaizer.errors import NoEstimateError
from energaizer.kernels import BLOCK_ELEMENTS, COLUMN, FAMILY, RATE, FloatArray
from energaizer.machine import Machine
from energaizer.precision import RATE_KEYS
from energaizer.timeline import Work, fourth_norm, fourth_norm_of

_TENSOR_ROWS = 16  # a product this thin is bound by DRAM latency: a GEMV
_FP32 = RATE["fp32"]
_DECODE = FAMILY["attention-decode"]
_WIDE_BYTES = 2.0  # of an element of a cache of 16 bits
_WIDE = np.array([key in {"bf16", "fp16"} for key in RATE_KEYS])
_LATE = 0.5  # of a block, by which the last of several rounds ends late
_NONE = np.zeros(1, dtype=np.bool_)
_STREAMED = np.zeros(len(FAMILY))  # elements that each block of a streaming kernel takes
_STREAMED[[FAMILY[name] for name in ("elementwise", "copy", "gather")]] = BLOCK_ELEMENTS


class Alternatives(NamedTuple):
    """Part of a program on a GPU that no coefficient changes.

    Attributes:
        rows: Kernels, shape (K, columns).
        products: Index of the G matrix products among the kernels.
        chosen: Those kernels, shape (G, columns).
        plans: Their 48 alternatives.
        rate: Rate key of each kernel as an index, shape (K,).
        family: Family of each kernel as an index, shape (K,).
    """

    rows: FloatArray
    products: npt.NDArray[np.intp]
    chosen: FloatArray
    plans: tiling.Plans
    rate: npt.NDArray[np.intp]
    family: npt.NDArray[np.intp]


def missing_rate(rows: FloatArray, machine: Machine) -> str | None:
    """Return the key of a rate that kernels need and a GPU lacks; None: it can run them all."""
    if (
        machine.lacking.isdisjoint(rows[:, COLUMN["rate"]].tolist())
        and _FP32 not in machine.lacking
    ):
        return None
    used = rows[:, COLUMN["flops"]] > 0
    needed = dict.fromkeys(rows[:, COLUMN["rate"]][used].tolist())
    if max(rows[:, COLUMN["core_flops"]].tolist(), default=0.0) > 0:
        needed[_FP32] = None
    return next((RATE_KEYS[int(rate)] for rate in needed if rate in machine.lacking), None)


def alternatives(rows: FloatArray, machine: Machine) -> Alternatives:
    """Return what of a program on a GPU depends on no coefficient.

    Args:
        rows: Kernels, shape (K, columns).
        machine: The GPU; only its SM count and its rate keys are read.

    Raises:
        NoEstimateError: A kernel computes in a format that the GPU has no rate for.
    """
    key = missing_rate(rows, machine)
    if key is not None:
        raise NoEstimateError(
            f"{key} on {machine.gpu.name}: no rate; choose another precision, "
            f"or add peak_flops.{key} to the profile"
        )
    return _alternatives(rows, np.flatnonzero(rows[:, COLUMN["m"]] > 0), machine.units)


def _alternatives(
    rows: FloatArray, products: npt.NDArray[np.intp], units: float | FloatArray
) -> Alternatives:
    chosen = rows[products]
    first, operands = COLUMN["batch"], COLUMN["a_bytes"]
    rate = rows[:, COLUMN["rate"]].astype(np.intp)
    return Alternatives(
        rows=rows,
        products=products,
        chosen=chosen,
        plans=tiling.alternatives(
            chosen[:, first : first + 4],
            chosen[:, operands : operands + 2],
            rate[products] == _FP32,
            units,
        ),
        rate=rate,
        family=rows[:, COLUMN["family"]].astype(np.intp),
    )


def part(found: Alternatives, kept: npt.NDArray[np.bool_]) -> Alternatives:
    """Return the alternatives of some of the kernels, mask of shape (K,)."""
    own = kept[found.products]
    return Alternatives(
        rows=found.rows[kept],
        products=(np.cumsum(kept) - 1)[found.products[own]],
        chosen=found.chosen[own],
        plans=tiling.part(found.plans, own),
        rate=found.rate[kept],
        family=found.family[kept],
    )


_MATH, _CORE = range(2)  # rows of products among the clocked limits


class _Limits(NamedTuple):
    """What bounds each kernel, filled by family; arrays of shape (K,) but for `cycles`.

    `cycles` has a row for each clocked limit: tensor cores, CUDA cores, L2, special functions and
    issue, shape (5, K). `busy` SMs share the work of a kernel.
    """

    cycles: FloatArray
    blocks: FloatArray
    busy: FloatArray
    dram_bytes: FloatArray
    l2_bytes: FloatArray
    latency_bound: npt.NDArray[np.bool_]
    alone: npt.NDArray[np.bool_]


def _streams(found: Alternatives, read: boards.Read) -> _Limits:
    """Return the limits of streaming kernels and attention; products are overwritten later.

    Each clocked limit is cycles, so that all can be added before the clock is known.
    """
    rows, one, compute = found.rows, read.numbers, read.families.compute

    def column(name: str) -> FloatArray:
        return rows[:, COLUMN[name]]

    split, blocks = column("in_flight") > 0, column("blocks").copy()
    onchip, alone = column("onchip_bytes"), _NONE
    heads: float | FloatArray = 1.0
    if np.count_nonzero(split):
        base = np.maximum(column("batch"), 1.0)
        filled = np.maximum(base, np.minimum(blocks, base * np.ceil(one.units / base)))
        blocks = np.where(split, filled, blocks)
        whole, each = read.families.whole_heads, column("alone")
        if np.count_nonzero(whole):
            alone = (each > 0) & (whole > 0) & (column("b_bytes") >= _WIDE_BYTES)
        if np.count_nonzero(alone):
            # Every head reads keys that its group could share, in rows of a tile of its own.
            heads = np.where(alone, each / base, 1.0)
            blocks, onchip = np.where(alone, each, blocks), onchip * heads
    busy = np.minimum(one.units, blocks)
    serial, special = column("serial"), column("special") + column("casts")
    flops = column("flops")
    rate = np.where(flops > 0, read.rates, 1.0) * compute
    if np.count_nonzero(serial):
        uneven, special = column("longest"), special * heads
        if np.count_nonzero(uneven):
            busy = _even(blocks, uneven, one.units, busy)
        rate = rate * _pace(found, read) / (column("padding") * heads)
    special_cycles = special / (one.special_per_cycle * busy)
    # A tile's exponentials wait for its products, and the next products for them.
    waits = special_cycles * serial
    reread = traffic.row_rereads(column("row_bytes"), one.row_bytes) * column("read_bytes")
    stream = column("read_bytes") + column("write_bytes") + reread
    stays = traffic.resident_fraction(stream, one.l2_bytes) * column("cacheable")
    onchip = onchip + reread
    issue = np.where(column("contiguous") > 0, one.contiguous_issue, 1.0)
    return _Limits(
        cycles=np.array(
            (
                flops / (2.0 * rate * busy) + waits,
                column("core_flops") / (2.0 * one.core_rate * busy * compute),
                onchip / (one.stream_bytes_per_cycle * busy),
                special_cycles - waits,
                _STREAMED[found.family] * issue * blocks / (one.elements_per_cycle * busy),
            )
        ),
        blocks=blocks,
        busy=busy,
        dram_bytes=stream * (1.0 - stays),
        l2_bytes=onchip,
        latency_bound=split,
        alone=alone,
    )


def _even(
    blocks: FloatArray, longest: FloatArray, units: float | FloatArray, busy: FloatArray
) -> FloatArray:
    """Return how many SMs would take as long if they shared the work of a kernel evenly.

    Blocks go to SMs as these come free: the last ones end half a block after the mean SM would,
    and none before the longest block has.

    Args:
        blocks: Blocks of each kernel.
        longest: Work of the longest of them against the mean; 0: blocks are not told apart.
        units: SMs.
        busy: What it is where they are not.
    """
    block = longest / blocks
    late = 1.0 / units + _LATE * block * np.clip(blocks / units - 1.0, 0.0, 1.0)
    return np.where(longest > 0, 1.0 / fourth_norm(late, block), busy)


def _pace(found: Alternatives, read: boards.Read) -> float | FloatArray:
    """Return the rate of attention on pages, and on a cache of 8 bits, against that on others."""
    pace: float | FloatArray = 1.0
    narrow, paged = read.families.narrow_rate, found.rows[:, COLUMN["paged"]]
    if np.count_nonzero(paged):
        pace = np.where(paged > 0, read.families.paged_share, 1.0)
    if np.count_nonzero(narrow != 1.0):
        cache = found.rows[:, COLUMN["b_bytes"]]
        eight = (cache > 0) & (cache < _WIDE_BYTES) & _WIDE[found.rate]
        pace = np.where(eight, narrow, 1.0) * pace
    return pace


def _products(limits: _Limits, found: Alternatives, read: boards.Read) -> None:
    """Overwrite the limits of matrix products with those of their fastest plan (2.4)."""
    at, one = found.products, read.of_products

    def column(name: str) -> FloatArray:
        return found.chosen[:, COLUMN[name]]

    choice = tiling.choose(found.plans, read.rates[at] * read.families.compute[at], read.tiles)
    limits.cycles[:, at] = 0.0
    limits.cycles[_MATH, at] = choice.cycles
    limits.cycles[_CORE, at] = column("core_flops") / (2.0 * one.core_rate * one.units)
    limits.blocks[at] = choice.blocks
    limits.busy[at] = np.minimum(one.units, choice.blocks)
    limits.l2_bytes[at] = choice.operand_bytes
    m, n, k, near = column("m"), column("n"), column("k"), column("resident_bytes")
    limits.dram_bytes[at] = (
        column("read_bytes")
        + column("write_bytes")
        - near * traffic.resident_fraction(near, one.l2_bytes)
        + traffic.panel_rereads(
            (m * k * column("a_bytes"), n * k * column("b_bytes")), choice.waves, one.l2_bytes
        )
    )
    limits.latency_bound[at] = np.minimum(m, n) <= _TENSOR_ROWS


def compile_work(
    found: Alternatives, machine: Machine, fabric: links.Fabric | None = None
) -> Work:  # fmt: skip
    """Return cycles, bytes and operations of each kernel on a GPU (2.4 and 3).

    Args:
        found: Alternatives of the program on this GPU.
        machine: The GPU with its coefficients.
        fabric: What joins the boards; None: the GPU's own link joins any number.
    """
    board = boards.of(machine)
    numbers, fabrics = board.numbers, ((slice(None), fabric or (machine.link,)),)
    families = boards.Families(*board.families[:, found.family])
    read = boards.Read(numbers, numbers, board.tiles, machine.rates[found.rate], families, fabrics)
    return _compile(found, read)


def compile_together(
    rows: Sequence[FloatArray],
    machines: tuple[Machine, ...],
    board: Sequence[int],
    fabrics: Sequence[links.Fabric | None],
) -> Work:
    """Return the same for N programs, each on a GPU, their kernels one program after the other.

    Args:
        rows: Kernels of each, shape (K, columns); their GPU has all rates (`missing_rate`).
        machines: Kinds of GPU.
        board: Which of them each program runs on, length N.
        fabrics: What joins the boards of each, as `compile_work` takes it, length N.
    """
    together, sizes = boards.together(machines), [len(own) for own in rows]
    every, of = np.concatenate(rows), np.array(board).repeat(sizes)
    products = np.flatnonzero(every[:, COLUMN["m"]] > 0)
    found = _alternatives(every, products, together.numbers[0][of[products], None])
    joined = [own or together.links[index] for own, index in zip(fabrics, board, strict=True)]
    read = boards.read(machines, boards.Places(of, products, found.rate, found.family))
    return _compile(found, read._replace(fabrics=list(zip(stretches(sizes), joined, strict=True))))


def stretches(sizes: Sequence[int]) -> list[slice]:
    """Return where each of some parts lies in the array that holds one after the other."""
    ends = list(itertools.accumulate(sizes, initial=0))
    return [slice(first, last) for first, last in itertools.pairwise(ends)]


def _compile(found: Alternatives, read: boards.Read) -> Work:
    rows, family, one = found.rows, found.family, read.numbers

    def column(name: str) -> FloatArray:
        return rows[:, COLUMN[name]]

    of_family = read.families
    limits = _streams(found, read)
    if len(found.products):
        _products(limits, found, read)
    in_flight = traffic.in_flight_fraction(
        limits.blocks, one.block_bytes_in_flight, one.bandwidth, one.memory_latency_s
    )
    reached = of_family.memory * np.where(limits.latency_bound, in_flight, 1.0)
    active = waves.active_fraction(limits.blocks, one.units, one.tail_share)
    unclocked_s, sent = limits.dram_bytes / (one.bandwidth * reached), np.zeros(len(rows))
    meets = column("link_ranks") > 1.0
    if np.count_nonzero(meets):
        link_s, sent = _exchanges(rows, meets, read.fabrics)
        unclocked_s = fourth_norm(unclocked_s, link_s)
        active = np.where(meets, one.communicating, active)
    flops = np.zeros((len(rows), len(RATE_KEYS)))
    flops[np.arange(len(rows)), found.rate] = column("flops") * column("padding")
    flops[:, _FP32] += column("core_flops")
    share = column("share")
    # The mean rank waits for the fullest in the collective behind it.
    active = np.where(share < 1.0, share * active + (1.0 - share) * one.communicating, active)
    started = np.maximum(column("launches"), 1.0)  # a helper is cheap for the host alone
    # A decode kernel whose keys are not split has nothing to reduce afterwards.
    whole = (family == _DECODE) & ((limits.blocks <= column("batch")) | limits.alone)
    reduction_s = np.where(whole, 0.0, of_family.reduction_s)
    return Work(
        cycles=fourth_norm_of(limits.cycles) + of_family.block_cycles * limits.blocks / limits.busy,
        unclocked_s=unclocked_s,
        fixed_cycles=started * one.kernel_cycles,
        fixed_s=started * (one.kernel_s + of_family.fixed_s + reduction_s),
        active=active,
        flops=share[:, None] * flops,
        dram_bytes=share * limits.dram_bytes,
        l2_bytes=share * limits.l2_bytes,
        special=column("special"),
        link_bytes=sent,
        blocks=limits.blocks,
        toggle=column("toggle") * of_family.toggle,
        family=family,
    )


def _exchanges(
    rows: FloatArray,
    meets: npt.NDArray[np.bool_],
    fabrics: Sequence[tuple[slice, links.Fabric]],
) -> tuple[FloatArray, FloatArray]:
    """Return seconds on links and bytes sent, shape (K,)."""
    link_s, sent = np.zeros(len(rows)), np.zeros(len(rows))
    names = ("link_operation", "link_bytes", "link_ranks", "link_stride")
    places = np.arange(len(rows))
    for own, fabric in fabrics:
        here = places[own][meets[own]]
        if len(here):
            operation, message, group, stride = (rows[here, COLUMN[name]] for name in names)
            link_s[here], sent[here] = links.exchange(operation, message, group, stride, fabric)
    return link_s, sent
