"""Log lines: one a fact, the same in both forms, correlated by review, without secrets."""

from __future__ import annotations

import ast
import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

import energaizer_operator
from energaizer_operator import logs

log = logging.getLogger("energaizer_operator.tests")
SOURCES = sorted(Path(energaizer_operator.__file__).parent.rglob("*.py"))
METHODS = {"debug", "info", "warning", "error", "exception"}
FORBIDDEN = {"secret", "token", "key", "data", "object", "env", "body", "material", "pair"}
"""Names of values that may hold what is private: none of them is ever handed to a log call."""


@contextmanager
def captured(
    form: Literal["text", "json"], monkeypatch: pytest.MonkeyPatch, level: str = "info"
) -> Iterator[io.StringIO]:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    try:
        logs.set_up(form, level)
        yield stream
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]


def test_both_forms_hold_the_same_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    with captured("json", monkeypatch) as stream, logs.about(uid="u-1"):
        log.info("decided %s", "deny", extra={"namespace": "team-a"})
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    del entry["time"]
    assert entry == {
        "level": "info",
        "logger": "energaizer_operator.tests",
        "message": "decided deny",
        "uid": "u-1",
        "namespace": "team-a",
    }
    with captured("text", monkeypatch) as stream, logs.about(uid="u-1"):
        log.info("decided %s", "deny", extra={"namespace": "team-a"})
    assert stream.getvalue().endswith("INFO    tests: decided deny uid=u-1 namespace=team-a\n")


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_a_caller_sends_cannot_forge_a_line(
    form: Literal["text", "json"], monkeypatch: pytest.MonkeyPatch
) -> None:
    with captured(form, monkeypatch) as stream:
        log.info("judged x\nINFO forged", extra={"name_": "y\r\nINFO forged\x1b[31m"})
    assert len(stream.getvalue().splitlines()) == 1
    assert "\x1b" not in stream.getvalue()


def test_facts_of_one_review_stay_out_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    async def review(uid: str) -> None:
        with logs.about(uid=uid):
            for _ in range(3):
                await asyncio.sleep(0)
                log.info("of %s", uid)

    async def both() -> None:
        await asyncio.gather(review("a"), review("b"))
        log.info("of nobody")

    with captured("json", monkeypatch) as stream:
        asyncio.run(both())
    *lines, last = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 6
    assert all(line["message"] == f"of {line['uid']}" for line in lines)
    assert "uid" not in last


def test_levels_are_kept_and_libraries_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    with captured("json", monkeypatch, level="warning") as stream:
        log.info("unheard")
        logging.getLogger("kopf").info("unheard")
        log.warning("heard")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["heard"]


def test_no_log_call_is_given_what_may_be_private() -> None:
    """Read from the sources: whole objects, Secrets, keys and environments are never arguments."""
    found, calls = [], 0
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in METHODS
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "log"
            ):
                calls += 1
                given = [*node.args[1:], *(one.value for one in node.keywords)]
                whole = {one.id for one in given if isinstance(one, ast.Name)}
                if whole & FORBIDDEN:
                    found.append(f"{path.name}:{node.lineno} logs {whole & FORBIDDEN}")
    assert calls > 20
    assert found == []
