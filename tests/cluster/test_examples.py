"""Every manifest of examples/ is applied, and does what its comments say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster import Cluster, instances, processes
from localcluster.operator import ROOT, OperatorProcess
from polling import holds, until, wait_for

EXAMPLES = ROOT / "examples"
DEMO = f"demo-test-{os.getpid()}"


@pytest.fixture(scope="module", autouse=True)
def _processes(controller_process: OperatorProcess, webhook_process: OperatorProcess) -> None:
    """Both run."""


@pytest.fixture(scope="module")
def teams(installed: Cluster) -> Iterator[Cluster]:
    installed.kubectl("apply", "-f", str(EXAMPLES / "namespaces.yaml"))
    yield installed
    # Waits until they are gone: test_monitoring makes them anew.
    installed.kubectl("delete", "-f", str(EXAMPLES / "namespaces.yaml"), "--timeout=120s")


@pytest.fixture
def apply(teams: Cluster) -> Any:
    return lambda name: teams.kubectl("apply", "-f", str(EXAMPLES / name), check=False)


def ready(cluster: Cluster, name: str, namespace: str) -> None:
    wait_for(cluster, "aiworkload", name, holds("Ready"), namespace)


@pytest.mark.parametrize(
    ("example", "workload", "namespace"),
    [
        ("serving.yaml", "llama-8b-chat", "team-a"),
        ("annotated-job.yaml", "job-summarise", "team-a"),
        ("model-config.yaml", "house-model", "team-a"),
        ("image-generation.yaml", "product-pictures", "team-a"),
        ("multi-node-training.yaml", "pretrain", "team-a"),
    ],
)
def test_example_is_estimated(
    apply: Any, teams: Cluster, example: str, workload: str, namespace: str
) -> None:
    assert apply(example).returncode == 0
    ready(teams, workload, namespace)


def test_arguments_of_a_server_are_its_description(apply: Any, teams: Cluster) -> None:
    example = "unannotated-vllm.yaml"
    assert apply(example).returncode == 0
    try:
        ready(teams, "deployment-chat", "team-a")
        path = (
            "jsonpath={.status.modelName} {.status.resolvedInputs[?(@.name=='model.name')].source}"
            " {.status.resolvedInputs[?(@.name=='model.precision')].source}"
        )
        shown = teams.kubectl("get", "aiworkload/deployment-chat", "-n", "team-a", "-o", path)
        assert shown.stdout == "meta-llama/Llama-3.1-8B-Instruct RuntimeArguments Checkpoint"
    finally:
        teams.kubectl("delete", "-f", str(EXAMPLES / example), "--wait=false")


def test_policy_refuses_the_job_that_its_comment_names(apply: Any, teams: Cluster) -> None:
    assert apply("energy-policy.yaml").returncode == 0
    wait_for(teams, "energypolicy", "team-b-limit", holds("Ready"))
    rehearsal = ("create", "--dry-run=server", "-f", str(EXAMPLES / "job-over-limit.yaml"))
    until(lambda: teams.kubectl(*rehearsal, check=False).returncode, "admission knows the policy")
    done = apply("job-over-limit.yaml")
    teams.kubectl("delete", "-f", str(EXAMPLES / "energy-policy.yaml"))
    assert done.returncode == 1
    assert "energy policy team-b-limit: needs" in done.stderr
    assert "Fits: " in done.stderr


def test_budgets_hold_the_experiments_of_their_comment(apply: Any, teams: Cluster) -> None:
    try:
        assert apply("energy-budget.yaml").returncode == 0
        for name in ("monthly", "experiments"):
            wait_for(teams, "energybudget", name, holds("Ready"), "team-c")
        assert apply("experiments.yaml").returncode == 0
        shown = teams.kubectl("get", "job", "experiment", "-n", "team-c", "-o", "yaml").stdout
        assert "energaizer.io/workload: job-experiment" in shown
        for name in ("experiment", "experiment-again"):
            wait_for(teams, "job", name, lambda job: not job["spec"]["suspend"], "team-c")
    finally:
        teams.kubectl("delete", "-f", str(EXAMPLES / "energy-budget.yaml"), "--wait=false")


def test_quota_of_watts_is_counted(apply: Any, teams: Cluster) -> None:
    assert apply("watt-quota.yaml").returncode == 0
    describe = ("describe", "quota", "power", "-n", "team-a")

    def described() -> str:
        return teams.kubectl(*describe).stdout

    until(lambda: re.search(r"requests.energaizer.io/watts +0 +20k", described()), described)


def test_no_example_is_forgotten() -> None:
    text = Path(__file__).read_text()
    assert [path.name for path in EXAMPLES.glob("*.yaml") if path.name not in text] == []


def test_demo_holds_and_leaves_nothing_behind() -> None:
    run = [sys.executable, "-m", "localcluster.demo", "--name", DEMO]
    try:
        done = subprocess.run(run, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Everything held" in done.stdout
        record = instances.find(DEMO)
        assert record is not None
        assert instances.condition(record) == "running"
    finally:
        down = [sys.executable, "-m", "localcluster", "down", "--name", DEMO]
        subprocess.run(down, check=True, capture_output=True)
    assert instances.find(DEMO) is None
    assert not record.folder.exists()
    assert processes.running(record.folder) == ()


def test_every_manifest_of_the_page_for_platform_teams_applies(installed: Cluster) -> None:
    text = (ROOT / "docs/budgets.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 3
    try:
        for block in blocks:
            installed.kubectl("apply", "-f", "-", input=block)
        for name in ("monthly", "nightly"):
            wait_for(installed, "energybudget", name, holds("Ready"), "team-d")
    finally:
        installed.kubectl("delete", "namespace", "team-d", "--wait=false")
