"""What nodes say together."""

from energaizer_operator.controller.survey import counted, gpu_capacity, survey
from energaizer_operator.identity import Identification


def test_survey_counts_by_label_else_by_capacity() -> None:
    term = (("nvidia.com/gpu.product", "H100"),)
    identified = {
        "a": Identification(profile="h100", gpus=8, gpu_node=True, terms=term),
        "b": Identification(profile="h100", gpus=None, gpu_node=True, terms=term),
        "c": Identification(profile="h100", gpus=8, gpu_node=True, conflict=("a100", "h100")),
        "d": Identification(gpu_node=True),
        "e": Identification(),
        "f": Identification(),
    }
    counts = counted(identified, {"b": 4, "e": 0, "f": 2})
    found = survey(identified, counts, {"a", "d"})
    assert {name: one.power_nodes for name, one in found.census.items()} == {"h100": 1, "a100": 0}
    h100 = found.census["h100"]
    assert (h100.nodes, h100.gpus, h100.conflicts) == (3, 20, ("c",))
    assert [(one.key, one.value, one.nodes) for one in h100.terms] == [(*term[0], 2)]
    assert found.census["a100"].conflicts == ("c",)
    assert found.unprofiled == ("d", "f")
    assert found.in_cluster == {"h100"}


def test_capacity_counts_whole_gpus() -> None:
    capacity = {"cpu": "8", "nvidia.com/gpu": "4", "nvidia.com/mig-1g.5gb": "7", "amd.com/gpu": "2"}
    assert gpu_capacity({"status": {"capacity": capacity}}) == 6
