"""The AIWorkload that we create for a workload which nobody described."""

from __future__ import annotations

from energaizer_operator import owners
from energaizer_operator.cluster import Object
from energaizer_operator.names import (
    API_VERSION,
    FIELD_MANAGER,
    LABEL_APP_COMPONENT,
    LABEL_APP_INSTANCE,
    LABEL_APP_MANAGED_BY,
    LABEL_APP_NAME,
    LABEL_APP_PART_OF,
    LABEL_APP_VERSION,
    PART_OF,
    Kind,
)


def describing(described: owners.Description, name: str, version: str) -> Object:
    """Return the AIWorkload that we create: a reference to the workload, everything else unsaid."""
    reference = {
        "apiVersion": described.api_version,
        "kind": described.kind,
        "name": described.name,
    }
    owner = owners.Owner(described.api_version, described.kind, described.name, described.uid)
    return _made(described.namespace, name, version, owner, {"workloadRef": reference})


def grouping(namespace: str, owner: owners.Owner, name: str, version: str) -> Object:
    """Return the AIWorkload of pods that a controller of an unknown kind makes: found by label."""
    return _made(namespace, name, version, owner, {})


def _made(namespace: str, name: str, version: str, owner: owners.Owner, spec: Object) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": str(Kind.AI_WORKLOAD),
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                LABEL_APP_NAME: PART_OF,
                LABEL_APP_INSTANCE: name,
                LABEL_APP_VERSION: version,
                LABEL_APP_COMPONENT: "aiworkload",
                LABEL_APP_PART_OF: PART_OF,
                LABEL_APP_MANAGED_BY: FIELD_MANAGER,
            },
            "ownerReferences": [
                {
                    "apiVersion": owner.api_version,
                    "kind": owner.kind,
                    "name": owner.name,
                    "uid": owner.uid,
                }
            ],
        },
        "spec": spec,
    }
