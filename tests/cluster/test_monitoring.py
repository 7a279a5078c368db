"""A real Prometheus scrapes us and a GPU exporter: every query of every dashboard and rule."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster import Cluster, monitoring, operator
from localcluster.operator import OperatorProcess
from observability.querying import Prometheus, ask, panels, values

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts/energaizer/files"
EXAMPLES = ("namespaces", "serving", "unannotated-vllm")
DRAWN = 0.8
"""What the exporter's GPUs draw of what was predicted."""
WINDOW_S = 4
BOARDS = sorted((FILES / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def prometheus(installed: Cluster, webhook_process: OperatorProcess) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a controller, a webhook and an exporter; the controller asks it."""
    started = monitoring.start_prometheus(installed, sorted((FILES / "rules").iterdir()))
    exporter = monitoring.start_exporter(installed, f"--share={DRAWN}")
    controller = operator.start_controller(
        installed,
        metrics_candidates=True,
        feedback_prometheus_url=started.url,
        feedback_s=WINDOW_S,
    )
    ours = (f"127.0.0.1:{one.metrics_port}" for one in (controller, webhook_process))
    started.scrape("energaizer", *ours)
    started.scrape(monitoring.EXPORTER, exporter.address)
    source = Prometheus(started.url)
    try:
        started.wait_ready()
        controller.wait_leading()
        for name in EXAMPLES:
            installed.kubectl("apply", "-f", str(ROOT / f"examples/{name}.yaml"))
        _wait(lambda: len(source.instant("up == 1")) == 4, "all targets are up")
        _wait(lambda: source.instant("namespace:energaizer_measured_power_watts:sum > 0"), "watts")
        yield source
    finally:
        started.stop()
        exporter.stop()
        controller.terminate()
        for name in reversed(EXAMPLES):
            installed.kubectl("delete", "--wait=false", "-f", str(ROOT / f"examples/{name}.yaml"))


def _wait(look: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline, f"after 60 s still not so: {what}"
        time.sleep(0.2)


def test_predicted_and_measured_power_meet_in_a_namespace(prometheus: Prometheus) -> None:
    def drawn() -> float:
        predicted = _sum(prometheus, "namespace:energaizer_predicted_power_watts:sum")
        measured = _sum(prometheus, "namespace:energaizer_measured_power_watts:sum")
        return measured / predicted if predicted else 0.0

    _wait(lambda: drawn() == pytest.approx(DRAWN, rel=0.02), "what the exporter draws")


def test_status_condition_and_series_say_what_was_measured(
    installed: Cluster, prometheus: Prometheus
) -> None:
    def status() -> dict[str, Any]:
        got = installed.kubectl("get", "aiw", "deployment-chat", "-n", "team-a", "-o", "json")
        found: dict[str, Any] = json.loads(got.stdout)["status"]
        return found

    _wait(lambda: status().get("measured", {}).get("errorPercent") is not None, "an error")
    measured, estimate = status()["measured"], status()["estimate"]
    assert measured["source"] == "DCGM"
    assert measured["coveragePercent"] >= 90
    assert measured["powerWatts"] == pytest.approx(DRAWN * estimate["powerWatts"], rel=0.15)
    assert measured["errorPercent"] == pytest.approx(100 * (1 / DRAWN - 1), abs=8)
    conditions = {one["type"]: one for one in status()["conditions"]}
    assert conditions["Measured"]["status"] == "True", conditions["Measured"]
    energy = 'energaizer_workload_measured_energy_joules{workload="deployment-chat"}'
    _wait(lambda: _sum(prometheus, energy) > 0, "measured joules")
    bias = "energaizer_prediction_bias_ratio"
    _wait(lambda: _sum(prometheus, bias) == pytest.approx(1 / DRAWN - 1, abs=0.08), "the bias")
    idle = json.loads(
        installed.kubectl("get", "aiw", "llama-8b-chat", "-n", "team-a", "-o", "json").stdout
    )
    assert "measured" not in idle["status"], "nothing of it runs"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_query_is_understood(prometheus: Prometheus, path: Path) -> None:
    board: dict[str, Any] = json.loads(path.read_text())
    known = values(board, prometheus, {"namespace": "team-a", "workload": "llama-8b-chat"})
    for panel in panels(board):
        ask(panel, prometheus, known, minutes=0.2)  # an error of PromQL raises


def _sum(prometheus: Prometheus, promql: str) -> float:
    return sum(float(one["value"][1]) for one in prometheus.instant(promql))
