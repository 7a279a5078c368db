"""`operator/` and `estimator/` are shelves: what breaks `import operator` fails here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELVES = {
    "estimator": "energaizer",
    "operator": "energaizer_operator",
    "localcluster": "localcluster",
}
MAX_LINES = 400


def run_python(code: str) -> str:
    """Run code in a fresh interpreter at the root, with the shelves on its path."""
    path = ":".join(str(ROOT / shelf) for shelf in SHELVES)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"PYTHONPATH": path, "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules in memory after a statement."""
    code = f"import sys; {statement}; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    return set(run_python(code).split())


@pytest.mark.parametrize(("shelf", "package"), SHELVES.items())
def test_a_shelf_holds_no_stray_module(shelf: str, package: str) -> None:
    stray = [p.name for p in (ROOT / shelf).glob("*.py")]
    assert not stray, f"{shelf}/ is a shelf; move {stray} into {shelf}/{package}/"


def test_operator_stays_the_standard_library() -> None:
    assert run_python("import operator; print(operator.add(1, 2))") == "3"


def test_tests_are_no_packages() -> None:
    stray = [str(p.relative_to(ROOT)) for p in (ROOT / "tests").rglob("__init__.py")]
    assert not stray, "an __init__.py under tests/ can shadow the standard library's operator"


def test_command_line_loads_nothing_heavy() -> None:
    heavy = {"pandas", "scipy", "pyarrow", "matplotlib", "kubernetes", "kopf", "aiohttp"}
    assert not loaded_after("import energaizer.cli") & heavy


def test_webhook_loads_no_kopf() -> None:
    assert "kopf" not in loaded_after("import energaizer_operator.webhook.app")


def test_no_module_outgrows_a_room() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for shelf in SHELVES
        for path in (ROOT / shelf).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert not long, f"over {MAX_LINES} lines; split by noun: {long}"
