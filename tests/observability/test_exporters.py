"""GPU exporters at the wire: a real Prometheus scrapes their text, and we read joules of pods."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from energaizer_operator.feedback.accounts import PodRun, Reading, Window, account
from energaizer_operator.feedback.prometheus import Measurements, SourceName
from localcluster import monitoring
from localcluster.build import build
from localcluster.exporter import Exporter, serve
from localcluster.monitoring import PrometheusProcess
from polling import PATIENCE_S

pytestmark = pytest.mark.cluster
WATTS, WINDOW_S = 300.0, 6
HONOURED = "dcgm-with-honor-labels"
"""A job whose target has no labels of a pod, so that the exporter's own stay as they are."""


def pod(name: str) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": 1}
    return {
        "metadata": {
            **{"namespace": "team-a", "name": name, "uid": name},
            "annotations": {"energaizer.io/predicted-power-watts": str(WATTS)},
        },
        "spec": {"nodeName": "n", "containers": [{"name": "c", "resources": {"limits": limits}}]},
    }


class Dcgm:
    """NVIDIA's exporter, beside pods of one GPU or slice."""

    def __init__(self, names: list[str], **options: Any) -> None:
        self.exporter = Exporter(share=1.0, **options)
        self.pods, self.last = [pod(name) for name in names], time.monotonic()
        self.one_at_a_time = threading.Lock()

    def page(self) -> str:
        with self.one_at_a_time:  # a scrape and a test: joules never fall
            now = time.monotonic()
            self.exporter.observe(self.pods, now - self.last)
            self.last = now
            return self.exporter.page()

    def labelled(self) -> set[str]:
        return {one.labels["pod"] for one in self.exporter.readings.values()} - {""}


def kepler() -> str:
    labels = 'container_id="c",pod_id="i",pod_namespace="team-a",pod_name="kepler"'
    return f'kepler_pod_gpu_joules_total{{{labels},zone="gpu"}} {WATTS * time.monotonic()}\n'


def amd() -> str:
    labels = 'gpu_id="0",serial_number="s",namespace="team-a",pod="amd",container="c"'
    return f"gpu_energy_consumed{{{labels}}} {1e6 * WATTS * time.monotonic()}\n"


HALF, MIG = Dcgm([f"half-{n}" for n in range(8)], unlabelled=0.5), Dcgm(["sliced"], mig=True)
PAGES: dict[str, Callable[[], str]] = {
    monitoring.EXPORTER: HALF.page,
    HONOURED: MIG.page,
    "kepler": kepler,
    "amd": amd,
}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusProcess]:
    build("prometheus")
    started = monitoring.start_alone(tmp_path_factory.mktemp("exporters"))
    try:
        for job, page in PAGES.items():
            started.scrape(job, f"127.0.0.1:{serve(page)}")
        started.wait_ready()
        yield started
    finally:
        started.stop()


def read(prometheus: PrometheusProcess, source: SourceName, pods: set[str]) -> dict[str, Reading]:
    """Return what an exporter says of each pod, once it has covered nearly a whole window."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        now = time.time()
        asked = Measurements(prometheus.url, source).read(Window(now - WINDOW_S, now))
        name, found = asyncio.run(asked)
        # A GPU without a pod carries the labels of the exporter's, which is no workload of ours.
        readings = {one: reading for (place, one), reading in found.items() if place == "team-a"}
        covered = [readings[one].covered_s for one in pods & set(readings)]
        if len(covered) == len(pods) and min(covered) >= 0.8 * WINDOW_S:
            assert name == source
            return readings
        assert time.monotonic() < deadline, readings
        time.sleep(0.5)


def test_dcgm_by_both_forms_of_labels_and_without_any(prometheus: PrometheusProcess) -> None:
    HALF.page()
    labelled = HALF.labelled()
    assert 0 < len(labelled) < 8
    readings = read(prometheus, "DCGM", labelled | {"sliced"})
    assert set(readings) == labelled | {"sliced"}, "a GPU without a pod belongs to nobody"
    for name in labelled:
        assert readings[name].energy_j == pytest.approx(WATTS * WINDOW_S, rel=0.35)
        assert readings[name].covered_s <= WINDOW_S + 1
    window = Window(0, WINDOW_S)
    run = PodRun(("team-a", "sliced"), 1, 0, None, WATTS, shared=True)
    found = account([run], {("team-a", "sliced"): readings["sliced"]}, window)
    assert found.coverage == 0, "slices cannot be told apart"


@pytest.mark.parametrize(("source", "name"), [("Kepler", "kepler"), ("ROCm", "amd")])
def test_other_exporters_have_units_of_their_own(
    prometheus: PrometheusProcess, source: SourceName, name: str
) -> None:
    readings = read(prometheus, source, {name})
    assert set(readings) == {name}
    assert readings[name].energy_j == pytest.approx(WATTS * WINDOW_S, rel=0.35)


def test_the_first_exporter_with_samples_is_believed(prometheus: PrometheusProcess) -> None:
    read(prometheus, "DCGM", {"sliced"})
    now = time.time()
    name, _ = asyncio.run(Measurements(prometheus.url, None).read(Window(now - WINDOW_S, now)))
    assert name == "DCGM"
