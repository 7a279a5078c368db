"""Recording rules and alerts, evaluated by the real promtool."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from localcluster import build

ROOT = Path(__file__).parents[2]
RULES = sorted((ROOT / "charts/energaizer/files/rules").glob("*.yaml"))
CASES = Path(__file__).parent / "alerts.test.yaml"


@pytest.fixture(scope="module")
def promtool() -> str:
    return str(build("prometheus").program("promtool"))


def alerts() -> list[dict]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


@pytest.mark.cluster
def test_rules_are_well_formed(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", *map(str, RULES)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.cluster
def test_alerts_fire_stay_silent_and_resolve(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", str(CASES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def minutes(duration: str) -> int:
    """Return a duration such as `11h50m` in minutes."""
    return sum(
        int(number) * {"h": 60, "m": 1}[unit]
        for number, unit in re.findall(r"(\d+)([hm])", duration)
    )


def test_every_alert_has_a_case_in_which_it_is_silent_fires_and_resolves() -> None:
    told = set()
    for case in yaml.safe_load(CASES.read_text())["tests"]:
        fires: dict[str, list[int]] = {}
        silent: dict[str, list[int]] = {}
        for expectation in case["promql_expr_test"]:
            found = re.fullmatch(r'ALERTS\{alertname="(\w+)",.*\}', expectation["expr"])
            if found:
                into = fires if expectation["exp_samples"] else silent
                into.setdefault(found[1], []).append(minutes(expectation["eval_time"]))
        told |= {
            name
            for name, moments in fires.items()
            if name in silent
            and min(silent[name]) < max(moments)  # fires after silence
            and max(silent[name]) > min(moments)  # is silent after it fired
        }
    assert told == {rule["alert"] for rule in alerts()}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_why_and_what_to_do(rule: dict) -> None:
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert "`" in rule["annotations"]["runbook"], "a runbook names a command, a field or a value"
