"""Forward passes on one GPU: rows of model, size, precision, batch, sequence and set clock."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from pydantic_core import ValidationError

from energaizer import catalog, lowering, machine, power, serving
from energaizer.calibration.dataset import (
    IDLE_BEFORE,
    RUN_S,
    SHORTEST_RUN_S,
    recorded_run,
    startup_energy,
    startup_time,
)
from energaizer.errors import EnergaizerError, InputError, NoEstimateError, one_line
from energaizer.families import Network
from energaizer.gpu import Gpu
from energaizer.kernels import Program
from energaizer.precision import Precision
from energaizer.validation import names, prediction
from energaizer.validation.reading import Table
from energaizer.validation.scores import (
    Column,
    FloatArray,
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

_MHZ = 1e6
_MS = 1e-3
_EAGER = {"", "eager", "eager_inferred", "model_default"}
_FUSED = {"fused", "flash", "flash_attention_2", "sdpa"}
_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32"}
_DECODE = "decode"
_MODES = {"", "prefill", "forward", _DECODE}


class Run(NamedTuple):
    """What a row says was run; the clock, alone, is no part of the program."""

    model: str
    size: str
    precision: str
    batch: int
    tokens: int
    mode: str
    attention: str


def score(table: Table, labels: Labels, progress: Progress) -> Scores:
    """Return the shipped model's predictions beside the table's measurements."""
    n = len(table)
    table.expect("size", instead="model alone names the catalogue entry")
    table.expect("precision", instead="bf16 assumed")
    table.expect("seq", instead="no tokens: vision models only")
    table.expect("sm_mhz_set", instead="boost clock assumed")
    runs, clock_hz = runs_of(table), table.floats("sm_mhz_set") * _MHZ
    answers, before_w, expected_w = prediction.Answers(n), nowhere(n), nowhere(n)
    done = 0
    for name, rows in _by_board(table, answers.failed).items():
        gpu = names.board(name).gpu
        coefficients = catalog.coefficients(gpu)
        answers.boards[name] = (gpu, coefficients)
        answers.limit_w[rows] = table.floats("power_limit_w", gpu.power_limit_w)[rows]
        clock_hz[rows] = np.where(np.isnan(clock_hz[rows]), gpu.max_clock_hz, clock_hz[rows])
        # A label is corrected by the clock that was reached; a prediction knows the set one only.
        before_w[rows] = IDLE_BEFORE * _idle_w(gpu, _reached_hz(table, gpu, rows))
        expected_w[rows] = IDLE_BEFORE * _idle_w(gpu, clock_hz[rows])
        programs = {}
        for row in rows:
            progress(table.dataset, done, n)
            done += 1
            try:
                programs[row] = program_of(gpu, runs[row], float(clock_hz[row]))
            except (EnergaizerError, ValidationError) as error:
                answers.failed[row] = one_line(error)
        if programs:
            usable = np.array(list(programs), dtype=np.intp)
            cases = prediction.Cases(
                gpu, coefficients, clock_hz[usable], answers.limit_w[usable],
                _inputs([runs[row] for row in usable], clock_hz[usable]),
            )  # fmt: skip
            said = prediction.programs(cases, list(programs.values()), names.eager_host(gpu))
            answers.put(usable, said)
    if labels == "raw":
        answers.duration_s, answers.energy_j = recorded_run(
            answers.duration_s, answers.energy_j, startup_of(table), expected_w
        )
        answers.power_w = answers.energy_j / answers.duration_s
    return Scores(
        dataset=table.dataset, kind=table.kind.name,
        columns=_columns(table, answers, measured_labels(table, labels, before_w)),
        groups=_groups(table, answers, clock_hz),
        slices=(
            ("gpu",), ("gpu", "model"), ("gpu", "precision"), ("gpu", "regime"), ("clock_mhz",),
            ("provenance",),
        ),
        means="model", failed=answers.failed, provenance=answers.provenance,
        limit_w=answers.limit_w, roofline_s=answers.roofline_s, constants_by="gpu_clock",
        per_time={"energy": np.ones(n)}, boards=answers.boards, notes=table.notes,
    )  # fmt: skip


def _columns(
    table: Table, answers: prediction.Answers, measured: dict[str, FloatArray]
) -> list[Column]:
    short = table.floats("run_s", np.inf) < SHORTEST_RUN_S
    excluded = first_reason(len(table), {f"run shorter than {SHORTEST_RUN_S:g} s": short})
    predicted = {"time": answers.duration_s, "power": answers.power_w, "energy": answers.energy_j}
    return [
        answers.column(name, measured[name], predicted[name], excluded) for name in predicted
    ]  # fmt: skip


def _groups(
    table: Table, answers: prediction.Answers, clock_hz: FloatArray
) -> dict[str, TextArray]:
    known = (
        "gpu", "model", "size", "precision", "batch", "seq", "mode", "attention", "sm_mhz_set",
        "host_noise_flag", "power_capped",
    )  # fmt: skip
    found = {name: texts(table.texts(name)) for name in known if table.has(name)}
    found["clock_mhz"] = texts([f"{hz / _MHZ:.0f}" for hz in clock_hz])
    found["gpu_clock"] = both(found["gpu"], found["clock_mhz"])
    return found | {"regime": answers.regime, "provenance": answers.provenance}


def _inputs(runs: Sequence[Run], clock_hz: FloatArray) -> dict[str, FloatArray]:
    """Return the inputs that a fitted range may name."""
    tokens = np.array([float(max(1, run.tokens)) for run in runs])
    batch = np.array([float(run.batch) for run in runs])
    return {
        "clock_hz": clock_hz, "batch": batch, "input_tokens": tokens, "context_tokens": tokens,
    }  # fmt: skip


def runs_of(table: Table) -> list[Run]:
    """Return what each row of a table says was run."""
    columns = zip(
        table.texts("model"), table.texts("size"), table.texts("precision", "bf16"),
        table.floats("batch", 0.0).tolist(), table.floats("seq", 0.0).tolist(),
        table.texts("mode"), table.texts("attention"), strict=True,
    )  # fmt: skip
    return [
        Run(names.text(model), names.text(size), precision.strip().casefold(), int(count),
            int(seq), mode.strip().casefold(), attention.strip().casefold())
        for model, size, precision, count, seq, mode, attention in columns
    ]  # fmt: skip


def _by_board(table: Table, failed: TextArray) -> dict[str, list[int]]:
    """Return the rows of each board; rows of an unknown one fail."""
    found: dict[str, list[int]] = {}
    unknown: dict[str, str] = {}
    for row, name in enumerate(table.texts("gpu")):
        if name not in found and name not in unknown:
            try:
                names.board(name)
                found[name] = []
            except EnergaizerError as error:
                unknown[name] = one_line(error)
        if name in unknown:
            failed[row] = unknown[name]
        else:
            found[name].append(row)
    return found


def program_of(gpu: Gpu, run: Run, clock_hz: float) -> Program:
    """Return the kernels of a row's forward pass.

    Raises:
        EnergaizerError: There is no method for it, no such model, or the board cannot run it so.
    """
    if not gpu.min_clock_hz <= clock_hz <= gpu.max_clock_hz:
        raise InputError(
            f"{gpu.name} runs at {gpu.min_clock_hz / _MHZ:.0f} to "
            f"{gpu.max_clock_hz / _MHZ:.0f} MHz, not at {clock_hz / _MHZ:.0f}"
        )
    program = _lowered(run)
    used = program.column("rate")[program.column("flops") > 0]
    missing = prediction.missing_rates(gpu, used)
    if missing:
        raise NoEstimateError(f"{', '.join(missing)} on {gpu.name}: no rate")
    return program


@lru_cache(maxsize=4096)
def _lowered(run: Run) -> Program:
    if run.mode not in _MODES:
        raise NoEstimateError(f"mode {run.mode}: known are prefill, forward and decode")
    if run.attention not in _EAGER | _FUSED:
        raise NoEstimateError(f"attention {run.attention}: no method; known are eager and fused")
    if run.batch < 1:
        raise InputError(f"batch is {run.batch}; a run needs at least one sequence or image")
    try:
        precision = Precision(_PRECISIONS.get(run.precision, run.precision))
    except ValueError:
        raise InputError(f"precision {run.precision}: unknown format") from None
    # The tables time the bare model, whose output is hidden states.
    described = names.model(run.model, run.size).bare()
    tokens: int | None = run.tokens
    if isinstance(described, Network):
        tokens = run.tokens or described.default_tokens if described.takes_tokens else 1
    if not tokens or tokens < 1:
        raise InputError(f"{run.model}: seq is {run.tokens}; a language model needs tokens")
    workload = Workload(
        model=described, batch=run.batch, input_tokens=tokens, precision=precision,
        attention="fused" if run.attention in _FUSED else "eager",
    )  # fmt: skip
    if run.mode == _DECODE:  # one step that sees `seq` tokens
        return serving.decode_step(workload, serving.Mix(run.batch, tokens, 0.0, 0.0))
    return lowering.lower(workload)


def _reached_hz(table: Table, gpu: Gpu, rows: Sequence[int]) -> FloatArray:
    """Return the clock that was reached, for the correction of labels only."""
    set_mhz = table.floats("sm_mhz_set", gpu.max_clock_hz / _MHZ)
    reached = table.floats("sm_mhz")
    found: FloatArray = _MHZ * np.where(np.isnan(reached), set_mhz, reached)[rows]
    return found


def _idle_w(gpu: Gpu, clock_hz: FloatArray) -> FloatArray:
    return power.idle_power(machine.of(gpu, catalog.coefficients(gpu)), clock_hz)


def startup_of(table: Table) -> FloatArray:
    """Return the seconds near idle that each recorded run begins with, shape (n,) (5.2).

    A column `startup_s` says so. Without it: what is known of boards under the names that published
    tables give them; none of a board under any other name.
    """
    boards = table.texts("gpu")
    known = {name: names.startup_s(name) for name in set(boards)}
    usual = np.array([known[name] for name in boards])
    told = table.floats("startup_s")
    if usual.any():
        table.expect("startup_s", instead="runs begin near idle as in published tables; 0: none")
    return np.where(np.isnan(told), usual, told)


def measured_labels(table: Table, labels: Labels, before_w: FloatArray) -> dict[str, FloatArray]:
    """Return labels in SI, raw or without the start-up bias of the recording (5.2)."""
    time_s, energy_j = table.floats("time_ms") * _MS, table.floats("energy_j")
    power_w = table.floats("power_w")
    energy_j = np.where(np.isnan(energy_j), power_w * time_s, energy_j)
    if labels == "raw":
        power_w = np.where(
            np.isnan(power_w), energy_j / np.where(time_s > 0, time_s, np.nan), power_w
        )
        return {"time": time_s, "power": power_w, "energy": energy_j}
    time_s = np.where(time_s > 0, time_s, np.nan)
    startup_s = startup_of(table)
    iterations = table.floats("iters")
    uncounted = np.isnan(iterations) & (startup_s > 0)
    if uncounted.any():
        table.notes.append(f"rows without iters are corrected as runs of {RUN_S:g} s")
    iterations = np.where(np.isnan(iterations), np.ceil(RUN_S / time_s), iterations)
    corrected_s = startup_time(time_s, startup_s, iterations)
    corrected_j = startup_energy(energy_j, before_w, startup_s, iterations)
    return {"time": corrected_s, "power": corrected_j / corrected_s, "energy": corrected_j}
