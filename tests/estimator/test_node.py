"""Nodes: what joins their boards, and which one a GPU sits in."""

import pytest
from pydantic import ValidationError

from energaizer import catalog, machine, pipeline
from energaizer.errors import InputError, UnknownNameError
from energaizer.node import Node
from energaizer.parallelism import Parallelism
from energaizer.workload import Workload

LLAMA = catalog.model("llama-3.1-70b")
H100 = catalog.gpu("h100-sxm")


def served(split, **inputs):
    return Workload(model=LLAMA, batch=32, input_tokens=1024, output_tokens=64,
                    parallelism=Parallelism(**split), **inputs)  # fmt: skip


def test_every_gpu_has_a_node():
    for gpu in catalog.gpus():
        found = catalog.usual_node(gpu)
        assert gpu.name in found.gpus, f"no node lists {gpu.name}"


@pytest.mark.parametrize("node", catalog.nodes(), ids=lambda node: node.name)
def test_built_in_nodes_are_plausible(node):
    above = node.overhead
    assert above.processors_idle_w < above.processors_full_w
    assert above.fans_idle_w < above.fans_full_w
    assert node.source.citation
    assert Node.loads(node.model_dump_json()) == node


def test_levels_of_a_fabric():
    board = machine.of(H100, catalog.coefficients(H100))
    node = catalog.node("dgx-h100")
    link, network = node.fabric(board.link)
    assert (link.boards, link.kind) == (8.0, "switch")
    assert link.bandwidth == pytest.approx(450e9 * 0.8)
    assert (network.bandwidth, network.kind) == (pytest.approx(50e9 * 0.8), "network")
    pairs = catalog.node("nvlink-pair-server").fabric(board.link)
    assert [level.boards for level in pairs[:2]] == [2.0, 8.0]
    assert catalog.node("gb200-nvl72").fabric(board.link)[0].boards == 72.0


def test_a_network_between_tensor_ranks_costs_time_and_idle_energy():
    near = pipeline.estimate(served({"tensor": 8}), H100)
    far = pipeline.estimate(served({"tensor": 8}, gpus_per_node=4), H100)
    slow = pipeline.estimate(served({"tensor": 8}, gpus_per_node=4, network_bandwidth=5e9), H100)
    assert near.duration.value < far.duration.value < slow.duration.value
    assert slow.power.value < near.power.value
    assert slow.components["idle"].value > near.components["idle"].value


def test_replicas_need_no_network():
    one = pipeline.estimate(served({"tensor": 4}), H100)
    many = pipeline.estimate(served({"tensor": 4, "data": 64}), H100)
    assert many.duration.value == one.duration.value
    assert many.energy.value == pytest.approx(64 * one.energy.value)
    assert any("no node given: dgx-h100" in note for note in many.notes)


def test_a_board_alone_needs_a_server_only_where_one_is_asked_for(monkeypatch):
    small = Workload(model=catalog.model("gpt2"), input_tokens=64)
    with pytest.raises(UnknownNameError, match="no node"):
        pipeline.estimate(small.model_copy(update={"node": "nowhere"}), H100)
    drawn = pipeline.estimate(small.model_copy(update={"node_power": True}), H100)
    assert drawn.node.node == "dgx-h100"

    def unasked(*_):
        raise AssertionError("nobody asked for a server")

    monkeypatch.setattr(catalog, "usual_node", unasked)
    assert pipeline.estimate(small, H100) == drawn._replace(node=None)


def test_refusals():
    with pytest.raises(UnknownNameError, match='try "dgx-h100"'):
        pipeline.estimate(served({"tensor": 4}, node="dgx-h10"), H100)
    with pytest.raises(InputError, match="set gpus_per_node to 8 or less"):
        pipeline.estimate(served({"tensor": 4}, gpus_per_node=16), H100)
    fields = catalog.node("nvlink-pair-server").model_dump() | {"inside": None}
    with pytest.raises(ValidationError, match="needs `inside`"):
        Node.model_validate(fields)
