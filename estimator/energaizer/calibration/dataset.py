"""Measured tables, checked and cleaned, as typed frames; and the laws of their sensors.

The tables are read from a folder that the caller names and are never copied into a profile: only
fitted numbers, their residuals and a digest of the table leave this package. A table that breaks
its own identities is refused, for a fit on it would be wrong in silence.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from energaizer.errors import InputError

FloatArray = npt.NDArray[np.float64]
_Number = TypeVar("_Number", float, FloatArray)

SINGLE_GPU = Path("single_gpu/measurements.csv")
IDLE = Path("single_gpu/idle_power.csv")
VOLTAGE = Path("single_gpu/supply_voltage.csv")
KERNELS = Path("kernels/measurements.parquet")
_ROWS = {SINGLE_GPU: 331, IDLE: 272, VOLTAGE: 162, KERNELS: 238_862}

SHORTEST_RUN_S = 5.0
SHORTEST_LATENCY_US = 1.0
NOISY_WEIGHT = 0.25
_UNSETTLED_MHZ = 345  # the first H100 reading was taken before the board settled
_IDENTITY_TOLERANCE = 1e-6
_LIMIT_TOLERANCE = 1.03
RUN_S = 30.0
"""What a recorded run aims at."""
IDLE_BEFORE = 1.25
"""Power before a recorded run starts, over idle at its clock (method, 5.2)."""
_FIRST_SAMPLES = 11  # readings whose one-second window reaches back before the kernel

BOARDS = {
    "a100": "a100-pcie-40gb",
    "a100_dvfs": "a100-pcie-40gb",
    "a10": "a10-24gb",
    "h100": "h100-sxm5-80gb",
}
"""GPU profile of each board of the single-GPU table."""
CHIPS = {
    "a100_sxm": "a100-sxm4-80gb",
    "l40s": "l40s-48gb",
    "h100_sxm": "h100-sxm5-80gb",
    "h200_sxm": "h200-sxm-141gb",
    "b200_sxm": "b200-sxm-180gb",
}
"""GPU profile of each board of the kernel table."""
STARTUP_S = {"a100": 1.67, "a100_dvfs": 1.72, "a10": 1.22, "h100": 1.5}
"""Seconds near idle that a recorded run begins with: median of run_s - 30 s, by board."""
WORKLOAD = ["model", "precision", "batch", "seq"]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, by which a fit names the table it saw."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def startup_time(recorded_s: _Number, startup_s: _Number, iterations: _Number) -> _Number:
    """Return seconds an iteration without the idle seconds that sampling began with (5.2)."""
    return recorded_s - startup_s / iterations


def startup_energy(
    recorded_j: _Number, before_w: _Number, startup_s: _Number, iterations: _Number
) -> _Number:
    """Return joules an iteration without what the board drew before the run began (5.2)."""
    return recorded_j - before_w * startup_s / iterations


def recorded_run(
    time_s: FloatArray, energy_j: FloatArray, startup_s: FloatArray, before_w: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return seconds and joules an iteration as a run records them, start-up included (5.2).

    A recorded run repeats an iteration for about 30 s; how often follows from the iteration's own
    time, so that a prediction passes through this law without any measured number.

    Args:
        time_s: Seconds of one iteration.
        energy_j: Joules of one iteration.
        startup_s: Seconds before the run that its recording holds.
        before_w: Power in those seconds.
    """
    iterations = np.ceil(RUN_S / time_s)
    recorded_s = startup_s / iterations
    return time_s + recorded_s, energy_j + before_w * recorded_s


def window_share(readings: npt.ArrayLike) -> FloatArray:
    """Return the share g of recorded power that is the kernel's own (5.3), in [0, 1].

    Power is read at 0, .1, .2 ... s, and each reading is the mean of the second before it:
    `g = .05 (n - 1)` up to 11 readings, `(5.5 + n - 11)/n` above.

    Args:
        readings: Number of readings n behind a recorded mean, at least 1.
    """
    n = np.asarray(readings, dtype=np.float64)
    share: FloatArray = np.where(
        n <= _FIRST_SAMPLES, 0.05 * (n - 1.0), (5.5 + n - _FIRST_SAMPLES) / n
    )
    return share


def recorded_power(
    kernel_w: npt.ArrayLike, before_w: npt.ArrayLike, g: npt.ArrayLike
) -> FloatArray:
    """Return what the sensor records of a kernel's power, W: `(1 - g) P_before + g P_kernel`."""
    share = np.asarray(g, dtype=np.float64)
    found: FloatArray = (1.0 - share) * np.asarray(before_w) + share * np.asarray(kernel_w)
    return found


@dataclass(frozen=True)
class Idle:
    """Fitted idle power of a board: `p0 + p1 V^2 f + p3 V^3`, f in GHz (4.1).

    Attributes:
        constant_w: p0, memory and board.
        per_v2_ghz: p1, the clock tree.
        per_v3: p3, leakage.
        mean_error_w: Mean absolute residual.
        rows: Readings.
    """

    constant_w: float
    per_v2_ghz: float
    per_v3: float
    mean_error_w: float
    rows: int

    def power(self, clock_hz: npt.ArrayLike, volt: npt.ArrayLike) -> FloatArray:
        """Return idle power at clocks with their supply, W."""
        ghz = np.asarray(clock_hz, dtype=np.float64) / 1e9
        v = np.asarray(volt, dtype=np.float64)
        found: FloatArray = self.constant_w + self.per_v2_ghz * v * v * ghz + self.per_v3 * v**3
        return found


def _require(holds: bool, path: Path, what: str) -> None:
    if not holds:
        raise InputError(f"{path}: {what}; is this the published table, unchanged?")


def _path(data: Path, name: Path) -> Path:
    path = data / name
    if not path.is_file():
        raise InputError(f"{path}: no such table; give the folder that holds {name}")
    return path


def idle_table(data: Path) -> pd.DataFrame:
    """Return idle readings: gpu, clock_hz, idle_w; without the one taken before a board settled."""
    path = _path(data, IDLE)
    frame = pd.read_csv(path)
    _require(len(frame) == _ROWS[IDLE], path, f"expected {_ROWS[IDLE]} rows, found {len(frame)}")
    unsettled = (frame["gpu"] == "h100") & (frame["sm_mhz"] == _UNSETTLED_MHZ)
    frame = frame[~unsettled].assign(clock_hz=frame["sm_mhz"] * 1e6)
    return frame[["gpu", "clock_hz", "idle_w"]].reset_index(drop=True)


def voltage_table(data: Path) -> pd.DataFrame:
    """Return core supply by clock: gpu, clock_hz, volt; rising in clock."""
    path = _path(data, VOLTAGE)
    frame = pd.read_csv(path)
    _require(
        len(frame) == _ROWS[VOLTAGE], path, f"expected {_ROWS[VOLTAGE]} rows, found {len(frame)}"
    )
    frame = frame.assign(clock_hz=frame["sm_mhz"] * 1e6).sort_values(["gpu", "clock_hz"])
    return frame[["gpu", "clock_hz", "volt"]].reset_index(drop=True)


def fit_idle(clock_hz: FloatArray, volt: FloatArray, idle_w: FloatArray) -> Idle:
    """Return the least-squares idle power of one board (4.1)."""
    v2f = volt * volt * clock_hz / 1e9
    columns = np.stack([np.ones_like(volt), v2f, volt**3], axis=1)
    found, *_ = np.linalg.lstsq(columns, idle_w, rcond=None)
    error = float(np.mean(np.abs(columns @ found - idle_w)))
    return Idle(float(found[0]), float(found[1]), float(found[2]), error, len(idle_w))


def supply(curve: pd.DataFrame, gpu: str, clock_hz: npt.ArrayLike) -> FloatArray:
    """Return core supply of a board of the voltage table at some clocks, V."""
    own = curve[curve["gpu"] == gpu]
    found: FloatArray = np.interp(
        np.asarray(clock_hz, dtype=np.float64),
        own["clock_hz"].to_numpy(np.float64),
        own["volt"].to_numpy(np.float64),
    )
    return found


def single_gpu(data: Path, idle_w: dict[str, Idle | float]) -> pd.DataFrame:
    """Return forward passes with corrected labels and weights; recorded labels stay beside.

    Added columns: `profile`, `clock_hz` (requested), `recorded_s|w|j`, corrected `time_s`,
    `power`, `energy`, `startup_s|j` (what a recorded run begins with), and `weight` (repeats of
    one workload share one, a noisy host has a quarter).

    Args:
        data: Folder of the tables.
        idle_w: Idle power by board of this table: a fit, or one number where no table exists.
    """
    path = _path(data, SINGLE_GPU)
    frame = pd.read_csv(path)
    _require(
        len(frame) == _ROWS[SINGLE_GPU],
        path,
        f"expected {_ROWS[SINGLE_GPU]} rows, found {len(frame)}",
    )
    product = 1000.0 * frame["energy_j"] / frame["time_ms"]
    wrong = np.abs(product / frame["power_w"] - 1.0) > _IDENTITY_TOLERANCE
    _require(not bool(wrong.any()), path, "power_w is not 1000 energy_j / time_ms")
    frame = frame[frame["run_s"] >= SHORTEST_RUN_S].reset_index(drop=True)
    curve = voltage_table(data)
    clock = frame["sm_mhz_set"].to_numpy(np.float64) * 1e6
    actual = frame["sm_mhz"].to_numpy(np.float64) * 1e6
    before = np.empty(len(frame))
    for board, idle in idle_w.items():
        own = (frame["gpu"] == board).to_numpy()
        if isinstance(idle, Idle):
            before[own] = idle.power(actual[own], supply(curve, "a100", actual[own]))
        else:
            before[own] = idle
    missing = set(frame["gpu"]) - set(idle_w)
    _require(not missing, path, f"no idle power given for {sorted(missing)}")
    startup = np.asarray(frame["gpu"].map(STARTUP_S), dtype=np.float64)
    iterations = np.asarray(frame["iters"], dtype=np.float64)
    seconds = np.asarray(frame["time_ms"], dtype=np.float64) / 1e3
    joules = np.asarray(frame["energy_j"], dtype=np.float64)
    time_s = startup_time(seconds, startup, iterations)
    energy = startup_energy(joules, IDLE_BEFORE * before, startup, iterations)
    key = frame.groupby(["gpu", *WORKLOAD, "sm_mhz_set"])["iters"].transform("size")
    weight = 1.0 / key.to_numpy(np.float64)
    weight = np.where(frame["host_noise_flag"], NOISY_WEIGHT * weight, weight)
    return frame.assign(
        profile=frame["gpu"].map(BOARDS),
        clock_hz=clock,
        recorded_s=seconds,
        recorded_w=frame["power_w"],
        recorded_j=joules,
        time_s=time_s,
        power=energy / time_s,
        energy=energy,
        startup_s=startup,
        startup_j=IDLE_BEFORE * before * startup,
        weight=weight,
    )


_KERNEL_COLUMNS = [
    "gpu", "framework", "op", "dtype", "kv_dtype", "m", "n", "k", "batch", "seq_q", "seq_kv",
    "window", "heads", "kv_heads", "head_dim", "latency_us", "power_w", "power_limit_w",
    "obs_weight_g", "power_tier",
]  # fmt: skip


def kernel_table(data: Path, ops: tuple[str, ...]) -> pd.DataFrame:
    """Return kernel rows of some operations: flags and tiny latencies dropped, repeats merged.

    Args:
        data: Folder of the tables.
        ops: Values of the column `op`, e.g. `("gemm", "attn_ctx", "attn_gen")`.
    """
    path = _path(data, KERNELS)
    frame = pd.read_parquet(path, columns=[*_KERNEL_COLUMNS, "phys_flag"])
    _require(
        len(frame) == _ROWS[KERNELS], path, f"expected {_ROWS[KERNELS]} rows, found {len(frame)}"
    )
    above = frame["power_w"] > _LIMIT_TOLERANCE * frame["power_limit_w"]
    _require(not bool(above.any()), path, "a power lies above the board's limit")
    flag = frame["phys_flag"].astype("object").fillna("")
    clean = (flag == "") & (frame["latency_us"] >= SHORTEST_LATENCY_US)
    frame = frame[clean & frame["op"].isin(ops)].drop(columns="phys_flag")
    for name in ("gpu", "framework", "op", "dtype", "kv_dtype", "power_tier"):
        frame[name] = frame[name].astype("object").fillna("").astype(str)
    keys = _KERNEL_COLUMNS[:15]
    numbers = frame[keys[5:]].fillna(0).astype(np.float64)
    frame[keys[5:]] = numbers
    return frame.drop_duplicates(keys).reset_index(drop=True)
