"""Single kernels: rows of operation and shape, with latency and, on some boards, recorded power."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from energaizer import catalog, kernels, machine, power
from energaizer.calibration.dataset import SHORTEST_LATENCY_US, window_share
from energaizer.errors import EnergaizerError, NoEstimateError, one_line
from energaizer.kernels import Heads, Kernel
from energaizer.precision import Precision
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
_SHAPE = (
    "m", "n", "k", "batch", "seq_q", "seq_kv", "window", "heads", "kv_heads", "head_dim",
)  # fmt: skip
_KEY = ("gpu", "framework", "version", "op", "dtype", "attn_dtype", "kv_dtype", "kernel_source")
_UNPACK_TILE = 128.0  # rows of a tile that share one unpacked weight


class Format(NamedTuple):
    """Operands of a product: what multiplies, and how weights are stored."""

    math: Precision
    weight: Precision


_FORMATS = {
    "": Format(Precision.BF16, Precision.BF16),
    "bfloat16": Format(Precision.BF16, Precision.BF16),
    "bf16": Format(Precision.BF16, Precision.BF16),
    "float16": Format(Precision.FP16, Precision.FP16),
    "float32": Format(Precision.FP32, Precision.FP32),
    "fp8": Format(Precision.FP8, Precision.FP8),
    "fp8_block": Format(Precision.FP8, Precision.FP8),
    "nvfp4": Format(Precision.NVFP4, Precision.NVFP4),
    "sq": Format(Precision.INT8, Precision.INT8),
    "int8": Format(Precision.INT8, Precision.INT8),
    "int8_wo": Format(Precision.BF16, Precision.INT8),
    "int4_wo": Format(Precision.BF16, Precision.INT4),
    "w4a16_mxfp4": Format(Precision.BF16, Precision.MXFP4),
}
_OPERAND_BYTES = {Precision.FP8: 1.0, Precision.INT8: 1.0}  # per-tensor or per-row scales


class Shape(NamedTuple):
    """Sizes of one row; what does not apply is 0."""

    m: float
    n: float
    k: float
    batch: float
    seq_q: float
    seq_kv: float
    window: float
    heads: float
    kv_heads: float
    head_dim: float


def gemm(shape: Shape, dtype: str, _: str) -> Kernel:
    """Return the product of a row; narrow weights beside wider math are unpacked."""
    found = _format(dtype)
    a = _OPERAND_BYTES.get(found.math, found.math.bytes_per_element)
    b = found.weight.bytes_per_element
    if found.weight in _OPERAND_BYTES and dtype != "fp8_block":
        b = _OPERAND_BYTES[found.weight]
    out = max(2.0, found.math.bytes_per_element)
    product = kernels.gemm(1.0, shape.m, shape.n, shape.k, (a, b, out), found.math.rate_key)
    if found.weight is not found.math:
        passes = max(1.0, shape.m / _UNPACK_TILE)
        product = product._replace(core_flops=2.0 * shape.n * shape.k * passes)
    return product


def attention_context(shape: Shape, dtype: str, kv_dtype: str) -> Kernel:
    """Return causal attention of a prompt, or of a chunk after a prefix."""
    prefix = max(0.0, shape.seq_kv - shape.seq_q)
    window = shape.window or None
    if prefix and window is None:
        pairs = kernels.chunk_pairs(prefix, shape.seq_q)
    elif prefix:
        pairs = shape.seq_q * min(shape.window, shape.seq_kv)
    else:
        pairs = kernels.causal_pairs(shape.seq_q, window)
    return _prefill(shape, dtype, kv_dtype, pairs)


def attention_encoder(shape: Shape, dtype: str, kv_dtype: str) -> Kernel:
    """Return bidirectional attention."""
    return _prefill(shape, dtype, kv_dtype, shape.seq_q * max(shape.seq_q, shape.seq_kv))


def attention_generation(shape: Shape, _: str, kv_dtype: str) -> Kernel:
    """Return attention of one new token per sequence; queries stay in 16 bits."""
    seen = min(shape.seq_kv, shape.window) if shape.window else shape.seq_kv
    return kernels.attention_decode(_heads(shape), seen, 2.0, _cache_bytes(kv_dtype), "bf16")


def scale_search(shape: Shape, _: str, __: str) -> Kernel:
    """Return the pass over a tensor that finds its scale."""
    size = shape.m * shape.k
    return kernels.elementwise(size, 2.0 * size, 4.0, 1.0)


def quantise(shape: Shape, dtype: str, _: str) -> Kernel:
    """Return the pass that writes a tensor in its narrow format."""
    size = shape.m * shape.k
    return kernels.elementwise(size, 2.0 * size, size * _format(dtype).math.bytes_per_element, 2.0)


_METHODS = {
    "gemm": (gemm, ("m", "n", "k")),
    "attn_ctx": (attention_context, ("batch", "seq_q", "heads", "head_dim")),
    "attn_enc": (attention_encoder, ("batch", "seq_q", "heads", "head_dim")),
    "attn_gen": (attention_generation, ("batch", "seq_kv", "heads", "head_dim")),
    "quant_computescale": (scale_search, ("m", "k")),
    "quant_scalematrix": (quantise, ("m", "k")),
}


def _format(dtype: str) -> Format:
    if dtype not in _FORMATS:
        raise NoEstimateError(
            f"dtype {dtype}: no method; known are {', '.join(filter(None, _FORMATS))}"
        )
    return _FORMATS[dtype]


def _cache_bytes(dtype: str) -> float:
    found = _format(dtype).math
    return _OPERAND_BYTES.get(found, found.bytes_per_element)


def _heads(shape: Shape) -> Heads:
    return Heads(shape.batch, shape.heads, shape.kv_heads or shape.heads, shape.head_dim)


def _prefill(shape: Shape, dtype: str, kv_dtype: str, pairs: float) -> Kernel:
    math = _format(dtype).math
    size = _OPERAND_BYTES.get(math, math.bytes_per_element)
    cache = _cache_bytes(kv_dtype or dtype)
    return kernels.attention_prefill(_heads(shape), shape.seq_q, pairs, size, cache, math.rate_key)


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
        coefficients = catalog.coefficients(gpu)
        answers.boards[name] = (gpu, coefficients)
        answers.limit_w[rows] = table.floats("power_limit_w", gpu.power_limit_w)[rows]
        board, boost = machine.of(gpu, coefficients), np.array([gpu.max_clock_hz])
        idle_w[rows] = power.idle_power(board, boost)[0]
        if coefficients.power.warm_share is not None:
            warm[rows] = coefficients.power.warm_share
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
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
    sizes = np.stack([table.floats(name, 0.0) for name in _SHAPE], axis=1)
    built: dict[int, Kernel] = {}
    told = zip(
        table.texts("op"), table.texts("dtype"), table.texts("kv_dtype"), sizes.tolist(),
        strict=True,
    )  # fmt: skip
    for row, (op, dtype, kv_dtype, values) in enumerate(told):
        if op not in _METHODS:
            failed[row] = f"op {op}: no method for single kernels of it yet"
            continue
        method, needed = _METHODS[op]
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
    present = [name for name in (*_KEY, *_SHAPE) if table.has(name)]
    found: BoolArray = table.frame.duplicated(present).to_numpy(np.bool_)
    known: Sequence[str] = table.texts("op")
    # Other operations have sizes that are no part of this key, and are not scored.
    return found & np.array([op in _METHODS for op in known], dtype=np.bool_)
