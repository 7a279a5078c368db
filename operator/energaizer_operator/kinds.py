"""Every kind that we read or write: where the API server keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from energaizer_operator.names import GROUP, NAMESPACED, PLURALS, VERSION, Kind


@dataclass(frozen=True, slots=True)
class ApiResource:
    """One kind as the API server serves it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """`batch/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
        """Return the URL path of all objects, of a namespace's, of one, or of a subresource."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, sub) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)


def _ours(kind: Kind) -> ApiResource:
    return ApiResource(GROUP, VERSION, PLURALS[kind], str(kind), kind in NAMESPACED)


AIWORKLOADS = _ours(Kind.AI_WORKLOAD)
GPUPROFILES = _ours(Kind.GPU_PROFILE)
ENERGYPOLICIES = _ours(Kind.ENERGY_POLICY)
ENERGYBUDGETS = _ours(Kind.ENERGY_BUDGET)
ENERGYRESERVATIONS = _ours(Kind.ENERGY_RESERVATION)
PODS = ApiResource("", "v1", "pods", "Pod")
NODES = ApiResource("", "v1", "nodes", "Node", namespaced=False)
NAMESPACES = ApiResource("", "v1", "namespaces", "Namespace", namespaced=False)
CONFIGMAPS = ApiResource("", "v1", "configmaps", "ConfigMap")
SECRETS = ApiResource("", "v1", "secrets", "Secret")
JOBS = ApiResource("batch", "v1", "jobs", "Job")
CRONJOBS = ApiResource("batch", "v1", "cronjobs", "CronJob")
DEPLOYMENTS = ApiResource("apps", "v1", "deployments", "Deployment")
STATEFULSETS = ApiResource("apps", "v1", "statefulsets", "StatefulSet")
REPLICASETS = ApiResource("apps", "v1", "replicasets", "ReplicaSet")
PRIORITYCLASSES = ApiResource(
    "scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False
)
LEASES = ApiResource("coordination.k8s.io", "v1", "leases", "Lease")
EVENTS = ApiResource("events.k8s.io", "v1", "events", "Event")
VALIDATING_WEBHOOKS = ApiResource(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)
MUTATING_WEBHOOKS = ApiResource(
    "admissionregistration.k8s.io",
    "v1",
    "mutatingwebhookconfigurations",
    "MutatingWebhookConfiguration",
    namespaced=False,
)
WORKLOADS = (JOBS, DEPLOYMENTS, STATEFULSETS, PODS)
"""Kinds that may need an AIWorkload of ours."""

OWNERS: Mapping[tuple[str, str], ApiResource] = {
    (resource.api_version, resource.kind): resource
    for resource in (JOBS, CRONJOBS, DEPLOYMENTS, STATEFULSETS, REPLICASETS, PODS)
}
"""Kinds that a reference may name, by apiVersion and kind."""
