"""Measured tables from files: which kind each is follows from its columns, never from its name."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from energaizer.errors import InputError, ProfileError, one_line, shorten
from energaizer.validation.scores import BoolArray, FloatArray

SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")


class TableError(ProfileError):
    """A table is unreadable, or the library for its format is missing. Exit code 1."""


@dataclass(frozen=True)
class Kind:
    """A schema of measured tables.

    Attributes:
        name: How reports call it.
        needs: Columns without which a table is not of this kind.
        labels: At least one of these must be there too.
        unscored: Why nothing of this kind is scored; "": it is.
        input: A table that fits start from, whose rows no estimate could be asked for.
    """

    name: str
    needs: frozenset[str]
    labels: frozenset[str] = frozenset()
    unscored: str = ""
    input: bool = False


_NO_SETTINGS = "power of servers under load: batches and splits of the runs are not in the table"
KINDS: Final = (
    Kind("kernels", frozenset({"gpu", "op"}), frozenset({"latency_us", "power_w"})),
    Kind("serving", frozenset({"gpu_model", "model", "num_gpus"}), frozenset(
        {"avg_power_w", "energy_per_token_j", "output_tokens_per_s", "batch_latency_s"})),
    Kind("single_gpu", frozenset({"gpu", "model", "batch"}),
         frozenset({"time_ms", "energy_j", "power_w"})),
    Kind("serving_2024", frozenset({"Model", "GPU", "Energy/req (J)"})),
    Kind("node_power", frozenset({"system", "benchmark", "node_power_in_run_w"})),
    Kind("server_power", frozenset({"Accelerator", "Power_Result", "System"}),
         unscored=_NO_SETTINGS),
    Kind("idle_power", frozenset({"gpu", "sm_mhz", "idle_w"}),
         unscored="idle power is an input of fits, not scored", input=True),
    Kind("supply_voltage", frozenset({"gpu", "sm_mhz", "volt"}),
         unscored="supply voltage is an input of fits, not scored", input=True),
)  # fmt: skip


@dataclass
class Table:
    """One measured table.

    Attributes:
        dataset: How reports call it: its path below the folder that was given.
        kind: Its schema.
        frame: Rows as in the file, indexed from 0.
        notes: What a reader of its scores must know.
    """

    dataset: str
    kind: Kind
    frame: pd.DataFrame
    notes: list[str] = field(default_factory=list)
    _numbers: dict[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.frame)

    def has(self, name: str) -> bool:
        """Return whether the table has a column."""
        return name in self.frame.columns

    def floats(self, name: str, missing: float = np.nan) -> FloatArray:
        """Return a column of numbers, shape (n,); what is no number, or no column, is `missing`."""
        if name not in self.frame.columns:
            return np.full(len(self), missing)
        found = self._numbers.get(name)
        if found is None:  # rows are read one by one, a column once
            read = pd.to_numeric(self.frame[name], errors="coerce")
            found = self._numbers[name] = read.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.where(np.isnan(found), missing, found)

    def positive(self, name: str) -> FloatArray:
        """Return a column of numbers above 0, shape (n,); NaN for any other."""
        found = self.floats(name)
        return np.where((found > 0) & np.isfinite(found), found, np.nan)

    def texts(self, name: str, missing: str = "") -> list[str]:
        """Return a column of texts; what is missing, or no column, is `missing`."""
        if name not in self.frame.columns:
            return [missing] * len(self)
        column = self.frame[name].astype(object)
        told = column.where(column.notna(), missing)
        return [str(value) if value != "" else missing for value in told]

    def flags(self, name: str) -> BoolArray:
        """Return a column of flags; what is missing, or no column, is false."""
        told = (text.strip().casefold() for text in self.texts(name))
        return np.array([text in {"true", "1", "1.0"} for text in told], dtype=np.bool_)

    def expect(self, *names: str, instead: str) -> None:
        """Note the columns that are missing, and what stands instead."""
        absent = [name for name in names if not self.has(name)]
        if absent:
            self.notes.append(f"no column {', '.join(absent)}: {instead}")


def tables(path: Path) -> Iterator[Table | str]:
    """Yield the tables of a file or folder; a file that holds none yields a remark instead.

    Raises:
        InputError: There is no such path, no table in it, or the one file given is no table.
        TableError: A file is unreadable.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give measured tables")
    if path.is_file() or not path.is_dir():
        yield read(path, path.name)
        return
    found = [file for file in sorted(path.rglob("*")) if file.name.endswith(SUFFIXES)]
    if not found:
        raise InputError(f"{path}: no table ({', '.join(SUFFIXES)}) in this folder; give another")
    known = 0
    for file in found:
        name = file.relative_to(path).as_posix()
        try:
            yield read(file, name)
            known += 1
        except InputError as error:
            yield f"not scored: {error}"
    if not known:
        raise InputError(
            f"{path}: no file in this folder has recognised columns; give measured tables"
        )


def read(path: Path, dataset: str) -> Table:
    """Return the table of a file.

    Raises:
        InputError: It has the columns of no known kind.
        TableError: It is unreadable, or the library for its format is missing.
    """
    frame = _frame(path).rename(columns=lambda name: str(name).strip())
    columns = set(frame.columns)
    for kind in KINDS:
        if kind.needs <= columns and (not kind.labels or kind.labels & columns):
            return Table(dataset, kind, frame.reset_index(drop=True))
    shown = shorten(", ".join(sorted(columns)), 120)
    wanted = "; ".join(
        f"{kind.name}: {', '.join(sorted(kind.needs))}"
        + (f" and one of {', '.join(sorted(kind.labels))}" if kind.labels else "")
        for kind in KINDS if not kind.unscored
    )  # fmt: skip
    raise InputError(f"{path}: no recognised columns among {shown}; known are {wanted}")


def _separated(path: Path) -> pd.DataFrame:
    """Return a table of commas, or as spreadsheets write it: of tabs, or semicolons for commas."""
    frame = pd.read_csv(path, low_memory=False)
    head = str(frame.columns[0]) if len(frame.columns) == 1 else ""
    if "\t" in head:
        return pd.read_csv(path, low_memory=False, sep="\t")
    if ";" in head:
        return pd.read_csv(path, low_memory=False, sep=";", decimal=",")
    return frame


def _frame(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        return _separated(path)
    except ImportError as error:
        raise TableError(
            f"{path}: reading parquet needs pyarrow ({one_line(error)}); "
            "install it with: pip install energaizer[calibration]"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise InputError(f"{path}: the file is empty; give a table with a header") from error
    except OSError as error:
        raise TableError(f"{path} is unreadable: {error.strerror or one_line(error)}") from error
    except ValueError as error:  # parsers, decoders and pyarrow all derive from it
        raise InputError(f"{path} is no table: {one_line(error)}; give CSV or parquet") from error
