"""How many GPUs of each AIWorkload run now, counted from the pods that carry our label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from energaizer_operator.informer import Informer, Key


def running_gpus(informer: Informer) -> Mapping[Key, int]:
    """Return GPUs of running pods, by namespace and name of their AIWorkload."""
    count: Counter[Key] = Counter()
    for pod in informer.pods or ():
        if pod.phase == "Running":
            count[pod.namespace, pod.workload] += pod.gpus
    return count
