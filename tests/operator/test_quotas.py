"""A quota of watts in a review: pods are refused as the API server refuses them, others wait."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

import steady_physics
from energaizer_operator import kubectl, quotas
from reviewing import NAMESPACE, deployment, job, pod

Object = dict[str, Any]
EACH = 385
"""Watts of one H100 at half its limit, the upper end of the interval."""


@pytest.fixture(autouse=True)
def physics(monkeypatch: pytest.MonkeyPatch) -> None:
    steady_physics.install(monkeypatch)


def quota(hard: str, used: str = "", **spec: Any) -> Object:
    status = {"used": {quotas.KEY: used}} if used else {}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "power", "namespace": NAMESPACE},
        "spec": {"hard": {quotas.KEY: hard, "pods": "9"}, **spec},
        "status": status,
    }


def named(name: str) -> Object:
    made = pod()
    made["metadata"] = {**made["metadata"], "name": name}
    return made


def review(folder: Path, rule: Object, *objects: Object) -> tuple[int, list[Object]]:
    for name, documents in (("rules", [rule]), ("objects", list(objects))):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump_all(documents))
    files = ("-f", str(folder / "objects.yaml"), "--policies", str(folder / "rules.yaml"))
    done = CliRunner().invoke(kubectl.main, ["review", *files, "--gpu", "h100", "-o", "json"])
    assert not done.stderr
    return done.exit_code, json.loads(done.stdout)


def test_pods_are_admitted_until_the_watts_are_gone(tmp_path: Path) -> None:
    code, verdicts = review(tmp_path, quota("1k"), *(named(f"p{n}") for n in range(3)))
    assert (code, [one["action"] for one in verdicts]) == (4, ["Allow", "Allow", "Deny"])
    assert verdicts[2]["message"] == (
        "exceeded quota: power, requested: requests.energaizer.io/watts=385, used:"
        " requests.energaizer.io/watts=770, limited: requests.energaizer.io/watts=1k"
    )


def test_what_is_used_already_counts(tmp_path: Path) -> None:
    code, (verdict,) = review(tmp_path, quota("1k", "700"), named("p"))
    assert (code, verdict["action"]) == (4, "Deny")
    assert "used: requests.energaizer.io/watts=700" in verdict["message"]


def test_a_job_is_let_in_and_told_that_its_pods_wait(tmp_path: Path) -> None:
    """Four pods of which two fit; then there is nothing left for a Deployment."""
    code, verdicts = review(tmp_path, quota("800"), job(), deployment(2))
    assert (code, [one["action"] for one in verdicts]) == (0, ["Allow", "Allow"])
    assert verdicts[0]["warnings"] == [], "its first pod fits"
    (warning,) = verdicts[1]["warnings"]
    assert warning.startswith("its pods would wait: exceeded quota: power, requested: ")
    assert f"used: {quotas.KEY}={2 * EACH}" in warning


@pytest.mark.parametrize(
    "rule",
    [
        quota("1", scopes=["Terminating"]),
        quota("a lot"),
        {**quota("1"), "spec": {"hard": {"pods": "1"}}},
        {**quota("1"), "spec": None},
        {**quota("1"), "metadata": {"name": "power", "namespace": "others"}},
    ],
    ids=["of some pods alone", "no number", "no watts", "empty", "of others"],
)
def test_a_quota_that_is_not_for_this_says_nothing(tmp_path: Path, rule: Object) -> None:
    files = (tmp_path / "rules.yaml", tmp_path / "objects.yaml")
    for path, document in zip(files, (rule, named("p")), strict=True):
        path.write_text(yaml.safe_dump(document))
    arguments = ["review", "-f", str(files[1]), "--policies", str(files[0]), "--gpu", "h100"]
    done = CliRunner().invoke(kubectl.main, arguments)
    assert done.exit_code == 0, done.output
    assert "exceeded" not in done.output
