"""What any workload object says about its pods: templates, replicas, GPUs, annotations, owner.

Objects are plain mappings as the API server or a manifest gives them. Their shape is not trusted:
what is not understood counts as absent.
"""

from energaizer_operator.owners.ancestry import above
from energaizer_operator.owners.description import (
    CONTROLLERS,
    FOLLOWED,
    Description,
    Group,
    Owner,
    controller_of,
    describe,
    root,
    workload_name,
)
from energaizer_operator.owners.gpus import (
    Claim,
    claimed_gpus,
    claims_of,
    counts_watts,
    first_gpu_container,
    gpu_requests,
    gpus_of,
    is_gpu_resource,
)

__all__ = [
    "CONTROLLERS",
    "FOLLOWED",
    "Claim",
    "Description",
    "Group",
    "Owner",
    "above",
    "claimed_gpus",
    "claims_of",
    "controller_of",
    "counts_watts",
    "describe",
    "first_gpu_container",
    "gpu_requests",
    "gpus_of",
    "is_gpu_resource",
    "root",
    "workload_name",
]
