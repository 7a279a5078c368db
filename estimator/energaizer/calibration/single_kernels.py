"""Single kernels: rows of the kernel table as runs of one launch each, and how they are split."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer import attention, kernels
from energaizer.attention import Heads
from energaizer.calibration import dataset, problem
from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu
from energaizer.kernels import Kernel
from energaizer.precision import Precision

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

OPS = ("gemm", "attn_ctx", "attn_gen", "attn_enc")
FRAMEWORK = "vllm"
"""Kernels of the engine that the serving model describes; frameworks differ in their kernels."""
FOLDS = 5
SHORTEST_US = {"fp8": 100.0, "fp8_block": 300.0, "nvfp4": 100.0}
"""Latency from which a block-scaled product is bound by itself, not by quantising kernels."""
_FP4 = Precision.NVFP4.bytes_per_element
_RATES = {
    "bfloat16": ("bf16", 2.0, 2.0),
    "fp8": ("fp8", 1.0, 1.0),
    "fp8_block": ("fp8", 1.0, Precision.FP8.bytes_per_element),
    "nvfp4": ("fp4", _FP4, _FP4),
}
_NARROW = ("fp8", "int8", "fp4")
_WIDTH = {"bfloat16": 2.0, "fp8": 1.0, "": 2.0}


@dataclass(frozen=True)
class Table:
    """Rows of one GPU and framework as runs.

    Attributes:
        gpu: The board.
        frame: Rows with `family` (gemm, attention-prefill, attention-decode) and `fold`.
        runs: One launch each, at the boost clock.
    """

    gpu: Gpu
    frame: pd.DataFrame
    runs: problem.Runs

    def column(self, name: str) -> FloatArray:
        """Return one column of the rows."""
        return self.frame[name].to_numpy(np.float64)


def kernel_of(row: Mapping[Hashable, Any]) -> Kernel:
    """Return the kernel that a row of the table timed."""
    if row["op"] == "gemm":
        rate, a, b = _RATES[str(row["dtype"])]
        return kernels.gemm(1.0, row["m"], row["n"], row["k"], (a, b, 2.0), rate)
    heads = Heads(
        float(row["batch"]), float(row["heads"]), float(row["kv_heads"] or row["heads"]),
        float(row["head_dim"]),
    )  # fmt: skip
    rate = "fp8" if row["dtype"] == "fp8" else "bf16"
    act, cache = _WIDTH[str(row["dtype"])], _WIDTH[str(row["kv_dtype"])]
    if row["op"] == "attn_gen":
        window = float(row["window"]) or np.inf
        kernel = attention.decode(heads, float(row["seq_kv"]), 2.0, cache, "bf16", window)
        return kernel._replace(cacheable=1.0)  # replayed: a small cache is found in L2
    tokens = float(row["seq_q"])
    if row["op"] == "attn_enc":
        pairs = tokens * tokens
    else:
        pairs = attention.causal_pairs(tokens, float(row["window"]) or None)
    kernel = attention.prefill(heads, tokens, pairs, act, cache, rate)
    return attention.in_pages(kernel) if row["op"] == "attn_ctx" else kernel


def shape_of(frame: pd.DataFrame) -> FloatArray:
    """Return a number for the weight shape of each row, or for its head layout and length."""
    product = frame["op"] == "gemm"
    return np.where(
        product,
        frame["n"] * 100_003.0 + frame["k"],
        frame["heads"] * 1_009.0 + frame["kv_heads"] * 97.0 + frame["seq_q"] + frame["seq_kv"],
    )


def fold_of(frame: pd.DataFrame) -> npt.NDArray[np.int_]:
    """Return the fold of each row: a whole weight shape, or head layout and length, shares one."""
    # A multiplicative hash: neighbours in size fall into different folds.
    hashed = np.floor(shape_of(frame) * 0.6180339887 % 1.0 * FOLDS)
    return hashed.astype(np.int_)


def table(data: Path, gpu: Gpu, coefficients: Coefficients, chip: str, most: int = 1250) -> Table:
    """Return rows of one GPU whose formats it multiplies, at most so many of an op and format.

    Args:
        data: Folder of the tables.
        gpu: Profile of the board.
        coefficients: Any of that board.
        chip: Its name in the table.
        most: Rows kept of each operation and format, drawn with a fixed seed.
    """
    frame = dataset.kernel_table(data, OPS)
    frame = frame[(frame["gpu"] == chip) & (frame["framework"] == FRAMEWORK)]
    known = frame["dtype"].isin(_RATES) & frame["kv_dtype"].isin(_WIDTH)
    usable = frame["dtype"].map(lambda name: _RATES.get(name, ("",))[0] in gpu.peak_flops)
    frame = frame[known & usable]
    # One kernel a format, and none that the launches around it bind.
    if (frame["dtype"] == "fp8").any():
        frame = frame[frame["dtype"] != "fp8_block"]
    least = frame["dtype"].map(lambda name: SHORTEST_US.get(name, 0.0))
    frame = frame[frame["latency_us"] > least].reset_index(drop=True)
    order = frame.groupby(["op", "dtype", "kv_dtype"], sort=True)
    frame = pd.concat(
        [part.sample(min(most, len(part)), random_state=1) for _, part in order]
    ).reset_index(drop=True)
    family = frame["op"].map(
        {
            "gemm": "gemm", "attn_ctx": "attention-prefill", "attn_enc": "attention-prefill",
            "attn_gen": "attention-decode",
        }
    )  # fmt: skip
    frame = frame.assign(family=family, fold=fold_of(frame))
    rows = [kernel_of(row) for row in frame.to_dict("records")]
    runs = problem.runs(
        gpu,
        coefficients,
        [([(kernel, 1.0)], 0.0) for kernel in rows],
        np.arange(len(rows)),
        np.full(len(rows), gpu.max_clock_hz),
    )
    return Table(gpu, frame, runs)


def near_limit(found: Table, share: float = 0.5) -> BoolArray:
    """Return rows whose FLOP rate is such that the board may have lowered its clock.

    No clock was recorded: a fit of time leaves these rows to the power limit. Ampere boards with
    this limit hold their clock under any product.

    Args:
        found: The rows.
        share: Of the peak of their format, from which a rate may have met the limit.
    """
    if found.gpu.architecture.lower() == "ampere":
        return np.zeros(len(found.frame), dtype=np.bool_)
    rows = found.runs.found.rows
    flops = rows[:, kernels.COLUMN["flops"]]
    rate = rows[:, kernels.COLUMN["rate"]].astype(np.intp)
    peaks = np.array([found.gpu.peak_flops.get(key, np.nan) for key in kernels.RATE])
    busy = flops / (found.column("latency_us") * 1e-6 * peaks[rate])
    # Of prompts on the H200 a seventh meets the limit above half of the peak, half of them below:
    # what a kernel of attention reaches is told by the size of its heads, not by its heat.
    # Narrow operands of the table are constants, which switch little, so that few products of
    # theirs meet the limit. Half of the peak is about what they reach: a rule on the measured rate
    # would cut through their middle and leave the slower half of equal kernels to the fit.
    small = np.array([key in _NARROW for key in kernels.RATE])[rate]
    hot: BoolArray = (busy > share) & (found.frame["op"] == "gemm").to_numpy() & ~small
    return hot
