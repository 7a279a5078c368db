"""Where a workload or pod stands in its life: waiting, running since when, ended, of whom a part.

Pure: read once from each object that passes by, and kept beside its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from energaizer_operator import owners
from energaizer_operator.names import ANNOTATION_HELD
from energaizer_operator.shapes import at, mapping

_ENDED_PHASES = ("Succeeded", "Failed")
_ENDED_CONDITIONS = ("Complete", "Failed", "Completed")


@dataclass(frozen=True, slots=True)
class Life:
    """What the ledger follows of an object."""

    created: str = ""
    """RFC 3339, as the API server wrote it."""
    owner_uid: str = ""
    owner_kind: str = ""
    suspended: bool = False
    held: bool = False
    """Whether it waits for us."""
    ended: bool = False
    replicas: int = 1
    surge: int = 0
    """Replicas that a rolling update may run beside the others."""
    failures: int = 0
    """Pods of it that failed so far."""
    priority_class: str = ""
    started_at: str = ""
    """Of a pod."""
    ended_at: str = ""
    """Of a pod whose containers all ended, or of what says so in a condition."""


NEW_LIFE = Life()
"""Of an object that says nothing."""


def life_of(body: Mapping[str, Any]) -> Life:
    """Return where an object stands."""
    metadata, status = mapping(body.get("metadata")), mapping(body.get("status"))
    spec = mapping(body.get("spec"))
    owner, described = owners.controller_of(body), owners.describe(body)
    pod_spec = described.pod_spec if described else {}
    suspended = spec.get("suspend") is True
    return Life(
        created=str(metadata.get("creationTimestamp") or ""),
        owner_uid=owner.uid if owner else "",
        owner_kind=owner.kind if owner else "",
        suspended=suspended,
        held=suspended and ANNOTATION_HELD in mapping(metadata.get("annotations")),
        ended=ended(body),
        replicas=described.replicas if described else 1,
        surge=described.surge if described else 0,
        failures=status["failed"] if isinstance(status.get("failed"), int) else 0,
        priority_class=str(pod_spec.get("priorityClassName") or ""),
        started_at=str(status.get("startTime") or "") if body.get("kind") == "Pod" else "",
        ended_at=_ended_at(status),
    )


def ended(body: Mapping[str, Any]) -> bool:
    """Return whether an object has ended, well or not."""
    status = mapping(body.get("status"))
    return status.get("phase") in _ENDED_PHASES or bool(_ends(status))


def _ends(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the conditions that say that an object ended."""
    return [
        condition
        for condition in status.get("conditions") or ()
        if condition.get("type") in _ENDED_CONDITIONS and condition.get("status") == "True"
    ]


def _ended_at(status: Mapping[str, Any]) -> str:
    """Return when an object, or the last container of a pod, ended; empty if nobody says."""
    if status.get("phase") not in _ENDED_PHASES:
        return max((str(one.get("lastTransitionTime") or "") for one in _ends(status)), default="")
    ends = [
        at(one, "state", "terminated").get("finishedAt")
        for one in status.get("containerStatuses") or ()
    ]
    return max((str(end) for end in ends if end), default="")
