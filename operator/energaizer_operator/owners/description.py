"""One object, as far as its energy is concerned, and which of its owners is the workload."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from energaizer_operator.owners.gpus import Claim, add, claimed_gpus, claims_of, gpu_requests
from energaizer_operator.owners.layouts import LAYOUTS, Layout
from energaizer_operator.shapes import Json, at, items, mapping, text, texts

MAX_NAME = 63
_KEPT = 54  # 54 characters, a hyphen and 8 hexadecimal digits make 63
WORKLOADS = frozenset(
    {
        *("Job", "Deployment", "StatefulSet", "ReplicaSet", "JobSet", "LeaderWorkerSet"),
        *("PyTorchJob", "RayCluster", "RayJob", "RayService"),
    }
)
"""Kinds that are the workload of the pods below; what KServe and TrainJob make is one itself."""
FOLLOWED = WORKLOADS - {"ReplicaSet"}
"""Workloads that the controller watches; a lone ReplicaSet is seen by its pods."""
CONTROLLERS = WORKLOADS | {"Pod"}
"""What may control a part of a workload: the leader pod of a LeaderWorkerSet, its workers."""


@dataclass(frozen=True)
class Owner:
    """The controller that an object names as its owner."""

    api_version: str
    kind: str
    name: str
    uid: str


@dataclass(frozen=True)
class Group:
    """Pods of one template."""

    path: str
    """JSON pointer of the pod's spec inside the object: `/spec/template/spec`."""
    pod_spec: Json
    pods: int
    """That run at once in one unit of the workload."""
    gpus: Mapping[str, int]
    """Of one pod, by resource."""


@dataclass(frozen=True)
class Description:
    """One workload object, as far as its energy is concerned."""

    api_version: str
    kind: str
    name: str
    namespace: str
    uid: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    """Of the object itself; of a pod, they are `pod_annotations` too."""
    pod_labels: Mapping[str, str]
    pod_annotations: Mapping[str, str]
    pod_spec: Json
    """Of the first template that asks for GPUs."""
    pod_spec_path: str
    """JSON pointer of `pod_spec` inside the object: `/spec/template/spec`."""
    replicas: int
    """Units that run at once: pods that are alike, or groups of pods where a kind scales by them.

    Pods that differ in their GPUs are one unit together.
    """
    gpus: Mapping[str, int] = field(default_factory=dict)
    """GPUs of one unit by resource, e.g. nvidia.com/gpu: 8."""
    owner: Owner | None = None
    deadline_seconds: int | None = None
    groups: tuple[Group, ...] = ()
    """Every template, the GPU-less ones too."""
    surge: int = 0
    """Replicas that a rolling update may run beside the others for a while."""
    serve_config: str = ""
    """Of a RayService: `serveConfigV2`, which names the model."""
    entrypoint: str = ""
    """Of a RayJob: the command that it runs on the cluster which it makes."""

    @property
    def gpus_per_replica(self) -> int:
        """Return the GPUs of one unit, whatever they are called."""
        return sum(self.gpus.values())

    @property
    def resource_name(self) -> str | None:
        """Return the resource by which most GPUs are asked for; None without a GPU."""
        return max(sorted(self.gpus), key=lambda name: self.gpus[name], default=None)

    @property
    def pod_specs(self) -> tuple[Json, ...]:
        """Return the specs of the pods that ask for GPUs; of all pods if none does."""
        asking = tuple(group.pod_spec for group in self.groups if group.gpus)
        return asking or tuple(group.pod_spec for group in self.groups) or (self.pod_spec,)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Return the ResourceClaims and templates that its pods name, each once."""
        named = (claim for group in self.groups for claim in claims_of(group.pod_spec))
        return tuple(dict.fromkeys(named))

    def with_claims(self, found: Mapping[Claim, Json]) -> Description:
        """Return the description with the GPUs of claims that were read counted too."""
        if not found:
            return self
        groups = []
        for group in self.groups:
            gpus = dict(group.gpus)
            for claim in claims_of(group.pod_spec):
                add(gpus, claimed_gpus(found.get(claim, {})))
            groups.append(replace(group, gpus=gpus))
        units = self.replicas if self._scales else None
        replicas, counted = _count(tuple(groups), units)
        return replace(self, groups=tuple(groups), replicas=replicas, gpus=counted)

    @property
    def _scales(self) -> bool:
        """Return whether `replicas` counts groups of pods rather than pods."""
        return self.kind in ("LeaderWorkerSet", "InferenceService")


def describe(obj: Json) -> Description | None:
    """Return what an object of a kind that makes pods says; None for other kinds."""
    kind = text(obj.get("kind"))
    if kind not in LAYOUTS:
        return None
    version, read = LAYOUTS[kind]
    layout = read(obj)
    metadata = mapping(obj.get("metadata"))
    groups = tuple(
        Group(one.path, at(one.body, "spec"), one.pods, gpu_requests(at(one.body, "spec")))
        for one in layout.templates
    )
    main = next((index for index, group in enumerate(groups) if group.gpus), 0)
    replicas, gpus = _count(groups, layout.units)
    return Description(
        api_version=text(obj.get("apiVersion")) or version,
        kind=kind,
        name=text(metadata.get("name")) or text(metadata.get("generateName")),
        namespace=text(metadata.get("namespace")),
        uid=text(metadata.get("uid")),
        labels=texts(metadata.get("labels")),
        annotations=texts(metadata.get("annotations")),
        pod_labels=_of_templates(layout, main, "labels"),
        pod_annotations=_of_templates(layout, main, "annotations"),
        pod_spec=groups[main].pod_spec if groups else {},
        pod_spec_path=groups[main].path if groups else "",
        replicas=replicas,
        gpus=gpus,
        groups=groups,
        owner=controller_of(obj),
        deadline_seconds=layout.deadline_seconds or _pod_deadline(groups, main),
        surge=layout.surge,
        serve_config=text(at(obj, "spec").get("serveConfigV2")),
        entrypoint=text(at(obj, "spec").get("entrypoint")) if kind == "RayJob" else "",
    )


def controller_of(obj: Json) -> Owner | None:
    """Return the owner that controls an object; None for a root."""
    for reference in items(mapping(obj.get("metadata")).get("ownerReferences")):
        if reference.get("controller") is True:
            return Owner(
                text(reference.get("apiVersion")),
                text(reference.get("kind")),
                text(reference.get("name")),
                text(reference.get("uid")),
            )
    return None


def root(above: Sequence[Json]) -> int | None:
    """Return which of an object's owners, its own first, is the workload that it is a part of.

    The outermost of a known kind: a JobSet, not its Job; but the Job, not the CronJob that made it.
    """
    known = [index for index, one in enumerate(above) if one.get("kind") in WORKLOADS]
    return known[-1] if known else None


def workload_name(kind: str, name: str) -> str:
    """Return the name of the AIWorkload that we create for an object: `job-llama-8b-ft`.

    Longer than 63 characters it is cut to 54, with a hyphen and 8 digits of its SHA-256.
    """
    full = f"{kind}-{name}".lower()
    if len(full) <= MAX_NAME:
        return full
    return f"{full[:_KEPT]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def _count(groups: tuple[Group, ...], units: int | None) -> tuple[int, dict[str, int]]:
    """Return the replicas of a description with these groups, and the GPUs of one of them."""
    asking = [group for group in groups if group.gpus]
    if units is None and _alike(asking):
        chosen = asking or list(groups[:1])
        pods = sum(group.pods for group in chosen)
        return pods, dict(chosen[0].gpus) if chosen else {}
    total: dict[str, int] = {}
    for group in asking:
        add(total, group.gpus, group.pods)
    return 1 if units is None else units, total


def _alike(groups: Sequence[Group]) -> bool:
    return all(group.gpus == groups[0].gpus for group in groups)


def _of_templates(layout: Layout, main: int, part: str) -> dict[str, str]:
    """Return labels or annotations of the templates; those of the main one are the strongest."""
    found: dict[str, str] = {}
    strongest = layout.templates[main : main + 1]
    others = layout.templates if len(layout.templates) > 1 else ()
    for template in (*reversed(others), *strongest):
        found |= texts(at(template.body, "metadata").get(part))
    return found


def _pod_deadline(groups: Sequence[Group], main: int) -> int | None:
    seconds = groups[main].pod_spec.get("activeDeadlineSeconds") if groups else None
    return seconds if isinstance(seconds, int) and seconds > 0 else None
