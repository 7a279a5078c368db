"""Measured rows in CSV files: each row is on disk, whole, before the next one is measured."""

import csv
import io
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from energaizer.errors import InputError

Value = str | int | float | bool
Row = Mapping[str, Value]

FORWARD = (
    "gpu", "model", "size", "precision", "batch", "seq", "mode", "attention", "sm_mhz_set",
    "sm_mhz", "energy_j", "time_ms", "power_w", "temp_c", "iters", "run_s", "host_noise_flag",
    "power_capped", "power_limit_w", "energy_source",
)  # fmt: skip
KERNELS = (
    "gpu", "op", "dtype", "m", "n", "k", "batch", "seq_q", "seq_kv", "heads", "kv_heads",
    "head_dim", "sm_mhz_set", "sm_mhz", "latency_us", "power_w", "power_limit_w", "obs_weight_g",
    "power_tier", "temp_c", "iters", "run_s", "energy_source",
)  # fmt: skip
IDLE = ("gpu", "sm_mhz", "idle_w")


def beside(path: Path, kind: str) -> Path:
    """Return the file of another kind of rows: `table.csv` -> `table.kernels.csv`."""
    return path.with_name(f"{path.stem}.{kind}{path.suffix or '.csv'}")


class Store:
    """Rows of one kind in one file, written whole after each row.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, columns: Sequence[str], key: Sequence[str]) -> None:
        """Read what the file holds already.

        Args:
            path: The file; it need not exist.
            columns: Its header.
            key: Columns that tell one measurement from another.

        Raises:
            InputError: The file is something else.
        """
        self.path = path
        self._columns, self._key = tuple(columns), tuple(key)
        self._rows: list[dict[str, str]] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file)
                missing = set(columns) - set(reader.fieldnames or ())
                if missing:
                    raise InputError(
                        f"{path} has no column {', '.join(sorted(missing))}: collect did not write "
                        "it; give another --out"
                    )
                self._columns = tuple(reader.fieldnames or columns)
                self._rows = [
                    {name: cell for name, cell in row.items() if name in self._columns}
                    for row in reader
                ]
        self._known = {self._of(row) for row in self._rows}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def has(self, row: Row) -> bool:
        """Return whether a measurement with these settings is there already."""
        return self._of(row) in self._known

    def add(self, row: Row) -> None:
        """Append a row and write the file whole: what was there before is never lost."""
        told = {name: _cell(value) for name, value in row.items() if name in self._columns}
        rows = [*self._rows, told]
        out = io.StringIO()
        writer = csv.DictWriter(out, self._columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}.part")
        try:
            part.write_text(out.getvalue(), encoding="utf-8")
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)
        self._rows = rows
        self._known.add(self._of(told))

    def _of(self, row: Row) -> tuple[str, ...]:
        return tuple(_cell(row.get(name, "")) for name in self._key)


def _cell(value: Value) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:.8g}"
    return str(value)
