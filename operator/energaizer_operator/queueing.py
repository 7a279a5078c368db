"""Whether Kueue really queues a workload, and asks us before it lets it go.

Kueue's label on an object is the user's own word: where Kueue is not there, or its queue does not
ask us, it changes nothing, and a budget that holds holds the object itself. A queue asks us if its
ClusterQueue carries an AdmissionCheck whose controller we are.
"""

from collections.abc import Mapping
from typing import Any

from energaizer_operator.names import KUEUE_CONTROLLER, LABEL_KUEUE_QUEUE
from energaizer_operator.shapes import at, mapping

Body = Mapping[str, Any]


def queue_of(obj: Body) -> str:
    """Return the LocalQueue that the label of an object names; empty if it has none."""
    name = at(obj, "metadata", "labels").get(LABEL_KUEUE_QUEUE)
    return name if isinstance(name, str) else ""


def cluster_queue_of(local: Body) -> str:
    """Return the ClusterQueue of a LocalQueue."""
    return str(at(local, "spec").get("clusterQueue") or "")


def checks_of(cluster_queue: Body) -> tuple[str, ...]:
    """Return the AdmissionChecks that a ClusterQueue asks."""
    strategy = at(cluster_queue, "spec", "admissionChecksStrategy")
    return tuple(str(mapping(one).get("name")) for one in strategy.get("admissionChecks") or ())


def is_ours(check: Body) -> bool:
    """Say whether an AdmissionCheck names us."""
    return bool(at(check, "spec").get("controllerName") == KUEUE_CONTROLLER)
