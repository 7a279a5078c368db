"""The Helm chart on a real API server, by the real helm: what its pods say runs, as processes.

The release has another name and namespace than the defaults. The previous version is this chart
with an older number and a kind that lacks a field.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from energaizer_operator.settings import Settings
from localcluster.build import build
from localcluster.helm import helm, without_helm
from localcluster.operator import ROOT
from released import CHART, FULL, NAMESPACE, ON_THE_LOCAL_NODE, RELEASE, World, fresh_world, reserve

ALL_FEATURES = ["powerResource.enabled=true"]
"""Switches of values that bring a role of their own."""
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


def template(
    *options: str, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[dict[str, Any]]:
    """Return the objects that the chart renders."""
    said = helm(None, "template", release, str(CHART), "-n", namespace, *options).stdout
    return [document for document in yaml.safe_load_all(said) if document]


def test_it_lints_without_a_warning() -> None:
    said = helm(None, "lint", "--strict", str(CHART)).stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in said
    assert "[WARNING]" not in said


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("webhook.replicas=0", "minimum"),
        ("webhook.port=443", "minimum"),
        ("webhook.port=8081", "'not' failed"),
        ("controller.replica=2", "additional properties 'replica' not allowed"),
        ("certificates.mode=letsencrypt", "must be one of"),
        ("certificates.mode=provided", "/certificates/secretName"),
        ("image.digest=latest", "does not match pattern"),
        ("settings.Audit-S=1", "Audit-S"),
        ("log.level=loud", "must be one of"),
    ],
)
def test_the_schema_refuses_what_cannot_work(option: str, why: str) -> None:
    said = helm(None, "template", RELEASE, str(CHART), "--set", option, check=False)
    assert said.returncode != 0
    assert why in said.stderr


def test_values_become_settings_that_the_processes_know() -> None:
    """A variable that names no field would stop them, so each is read by `Settings` itself."""
    chosen = {
        "feedback.prometheusURL": "http://prometheus:9090",
        "feedback.source": "DCGM",
        "powerResource.enabled": "true",
        "hold.enabled": "false",
        "metrics.perWorkload.limit": "100",
        "settings.audit_s": "120",
        "webhook.trustedControllers": "{system:serviceaccount:jobset:jobset}",
    }
    options = [option for key, value in chosen.items() for option in ("--set", f"{key}={value}")]
    found = {}
    for one in template(*options):
        if one["kind"] == "Deployment":
            (container,) = one["spec"]["template"]["spec"]["containers"]
            variables = {entry["name"]: entry.get("value", "x") for entry in container["env"]}
            found[container["name"]] = Settings.from_environment(variables, kubeconfig="x")
    for settings in found.values():
        assert settings.feedback_prometheus_url == chosen["feedback.prometheusURL"]
        assert settings.power_resource
        assert not settings.hold
        assert (settings.audit_s, settings.metrics_workload_limit) == (120, 100)
    assert found["webhook"].trusted_controllers == ("system:serviceaccount:jobset:jobset",)
    assert found["webhook"].controller_account == f"{FULL}-controller"


def test_every_optional_part_renders_and_carries_the_names_of_the_release() -> None:
    parts = ("networkPolicy", "serviceMonitor", "prometheusRule", "dashboards")
    on = [option for part in parts for option in ("--set", f"{part}.enabled=true")]
    objects = template(*on, "--set", "modelConfigs.namespaces={team-a}")
    kinds = {one["kind"] for one in objects}
    assert {"NetworkPolicy", "ServiceMonitor", "PrometheusRule", "PodDisruptionBudget"} <= kinds
    for one in objects:
        where = one["metadata"].get("namespace")
        assert where in (None, NAMESPACE, "team-a"), one["metadata"]
        assert "energaizer-system" not in json.dumps(one), one["metadata"]
        if one["kind"] != "CustomResourceDefinition":
            assert one["metadata"]["name"].startswith(FULL), one["metadata"]
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE, one["metadata"]
    rules = next(one for one in objects if one["kind"] == "PrometheusRule")["spec"]["groups"]
    assert any("alert" in rule for group in rules for rule in group["rules"])


@pytest.mark.parametrize(
    ("release", "namespace", "full"),
    [
        ("energaizer", "energaizer-system", "energaizer"),
        ("e", "kube-tools", "e-energaizer"),
        ("r" * 53, "n" * 63, "r" * 40),
    ],
)
def test_any_release_name_and_namespace_fit_together(
    release: str, namespace: str, full: str
) -> None:
    objects = template("--set", "networkPolicy.enabled=true", release=release, namespace=namespace)
    named = {(one["kind"], one["metadata"]["name"]) for one in objects}
    for kind, name in named:
        most = 253 if kind == "CustomResourceDefinition" else 63
        assert len(name) <= most, f"{kind} {name}"
        assert kind == "CustomResourceDefinition" or name.startswith(full), f"{kind} {name}"
    for one in objects:
        assert one["metadata"].get("namespace") in (None, namespace), one["metadata"]
        if "roleRef" in one:
            assert (one["roleRef"]["kind"], one["roleRef"]["name"]) in named, one["metadata"]
            for subject in one["subjects"]:
                assert ("ServiceAccount", subject["name"]) in named, one["metadata"]
                assert subject["namespace"] == namespace
        for hook in one.get("webhooks", ()):
            service = hook["clientConfig"]["service"]
            assert ("Service", service["name"]) in named
            assert service["namespace"] == namespace


def test_the_host_network_is_the_webhook_s_alone_and_a_node_has_each_port_once() -> None:
    found = {
        one["spec"]["template"]["spec"]["containers"][0]["name"]: one["spec"]
        for one in template("--set", "webhook.hostNetwork=true")
        if one["kind"] == "Deployment"
    }
    webhook, controller = found["webhook"], found["controller"]
    assert webhook["template"]["spec"]["hostNetwork"]
    assert webhook["template"]["spec"]["dnsPolicy"] == "ClusterFirstWithHostNet"
    assert webhook["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert "hostNetwork" not in controller["template"]["spec"]
    assert controller["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_without_holds_the_controller_may_patch_no_job() -> None:
    def patched(*options: str) -> set[str]:
        return {
            resource
            for one in template(*options)
            if one["kind"] == "ClusterRole" and one["metadata"]["name"] == f"{FULL}-controller"
            for rule in one["rules"]
            if "patch" in rule["verbs"]
            for resource in rule["resources"]
        }

    assert patched() - patched("--set", "hold.enabled=false") == {"jobs", "jobsets"}


def test_kinds_are_kept_or_not_as_it_is_said() -> None:
    for keep in ("true", "false"):
        kinds = [
            one["metadata"].get("annotations", {}).get("helm.sh/resource-policy")
            for one in template("--set", f"crds.keep={keep}")
            if one["kind"] == "CustomResourceDefinition"
        ]
        assert set(kinds) == ({"keep"} if keep == "true" else {None})


def test_roles_are_those_of_the_kustomize_base() -> None:
    """One source: the rules differ in the names of objects of ours alone, none is lost."""
    base = ROOT / "charts/kustomize"
    written = {
        (one["kind"], one["metadata"]["name"].replace("energaizer", FULL, 1)): one["rules"]
        for path in base.glob("*/*.yaml")
        for one in yaml.safe_load_all(path.read_text())
        if one and one["kind"] in ("Role", "ClusterRole")
    }
    rendered = {
        (one["kind"], one["metadata"]["name"]): one["rules"]
        for one in template()
        if one["kind"] in ("Role", "ClusterRole")
        and "helm.sh/hook" not in one["metadata"].get("annotations", {})
    }
    assert {key: without_names(rules) for key, rules in rendered.items()} == {
        key: without_names(rules) for key, rules in written.items() if key in rendered
    }
    everything = {
        (one["kind"], one["metadata"]["name"]) for one in template("--set", *ALL_FEATURES)
    }
    assert set(written) <= everything, "a role is lost"


def test_kustomize_runs_what_the_chart_runs() -> None:
    """`charts/kustomize/run` is the chart's rendering, and names accounts of the base."""
    text = (ROOT / "charts/kustomize/run/run.yaml").read_text()
    assert text == without_helm(), "run: make chart"
    accounts = {
        one["metadata"]["name"]
        for path in (ROOT / "charts/kustomize/base").glob("*.yaml")
        for one in yaml.safe_load_all(path.read_text())
        if one and one["kind"] == "ServiceAccount"
    }
    pods = [one for one in yaml.safe_load_all(text) if one and one["kind"] == "Deployment"]
    assert {pod["spec"]["template"]["spec"]["serviceAccountName"] for pod in pods} == accounts
    kubectl = build("kubernetes").program("kubectl")
    folder = ROOT / "charts/kustomize/run"
    made = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=True
    )
    kinds = [one["kind"] for one in yaml.safe_load_all(made.stdout)]
    assert (kinds.count("Deployment"), kinds.count("Service")) == (2, 2)


def without_names(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in rule.items() if key != "resourceNames"} for rule in rules]


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
        while not self._stop.is_set():
            why = self.world.ask()
            self.made += 1
            if why:
                self.failures.append(why)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with fresh_world() as made:
        yield made


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packaged previous version."""
    folder = tmp_path_factory.mktemp("chart")
    shutil.copytree(CHART, folder / "energaizer")
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
        world.helm("upgrade", RELEASE, str(CHART), "--wait", *ON_THE_LOCAL_NODE)
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
    started = time.monotonic()
    cluster.kubectl("delete", "namespace", "team-a", "--timeout=10s")
    assert time.monotonic() - started <= 10
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=30s")


def test_another_release_on_the_host_network_leaves_not_even_kinds(world: World) -> None:
    """It takes over the kinds that the one before it kept, under a name longer than usual."""
    cluster, release, place = world.cluster, "energy-of-all-gpus-of-this-company", "elsewhere"
    for name in (place, "team-b"):
        cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", "team-b", "energaizer.io/admission=strict")
    small = "crds.keep=false,webhook.hostNetwork=true,webhook.replicas=1,controller.replicas=1"
    small += ",settings.drain_s=0"
    options = ("--wait", "--take-ownership", *ON_THE_LOCAL_NODE, "--set", small)
    world.helm("install", release, str(CHART), *options, namespace=place)
    world.helm("test", release, namespace=place)
    chat = {**AIWORKLOAD, "metadata": {"name": "chat", "namespace": "team-b"}}
    cluster.kubectl("apply", "-f", "-", input=json.dumps(chat))
    reserve(cluster, "team-b")
    world.helm("uninstall", release, namespace=place)
    wait_gone(world, release, place, kept=False)
    kinds = cluster.kubectl("api-resources", "--api-group=energaizer.io", "-o", "name").stdout
    assert kinds == "", "with the kinds go their objects"
    cluster.kubectl("delete", "namespace", place, "team-b", "--timeout=30s")


def decisions(world: World) -> list[dict[str, Any]]:
    """Return the lines that webhook pods, gone ones too, wrote about validated pods."""
    logs = world.cluster.directory.glob(f"pod-{FULL}-webhook-*.log")
    lines = [json.loads(line) for path in logs for line in path.read_text().splitlines()]
    return [one for one in lines if one["message"] == "decided" and one["webhook"] == "pod"]


def wait_images(world: World, wanted: set[str]) -> None:
    """Wait until only `wanted` runs: a pod that is being replaced drains for some seconds."""
    deadline = time.monotonic() + 60
    while True:
        pods = world.get("pods", "-n", NAMESPACE, "-l", "app.kubernetes.io/component")["items"]
        images = {one["image"] for pod in pods for one in pod["spec"]["containers"]}
        if images == wanted:
            return
        assert time.monotonic() < deadline, images
        time.sleep(0.5)


def wait_gone(
    world: World, release: str = RELEASE, namespace: str = NAMESPACE, *, kept: bool = True
) -> None:
    """Fail unless everything of the release goes, but for the kinds if they are kept."""
    select = ["-l", f"app.kubernetes.io/instance={release}", "-A", "-o", "name"]
    kinds = world.cluster.kubectl("api-resources", "--verbs=list", "-o", "name").stdout.split()
    deadline = time.monotonic() + 30
    while True:
        left = world.cluster.kubectl(
            "get", ",".join(kinds), *select, "--ignore-not-found", check=False
        ).stdout.split()
        if kept:
            left = [one for one in left if not one.startswith("customresourcedefinition")]
        if not left:
            break
        assert time.monotonic() < deadline, left
        time.sleep(0.5)
    secrets = world.cluster.kubectl("get", "secrets", "-n", namespace, "-o", "name").stdout
    assert secrets == ""
