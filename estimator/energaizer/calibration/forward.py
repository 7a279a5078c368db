"""Single-GPU forward passes: which kernels each measured workload runs, and its label arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer import catalog, lowering
from energaizer.calibration import dataset, problem
from energaizer.calibration.fit import Sample
from energaizer.coefficients import Coefficients
from energaizer.gpu import Gpu
from energaizer.kernels import Kernel, Program
from energaizer.precision import Precision
from energaizer.workload import Workload

FloatArray = npt.NDArray[np.float64]

HOST = "pytorch-eager"
MULTI_CLOCK_WEIGHT = 0.25
"""Ten clocks of one workload are not ten workloads."""
_MODELS = {
    "bert": "bert-large", "gpt2": "gpt2", "opt": "opt-1.3b", "vit": "vit-large",
}  # fmt: skip


@lru_cache(maxsize=1024)
def program(model: str, precision: str, batch: int, tokens: int) -> Program:
    """Return the kernels of one forward pass, generated from the architecture.

    Args:
        model: Family as the table names it, or a catalogue name; language models run without
            their head.
        precision: `bf16` or `fp32`.
        batch: Sequences or images.
        tokens: Tokens of a sequence; 0 for images.
    """
    return lowering.lower(
        Workload(
            model=catalog.model(_MODELS.get(model, model)).bare(),
            batch=batch, input_tokens=max(1, tokens),
            precision=Precision(precision), attention="eager", host=HOST,
        )
    )  # fmt: skip


def groups(lowered: Program) -> tuple[problem.Groups, float]:
    """Return kernels with counts, and framework calls, of a program with one step."""
    kernels = [
        (Kernel(*row), float(count))
        for row, count in zip(lowered.rows, lowered.counts[0], strict=True)
    ]
    return kernels, float(lowered.calls[0])


@dataclass(frozen=True)
class Board:
    """Measured forward passes of one table board.

    Attributes:
        frame: Rows, labels corrected and recorded.
        sample: The same, ready for a fit; throttled rows have weight 0.
    """

    frame: pd.DataFrame
    sample: Sample

    @property
    def family(self) -> npt.NDArray[np.str_]:
        """Model family of each row."""
        return self.frame["model"].to_numpy(dtype=np.str_)

    @property
    def workload(self) -> npt.NDArray[np.str_]:
        """What each row ran, whatever the clock."""
        columns = (self.frame[name].astype(str) for name in dataset.WORKLOAD)
        return np.array([" ".join(cells) for cells in zip(*columns, strict=True)], dtype=np.str_)


def board(frame: pd.DataFrame, gpu: Gpu, coefficients: Coefficients, share: float = 1.0) -> Board:
    """Return the rows of one board with their kernels.

    Args:
        frame: Rows of one board, from `dataset.single_gpu`.
        gpu: Its profile.
        coefficients: Any of that GPU.
        share: Weight of the whole table.
    """
    frame = frame.reset_index(drop=True)
    keys = [
        (str(model), str(precision), int(batch), int(tokens))
        for model, precision, batch, tokens in frame[dataset.WORKLOAD].itertuples(index=False)
    ]
    distinct = list(dict.fromkeys(keys))
    index = {key: place for place, key in enumerate(distinct)}
    runs = problem.runs(
        gpu,
        coefficients,
        [groups(program(*key)) for key in distinct],
        np.array([index[key] for key in keys], dtype=np.intp),
        frame["clock_hz"].to_numpy(np.float64),
    )
    weight = np.where(frame["power_capped"], 0.0, frame["weight"]) * share
    sample = Sample(
        runs,
        frame["time_s"].to_numpy(np.float64),
        frame["power"].to_numpy(np.float64),
        weight,
    )
    return Board(frame, sample)


def boards(
    data: Path, names: Sequence[str], gpu: Gpu, coefficients: Coefficients,
    idle: dict[str, dataset.Idle | float],
) -> tuple[Board, ...]:  # fmt: skip
    """Return several table boards that carry the same GPU, e.g. one clock and many clocks."""
    frame = dataset.single_gpu(data, idle)
    return tuple(
        board(
            frame[frame["gpu"] == name],
            gpu,
            coefficients,
            MULTI_CLOCK_WEIGHT if name.endswith("_dvfs") else 1.0,
        )
        for name in names
    )
