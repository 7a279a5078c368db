"""Node power of training runs in the accuracy table: each cell once, nothing fitted to any."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic_core import ValidationError

from energaizer import mlperf
from energaizer.errors import EnergaizerError, one_line

TABLE = "node_power/mlperf_training_power.csv"
_TWICE = "dc-"  # the same runs again, read behind their power supplies
_GPUS = 8  # boards of every server of the table
_GOAL, _REFERENCE = 10.0, 7.5
_HEAD = """## Node power of training (MLPerf)

Watts of one server at its socket between start and stop of a run, mean of the runs of a cell.
Boards come from the training estimate of the benchmark, the rest of the server from its profile;
settings of the runs are those of public rules and submissions (`profiles/tables/mlperf.json`).
**Nothing was fitted to these rows.**
"""


def markdown(data: Path) -> str:
    """Return the section; without the table it says so."""
    if not (data / TABLE).is_file():
        return _HEAD + f"\nNo {TABLE} at hand.\n"
    frame = pd.read_csv(data / TABLE)
    frame = frame[~frame["submitter"].str.contains(_TWICE)]
    cells: dict[tuple[str, str], list[float]] = {}
    for system, benchmark, value in zip(
        frame["system"], frame["benchmark"], frame["node_power_in_run_w"], strict=True
    ):
        cells.setdefault((str(system), str(benchmark)), []).append(float(value))
    lines = ["| system | benchmark | measured W | predicted W | 90 % interval | error % "
             "| of a board | of a board, would fit |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    errors, inside, missing, alone = [], [], [], []
    for (system, benchmark), runs in sorted(cells.items()):
        watts = float(np.mean(runs))
        try:
            node = mlperf.estimate(system, benchmark).node
        except (EnergaizerError, ValidationError) as error:
            missing.append(one_line(error))
            continue
        if node is None:
            continue
        value, low, high = (
            each / node.nodes for each in (node.power.value, node.power.low, node.power.high)
        )
        errors.append(100.0 * (value / watts - 1.0))
        alone.append(node.nodes == 1)
        boards = _GPUS * node.nodes
        each_w = node.parts_w["boards"] / boards
        behind = 1.0 - node.parts_w["supplies"] / node.power.value
        inside.append(low <= watts <= high)
        lines.append(
            f"| {system} | {benchmark} | {watts:.0f} | {value:.0f} | {low:.0f} to {high:.0f} "
            f"| {errors[-1]:+.1f} | {each_w:.0f} "
            f"| {each_w + behind * (watts - value) / _GPUS:.0f} |"
        )
    return "\n".join([_HEAD, *lines, "", _summary(np.array(errors), inside, missing, alone), ""])


def _summary(
    errors: npt.NDArray[np.float64], inside: list[bool], missing: list[str], alone: list[bool]
) -> str:
    size, single = np.abs(errors), np.array(alone)
    told = (
        f"{len(errors)} of {len(errors) + len(missing)} cells: mean {size.mean():.1f}, median "
        f"{np.median(size):.1f}, worst {size.max():.1f}, bias {np.median(errors):+.1f}; "
        f"{sum(inside)} inside their interval. Goal {_GOAL:g}; a constant for each kind of GPU, "
        f"with the benchmark left out, has {_REFERENCE:g} over all cells. Single nodes: mean "
        f"{size[single].mean():.1f}; several nodes, whose boards wait for each other: "
        f"{size[~single].mean():.1f}. The last column is the power of a board at which a cell "
        "would be met, all else of the node as predicted."
    )
    reasons = "".join(f"\n- {reason}" for reason in dict.fromkeys(missing))
    return told + ("\n\nCells without an estimate:" + reasons if missing else "")
