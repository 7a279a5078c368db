"""Commands of the plugin that ask a cluster: which one, in which namespace, and what they do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from energaizer_operator import kubectl
from energaizer_operator.cluster import Cluster, ClusterError
from energaizer_operator.kinds import (
    AIWORKLOADS,
    ENERGYBUDGETS,
    ENERGYRESERVATIONS,
    JOBS,
    JOBSETS,
    ApiResource,
)
from energaizer_operator.settings import Settings
from fake_cluster import FakeCluster

ASKING = {
    "accuracy": (),
    "budget": (),
    "recalibrate": ("a100-sxm4-80gb",),
    "release": ("job/a",),
}
"""Every command that asks a cluster, with its argument."""


@pytest.fixture
def fake(reached: FakeCluster) -> FakeCluster:
    reached.namespace = "team-a"
    return reached


def run(*arguments: str) -> Result:
    return CliRunner().invoke(kubectl.main, list(arguments))


def hold(fake: FakeCluster, resource: ApiResource, name: str, *, estimated: bool = True) -> None:
    """Put an object that a budget holds, and its AIWorkload."""
    metadata = {
        "name": name,
        "namespace": "team-a",
        "labels": {"energaizer.io/workload": name},
        "annotations": {"energaizer.io/held": "budget"},
    }
    fake.put(resource, {"metadata": metadata, "spec": {"suspend": True}})
    waiting = {"type": "BudgetReserved", "status": "False", "reason": "OverBudget", "message": "no"}
    estimate = {
        **{"profile": "l4-24gb", "gpuCount": 2, "replicas": 2, "durationSeconds": 10},
        **{"powerWatts": 100, "powerLowWatts": 90, "powerHighWatts": 110},
        **{"energyJoules": 1000, "energyLowJoules": 900, "energyHighJoules": 1100},
        **{"energyHuman": "x", "powerHuman": "x", "method": "Calibrated"},
        **{"estimatorVersion": "0", "estimateTime": "2026-01-01T00:00:00Z"},
    }
    status = {
        "conditions": [{**waiting, "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "budget": {"budgetNames": ["monthly"]},
        **({"estimate": estimate} if estimated else {}),
    }
    body = {"metadata": {"name": name, "namespace": "team-a"}, "spec": {}, "status": status}
    fake.put(AIWORKLOADS, body)


@pytest.mark.parametrize("command", ASKING)
def test_a_command_that_needs_a_cluster_says_so(command: str, tmp_path: Path) -> None:
    done = run(command, *ASKING[command], "--kubeconfig", str(tmp_path / "none"))
    assert done.exit_code == 1
    assert "no cluster" in done.output


@pytest.mark.parametrize("command", ASKING)
def test_the_cluster_asked_is_that_of_the_context(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Settings] = []

    async def connect(settings: Settings) -> None:
        asked.append(settings)
        raise ClusterError("no answer")

    monkeypatch.setattr(Cluster, "connect", connect)
    run(command, *ASKING[command], "--context", "second", "--kubeconfig", "here")
    assert (asked[0].kubeconfig, asked[0].context) == (Path("here"), "second")


def test_whoever_asks_a_cluster_may_say_which_and_nobody_else() -> None:
    wanted = {"--kubeconfig", "--context", "--namespace"}
    for name, command in kubectl.main.commands.items():
        flags = {flag for one in command.params for flag in one.opts}
        assert flags & wanted == (wanted if name in ASKING else set()), name


@pytest.mark.parametrize(
    ("option", "seen"),
    [((), {"near"}), (("-n", "team-b"), {"far"}), (("-A",), {"near", "far"})],
)
def test_budgets_are_those_of_the_contexts_namespace_of_another_or_of_all(
    option: tuple[str, ...], seen: set[str], fake: FakeCluster
) -> None:
    for name, namespace in (("near", "team-a"), ("far", "team-b")):
        metadata = {"name": name, "namespace": namespace}
        fake.put(ENERGYBUDGETS, {"metadata": metadata, "spec": {"action": "Hold"}})
    hold(fake, JOBS, "train")
    found = json.loads(run("budget", *option, "-o", "json").stdout)
    assert {one["metadata"]["name"] for one in found["budgets"]} == seen
    assert [one["name"] for one in found["waiting"]] == (["train"] if "near" in seen else [])


@pytest.mark.parametrize(
    ("resource", "name"),
    [(JOBS, "train"), (JOBS, "job/train"), (JOBS, "job.batch/train"), (JOBSETS, "JobSets/train")],
)
def test_a_release_reserves_the_high_end_for_what_is_held(
    resource: ApiResource, name: str, fake: FakeCluster
) -> None:
    hold(fake, resource, "train")
    done = run("release", name)
    kind = resource.kind.lower()
    said = f"{kind} team-a/train: 1.1 kJ (0.306 Wh) reserved in monthly\n"
    assert (done.exit_code, done.output) == (0, said)
    made = fake.objects[ENERGYRESERVATIONS.plural, "team-a", "uid-train"]["spec"]
    reference = made["workloadRef"]
    assert (reference["apiVersion"], reference["kind"]) == (resource.api_version, resource.kind)
    assert (made["energyJoules"], made["expectedEnergyJoules"]) == (1100, 1000)
    assert (made["budgetNames"], made["replicas"]) == (["monthly"], 2)
    again = run("release", name)
    assert (again.exit_code, "already" in again.output) == (0, True)


@pytest.mark.parametrize("name", ["job/", "deployment/train", "job.example.com/train", "a/b/c", ""])
def test_a_release_names_a_job_or_job_set(name: str) -> None:
    done = run("release", name)
    said = f'error: "{name}" names no Job or JobSet; give job/NAME or jobset/NAME\n'
    assert (done.exit_code, done.output) == (2, said)


def test_what_is_not_held_or_not_estimated_is_not_released(fake: FakeCluster) -> None:
    hold(fake, JOBS, "soon", estimated=False)
    fake.put(JOBS, {"metadata": {"name": "free", "namespace": "team-a"}, "spec": {}})
    soon, free, gone = (run("release", name) for name in ("soon", "free", "gone"))
    assert "see `kubectl describe aiworkload soon -n team-a`" in soon.output
    assert "job team-a/free is not held by an energy budget" in free.output
    assert (soon.exit_code, free.exit_code, gone.exit_code) == (2, 2, 1)
    assert fake.writes == []
