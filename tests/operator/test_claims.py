"""ResourceClaimTemplates: alternatives in order, for drivers that know the GPU by a name."""

from collections.abc import Callable

from energaizer_operator import claims
from energaizer_operator.resources.gpuprofile import GPUProfile

MakeProfile = Callable[..., GPUProfile]


def test_alternatives_come_in_order_and_ask_for_the_product(profile: MakeProfile) -> None:
    profiles = {
        "l40s": profile("l40s", deviceProductNames=["NVIDIA L40S"]),
        "odd.name": profile("odd.name", deviceProductNames=["It's", "Two"]),
        "unnamed": profile("unnamed"),
        "mi300x": profile("mi300x", vendor="AMD", deviceProductNames=["MI300X"]),
    }
    order = ["mi300x", "unnamed", "l40s", "odd.name"]
    made = claims.template("chat-gpu", "team-a", order, profiles, 4)
    assert made is not None
    assert made["metadata"] == {"name": "chat-gpu", "namespace": "team-a"}
    (request,) = made["spec"]["spec"]["devices"]["requests"]
    choices = request["firstAvailable"]
    assert [choice["name"] for choice in choices] == ["mi300x", "l40s", "odd-name"]
    assert [choice["deviceClassName"] for choice in choices] == [
        "gpu.amd.com",
        "gpu.nvidia.com",
        "gpu.nvidia.com",
    ]
    assert [choice["selectors"][0]["cel"]["expression"] for choice in choices[1:]] == [
        "device.attributes['gpu.nvidia.com'].productName == 'NVIDIA L40S'",
        "device.attributes['gpu.nvidia.com'].productName in ['It\\'s', 'Two']",
    ]
    assert {choice["count"] for choice in choices} == {4}


def test_at_most_eight_alternatives_and_none_without_a_name(profile: MakeProfile) -> None:
    many = {f"g{n}": profile(f"g{n}", deviceProductNames=[f"G {n}"]) for n in range(12)}
    made = claims.template("c", "", list(many), many, 1)
    assert made is not None
    assert len(made["spec"]["spec"]["devices"]["requests"][0]["firstAvailable"]) == claims.MOST
    assert claims.template("c", "", ["unnamed"], {"unnamed": profile("unnamed")}, 1) is None
