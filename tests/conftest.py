"""Options and fixtures of all tests: frozen answers, and how long to fuzz."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, and no clock: a loaded machine must not fail a property.
settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("steady")

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--golden", action="store_true", help="write frozen answers anew")
    parser.addoption("--reviews", type=int, default=20_000, help="mutated reviews to try")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Compare a document with the one that is frozen under a name."""

    def compare(name: str, document: Any) -> None:
        path = GOLDEN / f"{name}.json"
        text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        if request.config.getoption("--golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; run: make golden"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; if meant: make golden"

    return compare
