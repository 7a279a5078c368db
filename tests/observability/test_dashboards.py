"""Dashboards: their form, by Grafana's published types, and that they ask for series we export."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from observability.querying import panels

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "charts/energaizer/files/dashboards").glob("*.json"))
OURS = re.compile(r"\benergaizer_\w+")
UNITS = {"watt", "joule", "s", "percentunit", "short", "ops", "suffix: J/token"}


def dashboards() -> list[Any]:
    return [pytest.param(json.loads(path.read_text()), id=path.stem) for path in FILES]


@pytest.mark.parametrize("board", dashboards())
def test_is_what_grafana_s_types_say(board: dict[str, Any]) -> None:
    again = Dashboard.from_json(board)
    assert again.uid == board["uid"]
    assert board["uid"].startswith("energaizer-")
    assert len(board["uid"]) <= 40


@pytest.mark.parametrize("board", dashboards())
def test_every_panel_has_title_reason_unit_source_and_place(board: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in panels(board):
        name = panel["title"]
        assert panel["description"], name
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, name
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}, name
        place = panel["gridPos"]
        mine = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not mine & cells, f"{name} lies on another panel"
        assert place["x"] + place["w"] <= 24, name
        cells |= mine


@pytest.mark.parametrize("board", dashboards())
def test_variables_are_declared_and_used(board: dict[str, Any]) -> None:
    declared = {one["name"] for one in board["templating"]["list"]}
    text = json.dumps(board["panels"])
    used = set(re.findall(r"\$\{?(\w+)\}?", text)) - {"__data"}
    assert used <= declared, used - declared
    queries = json.dumps(board["templating"])
    assert all(f"${name}" in text + queries or f"${{{name}}}" in text for name in declared)


def test_links_lead_to_dashboards_that_exist() -> None:
    uids = {json.loads(path.read_text())["uid"] for path in FILES}
    text = "".join(path.read_text() for path in FILES)
    linked = set(re.findall(r"/d/([\w-]+)", text))
    assert linked
    assert linked <= uids


def test_rules_and_dashboards_ask_for_series_that_are_exported() -> None:
    rules = sorted((ROOT / "charts/energaizer/files/rules").glob("*.yaml"))
    text = "".join(path.read_text() for path in (*FILES, *rules))
    asked = {re.sub(r"_(bucket|count|sum)$", "", name) for name in OURS.findall(text)}
    reference = set(OURS.findall((ROOT / "docs/metrics.md").read_text()))
    recorded = set(re.findall(r":(energaizer_\w+)", "".join(path.read_text() for path in rules)))
    assert not asked - reference - recorded
