"""What we keep of an object that a watch brings, and no more: thousands of them stay in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

from energaizer_operator import owners
from energaizer_operator.cluster import Object
from energaizer_operator.kinds import PODS
from energaizer_operator.lifetimes import NEW_LIFE, Life, life_of
from energaizer_operator.names import (
    FIELD_MANAGER,
    GROUP,
    LABEL_GPU_PROFILE,
    LABEL_WORKLOAD,
    RESOURCE_NVIDIA_MIG_PREFIX,
    RESOURCE_NVIDIA_SHARED,
)

Key = tuple[str, str]
"""Namespace, or an empty string, and name."""
WorkloadKey = tuple[str, str, str]
"""Kind, namespace and name of a workload."""


@dataclass(frozen=True, slots=True)
class ObjectRecord:
    """A whole object of one of our own kinds, read anew at each use where it is `packed`."""

    namespace: str
    name: str
    uid: str
    version: str
    whole: Object | bytes

    @property
    def body(self) -> Object:
        """The object; not to be changed."""
        body: Object = json.loads(self.whole) if isinstance(self.whole, bytes) else self.whole
        return body


@dataclass(frozen=True, slots=True)
class MetadataRecord:
    """What we follow of a node or namespace."""

    name: str
    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)
    """Those of our group."""
    uid: str = ""
    labelled: bool = False
    """Whether the label that names its GPU is ours."""


@dataclass(frozen=True, slots=True)
class WorkloadRecord:
    """What we follow of a pod or of an object that makes pods: whose it is, where it runs."""

    kind: str
    namespace: str
    name: str
    uid: str
    workload: str
    """Value of our label: the name of its AIWorkload."""
    generation: int
    annotations: tuple[tuple[str, str], ...]
    """Those of our group, which are inputs."""
    controlled: bool
    """Whether another object that we follow controls it."""
    node: str = ""
    phase: str = ""
    gpus: int = 0
    """GPUs that a pod asks for."""
    shared: bool = False
    """Whether it asks for slices of a GPU."""
    uncounted: bool = False
    """Whether a pod holds GPUs, but none of the watts that they draw."""
    life: Life = NEW_LIFE
    """Where it stands, for the ledger."""
    packed: bytes = field(default=b"", compare=False, repr=False)
    """The object but for its status, as text; of a pod nothing."""

    @property
    def body(self) -> Object | None:
        """The object but for its status; None of a pod."""
        body: Object | None = json.loads(self.packed) if self.packed else None
        return body


def object_record(body: Object) -> ObjectRecord:
    """Keep one of our own objects, without the field managers, which are half of its size."""
    metadata = body["metadata"]
    return ObjectRecord(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        version=metadata.get("resourceVersion", ""),
        whole=_unmanaged(body),
    )


def packed_record(body: Object) -> ObjectRecord:
    """Keep one of our own objects as text: thousands of dictionaries take four times as much."""
    record = object_record(body)
    return replace(record, whole=_packed(body))


def metadata_record(body: Object) -> MetadataRecord:
    """Keep name, labels, and the annotations of our group."""
    metadata = body["metadata"]
    stated = (metadata.get("annotations") or {}).items()
    ours = {key: value for key, value in stated if key.startswith(f"{GROUP}/")}
    return MetadataRecord(
        metadata["name"],
        metadata.get("labels") or {},
        ours,
        metadata.get("uid", ""),
        labelled=_labelled(metadata),
    )


def _labelled(metadata: Object) -> bool:
    """Return whether we alone wrote the label that names a node's GPU."""
    if LABEL_GPU_PROFILE not in (metadata.get("labels") or {}):
        return False
    managers = {
        entry.get("manager")
        for entry in metadata.get("managedFields") or ()
        if f"f:{LABEL_GPU_PROFILE}"
        in entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:labels", {})
    }
    return managers == {FIELD_MANAGER}


def workload_record(body: Object) -> WorkloadRecord:
    """Keep what we follow of a pod or of an object that makes pods."""
    metadata = body["metadata"]
    pod = body["kind"] == PODS.kind
    ours = (
        (key, value)
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(f"{GROUP}/")
    )
    named = owners.workload_name(body["kind"], metadata["name"])
    workload = (metadata.get("labels") or {}).get(LABEL_WORKLOAD) or named
    gpus = owners.gpu_requests(body["spec"]) if pod else {}
    return WorkloadRecord(
        kind=body["kind"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        workload=workload,
        generation=metadata.get("generation", 0),
        annotations=tuple(sorted(ours)),
        controlled=_controlled(body, workload),
        node=body.get("spec", {}).get("nodeName", "") if pod else "",
        phase=body.get("status", {}).get("phase", "") if pod else "",
        gpus=sum(gpus.values()),
        shared=any(_is_slice(name) for name in gpus),
        uncounted=bool(gpus) and not owners.counts_watts(body["spec"]),
        life=life_of(body),
        packed=b"" if pod else _packed({key: body[key] for key in body if key != "status"}),
    )


def _unmanaged(body: Object) -> Object:
    """Return an object without its field managers."""
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}


def _packed(body: Object) -> bytes:
    """Return an object without its field managers as text."""
    return json.dumps(_unmanaged(body), separators=(",", ":")).encode()


def _controlled(body: Object, workload: str) -> bool:
    """Say whether something that we follow stands for an object: not so a lone ReplicaSet's pod."""
    owner = owners.controller_of(body)
    if owner is None or body["kind"] != PODS.kind:
        return owner is not None
    alone = workload == owners.workload_name(owner.kind, owner.name)
    return owner.kind in owners.FOLLOWED or not alone


def _is_slice(resource: str) -> bool:
    """Say whether a resource is a part of a GPU."""
    return resource == RESOURCE_NVIDIA_SHARED or resource.startswith(RESOURCE_NVIDIA_MIG_PREFIX)
