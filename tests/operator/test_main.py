import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from energaizer_operator import logs
from energaizer_operator.__main__ import main


@pytest.mark.parametrize("role", ["controller", "webhook"])
def test_without_a_cluster_the_reason_is_one_line_and_the_code_1(role: str, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    command = [sys.executable, "-m", "energaizer_operator", role, "--kubeconfig", str(absent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: no cluster: cannot use {absent}: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["contoller"], "No such command 'contoller'"),
        (["controller", "--log-level", "loud"], "'loud' is not one of"),
    ],
)
def test_wrong_usage_is_code_2(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert said in result.output


def test_illegal_variable_is_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENERGAIZER_OPERATOR_WORKERS", "none")
    result = CliRunner().invoke(main, ["controller"])
    assert result.exit_code == 2
    assert "ENERGAIZER_OPERATOR_WORKERS" in result.output


def line(form: logging.Formatter, **facts: object) -> str:
    record = logging.makeLogRecord(
        {
            "name": "energaizer_operator.lease",
            "levelname": "INFO",
            "msg": "leading by %d",
            "args": (3,),
            "created": 1764000000.5,
            **facts,
        }
    )
    return form.format(record)


def test_both_forms_of_a_line_carry_the_same_facts() -> None:
    text = line(logs._Text(), lease="l", what="two words")
    assert text == '2025-11-24T16:00:00.500Z INFO    lease: leading by 3 lease=l what="two words"'
    assert json.loads(line(logs._Json(), lease="l")) == {
        "time": "2025-11-24T16:00:00.500Z",
        "level": "info",
        "logger": "energaizer_operator.lease",
        "message": "leading by 3",
        "lease": "l",
    }
