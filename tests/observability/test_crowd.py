"""Dashboards at a thousand workloads and at none: a real Prometheus scrapes what we would tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster.build import build
from observability.crowd import Crowd, watched
from observability.pages import FILES
from observability.querying import GOOD_WHEN_EMPTY, Prometheus, ask, blank, panels, values
from polling import until

pytestmark = pytest.mark.cluster
BOARDS = {
    path.stem: json.loads(path.read_text()) for path in sorted((FILES / "dashboards").iterdir())
}
SERIES_MOST = 24
"""That a person tells apart, in one panel."""
LATE_S = 180.0
"""A rate takes several scrapes of ten seconds, and rules that read other rules take turns."""


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    build("prometheus")
    with watched(Crowd(1000), tmp_path_factory.mktemp("crowd")) as prometheus:
        yield Prometheus(prometheus.url)


@pytest.mark.parametrize("name", BOARDS)
def test_a_thousand_workloads_fill_every_panel_and_crowd_none(
    thousand: Prometheus, name: str
) -> None:
    board = BOARDS[name]
    until(lambda: not blank(board, thousand, {}), f"every panel of {name} has data", LATE_S)
    known = values(board, thousand, {})
    for panel in panels(board):
        answers = ask(panel, thousand, known, minutes=1.0)
        assert sum(map(len, answers)) <= SERIES_MOST * (
            len(answers) if panel["type"] == "table" else 1
        ), panel["title"]


def empty(source: Prometheus) -> dict[str, dict[str, Any]]:
    """Return the panels without data, by title."""
    found = {}
    for board in BOARDS.values():
        known = values(board, source, {})
        for panel in panels(board):
            if not any(ask(panel, source, known, minutes=1.0)):
                found[panel["title"]] = panel
    return found


def test_no_workload_at_all_leaves_panels_that_say_what_to_do(tmp_path: Path) -> None:
    build("prometheus")
    full = {"Leaders", "Oldest watch", "Silence of each watch", "Keys that wait"}
    with watched(Crowd(0), tmp_path) as prometheus:
        source = Prometheus(prometheus.url)
        until(lambda: not full & set(empty(source)), "our processes are seen", LATE_S)
        left = empty(source)
    assert {"Consumed and reserved", "Predicted power", "Most energy", *GOOD_WHEN_EMPTY} <= set(
        left
    )
    for title, panel in left.items():
        said = panel["fieldConfig"]["defaults"]["noValue"]
        assert said != "no data"
        assert panel["type"] == "stat" or ": " in said, f"{title}: {said}"
