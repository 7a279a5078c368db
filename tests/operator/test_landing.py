"""Where a pod may still land, by its resource, nodeSelector and required affinity."""

from collections.abc import Callable
from typing import Any

import pytest

from energaizer_operator.identity import Catalogue
from energaizer_operator.landing import possible, remedies
from energaizer_operator.owners import gpu_requests
from energaizer_operator.resources.gpuprofile import GPUProfile


def pod(selector: dict[str, str] | None = None, *terms: Any, gpu: str = "nvidia.com/gpu") -> Any:
    spec: dict[str, Any] = {"containers": [{"resources": {"limits": {gpu: 1}}}]}
    if selector:
        spec["nodeSelector"] = selector
    if terms:
        required = {"nodeSelectorTerms": [{"matchExpressions": list(term)} for term in terms]}
        spec["affinity"] = {
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}
        }
    return spec


def demand(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


PRODUCT = "nvidia.com/gpu.product"


@pytest.fixture
def three(profile: Callable[..., GPUProfile]) -> Catalogue:
    return Catalogue(
        [
            profile("a", observed=[(PRODUCT, "NVIDIA-A", 2)], nodes=2),
            profile("b", observed=[(PRODUCT, "NVIDIA-B", 1)], nodes=1),
            profile("m", vendor="AMD", resourceNames=["amd.com/gpu"]),
        ]
    )


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (pod(), {"a", "b"}),
        (pod(gpu="amd.com/gpu"), {"m"}),
        (pod({PRODUCT: "NVIDIA-A"}), {"a"}),
        (pod({PRODUCT: "NVIDIA-A-SHARED"}), {"a"}),
        (pod({PRODUCT: "NVIDIA-UNKNOWN"}), {"a", "b"}),
        (pod({"zone": "west"}), {"a", "b"}),
        (pod({"energaizer.io/gpu-profile": "b"}), {"b"}),
        (pod(None, [demand(PRODUCT, "In", "NVIDIA-A", "NVIDIA-B")]), {"a", "b"}),
        (pod(None, [demand(PRODUCT, "In", "NVIDIA-B")]), {"b"}),
        (pod(None, [demand(PRODUCT, "NotIn", "NVIDIA-A")]), {"b"}),
        (pod(None, [demand(PRODUCT, "NotIn", "NVIDIA-C")]), {"a", "b"}),
        (pod(None, [demand(PRODUCT, "In", "NVIDIA-A")], [demand("zone", "In", "x")]), {"a", "b"}),
        (pod({PRODUCT: "NVIDIA-A"}, [demand(PRODUCT, "In", "NVIDIA-B")]), set()),
        (pod(None, []), {"a", "b"}),
    ],
)
def test_a_pod_leaves_possible_what_it_does_not_exclude(
    three: Catalogue, spec: Any, names: set[str]
) -> None:
    assert possible(three, spec, gpu_requests(spec)) == names


def test_remedies_name_a_label_that_chooses_one_gpu_alone(
    three: Catalogue, shipped: Catalogue
) -> None:
    found = remedies(shipped)
    assert remedies(three)["a"] == f"nodeSelector {PRODUCT}: NVIDIA-A"
    assert found["l4-24gb"] == ("nodeSelector cloud.google.com/gke-accelerator: nvidia-l4")
    assert "gpu-name" not in found["a100-sxm4-80gb"]
