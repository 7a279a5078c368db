from typing import Any

from energaizer_operator.slices import SliceRecord, boards, slice_record

NVIDIA, AMD = "gpu.nvidia.com", "gpu.amd.com"


def device(name: str, **attributes: str) -> dict[str, Any]:
    return {"name": name, "attributes": {key: {"string": to} for key, to in attributes.items()}}


def body(*devices: dict[str, Any], driver: str = NVIDIA, **spec: Any) -> dict[str, Any]:
    pool = {"name": "node-0", "generation": 1, "resourceSliceCount": 1}
    return {
        "metadata": {"name": "slice"},
        "spec": {
            **{"driver": driver, "nodeName": "node-0", "pool": pool, "devices": list(devices)},
            **spec,
        },
    }


H100 = "NVIDIA H100 80GB HBM3"


def counted(*bodies: dict[str, Any]) -> dict[str, dict[str, int]]:
    return boards(slice_record(one) for one in bodies)


def test_whole_boards_are_counted_by_product() -> None:
    first = body(
        device("gpu-0", type="gpu", productName=H100, uuid="a"),
        device("gpu-1", type="gpu", productName=H100, uuid="b"),
    )
    assert counted(first) == {"node-0": {H100: 2}}


def test_a_board_and_its_parts_are_one() -> None:
    parts = [
        device(
            f"gpu-0-mig-{number}", type="mig", productName=H100, uuid=f"m{number}", parentUUID=one
        )
        for number, one in enumerate(["a", "a", "b"])
    ]
    assert counted(body(device("gpu-0", productName=H100, uuid="a"), *parts)) == {
        "node-0": {H100: 2}
    }


def test_partitions_of_amd_are_of_their_parent() -> None:
    name = "AMD_Instinct_MI300X_OAM"
    parts = [
        device(f"gpu-{n}", type="amdgpu-partition", productName=name, parentPciAddr="0000:05:00.0")
        for n in range(8)
    ]
    assert counted(body(*parts, driver=AMD)) == {"node-0": {name: 1}}


def test_slices_of_one_pool_add_up_and_an_old_generation_is_void() -> None:
    old = body(*(device(f"gpu-{n}", productName="NVIDIA L4") for n in range(8)))
    pool = {"name": "node-0", "generation": 2, "resourceSliceCount": 2}
    new = [body(device(f"gpu-{n}", productName="NVIDIA L4"), pool=pool) for n in range(2)]
    assert counted(old, *new) == {"node-0": {"NVIDIA L4": 2}}


def test_qualified_attributes_and_models_are_read() -> None:
    named = {"name": "gpu-0", "attributes": {f"{NVIDIA}/productName": {"string": "Tesla T4"}}}
    assert counted(body(named)) == {"node-0": {"Tesla T4": 1}}
    intel = body(device("0000-03", model="Arc B580"), driver="gpu.intel.com")
    assert counted(intel) == {"node-0": {"Arc B580": 1}}


def test_what_is_no_gpu_of_a_node_counts_nothing() -> None:
    network = body(device("nic-0"), driver="dra.net")
    anywhere = body(device("gpu-0"), nodeName=None, allNodes=True)
    assert counted(network, anywhere, body()) == {"node-0": {}}
    assert slice_record(network) == SliceRecord("")


def test_a_device_without_attributes_is_a_board_of_an_unknown_product() -> None:
    assert counted(body({"name": "gpu-0"})) == {"node-0": {"": 1}}
