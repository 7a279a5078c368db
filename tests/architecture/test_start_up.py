"""What each process loads: admission no kopf, an offline command no cluster."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("energaizer_operator.webhook.process", ["kopf", "click", "pandas", "scipy"]),
        ("energaizer_operator.kubectl", ["kopf", "kubernetes", "aiohttp", "yaml", "energaizer"]),
        ("energaizer_operator.offline", ["kopf", "kubernetes", "aiohttp", "click", "scipy"]),
        ("energaizer_operator.decision", ["kopf", "kubernetes", "aiohttp", "click", "scipy"]),
    ],
)
def test_a_process_loads_only_what_it_needs(module: str, absent: list[str]) -> None:
    program = f"import sys, {module}; print(sorted(set({absent!r}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
