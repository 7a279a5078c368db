"""The Helm chart on a real API server, by the real helm: what its pods say runs, as processes.

The release has another name and namespace than the defaults. The previous version is this chart
with an older number and a kind that lacks a field.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
import urllib.error
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from localcluster.api import Api
from localcluster.helm import helm
from patient import make_namespace
from polling import until
from released import (
    FULL,
    NAMESPACE,
    ON_THE_LOCAL_NODE,
    POD,
    RELEASE,
    World,
    fresh_world,
    reserve,
)

OLD_LACKS = ("spec", "whatIf")
AIWORKLOAD = {
    "apiVersion": "energaizer.io/v1alpha1",
    "kind": "AIWorkload",
    "metadata": {"name": "chat", "namespace": "team-a"},
    "spec": {
        "task": "Inference",
        "model": {"name": "meta-llama/Llama-3.1-8B", "precision": "BF16"},
        "inference": {"batchSize": 32, "inputTokens": 1024, "outputTokens": 256},
        "accelerator": {"resourceName": "nvidia.com/gpu", "countPerReplica": 1, "replicas": 2},
        "duration": {"expectedSeconds": 86400},
    },
}


@dataclass
class Admissions:
    """Asks for GPU pods in a strict namespace, in dry runs, until it is told to stop."""

    world: World
    made: int = 0
    failures: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Admissions:
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        api = Api.of(self.world.cluster.kubeconfig)
        while not self._stop.is_set():
            try:
                api.call("POST", "/api/v1/namespaces/team-a/pods?dryRun=All", POD)
            except urllib.error.HTTPError as error:
                self.failures.append(error.read().decode())
            self.made += 1


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with fresh_world() as made:
        yield made


@pytest.fixture(scope="module")
def previous(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged previous version."""
    folder = tmp_path_factory.mktemp("chart")
    shutil.copytree(world.chart, folder / "energaizer")
    about = folder / "energaizer/Chart.yaml"
    content = yaml.safe_load(about.read_text())
    about.write_text(yaml.safe_dump(content | {"version": "0.0.9", "appVersion": "0.0.9"}))
    kind = folder / "energaizer/files/crds/aiworkloads.yaml"
    definition = yaml.safe_load(kind.read_text())
    del schema_of(definition)[OLD_LACKS[0]]["properties"][OLD_LACKS[1]]
    kind.write_text(yaml.safe_dump(definition))
    helm(None, "package", str(folder / "energaizer"), "-d", str(folder))
    return folder / "energaizer-0.0.9.tgz"


def schema_of(definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found["properties"]


def test_from_installation_to_removal(world: World, previous: Path) -> None:
    """One story, for each step needs the one before."""
    cluster = world.cluster
    told = world.helm("install", RELEASE, str(previous), "--wait", *ON_THE_LOCAL_NODE)
    assert told.count("kubectl") + told.count("helm test") >= 3, told
    assert f"helm test {RELEASE} -n {NAMESPACE}" in told
    world.helm("test", RELEASE)
    assert "ok: admission refuses" in world.node.log(f"{FULL}-check")

    cluster.kubectl("apply", "-f", "-", input=json.dumps(AIWORKLOAD))
    before = world.wait_ready("chat")
    watts = {"spec": {"thermalDesignPowerWatts": 650}}
    cluster.kubectl(
        "patch", "gpuprofile", "h100-sxm5-80gb", "--type=merge", f"-p={json.dumps(watts)}"
    )

    with Admissions(world) as admissions:
        world.helm("upgrade", RELEASE, str(world.chart), "--wait", *ON_THE_LOCAL_NODE)
    assert admissions.failures == []
    assert admissions.made > 20, "the upgrade was not under load"
    told_of = decisions(world)
    assert len(told_of) >= admissions.made, "one line a decision"
    assert len({line["uid"] for line in told_of}) == len(told_of)
    private = re.compile(r"PRIVATE KEY|eyJ[\w-]{20,}\.")
    for path in cluster.directory.glob("pod-*.log"):
        assert not private.search(path.read_text()), f"{path.name} has a key or a token"
    definition = world.get("crd", "aiworkloads.energaizer.io")
    assert OLD_LACKS[1] in schema_of(definition)[OLD_LACKS[0]]["properties"]
    wait_images(world, {"energaizer:0.1.0"})
    after = world.wait_ready("chat")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["estimate"]["energyJoules"] > 0
    own = world.get("gpuprofile", "h100-sxm5-80gb")
    assert own["spec"]["thermalDesignPowerWatts"] == 650, "an admin's own value was overwritten"
    world.helm("test", RELEASE)

    stored = {**AIWORKLOAD["spec"], "whatIf": {"clocksMegahertz": [1410]}}  # type: ignore[dict-item]
    cluster.kubectl("apply", "-f", "-", input=json.dumps({**AIWORKLOAD, "spec": stored}))
    reserve(cluster, "team-a")
    world.helm("uninstall", RELEASE)
    wait_gone(world)
    kept = world.get("aiworkload", "chat", "-n", "team-a")
    assert kept["status"]["estimate"]["energyJoules"] > 0
    assert kept["spec"]["whatIf"]["clocksMegahertz"] == [1410], "pruned by the older kind"
    cluster.kubectl("delete", "namespace", "team-a", NAMESPACE, "--timeout=120s")


def test_another_release_on_the_host_network_leaves_not_even_kinds(world: World) -> None:
    """It takes over the kinds that the one before it kept, under a name longer than usual."""
    cluster, release, place = world.cluster, "energy-of-all-gpus-of-this-company", "elsewhere"
    make_namespace(cluster, place)
    make_namespace(cluster, "team-b", "strict")
    small = "crds.keep=false,webhook.hostNetwork=true,webhook.replicas=1,controller.replicas=1"
    small += ",settings.drain_s=0"
    options = ("--wait", "--take-ownership", *ON_THE_LOCAL_NODE, "--set", small)
    world.helm("install", release, str(world.chart), *options, namespace=place)
    world.helm("test", release, namespace=place)
    chat = {**AIWORKLOAD, "metadata": {"name": "chat", "namespace": "team-b"}}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(chat))
    reserve(cluster, "team-b")
    world.helm("uninstall", release, namespace=place)
    wait_gone(world, release, place, kept=False)
    kinds = ("api-resources", "--api-group=energaizer.io", "-o", "name")
    until(lambda: not cluster.kubectl(*kinds).stdout, "with the kinds go their objects")
    cluster.kubectl("delete", "namespace", place, "team-b", "--timeout=120s")


def decisions(world: World) -> list[dict[str, Any]]:
    """Return the lines that webhook pods, gone ones too, wrote about validated pods."""
    logs = world.cluster.directory.glob(f"pod-{FULL}-webhook-*.log")
    whole = (path.read_text().rpartition("\n")[0] for path in logs)  # a last line may be half there
    lines = [json.loads(line) for text in whole for line in text.splitlines()]
    return [one for one in lines if one["message"] == "decided" and one["webhook"] == "pod"]


def wait_images(world: World, wanted: set[str]) -> None:
    """Wait until only `wanted` runs: a pod that is being replaced drains for some seconds."""

    def images() -> set[str]:
        pods = world.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component")["items"]
        return {one["image"] for pod in pods for one in pod["spec"]["containers"]}

    until(lambda: images() == wanted, lambda: f"only {wanted} of {images()} run")


def wait_gone(
    world: World, release: str = RELEASE, namespace: str = NAMESPACE, *, kept: bool = True
) -> None:
    """Fail unless everything of the release goes, but for the kinds if they are kept."""
    select = ["-l", f"app.kubernetes.io/instance={release}", "-A", "-o", "name"]
    left = ["not looked yet"]

    def gone() -> bool:
        nonlocal left
        kinds = world.cluster.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
        done = world.cluster.kubectl(
            "get", ",".join(kinds), *select, "--ignore-not-found", check=False
        )
        left = done.stdout.split()
        if kept:
            left = [one for one in left if not one.startswith("customresourcedefinition")]
        return done.returncode == 0 and not left  # a kind may go between the two questions

    until(gone, lambda: left)
    secrets = world.cluster.kubectl("get", "secrets", "-n", namespace, "-o", "name").stdout
    assert secrets == ""
