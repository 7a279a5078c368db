"""What the chart renders under any values and names, by the real helm; nothing is installed."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
import yaml

from energaizer_operator.settings import Settings
from localcluster.build import build
from localcluster.helm import helm, without_helm
from localcluster.operator import ROOT
from released import CHART, FULL, NAMESPACE, RELEASE
from rights import FORBIDDEN, OPTED_IN, allows

ALL_FEATURES = ["powerResource.enabled=true,nodeLabels.enabled=true,annotateOwners=true"]
"""Switches of values that bring a role of their own."""


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
        "nodeLabels.enabled": "true",
        "annotateOwners": "true",
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
        assert settings.node_labels
        assert settings.annotate_owners
        assert not settings.hold
        assert (settings.audit_s, settings.metrics_workload_limit) == (120, 100)
    assert found["webhook"].trusted_controllers == ("system:serviceaccount:jobset:jobset",)
    assert found["webhook"].controller_account == f"{FULL}-controller"


def test_the_api_server_trusts_the_users_that_the_webhook_does() -> None:
    chosen = ("--set", "webhook.trustedControllers={a:b$1,c}")
    for options, trusted in ((chosen, '["a:b$1","c"]'), ((), "['system:kube-controller-manager'")):
        conditions = [
            condition["expression"]
            for one in template(*options)
            for hook in one.get("webhooks", ())
            for condition in hook["matchConditions"]
            if condition["name"] == "not-judged-with-its-owner"
        ]
        assert len(conditions) == 2
        assert all(f"username in {trusted}" in one for one in conditions)


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


def test_no_account_may_do_what_nobody_may_whatever_is_switched_on() -> None:
    """Those of processes, hooks and tests, with every feature; the API server judges the first."""
    switched = f"{ALL_FEATURES[0]},kueue.enabled=true,modelConfigs.namespaces={{team-a}}"
    objects = template("--set", switched)
    roles = {
        (one["kind"], one["metadata"]["name"]): one["rules"]
        for one in objects
        if one["kind"] in ("ClusterRole", "Role")
    }
    rules: dict[str, list[dict[str, Any]]] = {}
    for one in objects:
        if one["kind"] in ("ClusterRoleBinding", "RoleBinding"):
            for subject in one["subjects"]:
                bound = rules.setdefault(subject["name"], [])
                bound += roles[one["roleRef"]["kind"], one["roleRef"]["name"]]
    known = {one["metadata"]["name"] for one in objects if one["kind"] == "ServiceAccount"}
    assert set(rules) == known
    assert {"controller", "webhook", "retire", "profiles"} <= {
        name.removeprefix(f"{FULL}-") for name in known
    }
    installs = {(verb, "energaizer.io", "gpuprofiles") for verb in ("create", "patch")}
    for name, granted in rules.items():
        wrong = {call for call in FORBIDDEN if allows(granted, call)}
        excused = {f"{FULL}-profiles": installs, f"{FULL}-controller": OPTED_IN}
        assert wrong - excused.get(name, set()) == set(), name
        assert not [one for one in granted if "*" in str(one)], f"{name} has a wildcard"


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
