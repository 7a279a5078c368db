"""Serving rows as a further fit: cost of an engine's steps, and sustained watts of two boards.

Kernel tables tell energies through a one-second window; boards' energy counters over long steady
runs tell sustained power. The latter move a few scales, with a ridge to what the kernels told.
"""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from energaizer import catalog, serving
from energaizer.batch import Batch
from energaizer.calibration import dataset, serving_watts
from energaizer.calibration.fit import Parameter
from energaizer.coefficients import Coefficients, FamilyCoefficients
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.result import Provenance
from energaizer.serving import Mix, Step
from energaizer.workload import Workload

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
TextArray = npt.NDArray[np.str_]
TABLE = Path("serving/measurements.csv.gz")
BOARDS = {"H100": "h100-sxm5-80gb", "B200": "b200-sxm-180gb"}
"""GPU profile of each board of the serving table."""
KINDS = {"Dense Transformer": "dense", "MoE": "MoE", "Mamba-Transformer Hybrid": "hybrid"}
"""Short names of the table's architectures."""
_TASKS = ("gpqa", "lm-arena-chat")
_SEEN: dict[str, dict[str, Any]] = {
    "image-chat": {"images": 1, "image_size": 768},
    "video-chat": {"frames": 32, "image_size": 320},
}
"""What a prompt of a task holds beside text: effective, the table tells neither count nor size."""
_NOISE = 0.1  # log error from which residuals count linearly
_MOST_EVALUATIONS = 12
HOST = (
    Parameter("decode.gap_step_s", 1.0e-3, 0.7),
    Parameter("decode.gap_sequence_s", 1.0e-5, 0.7),
    Parameter("decode.gap_layer_s", 5.0e-6, 1.0),
    Parameter("prefill.gap_layer_s", 1.0e-4, 1.0),
    Parameter("link.hop_s", 2.0e-6, 0.7),
    # small tiles of a generated kernel, far below the peak; weights and states are streams
    Parameter("families.grouped-gemm.compute_efficiency", 0.2, 0.5),
    Parameter("families.grouped-gemm.memory_efficiency", 0.9, 0.2),
    Parameter("families.grouped-gemm.fixed_s", 1.0e-5, 1.0),
    Parameter("families.state-space.memory_efficiency", 0.9, 0.2),
    Parameter("families.sort.block_cycles", 5.0e4, 0.7),
)
"""What an engine adds to kernels, and kernels that only it shows, for all models and boards."""
OWN_FAMILIES = ("grouped-gemm", "state-space")
"""Kernels that only serving rows show, of a board."""
ENGINE_FAMILIES = ("sort",)
"""Kernels that belong to the engine, whatever the board."""


@dataclass(frozen=True)
class Rows:
    """Rows of one board; arrays of shape (n,).

    Attributes:
        gpu: The board.
        decode: One decode step of each row.
        prompt: One pass over `together` prompts of each row.
        together: Prompts of a pass.
        layers: Layers of the model.
        prompts: Prompts a step in the mean.
        batch: Running sequences.
        boards: GPUs of the deployment.
        step_s: Measured mean step.
        gap_s: Measured median gap between tokens.
        power_w: Measured power of one board.
        group: Models of equal layer shapes.
        kind: Dense, MoE or hybrid.
        index: Row of the table.
        weight: 1/sqrt(rows of the shape group on this board).
    """

    gpu: Gpu
    decode: Batch
    prompt: Batch
    together: FloatArray
    layers: FloatArray
    prompts: FloatArray
    batch: FloatArray
    boards: FloatArray
    step_s: FloatArray
    gap_s: FloatArray
    power_w: FloatArray
    group: TextArray
    kind: TextArray
    index: npt.NDArray[np.intp]
    weight: FloatArray


@dataclass(frozen=True)
class Said:
    """Predictions: mean step, median gap, power of one board, J of all boards per token."""

    step_s: FloatArray
    gap_s: FloatArray
    power_w: FloatArray
    token_j: FloatArray


def table(data: Path, *, seen: bool = False) -> pd.DataFrame:
    """Return rows that may be scored: no host-bound ones, no code completion.

    Args:
        data: Folder of the tables.
        seen: Rows of images and videos instead of text; they are never fitted.
    """
    frame = pd.read_csv(data / TABLE, low_memory=False)
    kept = frame["task"].isin(list(_SEEN) if seen else _TASKS)
    flags = {"", "mllm_host"} if seen else {""}
    clean = frame["flag"].fillna("").isin(flags) & ~frame["suspect_host_bound"].eq(True)
    return frame[kept & clean].reset_index(drop=True)


def rows(frame: pd.DataFrame, prompt_tokens: Mapping[str, float]) -> dict[str, Rows]:
    """Return the rows of each board as batches.

    Args:
        frame: The table.
        prompt_tokens: Tokens of a prompt by task, which the table does not tell.
    """
    found = {}
    for name, profile in BOARDS.items():
        own = frame[frame["gpu_model"] == name]
        gpu = catalog.gpu(profile)
        decode, prompt, together, mixes = [], [], [], []
        for row in own.to_dict("records"):
            work = _workload(row)
            mix = _mix(row, prompt_tokens[str(row["task"])])
            pass_, count = serving.prompt_step(work, mix)
            decode.append(serving.decode_step(work, mix))
            prompt.append(pass_)
            together.append(float(count))
            mixes.append(mix)
        clock = np.full(len(own), gpu.max_clock_hz)
        limit = np.full(len(own), gpu.power_limit_w)
        group = own["shape_group"].to_numpy(dtype=np.str_)
        size = own.groupby("shape_group")["model"].transform("size").to_numpy(np.float64)

        def column(key: str, own: pd.DataFrame = own) -> FloatArray:
            return own[key].to_numpy(np.float64)

        batch = column("avg_batch_size")
        found[profile] = Rows(
            gpu=gpu, decode=Batch(gpu, decode, clock, limit),
            prompt=Batch(gpu, prompt, clock, limit), together=np.array(together),
            layers=np.array([float(program.layers[0]) for program in decode]),
            prompts=np.array([mix.prompts_per_step for mix in mixes]), batch=batch,
            boards=column("num_gpus"), step_s=batch / column("output_tokens_per_s"),
            gap_s=1e-3 * column("median_itl_ms"), power_w=column("avg_power_per_gpu_w"),
            group=group, kind=own["architecture"].map(KINDS).to_numpy(dtype=np.str_),
            index=own.index.to_numpy(np.intp), weight=1.0 / np.sqrt(size),
        )  # fmt: skip
    return found


def _workload(row: Mapping[Hashable, object]) -> Workload:
    stored = Precision({"bfloat16": "bf16"}.get(str(row["weight_precision"]),
                                                str(row["weight_precision"])))  # fmt: skip
    split = Parallelism(
        tensor=int(float(str(row["attn_tp"]))), expert=int(float(str(row["expert_ep"])))
    )
    return Workload(
        model=catalog.model(str(row["model"])), input_tokens=1, output_tokens=1,
        precision=Precision.FP8 if stored == Precision.FP8 else Precision.BF16,
        weight_precision=stored, cache_precision=Precision.BF16, parallelism=split,
        host="serving", **_SEEN.get(str(row["task"]), {}),
    )  # fmt: skip


def _mix(row: Mapping[Hashable, object], prompt: float) -> Mix:
    def number(name: str) -> float:
        return float(str(row[name]))

    counts = np.asarray(json.loads(str(row["output_len_hist"])), dtype=np.float64)
    lengths = serving.lengths_of(counts, number("output_len_bin0"), number("output_len_bin1"))
    lengths = np.maximum(1.0, lengths * (number("avg_output_len") / lengths.mean()))
    run = serving.closed_run(lengths, int(number("max_num_seqs")))
    return Mix(number("avg_batch_size"), prompt, run.position, run.prompts_per_step)


def predict(own: Rows, coefficients: Coefficients, host: Host) -> Said:
    """Return what an estimate says of all rows of a board."""
    decode = own.decode.predict(coefficients, host)
    prompt = own.prompt.predict(coefficients, serving.without_gaps(host))
    alone = Step(decode.duration_s, decode.energy_j)
    each = Step(prompt.duration_s / own.together, prompt.energy_j / own.together)
    wait = serving.mixed_wait(host, own.layers, coefficients, own.gpu)
    mean = serving.mean_step(alone, each, own.prompts, wait)
    return Said(
        mean.duration_s,
        serving.median_gap(alone, mean, own.prompts),
        mean.energy_j / mean.duration_s,
        own.boards * mean.energy_j / own.batch,
    )


def with_host(
    coefficients: Coefficients, host: Host, values: FloatArray
) -> tuple[Coefficients, Host]:
    """Return coefficients and host with the parameters of `HOST` set."""
    sides: dict[str, dict[str, float]] = {"decode": {}, "prefill": {}}
    inner = {}
    for parameter, value in zip(HOST, values, strict=True):
        side, name = parameter.path.split(".", 1)
        if side in sides:
            sides[side][name] = float(value)
        else:
            inner[parameter.path] = float(value)
    changed = {side: getattr(host, side).model_copy(update=new) for side, new in sides.items()}
    return coefficients.with_values(inner), host.model_copy(update=changed)


def prepared(start: Mapping[str, Coefficients]) -> dict[str, Coefficients]:
    """Return coefficients in which the kernels that only an engine shows have their families."""
    own = FamilyCoefficients(provenance=Provenance.CALIBRATED)
    return {
        name: known.model_copy(
            update={
                "families": {
                    **known.families,
                    **dict.fromkeys((*OWN_FAMILIES, *ENGINE_FAMILIES), own),
                }
            }
        )
        for name, known in start.items()
    }


def soft(log_error: FloatArray) -> FloatArray:
    """Return residuals of a robust fit: linear from a tenth on."""
    z = log_error / _NOISE
    found: FloatArray = np.sign(z) * np.sqrt(2.0 * (np.sqrt(1.0 + z * z) - 1.0))
    return found


def _solve(
    residuals: Callable[[FloatArray], FloatArray], mean: FloatArray, sd: FloatArray
) -> FloatArray:
    def whole(theta: FloatArray) -> FloatArray:
        return np.concatenate([residuals(np.exp(theta)), (theta - mean) / sd])

    found = least_squares(
        whole, mean, diff_step=np.full(len(mean), 1e-2), x_scale=sd, max_nfev=_MOST_EVALUATIONS
    )  # fmt: skip
    return np.asarray(np.exp(found.x))


@dataclass(frozen=True)
class Fitted:
    """Host and coefficients by board; `steps` and `watts` are the fitted numbers."""

    coefficients: Mapping[str, Coefficients]
    host: Host
    steps: FloatArray
    watts: Mapping[str, FloatArray]


def fit(
    measured: Mapping[str, Rows],
    start: Mapping[str, Coefficients],
    host: Host,
    kept: Mapping[str, BoolArray],
) -> Fitted:
    """Return the fit on the rows kept: steps of both boards together, then watts of each.

    Args:
        measured: Rows by board.
        start: Coefficients by board, as fitted on kernels.
        host: What an engine costs without a fit.
        kept: Rows of each board that may be seen.
    """

    def steps(values: FloatArray) -> FloatArray:
        parts = []
        for name, own in measured.items():
            said = predict(own, *with_host(start[name], host, values))
            rows_, root = kept[name], np.sqrt(0.5 * own.weight[kept[name]])
            parts.append(root * soft(np.log(said.step_s / own.step_s)[rows_]))
            parts.append(root * soft(np.log(said.gap_s / own.gap_s)[rows_]))
        return np.concatenate(parts)

    start = prepared(start)
    mean = np.log([parameter.mean for parameter in HOST])
    found = _solve(steps, mean, np.array([parameter.log_sd for parameter in HOST]))
    known, engine, watts = {}, host, {}
    for name, own in measured.items():
        timed, engine = with_host(start[name], host, found)
        watts[name] = _watts(
            own, timed, engine, kept[name], (serving_watts.with_engine, serving_watts.ENGINE_SD)
        )
        known[name] = serving_watts.with_engine(timed, watts[name])
    return Fitted(known, engine, found, watts)


def _watts(
    own: Rows, timed: Coefficients, engine: Host, kept: BoolArray,
    scales: tuple[Callable[[Coefficients, FloatArray], Coefficients], FloatArray],
) -> FloatArray:  # fmt: skip
    """Return the scales of power that explain the rows kept, and how far each may move."""
    change, sd = scales

    def power(values: FloatArray) -> FloatArray:
        said = predict(own, change(timed, values), engine)
        return np.sqrt(own.weight[kept]) * soft(np.log(said.power_w / own.power_w)[kept])

    return _solve(power, np.zeros(serving_watts.WATTS), sd)


def sustained(
    measured: Mapping[str, Rows], start: Mapping[str, Coefficients], host: Host, fitted: Fitted
) -> dict[str, Coefficients]:
    """Return boards whose energies long runs moved, as far as their single kernels let them.

    Args:
        measured: Rows by board.
        start: Coefficients by board, as fitted on kernels.
        host: What an engine costs without a fit.
        fitted: The fit of those rows.
    """
    found = {}
    for name, begin in prepared(start).items():
        own = measured[name]
        timed, engine = with_host(begin, host, fitted.steps)
        every = np.ones(len(own.step_s), dtype=np.bool_)
        found[name] = serving_watts.with_watts(
            timed,
            _watts(own, timed, engine, every, (serving_watts.with_watts, serving_watts.BOARD_SD)),
        )
    return found


def groups(measured: Mapping[str, Rows]) -> Sequence[str]:
    """Return the shape groups of all boards."""
    return sorted({str(name) for own in measured.values() for name in own.group})


def leave_out(
    measured: Mapping[str, Rows], start: Mapping[str, Coefficients], host: Host,
    beside: Mapping[str, Rows] | None = None,
) -> tuple[dict[str, Said], dict[str, Said]]:  # fmt: skip
    """Return predictions of each shape group by fits that saw none of its rows, by board.

    Args:
        measured: Rows by board, which are fitted where they are not left out.
        start: Coefficients by board, as fitted on kernels.
        host: What an engine costs without a fit.
        beside: Rows that no fit sees, predicted by the fit without their group.
    """
    others = beside or {}
    found = {name: np.full((4, len(own.step_s)), np.nan) for name, own in measured.items()}
    seen = {name: np.full((4, len(own.step_s)), np.nan) for name, own in others.items()}
    for group in groups(measured):
        fitted = fit(
            measured, start, host, {name: own.group != group for name, own in measured.items()}
        )
        for rows_, into in ((measured, found), (others, seen)):
            for name, own in rows_.items():
                out = own.group == group
                said = predict(own, fitted.coefficients[name], fitted.host)
                into[name][:, out] = np.stack(
                    [said.step_s, said.gap_s, said.power_w, said.token_j]
                )[:, out]  # fmt: skip
    told = ({name: Said(*values) for name, values in each.items()} for each in (found, seen))
    first, second = told
    return first, second


def stamp(data: Path) -> str:
    """Return the name of the table with its digest."""
    return f"{TABLE} sha256:{dataset.digest(data / TABLE)}"
