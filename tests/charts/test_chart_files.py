"""The chart holds copies of what has its source elsewhere, and names this version."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import energaizer
from energaizer_operator.settings import Settings
from energaizer_operator.webhook.judge import INTERCEPTED

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts/energaizer"
COPIES = {
    "files/base": [
        ROOT / "charts/kustomize/base" / f"{name}.yaml"
        for name in ("controller-account", "webhook-account", "user-roles", "webhooks")
    ],
    "files/features": sorted((ROOT / "charts/kustomize").glob("*/role.yaml")),
    "files/crds": sorted((ROOT / "crds").glob("*s.yaml")),
}


@pytest.mark.parametrize("folder", COPIES)
def test_copies_are_what_they_copy(folder: str) -> None:
    sources = {
        path.name if path.name != "role.yaml" else f"{path.parent.name}.yaml": path.read_text()
        for path in COPIES[folder]
    }
    copies = {path.name: path.read_text() for path in (CHART / folder).iterdir()}
    assert copies == sources, f"{CHART / folder} differs from its sources; run: make chart"


def test_the_api_server_passes_over_the_pods_that_the_webhook_would() -> None:
    hooks = yaml.safe_load_all((ROOT / "charts/kustomize/base/webhooks.yaml").read_text())
    found = {
        hook["name"]: re.findall(r"\[(.*?)\]", condition["expression"], re.DOTALL)
        for document in hooks
        for hook in document["webhooks"]
        for condition in hook["matchConditions"]
        if condition["name"] == "not-judged-with-its-owner"
    }
    assert set(found) == {"pod.energaizer.io", "pod.energaizer.io-strict"}
    for users, kinds in found.values():
        assert tuple(yaml.safe_load(f"[{users}]")) == Settings(kubeconfig="x").trusted_controllers
        assert set(yaml.safe_load(f"[{kinds}]")) == INTERCEPTED


def test_the_chart_has_the_version_of_the_package() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == energaizer.__version__


def test_roles_have_no_wildcard_and_no_secret_of_others() -> None:
    for path in (*COPIES["files/base"][:3], *COPIES["files/features"]):
        for document in yaml.safe_load_all(path.read_text()):
            for rule in document.get("rules", []):
                assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"], path
                if "secrets" in rule["resources"]:
                    assert document["kind"] == "Role", f"{path}: secrets of the whole cluster"
                    assert rule["resourceNames"], f"{path}: every secret of a namespace"
