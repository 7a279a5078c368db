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
ADMISSIONCHECKS = ApiResource(
    "kueue.x-k8s.io", "v1beta2", "admissionchecks", "AdmissionCheck", namespaced=False
)
RESOURCEFLAVORS = ApiResource(
    "kueue.x-k8s.io", "v1beta2", "resourceflavors", "ResourceFlavor", namespaced=False
)
LOCALQUEUES = ApiResource("kueue.x-k8s.io", "v1beta2", "localqueues", "LocalQueue")
CLUSTERQUEUES = ApiResource(
    "kueue.x-k8s.io", "v1beta2", "clusterqueues", "ClusterQueue", namespaced=False
)
QUEUED_WORKLOADS = ApiResource("kueue.x-k8s.io", "v1beta2", "workloads", "Workload")
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
JOBSETS = ApiResource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet")
LEADERWORKERSETS = ApiResource(
    "leaderworkerset.x-k8s.io", "v1", "leaderworkersets", "LeaderWorkerSet"
)
PYTORCHJOBS = ApiResource("kubeflow.org", "v1", "pytorchjobs", "PyTorchJob")
TRAINJOBS = ApiResource("trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob")
RAYCLUSTERS = ApiResource("ray.io", "v1", "rayclusters", "RayCluster")
RAYJOBS = ApiResource("ray.io", "v1", "rayjobs", "RayJob")
RAYSERVICES = ApiResource("ray.io", "v1", "rayservices", "RayService")
INFERENCESERVICES = ApiResource(
    "serving.kserve.io", "v1beta1", "inferenceservices", "InferenceService"
)
RESOURCE_CLAIMS = ApiResource("resource.k8s.io", "v1", "resourceclaims", "ResourceClaim")
RESOURCE_CLAIM_TEMPLATES = ApiResource(
    "resource.k8s.io", "v1", "resourceclaimtemplates", "ResourceClaimTemplate"
)
RESOURCE_SLICES = ApiResource(
    "resource.k8s.io", "v1", "resourceslices", "ResourceSlice", namespaced=False
)

WORKLOADS = (JOBS, DEPLOYMENTS, STATEFULSETS, PODS)
"""Kinds of Kubernetes itself that may need an AIWorkload of ours."""
OTHER_WORKLOADS = (JOBSETS, LEADERWORKERSETS, PYTORCHJOBS, RAYCLUSTERS, RAYJOBS, RAYSERVICES)
"""Kinds of others that may need one too, where a cluster has them."""
CHARGED = {resource.kind: resource for resource in (*WORKLOADS, *OTHER_WORKLOADS, REPLICASETS)}
"""What joules are reserved for, by kind: those, and a ReplicaSet that nothing controls."""

OWNERS: Mapping[tuple[str, str], ApiResource] = {
    (resource.group, resource.kind): resource
    for resource in (
        *(JOBS, CRONJOBS, DEPLOYMENTS, STATEFULSETS, REPLICASETS, PODS),
        *(*OTHER_WORKLOADS, TRAINJOBS, INFERENCESERVICES),
        *(RESOURCE_CLAIMS, RESOURCE_CLAIM_TEMPLATES),
    )
}
"""Kinds that a reference may name, by group and kind."""


def resource_of(api_version: str, kind: str) -> ApiResource | None:
    """Return how the API server serves a kind that a reference names; None if we do not read it.

    Its version may be another one than ours: the server converts.
    """
    group = api_version.rpartition("/")[0]
    return OWNERS.get((group, kind))
