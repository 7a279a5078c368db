"""Diffusion rows as a fit of a framework's kernels and of its host, whole models left out.

The GPUs' own coefficients stay as kernels and serving told them. What PyTorch with diffusers and
xDiT runs differs from a serving engine: shares of the peak by kernel family and architecture, the
cost of launches, and the time in which a host takes images over. Time and power of all rows are
fitted together, each model with equal weight on each board.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import least_squares

from energaizer import catalog, lowering
from energaizer.batch import Batch
from energaizer.calibration import dataset
from energaizer.calibration.fit import Parameter
from energaizer.calibration.residuals import spread
from energaizer.coefficients import Coefficients, Residual
from energaizer.families import Generation
from energaizer.gpu import Gpu, Source
from energaizer.host import Host, Kernels, LaunchCost, Reach, with_kernels
from energaizer.kernels import Program
from energaizer.parallelism import Parallelism
from energaizer.result import Provenance
from energaizer.workload import Workload

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
TextArray = npt.NDArray[np.str_]
TABLE = Path("serving/measurements.csv.gz")
BOARDS = {"H100": "h100-sxm5-80gb", "B200": "b200-sxm-180gb"}
"""GPU profile of each board of the table."""
_NAME = "diffusion"
HOLD_OUT = "whole model left out"
_TIME_SD, _POWER_SD = 0.1, 0.05  # log errors of one standard deviation
_MOST_EVALUATIONS, _MOST_AGAIN = 15, 5
_REACH = (
    Parameter("gemm.compute_efficiency", 0.8, 0.3),
    Parameter("attention-prefill.compute_efficiency", 0.3, 0.5),
    Parameter("convolution.compute_efficiency", 0.4, 0.7),
    Parameter("convolution-3d.compute_efficiency", 0.12, 0.5),
    Parameter("streams.memory_efficiency", 1.0, 0.3),
    Parameter("gemm.energy_factor", 1.0, 0.3),
    Parameter("convolution-3d.energy_factor", 1.0, 0.5),
    Parameter("streams.energy_factor", 1.0, 0.3),
)
"""What a framework's kernels reach, for each architecture; streams are elementwise and copies."""
_STREAMS = ("elementwise", "copy")
_HOST = (
    Parameter("gap_sequence_s", 0.1, 0.7),
    Parameter("launch_s", 6e-6, 0.5),
    Parameter("call_s", 6e-6, 0.5),
    Parameter("step_s", 1e-3, 1.0),
)
"""Costs of the host; a megapixel that it takes over is a `sequence` of its profile."""
_DEFAULT = Kernels(
    architecture="default",
    families=(
        Reach(family="attention-prefill", compute_efficiency=0.55),
        Reach(family="convolution", compute_efficiency=0.5),
        Reach(family="convolution-3d", compute_efficiency=0.1),
        Reach(family="elementwise", memory_efficiency=0.6),
        Reach(family="copy", memory_efficiency=0.6),
    ),
    provenance=Provenance.ANALYTICAL,
)
"""FlashAttention-2 and eager PyTorch on an architecture without rows: priors."""


@dataclass(frozen=True)
class Rows:
    """Rows of one board; arrays of shape (n,).

    Attributes:
        gpu: The board.
        coefficients: Its own coefficients.
        runs: One program a row.
        time_s: Measured seconds of a batch.
        power_w: Measured power of one board.
        model: Model of each row.
        task: text-to-image or text-to-video.
        boards: Boards of each row.
        batch: Images or videos of a batch.
        weight: 1/sqrt(rows of the model on this board), of mean 1.
    """

    gpu: Gpu
    coefficients: Coefficients
    runs: Batch
    time_s: FloatArray
    power_w: FloatArray
    model: TextArray
    task: TextArray
    boards: FloatArray
    batch: FloatArray
    weight: FloatArray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.time_s)


@dataclass(frozen=True)
class Said:
    """Predictions of one board: seconds of a batch and watts of one board, shape (n,)."""

    time_s: FloatArray
    power_w: FloatArray


@dataclass(frozen=True)
class Fitted:
    """The fit of all rows, and predictions of rows whose model it did not see."""

    host: Host
    rows: Mapping[str, Rows]
    held_out: Mapping[str, Said]


def rows(data: Path, profiles: Path | None = None) -> dict[str, Rows]:
    """Return the diffusion rows of the serving table by board.

    Args:
        data: Folder of the tables.
        profiles: Folder of the boards' coefficients; None: as they ship.
    """
    table = pd.read_csv(data / TABLE, low_memory=False)
    table = table[table["batch_latency_s"].notna()]
    found = {}
    for name, profile in BOARDS.items():
        own = table[table["gpu_model"] == name]
        gpu, full = catalog.gpu(profile), np.ones(len(own))
        boards = own["num_gpus"].to_numpy(dtype=np.float64)
        often = own.groupby("model")["model"].transform("size").to_numpy(dtype=np.float64)
        weight = 1.0 / np.sqrt(often)
        found[name] = Rows(
            gpu=gpu, coefficients=catalog.coefficients(gpu, profiles),
            runs=Batch(gpu, [_program(row) for _, row in own.iterrows()],
                       gpu.max_clock_hz * full, gpu.power_limit_w * full),
            time_s=own["batch_latency_s"].to_numpy(dtype=np.float64),
            power_w=own["avg_power_w"].to_numpy(dtype=np.float64) / boards,
            model=own["model"].to_numpy(dtype=np.str_), task=own["task"].to_numpy(dtype=np.str_),
            boards=boards, batch=own["batch_size"].to_numpy(dtype=np.float64),
            weight=weight / weight.mean(),
        )  # fmt: skip
    return found


def _program(row: "pd.Series[float]") -> Program:
    generation = Generation(
        height=int(row["height"]), width=int(row["width"]), frames=int(row["num_frames"]),
        steps=int(row["inference_steps"]),
    )  # fmt: skip
    parallelism = Parallelism(context=int(row["num_gpus"]), ring=int(row["ring_degree"]))
    workload = Workload(
        model=catalog.model(str(row["model"])), input_tokens=1, batch=int(row["batch_size"]),
        generation=generation, parallelism=parallelism,
    )  # fmt: skip
    return lowering.lower(workload)


def fit(data: Path, today: date, profiles: Path | None = None) -> Fitted:
    """Return the fit of the table, with spreads of models left out one at a time.

    Args:
        data: Folder of the tables.
        today: Date of the fit.
        profiles: Folder of the boards' coefficients; None: as they ship.
    """
    measured = rows(data, profiles)
    start = np.log([parameter.mean for parameter in _parameters(measured)])
    every = {name: np.ones(len(own), dtype=np.bool_) for name, own in measured.items()}
    best = _least(measured, every, start, _MOST_EVALUATIONS)
    said = {name: Said(*(np.empty(len(own)) for _ in range(2))) for name, own in measured.items()}
    models = np.unique(np.concatenate([own.model for own in measured.values()]))
    for model in models:
        kept = {name: own.model != model for name, own in measured.items()}
        host = _host(np.exp(_least(measured, kept, best, _MOST_AGAIN)).tolist(), measured)
        for name, own in measured.items():
            out = ~kept[name]
            seen = _predict(own, host)
            said[name].time_s[out], said[name].power_w[out] = seen.time_s[out], seen.power_w[out]
    found = _host([float(f"{value:.4g}") for value in np.exp(best)], measured)
    kernels = (
        *(
            kind.model_copy(update={"residuals": _residuals(measured[name], said[name])})
            for kind, name in zip(found.kernels, measured, strict=False)
        ),
        _DEFAULT,
    )
    citation = f"fit of diffusion rows, {stamp(data)}; default architecture: priors"
    source = Source(citation=citation, date=today.isoformat(), licence="Apache-2.0")
    host = found.model_copy(update={"kernels": kernels, "source": source})
    return Fitted(Host.model_validate(host.model_dump()), measured, said)


def write(data: Path, profiles: Path, today: date) -> Iterator[str]:
    """Fit the table and write the host profile of diffusion, yield what was written."""
    host = fit(data, today, profiles).host
    path = profiles / "hosts" / f"{host.name}.json"
    text = host.model_dump_json(indent=2, exclude_none=True)
    path.write_text(text + "\n", encoding="utf-8")
    yield str(path)


def stamp(data: Path) -> str:
    """Return the name of the table with its digest."""
    return f"{TABLE} sha256:{dataset.digest(data / TABLE)}"


def _parameters(measured: Mapping[str, Rows]) -> tuple[Parameter, ...]:
    return (*(parameter for _ in measured for parameter in _REACH), *_HOST)


def _host(given: Sequence[float], measured: Mapping[str, Rows]) -> Host:
    """Return the profile of a vector of parameters: each board's kernels, then host costs."""
    values = list(given)
    kernels = []
    for own in measured.values():
        reach: dict[str, dict[str, float]] = {}
        for parameter, value in zip(_REACH, values, strict=False):
            family, field = parameter.path.split(".")
            for name in _STREAMS if family == "streams" else (family,):
                reach.setdefault(name, {})[field] = value
        del values[: len(_REACH)]
        kernels.append(
            Kernels(
                architecture=own.gpu.architecture.lower(),
                families=tuple(Reach(family=name, **fields) for name, fields in reach.items()),
                provenance=Provenance.CALIBRATED,
            )
        )
    costs = {parameter.path: value for parameter, value in zip(_HOST, values, strict=True)}
    cost = LaunchCost(**costs)
    return Host(
        name=_NAME, prefill=cost, decode=cost, log_sd=0.4, kernels=tuple(kernels),
        source=Source(citation="fit", date="1970-01-01", licence="Apache-2.0"),
    )  # fmt: skip


def _predict(own: Rows, host: Host) -> Said:
    seen = own.runs.predict(with_kernels(host, own.gpu, own.coefficients), host)
    return Said(seen.duration_s, seen.power_w)


def _least(
    measured: Mapping[str, Rows], kept: Mapping[str, BoolArray], start: FloatArray, most: int
) -> FloatArray:
    """Return the parameters of the least error on the rows that are kept."""
    parameters = _parameters(measured)
    mean = np.log([parameter.mean for parameter in parameters])
    width = np.array([parameter.log_sd for parameter in parameters])

    def cost(theta: FloatArray) -> FloatArray:
        host = _host(np.exp(theta).tolist(), measured)
        parts = [(theta - mean) / width]
        for name, own in measured.items():
            seen, use = _predict(own, host), kept[name]
            for told, said, scale in (
                (own.time_s, seen.time_s, _TIME_SD), (own.power_w, seen.power_w, _POWER_SD),
            ):  # fmt: skip
                parts.append((own.weight * np.log(said / told))[use] / scale)
        return np.concatenate(parts)

    found = least_squares(cost, start, loss="soft_l1", max_nfev=most)
    theta: FloatArray = found.x
    return theta


def _residuals(own: Rows, said: Said) -> tuple[Residual, ...]:
    time, power = np.log(own.time_s / said.time_s), np.log(own.power_w / said.power_w)
    found = []
    for quantity, logs in (("duration", time), ("power", power), ("energy", time + power)):
        wide = spread(logs)
        found.append(
            Residual.model_validate(
                {"quantity": quantity, "family": "any", "log_sd": round(wide.log_sd, 4),
                 "bias": round(wide.bias, 4), "n": wide.n}
            )
        )  # fmt: skip
    return tuple(found)
