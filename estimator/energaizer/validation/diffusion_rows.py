"""Diffusion: rows of model, GPUs and settings of a batch; seconds, watts and joules of a batch."""

from dataclasses import replace

import numpy as np
from pydantic_core import ValidationError

from energaizer import catalog, lowering
from energaizer.errors import EnergaizerError, InputError, NoEstimateError, one_line
from energaizer.families import Generation, Network
from energaizer.gpu import Gpu
from energaizer.host import with_kernels
from energaizer.kernels import Program
from energaizer.parallelism import Parallelism
from energaizer.validation import names, prediction
from energaizer.validation.reading import Table
from energaizer.validation.scores import (
    IntArray,
    Labels,
    Progress,
    Scores,
    both,
    texts,
)
from energaizer.workload import Workload

KIND = "diffusion"
_SETTINGS = {
    "height": "height", "width": "width", "num_frames": "frames", "inference_steps": "steps",
}  # fmt: skip
_RENAMED = {
    "Model": "model", "GPU": "gpu_model", "Batch size": "batch_size",
    "Batch latency (s)": "batch_latency_s", "Denoising steps": "inference_steps",
    "Frames": "num_frames",
}  # fmt: skip


def split(table: Table) -> tuple[Table, ...]:
    """Return a table of serving as rows of text and rows of diffusion, where it has both."""
    column = "Batch latency (s)" if table.has("Batch latency (s)") else "batch_latency_s"
    own = np.isfinite(table.floats(column))
    if not own.any():
        return (table,)
    frame = table.frame[own].rename(columns=_RENAMED).reset_index(drop=True)
    if "energy_per_generation_j" not in frame.columns:
        each = [name for name in ("Energy/image (J)", "Energy/video (J)") if name in frame.columns]
        frame["energy_per_generation_j"] = frame[each].bfill(axis=1).iloc[:, 0]
        frame["avg_power_w"] = (
            frame["energy_per_generation_j"] * frame["batch_size"] / frame["batch_latency_s"]
        )
    kind = replace(table.kind, name=KIND)
    parts = [Table(f"{table.dataset}: diffusion", kind, frame, [])]
    if not own.all():
        rest = table.frame[~own].reset_index(drop=True)
        parts.insert(0, Table(table.dataset, table.kind, rest, table.notes))
    return tuple(parts)


def workload(table: Table, row: int) -> Workload:
    """Return model, settings and split of a row.

    Raises:
        EnergaizerError: There is no method for it, or no such model.
        pydantic.ValidationError: A setting is impossible.
    """
    name = table.texts("model")[row]
    model = names.model(name, "")
    if not isinstance(model, Network) or not model.generates:
        raise NoEstimateError(f"{name} is no diffusion model")
    batch = table.floats("batch_size")[row]
    if not batch >= 1:
        raise InputError("batch_size is needed, and positive")
    asked = {
        field: int(value)
        for column, field in _SETTINGS.items()
        if np.isfinite(value := table.floats(column)[row])
    }
    boards = int(table.floats("num_gpus", 1.0)[row])
    ring = int(table.floats("ring_degree", 1.0)[row])
    return Workload(
        model=model, input_tokens=1, batch=int(batch), generation=Generation(**asked),
        parallelism=Parallelism(context=boards, ring=ring),
    )  # fmt: skip


def score(table: Table, labels: Labels, progress: Progress) -> Scores:
    """Return the shipped model's predictions beside the table's measurements."""
    del labels  # as recorded: counters have no bias that is known
    n = len(table)
    answers = prediction.Answers(n)
    boards = np.maximum(1.0, table.floats("num_gpus", 1.0))
    for gpu, rows in prediction.by_board(table, answers, progress):
        _board(table, gpu, rows, answers)
    answers.limit_w *= boards
    batch = table.floats("batch_size")
    none = texts([""] * n)
    time = answers.column("time", table.floats("batch_latency_s"), answers.duration_s, none)
    power = answers.column("power", table.floats("avg_power_w"), boards * answers.power_w, none)
    made = answers.column(
        "energy", table.floats("energy_per_generation_j"), boards * answers.energy_j / batch, none
    )
    made.quantity, made.unit = "energy_per_generation", "J"
    known = ("task", "model", "num_gpus", "ulysses_degree", "ring_degree", "shape_group")
    groups = {name: texts(table.texts(name)) for name in known if table.has(name)}
    groups["gpu"] = texts(table.texts("gpu_model"))
    groups["gpu_count"] = both(groups["gpu"], table.texts("num_gpus", "1"))
    return Scores(
        dataset=table.dataset, kind=table.kind.name, columns=[time, power, made],
        groups=groups | {"regime": answers.regime, "provenance": answers.provenance},
        slices=(("task",), ("task", "gpu"), ("task", "model")), means="model",
        failed=answers.failed, provenance=answers.provenance, limit_w=answers.limit_w,
        roofline_s=answers.roofline_s, gpu_count=boards,
        per_time={"energy_per_generation": 1.0 / batch}, boards=answers.boards, notes=table.notes,
    )  # fmt: skip


def _board(table: Table, gpu: Gpu, rows: IntArray, answers: prediction.Answers) -> None:
    """Predict the rows of one board."""
    programs: dict[int, Program] = {}
    for row in rows.tolist():
        try:
            programs[row] = lowering.lower(workload(table, row))
        except (EnergaizerError, ValidationError) as error:
            answers.failed[row] = one_line(error)
    if not programs:
        return
    host = catalog.host(KIND)
    usable = np.array(list(programs), dtype=np.intp)
    full = np.ones(len(usable))
    cases = prediction.Cases(
        gpu, with_kernels(host, gpu, catalog.coefficients(gpu)), gpu.max_clock_hz * full,
        gpu.power_limit_w * full, {},
    )  # fmt: skip
    answers.put(usable, prediction.programs(cases, list(programs.values()), host))
