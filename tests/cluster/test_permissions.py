"""The roles of our accounts hold against what their processes really call: no less, no more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from energaizer_operator.cluster import Cluster as Api
from energaizer_operator.kinds import ApiResource
from energaizer_operator.settings import Settings
from localcluster import Cluster
from localcluster.operator import NAMESPACE, ROOT, OperatorProcess
from polling import until
from rights import FORBIDDEN, Call

BASE = ROOT / "charts/kustomize/base"
ACCOUNTS = ("energaizer-controller", "energaizer-webhook")
REVIEWS = ApiResource(
    "authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False
)
SELDOM = {
    ("energaizer-controller", "create", "resource.k8s.io", "resourceclaimtemplates"),  # test_claims
    ("energaizer-controller", "patch", "resource.k8s.io", "resourceclaimtemplates"),
    ("energaizer-webhook", "get", "apps", "statefulsets"),  # owners of pods: same code as Jobs
    ("energaizer-webhook", "get", "apps", "deployments"),
    ("energaizer-webhook", "get", "batch", "cronjobs"),
    ("energaizer-webhook", "get", "energaizer.io", "energybudgets"),  # after a lost race alone
    ("energaizer-controller", "get", "energaizer.io", "energybudgets"),
    ("energaizer-webhook", "get", "", "pods"),  # a leader that controls its workers: test_kinds
    ("energaizer-controller", "get", "", "configmaps"),  # coefficients: test_calibration
    ("energaizer-controller", "get", "apps", "statefulsets"),
    ("energaizer-controller", "get", "apps", "replicasets"),
}
"""Granted for what no scenario here does, each with its reason."""

OTHERS = {
    ("jobset.x-k8s.io", "jobsets"),
    ("leaderworkerset.x-k8s.io", "leaderworkersets"),
    ("kubeflow.org", "pytorchjobs"),
    ("ray.io", "rayclusters"),
    ("ray.io", "rayjobs"),
    ("ray.io", "rayservices"),
    ("trainer.kubeflow.org", "trainjobs"),
    ("serving.kserve.io", "inferenceservices"),
    ("resource.k8s.io", "resourceclaims"),
    ("resource.k8s.io", "resourceclaimtemplates"),
}
"""Kinds that this cluster may lack; test_kinds installs and uses them."""


def granted(account: str) -> set[Call]:
    """Return the calls that the roles of an account allow."""
    calls: set[Call] = set()
    for document in yaml.safe_load_all((BASE / f"{account[11:]}-account.yaml").read_text()):
        if document["kind"] in ("ClusterRole", "Role") and document["metadata"]["name"] == account:
            for rule in document["rules"]:
                calls |= {
                    (verb, group, resource)
                    for verb in rule["verbs"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                }
    return calls


def audited(cluster: Cluster) -> list[tuple[str, Call, bool]]:
    """Return each call of our accounts and whether our rights forbade it.

    A write into a namespace that is going away is 403 too, but allowed.
    """
    found = []
    for entry in cluster.audit():
        user = entry["user"]["username"].removeprefix(f"system:serviceaccount:{NAMESPACE}:")
        reference = entry.get("objectRef") or {}
        resource = reference.get("resource")
        if user in ACCOUNTS and resource:
            sub = reference.get("subresource")
            call = (
                entry["verb"],
                reference.get("apiGroup", ""),
                f"{resource}/{sub}" if sub else resource,
            )
            decision = (entry.get("annotations") or {}).get("authorization.k8s.io/decision")
            found.append((user, call, decision == "forbid"))
    return found


@pytest.fixture(scope="module", autouse=True)
def _processes(controller_process: OperatorProcess, webhook_process: OperatorProcess) -> None:
    """Both run."""


@pytest.fixture
def scenario(namespace: Any) -> Cluster:
    """One workload of each kind, and everything that is read on its behalf."""
    pod = {
        "restartPolicy": "Never",
        "containers": [
            {
                "name": "main",
                "image": "example.com/main:1",
                "resources": {"limits": {"nvidia.com/gpu": 1}},
            }
        ],
    }
    app = {"matchLabels": {"app": "a"}}
    held = {"matchLabels": {"app": "held"}}
    for name, spec in (
        ("guard", {"action": "Deny"}),
        ("hold", {"action": "Hold", "selector": held}),
    ):
        window = {"type": "None"}
        budget = {
            "apiVersion": "energaizer.io/v1alpha1",
            "kind": "EnergyBudget",
            "metadata": {"name": name},
            "spec": {"limitJoules": 10**15, "window": window, **spec},
        }
        namespace.apply(budget)
        namespace.wait(
            "energybudget", name, lambda body: "observedGeneration" in body.get("status", {})
        )
    long_lived = {"metadata": {"labels": {"app": "a"}}, "spec": {**pod, "restartPolicy": "Always"}}
    namespace.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bare"}, "spec": pod},
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "held", "labels": {"app": "held"}},
            "spec": {"template": {"spec": {**pod, "priorityClassName": "system-cluster-critical"}}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "serve"},
            "spec": {"selector": app, "template": long_lived},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "stateful"},
            "spec": {"selector": app, "serviceName": "s", "template": long_lived},
        },
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": "nightly"},
            "spec": {
                "schedule": "0 0 1 1 *",
                "jobTemplate": {"spec": {"template": {"spec": pod}}},
            },
        },
        {
            "apiVersion": "energaizer.io/v1alpha1",
            "kind": "EnergyPolicy",
            "metadata": {"name": namespace.name},
            "spec": {},
        },
    )
    namespace.cluster.kubectl(
        "create", "job", "now", "--from=cronjob/nightly", "-n", namespace.name
    )
    for name in ("pod-bare", "deployment-serve", "statefulset-stateful", "job-now"):
        namespace.wait("aiworkload", name, lambda body: "status" in body)
    namespace.cluster.kubectl("delete", "energypolicy", namespace.name)
    found: Cluster = namespace.cluster
    return found


def test_roles_grant_what_is_called_and_nothing_else(scenario: Cluster) -> None:
    calls = audited(scenario)
    refused = {(user, *call) for user, call, forbidden in calls if forbidden}
    configmaps = {("energaizer-controller", "get", "", "configmaps")}  # bound by namespace
    assert refused - configmaps == set(), "called, but not granted"
    # A lease is renewed every two seconds.
    until(lambda: not unused(scenario), lambda: f"granted, but never called: {unused(scenario)}")


WEBHOOK_FORBIDDEN: tuple[Call, ...] = (
    ("patch", "batch", "jobs"),
    ("create", "energaizer.io", "aiworkloads"),
    ("create", "energaizer.io", "energyreservations"),
    ("patch", "energaizer.io", "energyreservations/status"),
    ("update", "coordination.k8s.io", "leases"),
    ("create", "resource.k8s.io", "resourceclaimtemplates"),
)
CONTROLLER_FORBIDDEN: tuple[Call, ...] = (
    ("patch", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
)


@pytest.mark.parametrize(
    ("account", "more"), [*zip(ACCOUNTS, (CONTROLLER_FORBIDDEN, WEBHOOK_FORBIDDEN), strict=True)]
)
def test_forbidden_verbs_are_forbidden(
    installed: Cluster, namespace: Any, account: str, more: tuple[Call, ...]
) -> None:
    """The API server's own answer for each account, as it would decide on the call itself."""
    for where in (namespace.name, "kube-system"):
        answers = asyncio.run(decisions(installed, account, where, (*FORBIDDEN, *more)))
        allowed = [call for call, yes in answers.items() if yes]
        assert allowed == []
    own = asyncio.run(decisions(installed, account, NAMESPACE, granted(account)))
    assert any(own.values()), "no call is allowed at all: is the account known?"


def test_real_attempts_are_refused(installed: Cluster, namespace: Any) -> None:
    """The account's own token, in calls that would do harm."""
    for account in ACCOUNTS:
        kubeconfig = installed.service_account_kubeconfig(NAMESPACE, account)
        for attempt in (
            ("get", "secrets", "-A"),
            ("delete", "namespace", namespace.name),
            ("run", "evil", "--image=example.com/main:1", "-n", namespace.name),
            ("create", "clusterrolebinding", "evil", "--clusterrole=cluster-admin", "--user=x"),
            ("delete", "validatingwebhookconfiguration", "energaizer"),
            ("delete", "energybudgets", "--all", "-A"),
            ("create", "token", account, "-n", NAMESPACE),
        ):
            done = installed.kubectl(*attempt, check=False, kubeconfig=kubeconfig)
            assert done.returncode != 0, f"{account}: {attempt}"
            assert "orbidden" in done.stderr, done.stderr


async def decisions(
    cluster: Cluster, account: str, namespace: str, calls: Iterable[Call]
) -> dict[Call, bool]:
    """Return whether the API server would let an account make each call in a namespace."""
    api = await Api.connect(Settings(kubeconfig=cluster.kubeconfig))
    try:
        return {call: await _decision(api, account, namespace, call) for call in calls}
    finally:
        await api.close()


async def _decision(api: Api, account: str, namespace: str, call: Call) -> bool:
    verb, group, resource = call
    plain, _, sub = resource.partition("/")
    asked = {
        "verb": verb,
        "group": group,
        "resource": plain,
        "subresource": sub,
        "namespace": namespace,
    }
    user = f"system:serviceaccount:{NAMESPACE}:{account}"
    groups = ["system:serviceaccounts", "system:authenticated"]
    spec = {"user": user, "groups": groups, "resourceAttributes": asked}
    answer = await api.create(REVIEWS, {"metadata": {}, "spec": spec})
    return bool(answer["status"]["allowed"])


def unused(cluster: Cluster) -> set[tuple[str, ...]]:
    """Return what is granted to an account that has not called it yet."""
    made = {(user, *call) for user, call, _ in audited(cluster)}
    allowed = {(account, *call) for account in ACCOUNTS for call in granted(account)}
    foreign = {call for call in allowed if call[2:] in OTHERS}
    return allowed - made - SELDOM - foreign
