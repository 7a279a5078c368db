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
BOARDS = sorted((FILES / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def prometheus(installed: Cluster, webhook_process: OperatorProcess) -> Iterator[Prometheus]:
    """A Prometheus that has scraped a controller, a webhook and an exporter a few times."""
    controller = operator.start_controller(installed, metrics_candidates=True)
    controller.wait_leading()
    examples = ("namespaces", "serving", "unannotated-vllm")
    for name in examples:
        installed.kubectl("apply", "-f", str(ROOT / f"examples/{name}.yaml"))
    exporter = monitoring.start_exporter(installed)
    targets = {
        "energaizer": [
            f"127.0.0.1:{process.metrics_port}" for process in (controller, webhook_process)
        ],
        monitoring.EXPORTER: [exporter.address],
    }
    started = monitoring.start_prometheus(installed, targets, sorted((FILES / "rules").iterdir()))
    started.wait_ready()
    source = Prometheus(started.url)
    try:
        _wait(lambda: len(source.instant("up == 1")) == 4, "all targets are up")
        _wait(lambda: source.instant("namespace:energaizer_measured_power_watts:sum > 0"), "watts")
        yield source
    finally:
        started.stop()
        exporter.stop()
        controller.terminate()
        for name in reversed(examples):
            installed.kubectl("delete", "--wait=false", "-f", str(ROOT / f"examples/{name}.yaml"))


def _wait(look: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + 30
    while not look():
        assert time.monotonic() < deadline, f"after 30 s still not so: {what}"
        time.sleep(0.2)


def test_predicted_and_measured_power_meet_in_a_namespace(prometheus: Prometheus) -> None:
    predicted = _sum(prometheus, "namespace:energaizer_predicted_power_watts:sum")
    measured = _sum(prometheus, "namespace:energaizer_measured_power_watts:sum")
    assert measured == pytest.approx(0.93 * predicted, rel=0.02), "what the exporter draws"


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_query_is_understood(prometheus: Prometheus, path: Path) -> None:
    board: dict[str, Any] = json.loads(path.read_text())
    known = values(board, prometheus, {"namespace": "team-a", "workload": "llama-8b-chat"})
    for panel in panels(board):
        ask(panel, prometheus, known, minutes=0.2)  # an error of PromQL raises


def _sum(prometheus: Prometheus, promql: str) -> float:
    return sum(float(one["value"][1]) for one in prometheus.instant(promql))
