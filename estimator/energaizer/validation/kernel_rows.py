"""Single kernels: rows of operation and shape, with latency and, on some boards, recorded power."""

from collections.abc import Iterator, Sequence

import numpy as np

from energaizer import catalog, machine, power
from energaizer.calibration.dataset import SHORTEST_LATENCY_US, window_share
from energaizer.calibration.kernel_shapes import METHODS, SIZES, Shape
from energaizer.calibration.libraries import Libraries
from energaizer.coefficients import Coefficients
from energaizer.errors import EnergaizerError, one_line
from energaizer.gpu import Gpu
from energaizer.kernels import Kernel
from energaizer.validation import names, prediction
from energaizer.validation.reading import Table
from energaizer.validation.scores import (
    BoolArray,
    Column,
    FloatArray,
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

_CHUNK = 4096
_US = 1e-6
_TIERS = {"A", "A+"}
_AT_LIMIT = 0.98  # share of the limit from which a power tells the limit
_BLIND = "no recorded power"
_KEY = ("gpu", "framework", "version", "op", "dtype", "attn_dtype", "kv_dtype", "kernel_source")


def score(table: Table, labels: Labels, progress: Progress) -> Scores:
    """Return the shipped model's predictions beside the table's measurements.

    Raw and corrected labels are the same here: recorded power is predicted through the window law
    of its sensor, and its label stays as it is.
    """
    del labels
    n = len(table)
    table.expect("dtype", instead="bf16 assumed")
    table.expect("phys_flag", instead="no row is dropped for breaking the speed of light")
    answers = prediction.Answers(n)
    built = _built(table, answers.failed)
    idle_w, warm = nowhere(n), np.full(n, names.Names.shipped().warm_share)
    done = 0
    for name, rows in _by_board(table, answers.failed, built).items():
        gpu = names.board(name).gpu
        common = catalog.coefficients(gpu)
        answers.boards[name] = (gpu, common)
        answers.limit_w[rows] = table.floats("power_limit_w", gpu.power_limit_w)[rows]
        for coefficients, own in _by_library(table, rows, gpu, common):
            board, boost = machine.of(gpu, coefficients), np.array([gpu.max_clock_hz])
            idle_w[own] = power.idle_power(board, boost)[0]
            if coefficients.power.warm_share is not None:
                warm[own] = coefficients.power.warm_share
            for start in range(0, len(own), _CHUNK):
                part = own[start : start + _CHUNK]
                clock_hz = np.full(len(part), gpu.max_clock_hz)
                cases = prediction.Cases(gpu, coefficients, clock_hz, answers.limit_w[part], {})
                answers.put(part, prediction.kernels(cases, [built[row] for row in part]))
                done += len(part)
                progress(table.dataset, done, len(built))
    # What ran before was warm by some share of the kernel's own power above idle.
    share = _kernel_share(table)
    recorded_w = idle_w + (answers.power_w - idle_w) * (share + (1.0 - share) * warm)
    groups = _groups(table, answers)
    return Scores(
        dataset=table.dataset, kind=table.kind.name, columns=_columns(table, answers, recorded_w),
        groups=groups, means="op",
        slices=(("gpu",), ("op",), ("gpu", "op", "dtype"), ("power_tier",), ("at_limit",)),
        failed=answers.failed, provenance=answers.provenance, limit_w=answers.limit_w,
        roofline_s=answers.roofline_s, finer_by="gpu_op", per_time={"energy": np.ones(n)},
        boards=answers.boards, notes=table.notes,
    )  # fmt: skip


def _columns(table: Table, answers: prediction.Answers, recorded_w: FloatArray) -> list[Column]:
    latency_s, measured_w = table.floats("latency_us") * _US, table.floats("power_w")
    flawed, blind = _flawed(table), _blind(table, measured_w)
    sighted = np.where(flawed == "", blind, flawed)
    found = [answers.column("time", latency_s, answers.duration_s, flawed)]
    if table.has("power_w"):
        found.append(answers.column("power", measured_w, recorded_w, sighted))
        energy_j = recorded_w * answers.duration_s
        found.append(answers.column("energy", measured_w * latency_s, energy_j, sighted))
    return found


def _groups(table: Table, answers: prediction.Answers) -> dict[str, TextArray]:
    known = (
        "gpu", "framework", "version", "op", "sub_op", "dtype", "attn_dtype", "kv_dtype",
        "kernel_source", "power_tier", "heads", "kv_heads", "head_dim", "window",
    )  # fmt: skip
    found = {name: texts(table.texts(name)) for name in known if table.has(name)}
    found["gpu_op"] = both(found["gpu"], found["op"])
    at_limit = table.floats("power_w") >= _AT_LIMIT * answers.limit_w
    found["at_limit"] = texts(np.where(at_limit, "at the limit", "below").tolist())
    return found | {"regime": answers.regime, "provenance": answers.provenance}


def _built(table: Table, failed: TextArray) -> dict[int, Kernel]:
    """Return the kernels by row; rows without a method fail."""
    sizes = np.stack([table.floats(name, 0.0) for name in SIZES], axis=1)
    built: dict[int, Kernel] = {}
    told = zip(
        table.texts("op"), table.texts("dtype"), table.texts("kv_dtype"), sizes.tolist(),
        strict=True,
    )  # fmt: skip
    for row, (op, dtype, kv_dtype, values) in enumerate(told):
        if op not in METHODS:
            failed[row] = f"op {op}: no method for single kernels of it yet"
            continue
        method, needed = METHODS[op]
        shape = Shape(*values)
        absent = [name for name in needed if not getattr(shape, name) > 0]
        if absent:
            failed[row] = f"op {op}: no value of {', '.join(absent)}"
            continue
        try:
            built[row] = method(shape, dtype, kv_dtype)
        except EnergaizerError as error:
            failed[row] = one_line(error)
    return built


def _by_board(table: Table, failed: TextArray, built: dict[int, Kernel]) -> dict[str, IntArray]:
    """Return the rows of each board that have a kernel and a rate; the others fail."""
    where = texts(table.texts("gpu"))
    has = np.array(sorted(built), dtype=np.intp)
    found: dict[str, IntArray] = {}
    for name in dict.fromkeys(where):
        rows = has[where[has] == name]
        try:
            gpu = names.board(name).gpu
        except EnergaizerError as error:
            failed[where == name] = one_line(error)
            continue
        rates = np.array([built[row].rate if built[row].flops else np.nan for row in rows])
        for rate in np.unique(rates[~np.isnan(rates)]):
            missing = prediction.missing_rates(gpu, np.array([rate]))
            if missing:
                failed[rows[rates == rate]] = f"{missing[0]} on {gpu.name}: no rate"
        rows = rows[failed[rows] == ""]
        if len(rows):
            found[name] = rows
    return found


def _by_library(
    table: Table, rows: IntArray, gpu: Gpu, common: Coefficients
) -> Iterator[tuple[Coefficients, IntArray]]:
    """Yield the rows of each library with its coefficients; the common ones where none is known."""
    known = Libraries.shipped(gpu.name)
    if known is None:
        yield common, rows
        return
    columns = zip(
        table.texts("framework"), table.texts("op"), table.texts("dtype", "bfloat16"),
        table.texts("kv_dtype"), table.floats("head_dim", 0.0).tolist(), strict=True,
    )  # fmt: skip
    told = list(columns)
    key = texts([known.find(told[row]) for row in rows])
    for name in dict.fromkeys(key):
        yield known.kernels[name].of(common) if name else common, rows[key == name]
    table.notes.append(
        f"{np.count_nonzero(key != '')} rows of {gpu.name} by the fit of their own library's "
        f"kernels ({known.fitted_on.dataset}), {np.count_nonzero(key == '')} by the common one"
    )


def _kernel_share(table: Table) -> FloatArray:
    """Return the share of each recorded power that is the kernel's own (5.3)."""
    found = table.floats("obs_weight_g")
    if not table.has("obs_weight_g"):
        readings = table.floats("n_samples_est")
        if table.has("n_samples_est"):
            table.notes.append("no column obs_weight_g: taken from n_samples_est")
            return np.where(readings >= 1, window_share(np.maximum(readings, 1.0)), np.nan)
        if table.has("power_w"):
            table.notes.append("no column obs_weight_g: power is taken as the kernel's own")
        return np.ones(len(table))
    return found


def _blind(table: Table, measured_w: FloatArray) -> TextArray:
    """Return why a power is not scored: tiers whose readings saw too little of the kernel."""
    tiers = texts(table.texts("power_tier"))
    found = first_reason(len(table), {_BLIND: np.isnan(measured_w)})
    if not table.has("power_tier"):
        if table.has("power_w"):
            table.notes.append("no column power_tier: every recorded power is scored")
        return found
    for tier in sorted(set(tiers) - _TIERS):
        told = f"power tier {tier}" if tier else _BLIND
        found[(found == "") & (tiers == tier)] = f"{told}: too few readings of the kernel itself"
    return found


def _flawed(table: Table) -> TextArray:
    """Return why a row is not scored by the cleaning rules of the data, "" where it is."""
    flags = texts(table.texts("phys_flag"))
    rules: dict[str, BoolArray] = {
        f"phys_flag {flag}": flags == flag for flag in sorted(set(flags)) if flag
    }
    short = table.floats("latency_us") < SHORTEST_LATENCY_US
    rules[f"latency below {SHORTEST_LATENCY_US:g} us"] = short
    rules["repeats the key of an earlier row"] = _repeated(table)
    return first_reason(len(table), rules)


def _repeated(table: Table) -> BoolArray:
    """Return rows whose operation and shape an earlier row has already measured."""
    present = [name for name in (*_KEY, *SIZES) if table.has(name)]
    found: BoolArray = table.frame.duplicated(present).to_numpy(np.bool_)
    known: Sequence[str] = table.texts("op")
    # Other operations have sizes that are no part of this key, and are not scored.
    return found & np.array([op in METHODS for op in known], dtype=np.bool_)
