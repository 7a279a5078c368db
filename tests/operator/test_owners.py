from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator import owners


def container(**limits: Any) -> dict[str, Any]:
    names = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "mig": "nvidia.com/mig-1g.10gb"}
    return {"name": "c", "resources": {"limits": {names[k]: v for k, v in limits.items()}}}


def job(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "train", "namespace": "a", "uid": "u", "annotations": {"k": "job"}},
        "spec": {
            "template": {
                "metadata": {"annotations": {"k": "pod"}, "labels": {"app": "x"}},
                "spec": {"containers": [container(nvidia=8)]},
            },
            **spec,
        },
    }


def test_a_job_is_described() -> None:
    found = owners.describe(job(parallelism=4, completions=2, activeDeadlineSeconds=60))
    assert found is not None
    assert (found.kind, found.name, found.replicas, found.gpus_per_replica) == (
        "Job",
        "train",
        2,
        8,
    )
    assert (found.annotations, found.pod_annotations) == ({"k": "job"}, {"k": "pod"})
    assert (found.deadline_seconds, found.resource_name) == (60, "nvidia.com/gpu")
    assert found.pod_spec_path == "/spec/template/spec"


@pytest.mark.parametrize(
    ("kind", "spec", "replicas"),
    [
        ("Job", {}, 1),
        ("Job", {"parallelism": 0}, 0),
        ("Job", {"parallelism": 3}, 3),
        ("Deployment", {}, 1),
        ("Deployment", {"replicas": 0}, 0),
        ("StatefulSet", {"replicas": 5}, 5),
        ("Pod", {"replicas": 5}, 1),
    ],
)
def test_replicas_by_kind(kind: str, spec: dict[str, Any], replicas: int) -> None:
    found = owners.describe({"kind": kind, "metadata": {"name": "x"}, "spec": spec})
    assert found is not None
    assert found.replicas == replicas


def test_unknown_kinds_are_not_described() -> None:
    assert owners.describe({"kind": "ConfigMap"}) is None
    assert owners.describe({}) is None


def test_gpus_are_counted_as_the_scheduler_counts_them() -> None:
    sidecar = {**container(nvidia=1), "restartPolicy": "Always"}
    pod_spec = {
        "initContainers": [container(nvidia=2), sidecar, container(nvidia=6)],
        "containers": [container(nvidia=4), container(), container(nvidia="1")],
    }
    # containers 4 + 1 and the sidecar 1 = 6; the last init container 6 beside the sidecar 1 = 7
    assert owners.gpu_requests(pod_spec) == {"nvidia.com/gpu": 7}


def test_gpus_of_every_vendor_and_slices_are_seen() -> None:
    limits = {
        "amd.com/gpu": 2,
        "gpu.intel.com/xe": 1,
        "gpu.intel.com/xe_monitoring": 1,
        "nvidia.com/mig-1g.10gb": "3",
        "cpu": 4,
        "nvidia.com/gpu": 0,
    }
    pod_spec = {"containers": [{"resources": {"limits": limits}}]}
    assert owners.gpu_requests(pod_spec) == {
        "amd.com/gpu": 2,
        "gpu.intel.com/xe": 1,
        "nvidia.com/mig-1g.10gb": 3,
    }


def test_first_gpu_container() -> None:
    assert owners.first_gpu_container({"containers": [container(), container(amd=1)]}) == 1
    assert owners.first_gpu_container({"containers": [container()]}) is None


def test_only_the_controller_is_the_owner() -> None:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "1"},
        {"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "2", "controller": True},
    ]
    owner = owners.controller_of({"metadata": {"ownerReferences": references}})
    assert owner == owners.Owner("batch/v1", "Job", "j", "2")
    assert owners.controller_of({"metadata": {"ownerReferences": references[:1]}}) is None


def test_name_of_the_workload() -> None:
    assert owners.workload_name("Job", "llama-8b-ft") == "job-llama-8b-ft"
    assert owners.workload_name("Deployment", "a" * 52) == "deployment-" + "a" * 52
    long = owners.workload_name("Deployment", "a" * 53)
    # sha256 of "deployment-" and 53 times "a" begins with these eight digits
    assert long == "deployment-" + "a" * 43 + "-" + long[-8:]
    assert len(long) == 63
    assert long != owners.workload_name("Deployment", "a" * 54)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "spec",
                        "template",
                        "containers",
                        "resources",
                        "limits",
                        "nvidia.com/gpu",
                        "metadata",
                        "ownerReferences",
                        "initContainers",
                        "replicas",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    ),
    st.sampled_from(["Job", "Pod", "Deployment"]),
)
def test_odd_shapes_never_raise(odd: Any, kind: str) -> None:
    owners.describe({"kind": kind, "spec": odd, "metadata": odd})
