"""Node power of training runs: watts of a server at its socket, its boards from our own estimate.

Nothing is fitted to these rows. A cell, one system with one benchmark, counts once however many
runs it has.
"""

import re

import numpy as np
from pydantic_core import ValidationError

from energaizer import catalog, mlperf
from energaizer.errors import EnergaizerError, one_line
from energaizer.result import Estimate
from energaizer.validation.reading import Table
from energaizer.validation.scores import (
    Column,
    Labels,
    Progress,
    Scores,
    both,
    first_reason,
    nowhere,
    texts,
)

_TWICE = re.compile(r"(^|-)dc-", re.IGNORECASE)


def score(table: Table, labels: Labels, progress: Progress) -> Scores:
    """Return predicted watts of a node beside those measured between start and stop of each run."""
    del labels  # as recorded
    n = len(table)
    systems, benchmarks = table.texts("system"), table.texts("benchmark")
    measured = table.floats("node_power_in_run_w")
    predicted, low, high, boards_w = (nowhere(n) for _ in range(4))
    failed, provenance = texts([""] * n), texts([""] * n)
    found: dict[tuple[str, str], Estimate | str] = {}
    for row, cell in enumerate(zip(systems, benchmarks, strict=True)):
        if cell not in found:
            progress(table.dataset, row, n)
            found[cell] = _answer(*cell)
        answer = found[cell]
        if isinstance(answer, str) or answer.node is None:
            failed[row] = answer if isinstance(answer, str) else "no node"
            continue
        node = answer.node
        predicted[row], low[row], high[row] = (
            value / node.nodes for value in (node.power.value, node.power.low, node.power.high)
        )
        boards_w[row] = answer.power.value / node.nodes
        provenance[row] = node.power.provenance.value
    where = table.texts("submitter")
    again = np.array([bool(_TWICE.search(name)) for name in where], dtype=np.bool_)
    ended = np.array(
        [told not in ("", "success") for told in table.texts("status")], dtype=np.bool_
    )
    reason = first_reason(n, {
        "the same run behind its supplies, counted once": again, "the run did not end well": ended,
    })  # fmt: skip
    power = Column("power", "W", measured, predicted, low, high, reason)
    gpus = texts([_gpu_name(name) for name in systems])
    limit = np.array([_limit(name) for name in systems])
    return Scores(
        dataset=table.dataset, kind=table.kind.name, columns=[power],
        groups={
            "cell": both(systems, benchmarks), "system": texts(systems), "gpu": gpus,
            "benchmark": texts(benchmarks), "provenance": provenance,
        },
        slices=(("cell",), ("benchmark",)), means="cell", failed=failed, provenance=provenance,
        limit_w=limit, roofline_s=nowhere(n),
        notes=[
            "watts of one node at its socket; settings of the runs are data from public rules, "
            "nothing was fitted to power",
            *table.notes,
        ],
    )  # fmt: skip


def _answer(system: str, benchmark: str) -> Estimate | str:
    try:
        return mlperf.estimate(system, benchmark)
    except (EnergaizerError, ValidationError) as error:
        return one_line(error)


def _gpu_name(system: str) -> str:
    try:
        return mlperf.system_of(system)[1].name
    except EnergaizerError:
        return ""


def _limit(system: str) -> float:
    """Return the limit of all boards of a node, W; NaN if they are unknown."""
    try:
        gpu = mlperf.system_of(system)[1]
    except EnergaizerError:
        return float("nan")
    return gpu.power_limit_w * catalog.usual_node(gpu).gpus_per_node
