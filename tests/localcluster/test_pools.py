from pathlib import Path

import pytest

from localcluster import LocalClusterError, NodePool, load_pools
from localcluster.places import DEFAULT_POOLS
from localcluster.pools import node_manifests


def test_a_pool_expands_to_nodes_that_differ_in_name_and_address() -> None:
    pool = NodePool(
        name="h100",
        count=2,
        labels={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
        capacity={"cpu": "192", "nvidia.com/gpu": "8"},
        allocatable={"cpu": "190"},
    )
    first, second = node_manifests([pool])
    assert first == {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": "h100-0",
            "labels": {
                "kubernetes.io/hostname": "h100-0",
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
            },
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": []},
        "status": {
            "capacity": {"cpu": "192", "nvidia.com/gpu": "8"},
            "allocatable": {"cpu": "190", "nvidia.com/gpu": "8"},
            "addresses": [
                {"type": "InternalIP", "address": "10.64.0.1"},
                {"type": "Hostname", "address": "h100-0"},
            ],
        },
    }
    assert second["metadata"]["name"] == "h100-1"
    assert second["status"]["addresses"][0]["address"] == "10.64.0.2"


def test_the_default_pools_name_gpus_as_their_vendors_do() -> None:
    pools = {pool.name: pool for pool in load_pools(DEFAULT_POOLS)}
    products = {
        pool.labels.get("nvidia.com/gpu.product", pool.labels.get("amd.com/gpu.product-name"))
        for pool in pools.values()
    }
    assert products == {
        None,
        "NVIDIA-A100-SXM4-80GB",
        "NVIDIA-H100-80GB-HBM3",
        "NVIDIA-H200",
        "NVIDIA-L40S",
        "NVIDIA-B200",
        "AMD_Instinct_MI300X_OAM",
    }
    for pool in pools.values():
        assert not pool.taints
        assert pool.capacity.get("nvidia.com/gpu", "0") == pool.labels.get(
            "nvidia.com/gpu.count", "0"
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pools: [{name: a, capacity: {}, colour: red}]", "colour"),
        ("pools: [{name: A_B, capacity: {}}]", "pattern"),
        ("pools: [{name: a, capacity: {}}, {name: a, capacity: {}}]", "used twice: a"),
        ("pools: [", "not a list of node pools"),
    ],
)
def test_a_wrong_file_is_refused_by_name_and_reason(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "pools.yaml"
    path.write_text(content)
    with pytest.raises(LocalClusterError, match=message) as caught:
        load_pools(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match="no such file"):
        load_pools(tmp_path / "none.yaml")
