import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator.affinity import patch
from energaizer_operator.names import Reason
from energaizer_operator.options import Option, cost
from energaizer_operator.placement import Plan, Wish, plan
from energaizer_operator.resources.gpuprofile import GPUProfile

MakeOption = Callable[..., Option]
MakeProfile = Callable[..., GPUProfile]
PRODUCT = "nvidia.com/gpu.product"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def expression(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


def term(*expressions: dict[str, Any]) -> dict[str, Any]:
    return {"matchExpressions": list(expressions)}


def apply(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply JSON Patch additions as the API server does (RFC 6902)."""
    document = copy.deepcopy(document)
    for operation in operations:
        assert operation["op"] == "add"
        *parents, last = operation["path"].split("/")[1:]
        node = document
        for part in parents:
            node = node[int(part)] if isinstance(node, list) else node[part]
        if isinstance(node, list):
            assert last == "-"
            node.append(operation["value"])
        else:
            assert node.get(last) is None, f"{operation['path']} would replace something"
            node[last] = operation["value"]
    return document


@pytest.fixture
def profiles(profile: MakeProfile) -> dict[str, GPUProfile]:
    return {
        name: profile(name, observed=[(PRODUCT, f"NVIDIA-{name.upper()}", 2)])
        for name in ("a", "b", "c")
    }


def test_weights_fall_with_the_energy(option: MakeOption, profiles: dict[str, GPUProfile]) -> None:
    options = [option("a", 200), option("b", 100), option("c", 150)]
    found = plan(Wish(options, profiles))
    # the weight is one and the rounded share of 99 that the option saves of what can be saved
    assert found.weights == {"a": 1, "b": 100, "c": 51}
    assert found.preferred_profiles == ("b", "c", "a")
    assert found.reason is Reason.PREFERRED
    assert found.message == "b is preferred: 50% less than the dearest, by Energy"
    assert found.preferences["b"] == term(expression(PRODUCT, "NVIDIA-B"))


def test_objectives(option: MakeOption, profiles: dict[str, GPUProfile]) -> None:
    options = [option("a", 200, power=10, seconds=2), option("b", 100, power=30, seconds=10)]
    assert plan(Wish(options, profiles)).preferred_profiles == ("b", "a")
    assert plan(Wish(options, profiles, objective="Power")).preferred_profiles == ("a", "b")
    delay = plan(Wish(options, profiles, objective="EnergyDelayProduct"))
    assert delay.preferred_profiles == ("a", "b")


def test_a_difference_within_twice_the_error_is_no_preference(
    option: MakeOption, profiles: dict[str, GPUProfile], profile: MakeProfile
) -> None:
    options = [option("a", 100), option("b", 119)]  # +-10 %: 19 % is less than 20 %
    found = plan(Wish(options, profiles))
    assert (found.reason, found.weights) == (Reason.WITHIN_ERROR, {})
    measured = {
        name: profile(name, observed=[(PRODUCT, name, 1)], calibration={"energyErrorPermille": 50})
        for name in ("a", "b")
    }
    assert plan(Wish(options, measured)).reason is Reason.PREFERRED


def test_only_what_can_be_chosen_is_preferred(
    option: MakeOption, profiles: dict[str, GPUProfile]
) -> None:
    options = [
        option("a", 100),
        option("b", 300),
        option("c", 10, reachable=False),
        option("a", 5, clock_megahertz=500),
        option("d", 20),
        option("b", 1, replicas=1, feasibility="NotInCluster"),
    ]
    assert plan(Wish(options, profiles)).weights == {"a": 100, "b": 1}
    assert plan(Wish(options[:1], profiles)).reason is Reason.SKIPPED
    assert plan(Wish(options, profiles, mode="None")).reason is Reason.SKIPPED


def test_slow_gpus_are_not_preferred(option: MakeOption, profiles: dict[str, GPUProfile]) -> None:
    options = [
        option("a", 300, seconds=100),
        option("b", 100, seconds=130),
        option("c", 200, seconds=120),
    ]
    found = plan(Wish(options, profiles, max_slowdown_percent=20))
    assert found.preferred_profiles == ("c", "a")


def test_one_term_a_profile_in_the_dialect_that_most_nodes_speak(
    option: MakeOption, profile: MakeProfile
) -> None:
    gke = "cloud.google.com/gke-accelerator"
    aws = term(expression("aws/name", "a100"), expression("aws/memory", "81920"))
    known = {
        "a": profile(
            "a", observed=[(PRODUCT, "A", 3), (PRODUCT, "A-SHARED", 1), (gke, "nvidia-a", 2)]
        ),
        "b": profile("b", observed=[(gke, "nvidia-b", 9), ("energaizer.io/gpu-profile", "b", 1)]),
        "c": profile("c", nodeSelectorTerms=[aws], observed=[("aws/name", "a100", 2)]),
        "d": profile("d"),
    }
    options = [option(name, 100 * number) for number, name in enumerate("abcd", start=1)]
    found = plan(Wish(options, known)).preferences
    assert found["a"] == term(expression(PRODUCT, "A", "A-SHARED"))
    assert found["b"] == term(expression("energaizer.io/gpu-profile", "b"))
    assert found["c"] == aws, "one label of two would match another GPU"
    assert found["d"] == term(expression(PRODUCT, "NVIDIA-D", "Tesla-D", "D"))


TWO = Plan(
    mode="Prefer",
    reason=Reason.PREFERRED,
    message="",
    weights={"a": 100, "b": 1},
    preferences={"a": term(expression(PRODUCT, "A")), "b": term(expression(PRODUCT, "B"))},
)


def test_a_bare_pod_gets_its_affinity_at_once() -> None:
    operations = patch({}, TWO)
    assert [operation["path"] for operation in operations] == ["/spec/affinity"]
    affinity = apply({"spec": {}}, operations)["spec"]["affinity"]["nodeAffinity"]
    assert affinity[PREFERRED] == [
        {"weight": 100, "preference": TWO.preferences["a"]},
        {"weight": 1, "preference": TWO.preferences["b"]},
    ]


def test_demands_and_preferences_share_what_is_made() -> None:
    pod = {"affinity": {"podAffinity": {}}}
    (made,) = patch(pod, BOTH)
    assert made["path"] == "/spec/affinity/nodeAffinity"
    assert set(made["value"]) == {PREFERRED, REQUIRED}


def with_preferences(*weights: int) -> dict[str, Any]:
    terms = [{"weight": weight, "preference": term(expression("z", "1"))} for weight in weights]
    return {"affinity": {"nodeAffinity": {PREFERRED: terms}}}


@pytest.mark.parametrize(
    ("users", "ours"), [((50, 80), [49, 1]), ((2,), [1, 1]), ((100,), [99, 1])]
)
def test_our_weights_lie_below_each_of_the_user_s(users: tuple[int, ...], ours: list[int]) -> None:
    pod = with_preferences(*users)
    patched = apply({"spec": pod}, patch(pod, TWO))["spec"]["affinity"]["nodeAffinity"][PREFERRED]
    assert [one["weight"] for one in patched] == [*users, *ours]


def test_where_no_weight_is_left_we_add_none() -> None:
    assert patch(with_preferences(1, 50), TWO) == []


def test_allowed_profiles_are_demanded_beside_the_user_s_terms(
    option: MakeOption, profiles: dict[str, GPUProfile]
) -> None:
    found = plan(Wish([option("a")], profiles, allowed_profiles=["a", "b"]))
    assert found.reason is Reason.REQUIRED
    assert found.required == (
        term(expression("energaizer.io/gpu-profile", "a", "b")),
        term(expression(PRODUCT, "A", "B", "NVIDIA-A", "NVIDIA-B", "Tesla-A", "Tesla-B")),
    )


DEMAND = Plan(
    mode="Prefer",
    reason=Reason.REQUIRED,
    message="",
    required=(term(expression("o", "1")), term(expression("p", "2"))),
)


def required(*terms: Any) -> dict[str, Any]:
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": list(terms)}}}}


def terms_of(pod: dict[str, Any]) -> Any:
    return pod["affinity"]["nodeAffinity"][REQUIRED]["nodeSelectorTerms"]


def test_demands_on_a_bare_pod_are_alternatives() -> None:
    patched = apply({"spec": {}}, patch({}, DEMAND))["spec"]
    assert terms_of(patched) == list(DEMAND.required)


def test_demands_meet_every_term_of_the_user() -> None:
    zone, field = expression("zone", "x"), {"key": "metadata.name", "operator": "In", "values": []}
    pod = required(term(zone), {"matchFields": [field]}, {})
    patched = apply({"spec": pod}, patch(pod, DEMAND))["spec"]
    assert terms_of(patched) == [
        term(zone, expression("o", "1")),
        {"matchFields": [field], "matchExpressions": [expression("o", "1")]},
        {},
        term(zone, expression("p", "2")),
        {"matchFields": [field], "matchExpressions": [expression("p", "2")]},
    ]


KEYS = st.sampled_from(["x", "y", "z"])
TERMS = st.builds(
    lambda keys, fields: {
        **({"matchExpressions": [expression(key, "1") for key in keys]} if keys else {}),
        **({"matchFields": [expression("metadata.name", "n")]} if fields else {}),
    },
    st.lists(KEYS, max_size=3),
    st.booleans(),
)
PODS = st.builds(
    lambda hard, soft, pods: {
        "affinity": {
            "nodeAffinity": {
                **({REQUIRED: {"nodeSelectorTerms": hard}} if hard is not None else {}),
                **({PREFERRED: soft} if soft is not None else {}),
            },
            **({"podAffinity": {"kept": True}} if pods else {}),
        }
    },
    st.none() | st.lists(TERMS, min_size=1, max_size=3),
    st.none()
    | st.lists(
        st.builds(
            lambda weight, one: {"weight": weight, "preference": one}, st.integers(1, 100), TERMS
        ),
        max_size=3,
    ),
    st.booleans(),
) | st.sampled_from([{}, {"affinity": None}, {"affinity": {}}, {"affinity": {"nodeAffinity": {}}}])
BOTH = Plan(
    mode="Prefer",
    reason=Reason.PREFERRED,
    message="",
    weights=TWO.weights,
    preferences=TWO.preferences,
    required=DEMAND.required,
)


def matches(one: Any, labels: frozenset[str]) -> bool:
    """Whether a node with these labels (key=value) fits a term; node fields always fit here."""
    expressions = one.get("matchExpressions", ())
    return bool(one) and all(
        any(f"{each['key']}={value}" in labels for value in each["values"]) for each in expressions
    )


@given(PODS, st.frozensets(st.sampled_from(["x=1", "y=1", "z=1", "o=1", "p=2"])))
def test_merging_loses_no_term_of_the_user_and_happens_once(
    pod: dict[str, Any], labels: frozenset[str]
) -> None:
    patched = apply({"spec": pod}, patch(pod, BOTH))["spec"]
    before = (pod.get("affinity") or {}).get("nodeAffinity") or {}
    after = patched["affinity"]["nodeAffinity"]
    soft = before.get(PREFERRED) or []
    assert (after.get(PREFERRED) or [])[: len(soft)] == soft
    assert patched["affinity"].get("podAffinity") == (pod.get("affinity") or {}).get("podAffinity")
    hard = (before.get(REQUIRED) or {}).get("nodeSelectorTerms")
    users = hard is None or any(matches(one, labels) for one in hard)
    ours = any(matches(one, labels) for one in BOTH.required)
    assert any(matches(one, labels) for one in terms_of(patched)) == (users and ours)
    assert patch(patched, BOTH) == []


def test_steady_serving_prefers_what_takes_least_for_the_same_work(option: MakeOption) -> None:
    slow = option("slow", energy=100, seconds=3600, work=10.0)
    fast = option("fast", energy=300, seconds=3600, work=100.0)
    assert cost(fast, "Energy") == 3
    assert cost(slow, "Energy") == 10
    assert cost(slow, "EnergyDelayProduct") == 10 * 360
    assert cost(slow, "Power") < cost(option("hungry", power=50), "Power")
