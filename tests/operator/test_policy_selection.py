"""Which policies are for a workload, and what they say together."""

from collections.abc import Callable
from typing import Any

import pytest

from energaizer_operator.policy import (
    defaults,
    matching,
    modes,
)
from energaizer_operator.resources.aiworkload.spec import AIWorkloadSpec
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.selectors import LabelSelector, selects

MakePolicy = Callable[..., EnergyPolicy]


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (None, {}, True),
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {"a": "1"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        (
            {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]},
            {"a": "1"},
            False,
        ),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors(selector: Any, labels: dict[str, str], selected: bool) -> None:
    parsed = None if selector is None else LabelSelector.model_validate(selector)
    assert selects(parsed, labels) is selected


def test_matching_policies_are_sorted_by_priority_then_name(policy: MakePolicy) -> None:
    rules = [
        policy("b"),
        policy("a"),
        policy("top", priority=5),
        policy("other", namespaceSelector={"matchLabels": {"team": "x"}}),
        policy("none", workloadSelector={"matchLabels": {"app": "x"}}),
    ]
    found = matching(rules, {"team": "x"}, {"app": "y"})
    assert [one.metadata.name for one in found] == ["top", "a", "b", "other"]


def test_scalars_come_from_the_highest_priority_that_states_them(policy: MakePolicy) -> None:
    rules = [
        policy("top", uncertainty="Mean"),
        policy("next", placement={"mode": "Kueue"}, defaults={"precision": "FP8"}),
        policy("last", placement={"mode": "None", "objective": "Power"}, uncertainty="High"),
    ]
    found = modes(rules)
    assert (found.uncertainty, found.placement_mode, found.objective) == ("Mean", "Kueue", "Power")
    assert [one.precision for one in defaults(rules)] == ["FP8"]
    own = AIWorkloadSpec.model_validate(
        {"placement": {"mode": "Prefer"}, "limits": {"maxSlowdownPercent": 5}}
    )
    assert modes(rules, own).placement_mode == "Prefer"
    assert modes(rules, own).max_slowdown_percent == 5
    assert modes([]).objective == "Energy"
