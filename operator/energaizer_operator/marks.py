"""The annotations that carry an estimate: a pod's share of it, and the whole on a workload."""

from typing import Final

from energaizer_operator import names
from energaizer_operator.schema import EstimateSummary


def of_pod(
    estimate: EstimateSummary, gpus: int, of_gpus: int, digest: str | None = None
) -> dict[str, str]:
    """Return what a pod is marked with at CREATE: its share by GPUs, rounded up, and the whole.

    At CREATE nobody knows which pod is the last one, so that each bears the larger share.

    Args:
        estimate: Of the whole workload.
        gpus: Of the pod.
        of_gpus: Of the whole workload.
        digest: Of the estimate.
    """

    def share(whole: int) -> str:
        return str(-(-whole * gpus // max(of_gpus, 1)))

    texts = {
        names.ANNOTATION_POWER: share(estimate.power_watts),
        names.ANNOTATION_ENERGY: share(estimate.energy_joules),
        names.ANNOTATION_ENERGY_HIGH: share(estimate.energy_high_joules),
        names.ANNOTATION_DURATION: str(estimate.duration_seconds),
        names.ANNOTATION_WORKLOAD_ENERGY: str(estimate.energy_joules),
        names.ANNOTATION_GPU_PROFILE: estimate.profile,
        names.ANNOTATION_METHOD: estimate.method,
    }
    if digest:
        texts[names.ANNOTATION_DIGEST] = digest
    return texts


WORKLOAD_KEYS: Final = (
    names.ANNOTATION_POWER,
    names.ANNOTATION_ENERGY,
    names.ANNOTATION_ENERGY_HIGH,
    names.ANNOTATION_DURATION,
)
"""What a workload may carry of its estimate, where that is asked for."""


def of_workload(estimate: EstimateSummary | None) -> dict[str, str]:
    """Return the estimate of a whole workload as its annotations; none without an estimate."""
    if estimate is None:
        return {}
    amounts = (
        estimate.power_watts,
        estimate.energy_joules,
        estimate.energy_high_joules,
        estimate.duration_seconds,
    )
    return {key: str(amount) for key, amount in zip(WORKLOAD_KEYS, amounts, strict=True)}
