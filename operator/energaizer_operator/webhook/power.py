"""Watts on pods: the prediction as request and limit, in place of whatever a user wrote there.

One container carries the watts of the whole pod, since Kubernetes adds containers up. With the
setting off, or where no node advertises watts, none are written, and those that are there go: a pod
that asks for what no node has would wait for ever.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from energaizer_operator import owners, shapes, watts
from energaizer_operator.decision import Decision
from energaizer_operator.names import RESOURCE_WATTS
from energaizer_operator.webhook.review import Patch

_AMOUNTS = ("requests", "limits")


def wanted(decided: Decision, gpus: int, of_gpus: int, *, enabled: bool) -> int | None:
    """Return the watts that a pod with `gpus` of a workload's GPUs is to carry; None if none.

    They are the upper end of the interval on the hungriest GPU that the pod may still get.
    """
    hungriest = decided.verdict.hungriest
    if not enabled or hungriest is None or not _advertised(decided):
        return None
    return watts.share(hungriest.estimate.power_high_watts, gpus, of_gpus)


def write(
    patch: Patch, at: tuple[str | int, ...], pod_spec: Mapping[str, Any], w: int | None
) -> None:
    """Let the pod's spec at `at` carry `w` watts and no others.

    Raises:
        MalformedReviewError: The spec is not one of a pod.
    """
    bearer = ("containers", owners.first_gpu_container(pod_spec) or 0)
    for section in ("initContainers", "containers"):
        for index, container in enumerate(_list(pod_spec.get(section))):
            place = (*at, section, index, "resources")
            for kind in _AMOUNTS:
                if w is not None and bearer == (section, index):
                    patch.put((*place, kind, RESOURCE_WATTS), watts.quantity(w))
                elif RESOURCE_WATTS in shapes.at(container, "resources", kind):
                    patch.drop((*place, kind, RESOURCE_WATTS))


def _advertised(decided: Decision) -> bool:
    """Return whether a node that the pod could get advertises watts."""
    world = decided.case.world
    names = decided.case.reachable or world.profiles.keys()
    return any(world.profiles[name].status.power_nodes for name in names)


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
