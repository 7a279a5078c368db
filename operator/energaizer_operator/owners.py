"""What any workload object says about its pods: template, replicas, GPUs, annotations, owner.

Objects are plain mappings as the API server or a manifest gives them. Their shape is not trusted:
what is not understood counts as absent.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from energaizer_operator.names import (
    RESOURCE_AMD,
    RESOURCE_INTEL_PREFIX,
    RESOURCE_NVIDIA,
    RESOURCE_NVIDIA_MIG_PREFIX,
    RESOURCE_NVIDIA_SHARED,
)

Json = Mapping[str, Any]

MAX_NAME = 63
_KEPT = 54  # 54 characters, a hyphen and 8 hexadecimal digits make 63
_INTEL_MONITORING = "_monitoring"  # gpu.intel.com/i915_monitoring: a sensor, not a GPU
_KINDS = {
    "Job": "batch/v1",
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "ReplicaSet": "apps/v1",
    "Pod": "v1",
}


@dataclass(frozen=True)
class Owner:
    """The controller that an object names as its owner."""

    api_version: str
    kind: str
    name: str
    uid: str


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
    pod_spec_path: str
    """JSON pointer of the pod's spec inside the object: `/spec/template/spec`."""
    replicas: int
    """Pods that run at once."""
    gpus: Mapping[str, int] = field(default_factory=dict)
    """GPUs of one pod by resource, e.g. nvidia.com/gpu: 8."""
    owner: Owner | None = None
    deadline_seconds: int | None = None

    @property
    def gpus_per_replica(self) -> int:
        """Return the GPUs of one pod, whatever they are called."""
        return sum(self.gpus.values())

    @property
    def resource_name(self) -> str | None:
        """Return the resource by which most GPUs are asked for; None without a GPU."""
        return max(sorted(self.gpus), key=lambda name: self.gpus[name], default=None)


def describe(obj: Json) -> Description | None:
    """Return what a Job, Deployment, StatefulSet, ReplicaSet or Pod says; None for other kinds."""
    kind = _text(obj.get("kind"))
    if kind not in _KINDS:
        return None
    spec, metadata = _mapping(obj.get("spec")), _mapping(obj.get("metadata"))
    template = obj if kind == "Pod" else _mapping(spec.get("template"))
    pod_spec, pod_metadata = _mapping(template.get("spec")), _mapping(template.get("metadata"))
    return Description(
        api_version=_text(obj.get("apiVersion")) or _KINDS[kind],
        kind=kind,
        name=_text(metadata.get("name")) or _text(metadata.get("generateName")),
        namespace=_text(metadata.get("namespace")),
        uid=_text(metadata.get("uid")),
        labels=_texts(metadata.get("labels")),
        annotations=_texts(metadata.get("annotations")),
        pod_labels=_texts(pod_metadata.get("labels")),
        pod_annotations=_texts(pod_metadata.get("annotations")),
        pod_spec=pod_spec,
        pod_spec_path="/spec" if kind == "Pod" else "/spec/template/spec",
        replicas=_replicas(kind, spec),
        gpus=gpu_requests(pod_spec),
        owner=controller_of(obj),
        deadline_seconds=_count(spec.get("activeDeadlineSeconds"))
        or _count(pod_spec.get("activeDeadlineSeconds")),
    )


def is_gpu_resource(name: str) -> bool:
    """Return whether an extended resource is a GPU, or a part of one."""
    if name.startswith(RESOURCE_INTEL_PREFIX):
        return not name.endswith(_INTEL_MONITORING)
    return name in (
        RESOURCE_NVIDIA,
        RESOURCE_NVIDIA_SHARED,
        RESOURCE_AMD,
    ) or name.startswith(RESOURCE_NVIDIA_MIG_PREFIX)


def gpu_requests(pod_spec: Json) -> dict[str, int]:
    """Return the GPUs that one pod holds, by resource, from the limits of its containers.

    As the scheduler counts: containers and sidecars (init containers that restart always) run
    together; each other init container runs before them, beside the sidecars started so far.
    """
    together: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in _items(pod_spec.get("initContainers")):
        limits = gpus_of(container)
        if container.get("restartPolicy") == "Always":
            _add(together, limits)
        else:
            for name, count in limits.items():
                peak[name] = max(peak.get(name, 0), count + together.get(name, 0))
    for container in _items(pod_spec.get("containers")):
        _add(together, gpus_of(container))
    names = {*together, *peak}
    return {name: max(together.get(name, 0), peak.get(name, 0)) for name in sorted(names)}


def first_gpu_container(pod_spec: Json) -> int | None:
    """Return the index in `containers` of the first one that asks for a GPU; None if none does."""
    for index, container in enumerate(_items(pod_spec.get("containers"))):
        if gpus_of(container):
            return index
    return None


def controller_of(obj: Json) -> Owner | None:
    """Return the owner that controls an object; None for a root."""
    for reference in _items(_mapping(obj.get("metadata")).get("ownerReferences")):
        if reference.get("controller") is True:
            return Owner(
                _text(reference.get("apiVersion")),
                _text(reference.get("kind")),
                _text(reference.get("name")),
                _text(reference.get("uid")),
            )
    return None


def workload_name(kind: str, name: str) -> str:
    """Return the name of the AIWorkload that we create for an object: `job-llama-8b-ft`.

    Longer than 63 characters it is cut to 54, with a hyphen and 8 digits of its SHA-256.
    """
    full = f"{kind}-{name}".lower()
    if len(full) <= MAX_NAME:
        return full
    return f"{full[:_KEPT]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def _replicas(kind: str, spec: Json) -> int:
    if kind == "Pod":
        return 1
    if kind != "Job":
        replicas = _count(spec.get("replicas"))
        return 1 if replicas is None else replicas
    parallelism, completions = _count(spec.get("parallelism")), _count(spec.get("completions"))
    at_once = 1 if parallelism is None else parallelism
    return at_once if completions is None else min(at_once, completions)


def gpus_of(container: Json) -> dict[str, int]:
    """Return the GPUs that one container asks for, by resource."""
    resources = _mapping(container.get("resources"))
    # A request without a limit is refused by the API server for extended resources, but a
    # manifest read offline may have it, and a limit alone sets the request.
    found: dict[str, int] = {}
    for section in ("requests", "limits"):
        for name, quantity in _mapping(resources.get(section)).items():
            count = _quantity(quantity)
            if is_gpu_resource(str(name)) and count:
                found[str(name)] = count
    return found


def _quantity(value: Any) -> int:
    """Return a whole number of devices from a Kubernetes quantity; 0 if it is none."""
    text = str(value)
    for suffix, factor in (("k", 1000), ("", 1)):
        digits = text.removesuffix(suffix) if suffix else text
        if text.endswith(suffix) and digits.isascii() and digits.isdigit() and len(digits) <= 9:  # noqa: PLR2004 - no node has a billion GPUs
            return int(digits) * factor
    return 0


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, count in more.items():
        total[name] = total.get(name, 0) + count


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _items(value: Any) -> Sequence[Json]:
    return [entry for entry in value if isinstance(entry, Mapping)] if _is_list(value) else []


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> dict[str, str]:
    return {
        key: text
        for key, text in _mapping(value).items()
        if isinstance(key, str) and isinstance(text, str)
    }
