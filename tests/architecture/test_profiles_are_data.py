"""No hardware number in a `.py` file: what a GPU is stands in its profile alone."""

import io
import tokenize
from pathlib import Path

import pytest

from energaizer import catalog

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "estimator").rglob("*.py")) + sorted((ROOT / "operator").rglob("*.py"))
# Numbers that mean much else beside hardware: powers of two and round ones.
_EVERYDAY = {float(2**power) for power in range(21)}
_EVERYDAY |= {float(number) for number in range(10, 101)}
_EVERYDAY |= {float(number) for number in range(100, 1001, 50)}
_EVERYDAY |= {120.0, 320.0, 560.0, 1400.0, 2000.0, 4800.0, 6000.0, 8000.0, 1e9, 1e12}
# A row of a measured table that its reader leaves out, and a number of rows: no silicon in them.
_ALLOWED = {
    "estimator/energaizer/calibration/dataset.py": {345.0},
    "estimator/energaizer/calibration/single_kernels.py": {1200.0},
}


def hardware_numbers() -> dict[float, str]:
    """Every known number in base units and in those of a datasheet -> whose it is."""
    known: dict[float, str] = {}
    for gpu in catalog.gpus():
        clocks = (gpu.reference_clock_hz, gpu.min_clock_hz, gpu.max_clock_hz)
        values = [float(gpu.compute_units), gpu.power_limit_w, gpu.memory_bytes]
        values += [clock / scale for clock in clocks for scale in (1, 1e6)]
        values += [gpu.memory_bandwidth / scale for scale in (1, 1e9)]
        values += [peak / scale for peak in gpu.peak_flops.values() for scale in (1, 1e12)]
        values += [volt for _, volt in gpu.voltage or ()]
        known |= dict.fromkeys(values, gpu.name)
    return {value: name for value, name in known.items() if value > 100 and value not in _EVERYDAY}


KNOWN = hardware_numbers()


def numbers_in(source: str) -> set[float]:
    """The numbers of a source text, comments and docstrings aside."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NUMBER and not token.string.lower().startswith(
            ("0x", "0b", "0o")
        ):
            found.add(float(token.string.rstrip("jJ").replace("_", "")))
    return found


def test_the_search_would_find_one():
    assert numbers_in("clock = 1_410e6  # 1830e6") & set(KNOWN) == {1.41e9}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_hardware_number_in_code(file):
    found = numbers_in(file.read_text(encoding="utf-8")) & set(KNOWN)
    found -= _ALLOWED.get(file.relative_to(ROOT).as_posix(), set())
    assert not found, f"{ {value: KNOWN[value] for value in found} }: move it into a profile"
