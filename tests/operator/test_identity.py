from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator.identity import Catalogue, Product, parse_product
from energaizer_operator.resources.gpuprofile import GPUProfile

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "product"),
    [
        ("NVIDIA-A100-SXM4-40GB", Product("a100-sxm4-40gb")),
        ("A100-SXM4-40GB", Product("a100-sxm4-40gb")),
        ("NVIDIA A100-SXM4-40GB", Product("a100-sxm4-40gb")),
        ("Tesla-T4", Product("t4")),
        ("Tesla-T4-SHARED", Product("t4", shared=True)),
        ("NVIDIA-A100-PCIE-40GB-MIG-1g.5gb", Product("a100-pcie-40gb", "1g.5gb")),
        ("NVIDIA-A100-PCIE-40GB-MIG-1g.5gb-SHARED", Product("a100-pcie-40gb", "1g.5gb", True)),
        ("NVIDIA-A100-PCIE-40GB-MIG-INVALID", Product("a100-pcie-40gb", usable=False)),
        ("NVIDIA-GB200", Product("gb200")),
        ("Max_1550", Product("max-1550")),
        ("Some GPU (Rev 2)", Product("some-gpu-rev-2")),
        ("", Product("")),
    ],
)
def test_product_values_are_taken_apart(text: str, product: Product) -> None:
    assert parse_product(text) == product


@given(st.text(max_size=80))
def test_the_parser_never_raises_and_is_stable(text: str) -> None:
    key = parse_product(text).key
    assert isinstance(key, str)


@pytest.mark.parametrize(
    ("labels", "profile"),
    [
        ({"energaizer.io/gpu-profile": "l40s-48gb"}, "l40s-48gb"),
        ({"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}, "h100-sxm5-80gb"),
        ({"nvidia.com/gpu.product": "NVIDIA-H100-PCIe"}, "h100-pcie-80gb"),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-80GB-PCIe"}, "a100-pcie-80gb"),
        ({"nvidia.com/gpu.product": "Tesla-V100-SXM2-32GB"}, "v100-sxm2-32gb"),
        ({"nvidia.com/gpu.product": "NVIDIA-GB200"}, "gb200-186gb"),
        ({"amd.com/gpu.product-name": "AMD_Instinct_MI300X_OAM"}, "mi300x-192gb"),
        ({"amd.com/gpu.device-id": "74b5"}, "mi300x-192gb"),
        ({"beta.amd.com/gpu.device-id": "740f"}, "mi210-64gb"),
        ({"amd.com/gpu.product-name.AMD_Instinct_MI210": "4"}, "mi210-64gb"),
        ({"cloud.google.com/gke-accelerator": "nvidia-tesla-a100"}, "a100-sxm4-40gb"),
        ({"cloud.google.com/gke-accelerator": "nvidia-h100-mega-80gb"}, "h100-sxm5-80gb"),
        (
            {
                "karpenter.k8s.aws/instance-gpu-name": "a100",
                "karpenter.k8s.aws/instance-gpu-memory": "81920",
            },
            "a100-sxm4-80gb",
        ),
        ({"eks.amazonaws.com/instance-gpu-name": "h200"}, "h200-sxm-141gb"),
        ({"gpu.nvidia.com/model": "H200"}, "h200-sxm-141gb"),
        ({"gpu.nvidia.com/class": "A100_NVLINK_80GB"}, "a100-sxm4-80gb"),
        ({"gpu.nvidia.com/class": "H100_NVLINK_80GB"}, "h100-sxm5-80gb"),
        ({"beta.amd.com/gpu.device-id.7408": "4"}, "mi250x-128gb"),
        (
            {
                "kubernetes.azure.com/accelerator": "nvidia",
                "node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4",
            },
            "a100-pcie-80gb",
        ),
        ({"gpu.intel.com/product": "Max_1550"}, None),
        ({"karpenter.k8s.aws/instance-gpu-name": "a100"}, None),
        ({"nvidia.com/gpu.product": "NVIDIA-Unheard-Of"}, None),
        ({"kubernetes.io/os": "linux"}, None),
    ],
)
def test_every_dialect_names_its_gpu(
    shipped: Catalogue, labels: dict[str, str], profile: str | None
) -> None:
    found = shipped.identify(labels)
    assert found.profile == profile
    assert found.conflict == ()


def test_a_gpu_node_without_a_profile_is_told_from_a_plain_node(shipped: Catalogue) -> None:
    assert shipped.identify({"nvidia.com/gpu.product": "NVIDIA-Unheard-Of"}).gpu_node
    assert shipped.identify({"kubernetes.azure.com/accelerator": "nvidia"}).gpu_node
    assert not shipped.identify({"kubernetes.io/os": "linux"}).gpu_node


def test_two_dialects_that_agree_are_both_terms(shipped: Catalogue) -> None:
    found = shipped.identify(
        {
            "nvidia.com/gpu.product": "NVIDIA-L4",
            "cloud.google.com/gke-accelerator": "nvidia-l4",
            "nvidia.com/gpu.count": "2",
        }
    )
    assert (found.profile, found.gpus) == ("l4-24gb", 2)
    assert found.terms == (
        ("nvidia.com/gpu.product", "NVIDIA-L4"),
        ("cloud.google.com/gke-accelerator", "nvidia-l4"),
    )


def test_two_dialects_that_disagree_mean_the_higher_power(
    profile: Callable[..., GPUProfile],
) -> None:
    catalogue = Catalogue([profile("small", watts=70), profile("big", watts=700)])
    found = catalogue.identify(
        {"energaizer.io/gpu-profile": "small", "nvidia.com/gpu.product": "NVIDIA-BIG"}
    )
    assert (found.profile, found.conflict) == ("big", ("big", "small"))


@pytest.mark.parametrize(
    ("labels", "shared", "partition", "usable"),
    [
        ({"nvidia.com/gpu.product": "NVIDIA-L4-SHARED"}, True, None, True),
        ({"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.replicas": "4"}, True, None, True),
        (
            {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.sharing-strategy": "mps"},
            True,
            None,
            True,
        ),
        (
            {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.sharing-strategy": "none"},
            False,
            None,
            True,
        ),
        (
            {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-2g.10gb"},
            False,
            "2g.10gb",
            True,
        ),
        ({"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-40GB-MIG-INVALID"}, False, None, False),
    ],
)
def test_sharing_and_partitions(
    shipped: Catalogue, labels: dict[str, str], shared: bool, partition: str | None, usable: bool
) -> None:
    found = shipped.identify(labels)
    assert (found.shared, found.partition, found.usable) == (shared, partition, usable)


@pytest.mark.parametrize(
    ("product", "devices", "boards"),
    [
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.5gb", "56", 8),  # seven slices a board
        ("NVIDIA-A100-SXM4-40GB-MIG-1g.10gb", "32", 8),  # four: memory runs out first
        ("NVIDIA-A100-SXM4-40GB-MIG-2g.10gb", "24", 8),
        ("NVIDIA-A100-SXM4-40GB-MIG-3g.20gb", "16", 8),
        ("NVIDIA-A100-SXM4-40GB-MIG-4g.20gb", "8", 8),
        ("NVIDIA-A100-SXM4-40GB-MIG-7g.40gb", "8", 8),
        ("NVIDIA-B200-MIG-1g.23gb", "56", 8),  # a size that the profile does not list
        ("NVIDIA-A100-SXM4-40GB-MIG-odd", "8", 8),
        ("NVIDIA-A100-SXM4-40GB-MIG-INVALID", "8", 8),
    ],
)
def test_boards_are_counted_where_gfd_counts_slices(
    shipped: Catalogue, product: str, devices: str, boards: int
) -> None:
    found = shipped.identify({"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": devices})
    assert found.gpus == boards


@pytest.mark.parametrize(
    ("labels", "gpus"),
    [
        ({"cloud.google.com/gke-accelerator-count": "4"}, 4),
        ({"gpu.nvidia.com/count": "8"}, 8),
        ({"beta.amd.com/gpu.device-id.740f": "2", "beta.amd.com/gpu.family.AI": "2"}, 2),
        ({"nvidia.com/gpu.count": "-1"}, None),
    ],
)
def test_counts_of_every_dialect(
    shipped: Catalogue, labels: dict[str, str], gpus: int | None
) -> None:
    found = shipped.identify(labels)
    assert (found.gpus, found.gpu_node) == (gpus, True)


@pytest.mark.parametrize(
    ("product", "profile"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm5-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-sxm4-40gb"),
        ("Tesla T4", "t4-16gb"),
        ("AMD_Instinct_MI300X_OAM", "mi300x-192gb"),
        ("NVIDIA Unheard Of", None),
        ("", None),
    ],
)
def test_devices_name_the_gpu_where_labels_say_nothing(
    shipped: Catalogue, product: str, profile: str | None
) -> None:
    found = shipped.identify({"kubernetes.io/os": "linux"}, {product: 8})
    assert (found.profile, found.gpus, found.gpu_node) == (profile, 8, True)
    assert found.terms == ()  # no selector of nodes can use it


def test_devices_and_labels_agree_or_are_a_conflict(shipped: Catalogue) -> None:
    labels = {"nvidia.com/gpu.product": "NVIDIA-L4", "nvidia.com/gpu.count": "4"}
    same = shipped.identify(labels, {"NVIDIA L4": 2})
    assert (same.profile, same.gpus, same.conflict) == ("l4-24gb", 4, ())
    other = shipped.identify(labels, {"Tesla T4": 4})
    assert other.conflict == ("l4-24gb", "t4-16gb")
    assert other.profile == "l4-24gb"  # of the higher power
    assert other.terms == (("nvidia.com/gpu.product", "NVIDIA-L4"),)


def test_sharing_and_partitions_of_gke(shipped: Catalogue) -> None:
    gke = {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert not shipped.identify(gke).shared
    assert shipped.identify(
        {**gke, "cloud.google.com/gke-gpu-sharing-strategy": "time-sharing"}
    ).shared
    found = shipped.identify({**gke, "cloud.google.com/gke-gpu-partition-size": "1g.5gb"})
    assert found.partition == "1g.5gb"


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "nvidia.com/gpu.product",
                "nvidia.com/gpu.count",
                "nvidia.com/gpu.replicas",
                "amd.com/gpu.product-name",
                "amd.com/gpu.product-name.X",
                "amd.com/gpu.device-id",
                "amd.com/gpu.device-id.X",
                "gpu.intel.com/product",
            ]
        ),
        st.text(max_size=63),
    )
)
def test_odd_labels_never_raise(labels: dict[str, str]) -> None:
    profile = GPUProfile.model_validate(
        {
            "metadata": {"name": "l4"},
            "spec": {
                "vendor": "NVIDIA",
                "thermalDesignPowerWatts": 72,
                "productNames": ["L4"],
            },
        }
    )
    Catalogue([profile]).identify(labels)


def test_shipped_identities_do_not_overlap(shipped: Catalogue) -> None:
    for name, profile in shipped.profiles.items():
        for product in profile.spec.product_names:
            found = shipped.identify({"nvidia.com/gpu.product": product})
            assert (found.profile, found.conflict) == (name, ())


def test_every_built_in_gpu_has_an_identity_and_no_other_has(shipped: Catalogue) -> None:
    built_in = resources.files("energaizer") / "profiles" / "gpus"
    names = {Path(entry.name).stem for entry in built_in.iterdir() if entry.name.endswith(".json")}
    assert names == set(shipped.profiles)


def test_nodes_of_the_local_cluster_are_recognised(shipped: Catalogue) -> None:
    pools = yaml.safe_load((ROOT / "localcluster" / "pools.yaml").read_text("utf-8"))["pools"]
    found = {pool["name"]: shipped.identify(pool["labels"]) for pool in pools}
    assert {name: one.profile for name, one in found.items()} == {
        "system": None,
        "a100": "a100-sxm4-80gb",
        "h100": "h100-sxm5-80gb",
        "h200": "h200-sxm-141gb",
        "l40s": "l40s-48gb",
        "b200": "b200-sxm-180gb",
        "mi300x": "mi300x-192gb",
    }
    assert {one.gpus for name, one in found.items() if name != "system"} == {8}
    assert not found["system"].gpu_node
