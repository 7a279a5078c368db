"""A real Prometheus scrapes us and a GPU exporter: every query of every dashboard and rule."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from crowd import INPUTS, energybudget
from energaizer_operator import names
from localcluster import Cluster, monitoring, operator
from localcluster.operator import OperatorProcess
from observability.querying import Prometheus, ask, panels, values
from patient import make_namespace
from polling import PATIENCE_S, condition, until

ROOT = Path(__file__).parents[2]
FILES = ROOT / "charts/energaizer/files"
EXAMPLES = ("namespaces", "serving", "unannotated-vllm", "watt-quota")
PRODUCT = "NVIDIA-B200"
DRAWN = 0.8
"""What the exporter's GPUs draw of what was predicted."""
WINDOW_S = 4
GPU, CALIBRATED, UNSEEN = "h100-sxm5-80gb", "calibrated", "unseen"
SERVED = {
    names.ANNOTATION_TASK: "Inference",
    names.ANNOTATION_MODEL: "meta-llama/Llama-3.1-8B",
    names.ANNOTATION_PRECISION: "BF16",
    names.ANNOTATION_BATCH_SIZE: "16",
    names.ANNOTATION_INPUT_TOKENS: "1024",
    names.ANNOTATION_OUTPUT_TOKENS: "256",
}
"""Inputs of a small server, as annotations."""
BOARDS = sorted((FILES / "dashboards").glob("*.json"))


@pytest.fixture(scope="module")
def prometheus(installed: Cluster, webhook_process: OperatorProcess) -> Iterator[Prometheus]:
    """A Prometheus that scrapes a controller, a webhook and an exporter; the controller asks it."""
    started = monitoring.start_prometheus(installed, sorted((FILES / "rules").iterdir()))
    exporter = monitoring.start_exporter(installed, f"--share={DRAWN}")
    quotas = monitoring.start_state_metrics(installed)
    controller = operator.start_controller(
        installed,
        metrics_candidates=True,
        feedback_prometheus_url=started.url,
        feedback_s=WINDOW_S,
    )
    ours = (f"127.0.0.1:{one.metrics_port}" for one in (controller, webhook_process))
    started.scrape("energaizer", *ours)
    started.scrape(monitoring.EXPORTER, exporter.address)
    started.scrape(monitoring.STATE_METRICS, quotas.address)
    source = Prometheus(started.url)
    try:
        started.wait_ready()
        controller.wait_leading()
        for name in EXAMPLES:
            installed.kubectl(
                "apply", "-f", "-", input=_on_one_kind(ROOT / f"examples/{name}.yaml")
            )
        until(lambda: len(source.instant("up == 1")) == 5, "all targets are up")
        until(lambda: source.instant("namespace:energaizer_measured_power_watts:sum > 0"), "watts")
        yield source
    finally:
        started.stop()
        exporter.stop()
        quotas.stop()
        controller.terminate()
        for name in reversed(EXAMPLES):
            installed.kubectl("delete", "--wait=false", "-f", str(ROOT / f"examples/{name}.yaml"))


def _on_one_kind(path: Path) -> str:
    """Return manifests whose Deployments run on one kind of GPU.

    The scheduler may spread replicas over several; the stand-in draws a share of what is written on
    a pod, which is what its workload takes where it is meant to be, so that the error would depend
    on the places.
    """
    objects = list(yaml.safe_load_all(path.read_text()))
    for one in objects:
        if one["kind"] == "Deployment":
            one["spec"]["template"]["spec"]["nodeSelector"] = {"nvidia.com/gpu.product": PRODUCT}
    return yaml.safe_dump_all(objects)


def test_predicted_and_measured_power_meet_in_a_namespace(prometheus: Prometheus) -> None:
    def drawn() -> float:
        predicted = _sum(prometheus, "namespace:energaizer_predicted_power_watts:sum")
        measured = _sum(prometheus, "namespace:energaizer_measured_power_watts:sum")
        return measured / predicted if predicted else 0.0

    until(lambda: drawn() == pytest.approx(DRAWN, rel=0.02), "what the exporter draws")


def test_status_condition_and_series_say_what_was_measured(
    installed: Cluster, prometheus: Prometheus
) -> None:
    def status() -> dict[str, Any]:
        got = installed.kubectl("get", "aiw", "deployment-chat", "-n", "team-a", "-o", "json")
        found: dict[str, Any] = json.loads(got.stdout)["status"]
        return found

    usual = pytest.approx(100 * (1 / DRAWN - 1), abs=8)

    def well_measured() -> dict[str, Any]:
        """Return a status whose window missed no scrape; the first ones of a pod's life do."""
        last = status()
        measured = last["measured"]
        good = measured["coveragePercent"] >= 90 and measured["errorPercent"] == usual
        return last if good else {}

    last = until(well_measured, status, 3 * PATIENCE_S)  # what was missed fades with time
    measured, estimate = last["measured"], last["estimate"]
    assert measured["source"] == "DCGM"
    assert measured["powerWatts"] == pytest.approx(DRAWN * estimate["powerWatts"], rel=0.15)
    said = condition({"status": last}, "Measured")
    assert said["status"] == "True", said
    energy = 'energaizer_workload_measured_energy_joules{workload="deployment-chat"}'
    until(lambda: _sum(prometheus, energy) > 0, "measured joules")
    bias = f'energaizer_prediction_bias_ratio{{gpu_profile="{estimate["profile"]}"}}'
    until(lambda: _sum(prometheus, bias) == pytest.approx(1 / DRAWN - 1, abs=0.08), "the bias")
    idle = json.loads(
        installed.kubectl("get", "aiw", "llama-8b-chat", "-n", "team-a", "-o", "json").stdout
    )
    assert "measured" not in idle["status"], "nothing of it runs"


@pytest.mark.usefixtures("prometheus")
def test_pods_that_admission_never_saw_are_measured_too(installed: Cluster) -> None:
    """They run before their namespace opts in, as those that came while the webhook was slow."""
    read = ("get", "-n", UNSEEN, "-o", "json")
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "c", "image": "example.com/s:1", "resources": {"limits": limits}}
    # No other test measures this GPU: what its pods draw has nothing to do with a prediction.
    product = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
    body = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "early", "namespace": UNSEEN, "annotations": SERVED},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "early"}},
            "template": {
                "metadata": {"labels": {"app": "early"}},
                "spec": {"nodeSelector": product, "containers": [container]},
            },
        },
    }
    make_namespace(installed, UNSEEN)
    try:
        installed.kubectl("apply", "-f", "-", input=json.dumps(body))

        def running() -> int:
            pods = json.loads(installed.kubectl(*read, "pods", "-l", "app=early").stdout)["items"]
            assert all(names.LABEL_WORKLOAD not in one["metadata"]["labels"] for one in pods)
            return sum(one["status"]["phase"] == "Running" for one in pods)

        until(lambda: running() == 2, "both pods run")
        installed.kubectl("label", "namespace", UNSEEN, "energaizer.io/admission=enabled")

        def covered() -> int:
            said = installed.kubectl(*read, "aiw", "deployment-early", check=False)
            status = json.loads(said.stdout).get("status", {}) if said.returncode == 0 else {}
            percent: int = status.get("measured", {}).get("coveragePercent", 0)
            return percent

        until(lambda: covered() >= 90, "measured")
    finally:
        installed.kubectl("delete", "namespace", UNSEEN, "--wait=false")


@pytest.mark.proof  # it waits until 90 % of a young pod's life were seen: a minute
@pytest.mark.usefixtures("prometheus")
def test_what_ends_is_charged_what_sensors_saw_of_it(installed: Cluster, namespace: Any) -> None:
    """A budget pays the measured energy, not the prediction, which is a quarter more here."""
    namespace.apply(energybudget(10**15, "Deny", "monthly"))
    namespace.wait("energybudget", "monthly", lambda body: body.get("status"))
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "c", "image": "example.com/s:1", "resources": {"limits": limits}}
    inputs = INPUTS | {names.ANNOTATION_EXPECTED_DURATION: "86400"}
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "charged", "annotations": inputs},
        "spec": {
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
            "containers": [container],
        },
    }
    namespace.apply(body)
    uid = namespace.get("pod", "charged")["metadata"]["uid"]

    def measured(found: dict[str, Any]) -> int:
        joules: int = found.get("status", {}).get("measuredJoules", 0)
        return joules

    namespace.wait("energyreservation", uid, measured, timeout_s=300)
    keep = json.dumps(
        [{"op": "add", "path": "/metadata/finalizers/-", "value": "example.com/keep"}]
    )
    patch = ("patch", "energyreservation", uid, "-n", namespace.name, "--type=json", "-p")
    installed.kubectl(*patch, keep)  # to read what it was settled to
    try:
        installed.kubectl("delete", "pod", "charged", "-n", namespace.name, "--force")
        gone = namespace.wait(
            "energyreservation",
            uid,
            lambda found: found["metadata"].get("finalizers") == ["example.com/keep"],
        )
    finally:
        installed.kubectl(*patch, json.dumps([{"op": "remove", "path": "/metadata/finalizers"}]))
    status = gone["status"]
    assert status["settledJoules"] == status["measuredJoules"] < status["consumedJoules"]
    paid = namespace.get("energybudget", "monthly")["status"]
    assert paid["consumedJoules"] == status["settledJoules"]
    assert not paid.get("reservedJoules")


def test_a_quota_of_watts_is_found_by_its_panel(prometheus: Prometheus) -> None:
    board = json.loads((FILES / "dashboards/team-budget.json").read_text())
    panel = next(one for one in panels(board) if one["title"] == "Quotas of watts")
    known = values(board, prometheus, {})

    def shown() -> list[float]:
        answers = ask(panel, prometheus, known, minutes=0.2)
        return [
            one.last for answer in answers for one in answer if one.labels["namespace"] == "team-a"
        ]

    until(
        lambda: shown() == [0.0, 0.0, 20_000.0], "used over hard, used, hard: no pod requests watts"
    )


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_every_query_is_understood(prometheus: Prometheus, path: Path) -> None:
    board: dict[str, Any] = json.loads(path.read_text())
    known = values(board, prometheus, {"namespace": "team-a", "workload": "llama-8b-chat"})
    for panel in panels(board):
        ask(panel, prometheus, known, minutes=0.2)  # an error of PromQL raises


def _servers(cluster: Cluster, batches: Iterable[int]) -> None:
    """Let servers run on H100s at a clock that keeps them off their power limit."""
    items = []
    for batch in batches:
        annotations = {
            **SERVED,
            names.ANNOTATION_BATCH_SIZE: str(batch),
            names.ANNOTATION_EXPECTED_DURATION: "86400",
            names.ANNOTATION_GPU_CLOCK: "1200",
        }
        limits = {"nvidia.com/gpu": 1}
        container = {"name": "c", "image": "example.com/s:1", "resources": {"limits": limits}}
        product = {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
        spec = {"nodeSelector": product, "containers": [container]}
        metadata = {"name": f"batch-{batch}", "namespace": CALIBRATED, "annotations": annotations}
        items.append({"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": spec})
    text = json.dumps({"kind": "List", "apiVersion": "v1", "items": items})
    cluster.kubectl("apply", "-f", "-", input=text)


def _wait_error(cluster: Cluster, batches: Sequence[int], good: Callable[[float], bool]) -> None:
    """Wait until servers are well covered and their mean absolute error, percent, is good."""
    deadline = time.monotonic() + 2 * PATIENCE_S
    while True:
        items = json.loads(cluster.kubectl("get", "aiw", "-n", CALIBRATED, "-o", "json").stdout)
        measured = {
            one["metadata"]["name"]: one.get("status", {}).get("measured", {})
            for one in items["items"]
        }
        seen = [measured.get(f"pod-batch-{batch}", {}) for batch in batches]
        errors = [abs(one["errorPercent"]) for one in seen if "errorPercent" in one]
        covered = all(one.get("coveragePercent", 0) >= 90 for one in seen)
        if len(errors) == len(batches) and covered and good(sum(errors) / len(errors)):
            return
        if time.monotonic() > deadline:
            pods = cluster.kubectl("get", "pods", "-n", CALIBRATED, "-o", "wide").stdout
            raise AssertionError(f"{seen}\n{items}\n{pods}")
        time.sleep(0.5)


@pytest.mark.proof  # it waits for errors of eight servers to settle: a minute, more under load
@pytest.mark.usefixtures("prometheus")
def test_a_recalibration_serves_workloads_that_it_did_not_see(installed: Cluster) -> None:
    """History to a reviewed ConfigMap to smaller errors, nothing applied by itself."""
    fitted, held_out = (8, 16, 24, 48, 64, 96), (12, 32)
    usual = pytest.approx(100 * (1 / DRAWN - 1), abs=8)
    make_namespace(installed, CALIBRATED, "enabled")
    plugin = str(Path(sys.executable).parent / "kubectl-energaizer")
    ask = [plugin, "recalibrate", GPU, f"--kubeconfig={installed.kubeconfig}"]
    try:
        few = subprocess.run(ask, capture_output=True, text=True, check=False)
        assert (few.returncode, few.stdout) == (3, ""), few.stderr
        _servers(installed, fitted)
        _wait_error(installed, fitted, lambda mean: mean == usual)
        done = subprocess.run(ask, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        means = re.search(r"mean, absolute +(\S+)% +(\S+)%", done.stderr)
        digest = re.search(r"digest: (sha256:\w+)", done.stderr)
        assert means is not None
        assert digest is not None
        before, left_out = float(means[1]), float(means[2])
        assert before == usual
        assert left_out < before / 2, done.stderr
        profile = json.loads(installed.kubectl("get", "gpuprofile", GPU, "-o", "json").stdout)
        assert "calibration" not in profile["spec"], "applied by itself"
        installed.kubectl("apply", "-f", "-", input=done.stdout)
        reference = {"name": f"{GPU}-coefficients", "namespace": operator.NAMESPACE}
        _calibrate(installed, {"configMapRef": reference, "digest": digest[1]})
        _servers(installed, held_out)
        _wait_error(installed, held_out, lambda mean: mean < before / 2)
    finally:
        _calibrate(installed, None)
        installed.kubectl("delete", "namespace", CALIBRATED, "--wait=false")


def _calibrate(cluster: Cluster, calibration: dict[str, Any] | None) -> None:
    """Refer a profile to coefficients, and wait until its condition tells of them."""
    patch = json.dumps({"spec": {"calibration": calibration}})
    cluster.kubectl("patch", "gpuprofile", GPU, "--type=merge", "-p", patch)
    wanted = "NoCalibration" if calibration is None else "CalibrationLoaded"

    def told() -> bool:
        body = json.loads(cluster.kubectl("get", "gpuprofile", GPU, "-o", "json").stdout)
        conditions = body.get("status", {}).get("conditions", [])
        return any(one["reason"] == wanted for one in conditions)

    until(told, wanted)


def _sum(prometheus: Prometheus, promql: str) -> float:
    return sum(float(one["value"][1]) for one in prometheus.instant(promql))
