"""Predictions against measurements: who counts, what is proposed, what a reviewer sees."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from energaizer import catalog, machine, power
from energaizer_operator import accuracy, estimation, kubectl
from energaizer_operator.accuracy import Compared, History
from energaizer_operator.kinds import AIWORKLOADS, GPUPROFILES
from fake_cluster import FakeCluster

GPU = "a100-sxm4-80gb"
PROFILE = next(one for one in estimation.catalogue() if one.metadata.name == GPU)
BOARD = catalog.gpu(GPU)
SHIPPED = catalog.coefficients(BOARD)
IDLE_W = float(power.idle_power(machine.of(BOARD, SHIPPED), np.array([1e9]))[0])


def workload(name: str, watts: int, error: int, **measured: Any) -> dict[str, Any]:
    """Return an AIWorkload on two GPUs whose prediction was off by an error in percent."""
    estimate = {
        **{"profile": GPU, "gpuCount": 2, "replicas": 1, "clockMegahertz": 1000},
        **{"powerWatts": watts, "powerLowWatts": watts, "powerHighWatts": watts},
        **{"durationSeconds": 10, "energyJoules": watts * 10, "energyLowJoules": watts * 10},
        **{"energyHighJoules": watts * 10, "energyHuman": "x", "powerHuman": "x"},
        **{"method": "Calibrated", "estimatorVersion": "0"},
        "estimateTime": "2026-01-01T00:00:00Z",
    }
    seen = {
        **{"energyJoules": 1000, "source": "DCGM", "coveragePercent": 95, "errorPercent": error},
        **measured,
    }
    return {
        "apiVersion": AIWORKLOADS.api_version,
        "kind": AIWORKLOADS.kind,
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {},
        "status": {"estimate": estimate, "measured": seen},
    }


def true_error(watts: int, factor: float) -> int:
    """Return the error in percent of a prediction whose dynamic energy is off by a factor."""
    return round(100 * (watts / 2 / (IDLE_W + factor * (watts / 2 - IDLE_W)) - 1))


@pytest.fixture
def fake(reached: FakeCluster) -> FakeCluster:
    reached.put(GPUPROFILES, PROFILE.to_dict())
    return reached


def run(*arguments: str) -> Any:
    return CliRunner().invoke(kubectl.main, [*arguments, "--kubeconfig", "none"])


def test_a_true_factor_is_proposed(fake: FakeCluster) -> None:
    for number, watts in enumerate((400, 440, 480, 500, 520, 560)):
        fake.put(AIWORKLOADS, workload(f"w{number}", watts, true_error(watts, 1.2)))
    fake.put(AIWORKLOADS, workload("thin", 500, 90, coveragePercent=89))  # does not count
    done = run("recalibrate", GPU, "-n", "power")
    assert done.exit_code == 0, done.output
    body = yaml.safe_load(done.stdout)
    assert (body["kind"], body["metadata"]["name"]) == ("ConfigMap", f"{GPU}-coefficients")
    assert body["metadata"]["namespace"] == "power"
    assert f"{GPU}-coefficients, namespace: power}}" in done.stderr
    text = body["data"]["coefficients.json"]
    estimation.check_calibration(text, GPU)
    before, after = SHIPPED.values(), type(SHIPPED).loads(text).values()
    changed = {path: after[path] / before[path] for path in before if after[path] != before[path]}
    assert "power.flop_pj.bf16" in changed
    assert not any(path.startswith(("time.", "power.idle")) for path in changed)
    assert list(changed.values()) == pytest.approx([1.2] * len(changed), rel=0.02)
    assert "by 6 measured workloads" in json.loads(text)["notes"][-1]
    assert "team-a/w0" in done.stderr
    assert "thin" not in done.stderr
    assert estimation.calibration_digest(text) in done.stderr
    assert fake.writes == []


def test_too_few_and_no_help_are_said(fake: FakeCluster) -> None:
    for number in range(4):
        fake.put(AIWORKLOADS, workload(f"w{number}", 500, 10))
    few = run("recalibrate", GPU)
    assert (few.exit_code, few.stdout) == (3, "")
    assert "5 are needed" in few.stderr
    for number, error in enumerate((-10, -5, 0, 0, 5, 10)):
        fake.put(AIWORKLOADS, workload(f"w{number}", 500, error))
    vain = run("recalibrate", GPU)
    assert (vain.exit_code, vain.stdout) == (3, "")
    assert "no correction" in vain.stderr


def test_accuracy_by_workload_and_gpu(fake: FakeCluster) -> None:
    fake.put(AIWORKLOADS, workload("a", 500, 10))
    fake.put(AIWORKLOADS, workload("b", 500, -4))
    fake.put(AIWORKLOADS, workload("thin", 500, 90, coveragePercent=50))
    fake.put(AIWORKLOADS, {**workload("new", 500, 0), "status": {}})
    table = run("accuracy", "-A").stdout.splitlines()
    assert "1.1 kJ" in table[1]
    assert table[1].endswith("+10 %")
    assert table[-1].split() == [GPU, "2", "7.0", "%", "+3.0", "%"]
    document = json.loads(run("accuracy", "-n", "team-a", "-o", "json").stdout)
    assert document["workloads"][1]["predicted_joules"] == 960
    assert [one["workload"] for one in document["workloads"]] == [
        "team-a/a",
        "team-a/b",
        "team-a/thin",
    ]
    assert document["gpus"][GPU] == {"workloads": 2, "meanErrorPercent": 7.0, "biasPercent": 3.0}


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("command", "said"), [("accuracy", "nothing is measured"), ("budget", "no EnergyBudget")]
)
def test_where_there_is_nothing_that_is_said(command: str, said: str) -> None:
    done = CliRunner().invoke(kubectl.main, [command, "-n", "empty"])
    assert done.exit_code == 0, done.output
    assert said in done.output
    assert "-A" in done.output


def test_a_proposal_goes_on_from_the_coefficients_in_use() -> None:
    own = SHIPPED.with_values({"power.dram_pj_per_byte": 77.0}).dumps()
    seen = [
        Compared(f"w{n}", GPU, 500, 1, 1, 95, true_error(500, 1.1), 2, 1000, None, bound=False)
        for n in range(5)
    ]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = accuracy.propose(History(PROFILE, own, tuple(seen)), now)
    changed = type(SHIPPED).loads(found.text)
    assert changed.power.dram_pj_per_byte == pytest.approx(77 * found.factor)
    assert changed.fitted_on[-1].date == "2026-01-01"
