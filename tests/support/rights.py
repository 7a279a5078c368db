"""What none of our accounts may do, and what rules of Kubernetes allow."""

from __future__ import annotations

from typing import Any

Call = tuple[str, str, str]
"""Verb, group, resource with subresource."""

FORBIDDEN: tuple[Call, ...] = (
    *((verb, "", "secrets") for verb in ("get", "list", "create", "delete")),
    *((verb, "", "pods") for verb in ("create", "patch", "delete")),
    ("create", "", "pods/exec"),
    ("create", "", "serviceaccounts/token"),
    *((verb, "", "nodes") for verb in ("patch", "delete")),
    *((verb, "", "namespaces") for verb in ("patch", "delete")),
    *((verb, "batch", "jobs") for verb in ("create", "update", "delete")),
    *((verb, "apps", "deployments") for verb in ("patch", "delete")),
    ("update", "apps", "deployments/scale"),
    *((verb, "energaizer.io", "energybudgets") for verb in ("create", "patch", "delete")),
    *((verb, "energaizer.io", "energypolicies") for verb in ("create", "patch", "delete")),
    *((verb, "energaizer.io", "gpuprofiles") for verb in ("create", "patch", "delete")),
    *((verb, "energaizer.io", "aiworkloads") for verb in ("patch", "delete")),
    *((verb, "resource.k8s.io", "resourceclaims") for verb in ("create", "patch", "delete")),
    ("update", "", "resourcequotas"),
    ("create", "rbac.authorization.k8s.io", "clusterrolebindings"),
    ("escalate", "rbac.authorization.k8s.io", "clusterroles"),
    ("impersonate", "", "serviceaccounts"),
    ("delete", "admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("create", "admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("patch", "apiextensions.k8s.io", "customresourcedefinitions"),
)
"""What nobody of ours may do, but for what OPTED_IN lists."""

OPTED_IN = frozenset({("patch", "", "nodes"), ("patch", "apps", "deployments")})
"""What the controller may do where `nodeLabels` and `annotateOwners` are switched on."""


def allows(rules: list[dict[str, Any]], call: Call) -> bool:
    """Say whether rules allow a call on any object, not on a few that they name."""
    verb, group, resource = call
    return any(
        verb in rule["verbs"]
        and group in rule["apiGroups"]
        and resource in rule["resources"]
        and not rule.get("resourceNames")
        for rule in rules
    )
