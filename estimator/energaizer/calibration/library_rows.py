"""Measured kernels library by library: rows of the kernel table -> runs and what was seen."""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer.calibration import libraries, problem, single_kernels
from energaizer.calibration.kernel_shapes import METHODS, SIZES, Shape
from energaizer.coefficients import Coefficients
from energaizer.errors import EnergaizerError
from energaizer.gpu import Gpu
from energaizer.kernels import Kernel
from energaizer.precision import RATE_KEYS

FloatArray = npt.NDArray[np.float64]
FAMILY = {
    "gemm": "gemm", "attn_ctx": "attention-prefill", "attn_enc": "attention-prefill",
    "attn_gen": "attention-decode", "quant_computescale": "elementwise",
    "quant_scalematrix": "elementwise",
}  # fmt: skip
"""Kernel family of each operation that has a method."""
FEWEST = 60
"""Rows that a library needs for a fit of its own."""
TIERS = ("A", "A+")
"""Of power readings that tell."""
_MOST = 400


@dataclass(frozen=True)
class Group:
    """Measured kernels of one library; arrays of shape (n,), NaN where a power tells nothing.

    Attributes:
        family: Their kernel family.
        table: Rows and runs.
        seconds: Measured latency.
        watts: Recorded power of rows whose sensor saw enough of the kernel.
        share: Share of a recorded power that is the kernel's own.
        fold: Which fifth leaves each row out.
    """

    family: str
    table: single_kernels.Table
    seconds: FloatArray
    watts: FloatArray
    share: FloatArray
    fold: npt.NDArray[np.int_]


def floor(gpu: Gpu, found: Coefficients) -> float:
    """Return power with a live context at the boost clock, W."""
    from energaizer import machine, power  # noqa: PLC0415

    board = machine.build(gpu, found)
    return float(power.idle_power(board, np.array([gpu.max_clock_hz]))[0])


def groups(frame: pd.DataFrame, gpu: Gpu, common: Coefficients) -> Iterator[tuple[str, Group]]:
    """Yield the libraries of a GPU by key: each format, and of attention each head size too."""
    names = ["framework", "op", "dtype", "kv_dtype", "head_dim"]
    told = [tuple(row) for row in frame[names].itertuples(index=False)]
    known: dict[str, list[int]] = {}
    for place, row in enumerate(told):
        for key in libraries.keys(row):
            known.setdefault(key, []).append(place)
    for key, places in known.items():
        found = _group(frame.iloc[places].reset_index(drop=True), gpu, common)
        if found is not None:
            yield key, found


def _group(frame: pd.DataFrame, gpu: Gpu, common: Coefficients) -> Group | None:
    return rows_of(frame.sample(min(_MOST, len(frame)), random_state=1), gpu, common, FEWEST)


def rows_of(frame: pd.DataFrame, gpu: Gpu, common: Coefficients, fewest: int = 1) -> Group | None:
    """Return rows that have a kernel; None: fewer of them than asked for."""
    built = [_kernel(row, gpu) for row in frame.to_dict("records")]
    kept = np.array([kernel is not None for kernel in built], dtype=np.bool_)
    kernels = [kernel for kernel in built if kernel is not None]
    if len(kernels) < fewest:
        return None
    frame = frame[kept].reset_index(drop=True)
    runs = problem.runs(
        gpu, common, [([(kernel, 1.0)], 0.0) for kernel in kernels], np.arange(len(kernels)),
        np.full(len(kernels), gpu.max_clock_hz),
    )  # fmt: skip
    family = FAMILY[str(frame["op"].iloc[0])]
    table = single_kernels.Table(gpu, frame, runs)
    seen = frame["power_tier"].isin(TIERS).to_numpy()
    return Group(
        family=family,
        table=table,
        seconds=table.column("latency_us") * 1e-6,
        watts=np.where(seen, table.column("power_w"), np.nan),
        share=table.column("obs_weight_g"),
        fold=_folds(frame, family),
    )


def _kernel(row: Mapping[Hashable, Any], gpu: Gpu) -> Kernel | None:
    sizes = Shape(*(float(row[name]) for name in SIZES))
    try:
        found = METHODS[str(row["op"])][0](sizes, str(row["dtype"]), str(row["kv_dtype"]))
    except EnergaizerError:
        return None
    key = RATE_KEYS[int(found.rate)]
    return found if not found.flops or key in gpu.peak_flops else None


def _folds(frame: pd.DataFrame, family: str) -> npt.NDArray[np.int_]:
    if family != "elementwise":
        return single_kernels.fold_of(frame)
    hashed = np.floor((frame["k"].to_numpy(np.float64) * 0.6180339887) % 1.0 * single_kernels.FOLDS)
    return hashed.astype(np.int_)
