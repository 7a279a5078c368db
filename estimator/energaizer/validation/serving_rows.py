"""Serving: rows of model, GPUs, mean batch and output lengths; steady continuous batching."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic_core import ValidationError

from energaizer import catalog, serving
from energaizer.errors import EnergaizerError, InputError, NoEstimateError, one_line
from energaizer.gpu import Gpu
from energaizer.host import with_kernels
from energaizer.model import Model
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.serving import Mix, Step
from energaizer.validation import names, prediction
from energaizer.validation.reading import Table
from energaizer.validation.scores import (
    Column,
    IntArray,
    Labels,
    Progress,
    Scores,
    TextArray,
    both,
    first_reason,
    nowhere,
    texts,
)
from energaizer.workload import Workload

_MS = 1e-3
_FORMATS = {"": Precision.BF16, "bfloat16": Precision.BF16, "float16": Precision.FP16,
            "fp8": Precision.FP8, "mxfp4": Precision.MXFP4}  # fmt: skip
_UNSCORED_TASKS = {"sourcegraph-fim"}
_DIFFUSION = {"diffusion"}
_RENAMED = {
    "Model": "model", "GPU": "gpu_model", "gpus": "num_gpus", "TP": "attn_tp", "PP": "pipeline",
    "Avg BS (reqs)": "avg_batch_size", "Avg Output Tokens": "avg_output_len",
    "Token tput (tok/s)": "output_tokens_per_s", "energy_per_out_token_j": "energy_per_token_j",
    "avg_power_total_w": "avg_power_w",
}  # fmt: skip


class _Parts:
    """Mean steps of n rows, filled board by board; NaN where there is none."""

    def __init__(self, count: int) -> None:
        self.mean_s, self.gap_s, self.energy_j = (nowhere(count) for _ in range(3))
        self.prompts = nowhere(count)


def score(table: Table, labels: Labels, progress: Progress) -> Scores:
    """Return the shipped model's predictions beside the table's measurements."""
    del labels  # as recorded: counters have no bias that is known
    n = len(table)
    _expect(table)
    answers, parts = prediction.Answers(n), _Parts(n)
    boards = np.maximum(1.0, table.floats("num_gpus", 1.0))
    batch = table.positive("avg_batch_size")
    for gpu, rows in prediction.by_board(table, answers, progress):
        _board(table, gpu, rows, answers, parts)
    answers.limit_w *= boards
    groups = _groups(table, answers, parts)
    return Scores(
        dataset=table.dataset, kind=table.kind.name, columns=_columns(table, answers, parts),
        groups=groups, slices=(("gpu",), ("gpu", "task"), ("gpu", "model")),
        means="shape_group" if "shape_group" in groups else "model", failed=answers.failed,
        provenance=answers.provenance, limit_w=answers.limit_w, roofline_s=answers.roofline_s,
        gpu_count=boards, per_time={"energy_per_token": 1.0 / batch}, boards=answers.boards,
        notes=table.notes,
    )  # fmt: skip


def score_2024(table: Table, labels: Labels, progress: Progress) -> Scores:
    """Return the same for the older schema, whose energies hold the prefill."""
    table.frame = table.frame.rename(columns=_RENAMED)
    table.notes.append("an older engine, often bound by its host: secondary evidence")
    return score(table, labels, progress)


def _expect(table: Table) -> None:
    table.expect("attn_tp", instead="tensor parallel over all GPUs of a row")
    table.expect("output_len_hist", instead="exponential output lengths")
    prompts = names.Names.shipped().prompt_tokens
    if not table.has("avg_input_len") or np.isnan(table.floats("avg_input_len")).any():
        table.notes.append(
            "prompt lengths are not in the table; assumed by task: "
            + ", ".join(f"{task} {tokens:g}" for task, tokens in prompts.items())
        )


def _board(
    table: Table, gpu: Gpu, rows: IntArray, answers: prediction.Answers, parts: _Parts
) -> None:
    """Predict the rows of one board."""
    found: dict[int, tuple[Workload, Mix]] = {}
    decode, prompts, together = [], [], []
    for row in rows.tolist():
        try:
            workload, mix = _workload(table, row), _mix(table, row)
            step = serving.decode_step(workload, mix)
            prompt, count = serving.prompt_step(workload, mix)
            missing = prediction.missing_rates(gpu, step.column("rate")[step.column("flops") > 0])
            if missing:
                raise NoEstimateError(f"{', '.join(missing)} on {gpu.name}: no rate")
        except (EnergaizerError, ValidationError) as error:
            answers.failed[row] = one_line(error)
            continue
        found[row] = (workload, mix)
        decode.append(step)
        prompts.append(prompt)
        together.append(float(count))
    if not found:
        return
    usable = np.array(list(found), dtype=np.intp)
    host = catalog.host("serving")
    coefficients = with_kernels(host, gpu, catalog.coefficients(gpu))
    clock_hz = np.full(len(usable), gpu.max_clock_hz)
    mixes = [mix for _, mix in found.values()]
    inputs = {
        "batch": np.array([mix.batch for mix in mixes]),
        "context_tokens": np.array([float(mix.context) for mix in mixes]),
        "tensor": np.array([float(work.parallelism.tensor) for work, _ in found.values()]),
    }
    limit_w = np.full(len(usable), gpu.power_limit_w)
    cases = prediction.Cases(gpu, coefficients, clock_hz, limit_w, inputs)
    said = prediction.programs(cases, decode, host)
    answers.put(usable, said)
    first = prediction.programs(cases, prompts, serving.without_gaps(host))
    shared = np.array(together)
    rate = np.array([mix.prompts_per_step for mix in mixes])
    alone = Step(said.duration_s, said.energy_j)
    layers = np.array([float(step.layers[0]) for step in decode])
    wait = serving.mixed_wait(host, layers, coefficients, gpu)
    each = Step(first.duration_s / shared, first.energy_j / shared)
    stages = np.array([float(work.parallelism.pipeline) for work, _ in found.values()])
    mean = serving.mean_step(alone, each, rate, wait, stages)
    answers.roofline_s[usable] = said.roofline_s + rate * first.roofline_s / shared
    parts.prompts[usable] = rate
    parts.mean_s[usable] = mean.duration_s
    parts.energy_j[usable] = mean.energy_j
    parts.gap_s[usable] = serving.median_gap(alone, mean, rate)


def _workload(table: Table, row: int) -> Workload:
    """Return model, formats and split of a row.

    Raises:
        EnergaizerError: There is no method for it, or no such model.
    """

    def cell(name: str) -> str:
        return names.text(table.frame[name].iloc[row]) if table.has(name) else ""

    def number(name: str) -> int:
        told = float(table.floats(name, 0.0)[row])
        return int(told) if np.isfinite(told) else 0

    family = cell("family")
    if family in _DIFFUSION:
        raise NoEstimateError("diffusion: no method for serving it yet")
    stored = cell("weight_precision")
    try:
        precision = _FORMATS.get(stored) or Precision(stored)
    except ValueError:
        raise InputError(f"weight_precision {stored}: unknown format") from None
    narrow = precision in {Precision.FP8, Precision.INT8, Precision.NVFP4}
    stages = number("pipeline") or 1
    split = Parallelism(
        tensor=number("attn_tp") or max(1, number("num_gpus") // stages),
        data=number("attn_dp") or 1, expert=number("expert_ep") or 1, pipeline=stages,
    )  # fmt: skip
    model = names.model(cell("model"), "")
    seen: dict[str, Any] = {}
    if isinstance(model, Model) and model.vision is not None:
        seen.update(names.Names.shipped().pictures.get(cell("task"), {}))
    return Workload(
        model=model, input_tokens=1, output_tokens=1,
        precision=precision if narrow else Precision.BF16, weight_precision=precision,
        cache_precision=Precision.BF16, parallelism=split, host="serving",
        **seen,
    )  # fmt: skip


def _mix(table: Table, row: int) -> Mix:
    """Return what runs in a mean step of a row: batch, lengths, histogram; no time, no watt."""

    def value(name: str) -> float:
        return float(table.floats(name)[row])

    replicas = max(1.0, float(table.floats("attn_dp", 1.0)[row]))
    batch, mean = value("avg_batch_size") / replicas, value("avg_output_len")
    if not batch > 0 or not mean > 0:
        raise InputError("avg_batch_size and avg_output_len are needed, and positive")
    known = names.Names.shipped().prompt_tokens
    prompt = value("avg_input_len")
    if not prompt > 0:
        prompt = known.get(table.texts("task")[row], known["default"])
    told = table.texts("output_len_hist")[row]
    if not told:
        # lengths spread about as widely as exponential ones
        position = serving.steady_position(mean, 2.0 * mean * mean)
        return Mix(batch, prompt, position, batch / mean)
    try:
        counts = np.asarray(json.loads(told), dtype=np.float64)
    except ValueError as error:
        raise InputError(f"output_len_hist is no list of counts: {one_line(error)}") from error
    lengths = serving.lengths_of(counts, value("output_len_bin0"), value("output_len_bin1"))
    lengths = np.maximum(1.0, lengths * (mean / lengths.mean()))
    slots = value("max_num_seqs")
    run = serving.closed_run(lengths, int(slots) if slots > 0 else round(batch * replicas))
    return Mix(batch, prompt, run.position, run.prompts_per_step / replicas)


def _columns(table: Table, answers: prediction.Answers, parts: _Parts) -> list[Column]:
    boards, batch = np.maximum(1.0, table.floats("num_gpus", 1.0)), table.positive("avg_batch_size")
    excluded = _excluded(table)
    power_w = boards * parts.energy_j / parts.mean_s
    step_s = batch / table.positive("output_tokens_per_s")
    found = [
        answers.column("time", step_s, parts.mean_s, excluded),
        answers.column("power", table.floats("avg_power_w"), power_w, excluded),
    ]
    for name, unit, like, measured, predicted in (
        ("energy_per_token", "J/token", "energy", table.floats("energy_per_token_j"),
         boards * parts.energy_j / batch),
        ("itl", "s", "time", table.floats("median_itl_ms") * _MS, parts.gap_s),
    ):  # fmt: skip
        column = answers.column(like, measured, predicted, excluded)
        column.quantity, column.unit = name, unit
        if name != "itl" or table.has("median_itl_ms"):
            found.append(column)
    return found


def _excluded(table: Table) -> TextArray:
    """Return why a row is not scored by the cleaning rules of the data, "" where it is."""
    tasks, flags = texts(table.texts("task")), texts(table.texts("flag"))
    rules = {f"task {task}: prompts unknown": tasks == task for task in sorted(_UNSCORED_TASKS)}
    rules |= {f"flag {flag}": flags == flag for flag in sorted(set(flags)) if flag}
    rules["suspect_host_bound"] = table.flags("suspect_host_bound")
    return first_reason(len(table), rules)


def _groups(table: Table, answers: prediction.Answers, parts: _Parts) -> dict[str, TextArray]:
    known: Sequence[str] = (
        "family", "model", "task", "architecture", "weight_precision", "num_gpus", "max_num_seqs",
        "shape_group", "attn_tp", "flag",
    )  # fmt: skip
    found = {name: texts(table.texts(name)) for name in known if table.has(name)}
    found["gpu"] = texts(table.texts("gpu_model"))
    found["gpu_count"] = both(found["gpu"], table.texts("num_gpus", "1"))
    often = np.where(parts.prompts > 1.0, "prompts in every step", "prompts in some steps")
    found["prompts"] = texts(often.tolist())
    return found | {"regime": answers.regime, "provenance": answers.provenance}
