"""Kernels as rows of numbers: what one launch computes and moves, before any GPU is known.

A kernel is one row of a structure of arrays: shapes of a matrix product, or amounts of work of a
streaming kernel. A `Program` holds the K distinct kernels of a workload and how often each of its
P steps (a prompt, sampled decode steps) runs them, so that every later room works on whole arrays.
Formulas are those of docs/method.md, 3.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from energaizer.coefficients import FAMILIES
from energaizer.links import ALL_REDUCE
from energaizer.precision import RATE_KEYS

FloatArray = npt.NDArray[np.float64]
FAMILY = {name: index for index, name in enumerate(FAMILIES)}
RATE = {name: index for index, name in enumerate(RATE_KEYS)}
FP32_BYTES = 4.0
BLOCK_ELEMENTS = 1024  # elements that one block of a streaming kernel takes
_TAP_OPERATIONS = 8.0  # of a depthwise convolution: two loads, bounds, a product, in FLOP


class Kernel(NamedTuple):
    """One kernel; amounts are per launch, bytes are those that a cold cache would move.

    A matrix product has `m > 0` and multiplies batch x (m x k) by (k x n). `flops` run at the rate
    of `rate`, `core_flops` on the CUDA cores. `row_bytes > 0` marks a reduction: its row must fit
    on chip. `family` and `rate` index FAMILIES and RATE_KEYS. `link_bytes`, `link_ranks` and
    `link_stride` of a collective are the message, group and spacing of `links.exchange`, and
    `link_operation` indexes its OPERATIONS; beside that share `link_hidden` of the step's other
    kernels it can run, at most. `resident_bytes` of a product are
    activations that its neighbours write before or read after it: they may be found in L2.
    `toggle` is the energy of its operands against random ones: zeros toggle fewer wires.
    `casts` take slots of special-function units as `special` operations do, without their energy.
    `share` is what the mean rank does of it where the fullest sets the time.
    `contiguous` is 1 where all tensors of a streaming kernel lie in memory as elements are counted.
    `padding` is tensor work that is done against `flops`, which are asked for: rows, keys and head
    sizes that fill up tiles. `serial` is 1 where special operations wait for products and these for
    them. `longest` is the work of the longest block against the mean, 0 where blocks are not told
    apart. `alone` are the blocks of a decode kernel that gives each query head its own, keys
    unsplit; 0: no kernel does. `paged` is 1 where keys and values lie in pages of a cache.
    """

    family: float
    flops: float = 0.0
    rate: float = 0.0
    read_bytes: float = 0.0
    write_bytes: float = 0.0
    onchip_bytes: float = 0.0
    core_flops: float = 0.0
    special: float = 0.0
    blocks: float = 1.0
    row_bytes: float = 0.0
    batch: float = 0.0
    m: float = 0.0
    n: float = 0.0
    k: float = 0.0
    a_bytes: float = 0.0
    b_bytes: float = 0.0
    link_bytes: float = 0.0
    link_ranks: float = 1.0
    link_stride: float = 1.0
    link_operation: float = 0.0
    link_hidden: float = 0.0
    cacheable: float = 1.0
    resident_bytes: float = 0.0
    in_flight: float = 0.0
    launches: float = 1.0
    toggle: float = 1.0
    casts: float = 0.0
    share: float = 1.0
    contiguous: float = 0.0
    padding: float = 1.0
    serial: float = 0.0
    longest: float = 0.0
    alone: float = 0.0
    paged: float = 0.0


COLUMN = {name: index for index, name in enumerate(Kernel._fields)}


def gemm(
    batch: float, m: float, n: float, k: float, operand_bytes: tuple[float, float, float],
    rate: str, **others: float,
) -> Kernel:  # fmt: skip
    """Return a batched product of m x k by k x n.

    Args:
        batch: Independent products.
        m: Rows of the result.
        n: Columns of the result.
        k: Length of the inner products.
        operand_bytes: Bytes per element of the m x k operand, the k x n operand and the result.
        rate: Key of the peak rate that multiplies.
        **others: Further fields of the kernel.
    """
    a, b, out = operand_bytes
    return Kernel(
        FAMILY["gemm"], 2.0 * batch * m * n * k, RATE[rate], batch * k * (m * a + n * b),
        batch * m * n * out, 0.0, batch=batch, m=m, n=n, k=k, a_bytes=a, b_bytes=b, **others,
    )  # fmt: skip


def convolution(
    images: float, channels: tuple[float, float, float], planes: tuple[float, float], taps: float,
    operand_bytes: tuple[float, float], rate: str,
) -> Kernel:  # fmt: skip
    """Return a convolution as an implicit product with its true traffic (section 3).

    The input is read once, never the expanded matrix, which is up to `taps` times larger.

    Args:
        images: Batch.
        channels: Input channels, output channels, and the groups that share them out.
        planes: Pixels of the input and of the output.
        taps: Inputs that one output sums.
        operand_bytes: Bytes per element of activations and of weights.
        rate: Key of the peak rate that multiplies.
    """
    (inputs, outputs, groups), (plane, out) = channels, planes
    act, weight = operand_bytes
    product = gemm(groups, images * out, outputs / groups, taps, (act, weight, act), rate)
    read = images * inputs * plane * act
    return product._replace(
        family=FAMILY["convolution"],
        read_bytes=read + taps * outputs * weight,
        resident_bytes=read + product.write_bytes,
    )


def depthwise(
    images: float, channels: float, planes: tuple[float, float], taps: float,
    operand_bytes: tuple[float, float],
) -> Kernel:  # fmt: skip
    """Return a depthwise convolution: a streaming kernel on the CUDA cores (section 3).

    Counted as a dense product it would be `channels` times too much. Each tap loads a value and a
    weight, tests bounds and multiplies, which is several instructions to one product.

    Args:
        images: Batch.
        channels: Channels, each with its own filter.
        planes: Pixels of the input and of the output.
        taps: Size of the filter.
        operand_bytes: Bytes per element of activations and of weights.
    """
    plane, out = planes
    act, weight = operand_bytes
    results = images * channels * out
    return elementwise(
        results, images * channels * plane * act + channels * taps * weight, results * act,
        _TAP_OPERATIONS * taps,
    )  # fmt: skip


def elementwise(
    elements: float, read_bytes: float, write_bytes: float, flops: float = 1.0,
    special: float = 0.0, family: str = "elementwise",
) -> Kernel:  # fmt: skip
    """Return a streaming kernel: bytes read and written, FLOP and exponentials an element.

    Args:
        elements: Elements of the result.
        read_bytes: Bytes of all inputs.
        write_bytes: Bytes of all outputs.
        flops: FLOP per element on the CUDA cores.
        special: Special-function operations per element.
        family: "elementwise", "copy", "gather" or "sort".
    """
    return Kernel(
        FAMILY[family], read_bytes=read_bytes, write_bytes=write_bytes,
        onchip_bytes=read_bytes + write_bytes, core_flops=flops * elements,
        special=special * elements, blocks=max(1.0, elements / BLOCK_ELEMENTS),
    )  # fmt: skip


def contiguous(kernel: Kernel) -> Kernel:
    """Return a streaming kernel all of whose tensors lie in memory as its elements are counted.

    A framework then loads several elements at once and computes no index; a transposition, or an
    operand that is broadcast, makes it address each element by itself.
    """
    return kernel._replace(contiguous=1.0)


def copy(elements: float, element_bytes: float, out_bytes: float | None = None) -> Kernel:
    """Return a copy, a transposition or a cast of so many elements."""
    out = element_bytes if out_bytes is None else out_bytes
    return elementwise(elements, elements * element_bytes, elements * out, 0.0, family="copy")


def gather(rows: float, width: float, element_bytes: float) -> Kernel:
    """Return the look-up of so many rows of an embedding table."""
    size = rows * width * element_bytes
    return elementwise(rows * width, size + 8.0 * rows, size, 0.0, family="gather")


def normalization(rows: float, width: float, element_bytes: float, streams: float = 1.0) -> Kernel:
    """Return a layer or RMS norm; `streams` extra tensors make a fused residual add.

    Args:
        rows: Rows, each with its own statistics.
        width: Elements of a row.
        element_bytes: Bytes per element, in and out.
        streams: Tensors read, and written, by the kernel: 2 with a fused residual.
    """
    size = rows * width * element_bytes
    return Kernel(
        FAMILY["norm"], read_bytes=streams * size, write_bytes=streams * size,
        onchip_bytes=2.0 * streams * size, core_flops=5.0 * rows * width, special=rows,
        blocks=max(1.0, rows), row_bytes=width * element_bytes,
    )  # fmt: skip


def softmax(rows: float, width: float, element_bytes: float) -> Kernel:
    """Return a softmax over rows: one exponential an element."""
    size = rows * width * element_bytes
    return Kernel(
        FAMILY["softmax"], read_bytes=size, write_bytes=size, onchip_bytes=2.0 * size,
        core_flops=4.0 * rows * width, special=rows * width, blocks=max(1.0, rows / 4.0),
        row_bytes=width * element_bytes,
    )  # fmt: skip


def collective(
    operation: int, message_bytes: float, ranks: float, stride: float = 1.0, hidden: float = 0.0
) -> Kernel:
    """Return a collective over some ranks.

    Args:
        operation: Of `links`: ALL_REDUCE, ALL_GATHER, ...
        message_bytes: As `links.exchange` counts them.
        ranks: Boards of the group.
        stride: Boards from one rank of the group to the next.
        hidden: Share of the step's other kernels beside which it can run.
    """
    return Kernel(
        FAMILY["collective"], read_bytes=message_bytes, write_bytes=message_bytes,
        onchip_bytes=2.0 * message_bytes, link_bytes=message_bytes, link_ranks=ranks,
        link_stride=stride, link_operation=float(operation), link_hidden=hidden,
        blocks=max(1.0, message_bytes / BLOCK_ELEMENTS), cacheable=0.0,
    )  # fmt: skip


def all_reduce(message_bytes: float, ranks: float) -> Kernel:
    """Return the sum of one message over neighbouring ranks, its result on each."""
    return collective(ALL_REDUCE, message_bytes, ranks)


class Program(NamedTuple):
    """The K distinct kernels of a workload on one GPU and the P steps that run them.

    Attributes:
        rows: One kernel a row, columns as `Kernel`, shape (K, columns).
        counts: Launches of each kernel in each step, shape (P, K).
        phases: Name of the phase that each step belongs to, length P.
        repetitions: How often each step runs; fractional where decode is sampled, shape (P,).
        sequences: Sequences that each step advances, shape (P,).
        layers: Transformer layers of a step, shape (P,).
        graphed: Step is launched as decode (a graph where the host has one), shape (P,).
        calls: Calls of framework modules in each step, which cost host time too, shape (P,).
        stages: Pipeline stages; a step is one stage, its wall time spans `slots` of it.
        slots: Stage times that pass per step, shape (P,).
        runs: Stage runs per step, at most `slots`; the rest is waiting, shape (P,).
        useful_flops: FLOP of one training step on one GPU, without those that recomputation
            repeats.
    """

    rows: FloatArray
    counts: FloatArray
    phases: tuple[str, ...]
    repetitions: FloatArray
    sequences: FloatArray
    layers: FloatArray
    graphed: npt.NDArray[np.bool_]
    calls: FloatArray
    slots: FloatArray
    runs: FloatArray
    stages: int = 1
    useful_flops: float = 0.0
    notes: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        """Return whether it is the same object: arrays have no truth to compare by."""
        return self is other

    def __hash__(self) -> int:
        """Return a hash of this object."""
        return id(self)

    def column(self, name: str) -> FloatArray:
        """Return one column of the kernels, shape (K,)."""
        return self.rows[:, COLUMN[name]]

    @property
    def hidden(self) -> FloatArray:
        """Share of a step's other kernels beside which each kernel can run, shape (K,)."""
        return self.column("link_hidden")

    def totals(self, each: FloatArray) -> FloatArray:
        """Return the sum over the launches of each step, shape (..., K) -> (..., P)."""
        found: FloatArray = each @ self.counts.T
        return found

    def part(self, steps: npt.NDArray[np.intp], kernels: npt.NDArray[np.intp]) -> "Program":
        """Return some steps and kernels of it, which are all that those steps launch."""
        return self._replace(
            rows=self.rows[kernels],
            counts=self.counts[steps[:, None], kernels],
            phases=tuple(self.phases[step] for step in steps),
            repetitions=self.repetitions[steps],
            sequences=self.sequences[steps],
            layers=self.layers[steps],
            graphed=self.graphed[steps],
            calls=self.calls[steps],
            slots=self.slots[steps],
            runs=self.runs[steps],
        )

    @property
    def launches(self) -> FloatArray:
        """Kernel launches of each step, shape (P,)."""
        total: FloatArray = self.counts @ self.column("launches")
        return total


def table(kernels: Sequence[Kernel]) -> FloatArray:
    """Return kernels as an array, shape (K, columns)."""
    size = len(kernels) * len(COLUMN)
    flat = np.fromiter(itertools.chain.from_iterable(kernels), np.float64, size)
    return flat.reshape(len(kernels), len(COLUMN))
