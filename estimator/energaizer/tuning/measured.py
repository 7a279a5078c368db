"""Measured rows of one GPU, ready for a fit: which count, which do not, and why."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic_core import ValidationError

from energaizer import machine, power
from energaizer.calibration import dataset, forward, problem
from energaizer.calibration.fit import Sample
from energaizer.calibration.forward import Board
from energaizer.coefficients import Coefficients
from energaizer.errors import EnergaizerError, InputError, one_line
from energaizer.gpu import Gpu
from energaizer.kernels import Program
from energaizer.validation import names, reading, single_gpu
from energaizer.validation.reading import Table
from energaizer.validation.scores import FloatArray, Labels

_MHZ = 1e6
_FELL_MHZ = 20.0  # below the set clock from which a board has throttled
_AT_LIMIT = 0.98  # share of the limit from which power tells the limit, not the work
_SHOWN = 6


@dataclass(frozen=True)
class Tables:
    """The tables of a file or folder that concern one GPU.

    Attributes:
        forward: Forward passes of this GPU.
        digests: SHA-256 of each file that was read, by its name.
        idle: Idle power by clock, columns `clock_hz`, `idle_w` and, where measured, `volt`.
        notes: What a reader of the fit must know.
    """

    forward: tuple[Table, ...]
    digests: Mapping[str, str]
    idle: pd.DataFrame | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Measured:
    """Rows that a fit uses, as one board, and how many were left out for which reason."""

    board: Board
    left_out: Mapping[str, int]


def read(path: Path, gpu: Gpu, idle: Path | None = None) -> Tables:
    """Return the tables of a GPU in a file or folder, and its idle power where it was measured.

    Raises:
        InputError: No table holds forward passes of this GPU.
        TableError: A file is unreadable.
    """
    own: list[Table] = []
    idles: list[Table] = []
    notes: list[str] = []
    digests: dict[str, str] = {}
    others: set[str] = set()
    sources = [(path, table) for table in reading.tables(path) if isinstance(table, Table)]
    if idle is not None:
        alone = reading.read(idle, idle.name)
        if alone.kind.name != "idle_power":
            raise InputError(f"{idle}: no table of idle power; it needs gpu, sm_mhz and idle_w")
        sources.append((idle, alone))
    for origin, table in sources:
        kind = table.kind.name
        if kind not in {"single_gpu", "idle_power"}:
            continue
        rows = _rows_of(table, gpu, notes)
        others |= set(table.texts("gpu"))
        if not rows.any():
            continue
        kept = Table(table.dataset, table.kind, table.frame[rows].reset_index(drop=True))
        file = origin / table.dataset if origin.is_dir() else origin
        digests[table.dataset] = dataset.digest(file)
        (own if kind == "single_gpu" else idles).append(kept)
    if not own:
        found = ", ".join(sorted(others)[:_SHOWN]) or "no forward passes at all"
        raise InputError(
            f"{path}: no forward passes of {gpu.name} (column gpu holds {found}); "
            "name the GPU in that column, or give another --gpu"
        )
    measured = _idle(idles)
    if idle is not None and measured is None:
        raise InputError(
            f"{idle}: no idle power of {gpu.name} above 0 at a clock; name the GPU in column gpu"
        )
    return Tables(tuple(own), digests, measured, tuple(notes))


def rows(tables: Tables, gpu: Gpu, coefficients: Coefficients, labels: Labels) -> Measured:
    """Return the rows of the forward passes that have labels and a method.

    Raises:
        InputError: No row is usable; the message counts the reasons.
    """
    frames, programs = [], []
    left_out: Counter[str] = Counter()
    for table in tables.forward:
        frame = _labelled(table, gpu, coefficients, labels)
        runs = single_gpu.runs_of(table)
        for row, run in enumerate(runs):
            reason, program = str(frame.at[row, "reason"]), None
            if not reason:
                try:
                    if run.mode == "decode":
                        raise InputError("decode steps: this fit reads forward passes only")
                    clock = float(frame["clock_hz"].iloc[row])
                    program = single_gpu.program_of(gpu, run, clock)
                except (EnergaizerError, ValidationError) as error:
                    reason = one_line(error)
            if program is None:
                left_out[reason] += 1
                frame.loc[row, "reason"] = reason
            else:
                programs.append(program)
        frames.append(frame[frame["reason"] == ""])
    frame = pd.concat(frames, ignore_index=True)
    if frame.empty:
        told = "; ".join(f"{reason} ({n})" for reason, n in left_out.most_common(_SHOWN))
        raise InputError(f"no usable row for {gpu.name}: {told}; mend the table")
    return Measured(_board(frame, programs, gpu, coefficients), dict(left_out))


def _rows_of(table: Table, gpu: Gpu, notes: list[str]) -> np.ndarray:
    """Return which rows are of this GPU; one unknown name alone is taken for it, and said."""
    told = table.texts("gpu")
    known: dict[str, str | None] = {}
    for name in set(told):
        try:
            known[name] = gpu.name if name == gpu.name else names.board(name).gpu.name
        except EnergaizerError:
            known[name] = None
    unknown = [name for name, found in known.items() if found is None]
    if len(known) == 1 and unknown:
        notes.append(f'{table.dataset}: its only GPU, "{unknown[0]}", is taken for {gpu.name}')
        return np.ones(len(told), dtype=np.bool_)
    return np.array([known[name] == gpu.name for name in told], dtype=np.bool_)


def _idle(tables: list[Table]) -> pd.DataFrame | None:
    if not tables:
        return None
    parts = [
        table.frame.assign(
            clock_hz=_MHZ * table.positive("sm_mhz"), idle_w=table.positive("idle_w")
        )
        for table in tables
    ]
    frame = pd.concat(parts).dropna(subset=["clock_hz", "idle_w"]).reset_index(drop=True)
    return None if frame.empty else frame


def _labelled(
    table: Table, gpu: Gpu, coefficients: Coefficients, labels: Labels
) -> pd.DataFrame:  # fmt: skip
    asked = table.floats("sm_mhz_set", gpu.max_clock_hz / _MHZ)
    reached = table.floats("sm_mhz")
    clock = np.where(np.isnan(reached), asked, reached) * _MHZ
    before = dataset.IDLE_BEFORE * power.idle_power(machine.build(gpu, coefficients), clock)
    measured = single_gpu.measured_labels(table, labels, before)
    time_s, watts = measured["time"], measured["power"]
    time_s = np.where(time_s > 0, time_s, np.nan)
    watts = np.where(np.isnan(watts), measured["energy"] / time_s, watts)
    limit = table.floats("power_limit_w", gpu.power_limit_w)
    capped = table.flags("power_capped") | (watts >= _AT_LIMIT * limit)
    capped |= reached < asked - _FELL_MHZ
    reason = np.full(len(table), "", dtype=object)
    reason[table.floats("run_s", np.inf) < dataset.SHORTEST_RUN_S] = "run shorter than 5 s"
    reason[~(watts > 0)] = "no power_w, nor energy_j with time_ms"
    reason[~(time_s > 0)] = "no time_ms above 0"
    noisy = np.where(table.flags("host_noise_flag"), dataset.NOISY_WEIGHT, 1.0)
    # Throttled rows show the limit, not the work; they are scored, not fitted.
    weight = np.where(capped, 0.0, noisy)
    frame = pd.DataFrame(
        {
            "model": table.texts("model"), "size": table.texts("size"),
            "precision": table.texts("precision", "bf16"), "batch": table.floats("batch", 0.0),
            "seq": table.floats("seq", 0.0), "clock_hz": asked * _MHZ, "time_s": time_s,
            "power": watts, "weight": weight, "reason": reason, "capped": capped,
        }
    )  # fmt: skip
    key = ["model", "size", "precision", "batch", "seq", "clock_hz"]
    frame["weight"] /= frame.groupby(key)["weight"].transform("size").to_numpy(np.float64)
    return frame


def _board(
    frame: pd.DataFrame, programs: list[Program], gpu: Gpu, coefficients: Coefficients
) -> Board:
    place = {id(program): index for index, program in enumerate(_distinct(programs))}
    runs = problem.runs(
        gpu,
        coefficients,
        [forward.groups(program) for program in _distinct(programs)],
        np.array([place[id(program)] for program in programs], dtype=np.intp),
        _column(frame, "clock_hz"),
    )
    sample = Sample(
        runs, _column(frame, "time_s"), _column(frame, "power"), _column(frame, "weight")
    )
    return Board(frame, sample)


def _distinct(programs: list[Program]) -> list[Program]:
    return list({id(program): program for program in programs}.values())


def _column(frame: pd.DataFrame, name: str) -> FloatArray:
    return frame[name].to_numpy(np.float64)
