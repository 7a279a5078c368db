from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator.policy import (
    Action,
    Balance,
    Question,
    charged,
    defaults,
    judge,
    likely,
    matching,
    modes,
    within_limits,
    within_slowdown,
)
from energaizer_operator.policy.wording import warnings
from energaizer_operator.resources.aiworkload.spec import AIWorkloadSpec, LimitsSpec
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.schema import EstimateSummary, Option
from energaizer_operator.selectors import LabelSelector, selects

MakeOption = Callable[..., Option]
MakePolicy = Callable[..., EnergyPolicy]


def exactly(profile: str, numbers: tuple[int, ...], **rest: Any) -> Option:
    """Make an option from energy, low, high (MJ), power, low, high (W) and seconds."""
    energy, energy_low, energy_high, power, power_low, power_high, seconds = numbers
    return Option(
        profile=profile,
        estimate=EstimateSummary(
            profile=profile,
            gpu_count=8,
            energy_joules=energy * 10**6,
            energy_low_joules=energy_low * 10**6,
            energy_high_joules=energy_high * 10**6,
            power_watts=power,
            power_low_watts=power_low,
            power_high_watts=power_high,
            duration_seconds=seconds,
            method="Calibrated",
        ),
        **rest,
    )


H100 = exactly("h100-sxm5-80gb", (171, 158, 185, 5100, 4700, 5500, 33500))
SLOW_CLOCK = exactly(
    "h100-sxm5-80gb", (118, 110, 128, 2900, 2700, 3100, 40870), clock_megahertz=1200
)
L40S = exactly("l40s-48gb", (120, 110, 129, 2400, 2300, 2600, 50000))
NEEDS = (
    "energy policy team-a-limit: needs 185 MJ (predicted 171 MJ, 90 % interval 158-185 MJ;"
    " 5.1 kW, 4.7-5.5 kW; 8 x h100-sxm5-80gb, Calibrated) but the limit is 130 MJ per workload."
)


@pytest.mark.parametrize(
    ("caps", "options", "remedy"),
    [
        (
            "Trusted",
            [H100, SLOW_CLOCK],
            "Fits: 8 x h100-sxm5-80gb at 1200 MHz: 118 MJ (up to 128 MJ), 2.9 kW, +22 % time."
            ' To choose it, set annotation energaizer.io/gpu-clock-megahertz: "1200".',
        ),
        (
            "Untrusted",
            [H100, SLOW_CLOCK],
            "Nothing fits; the smallest is 8 x h100-sxm5-80gb: 171 MJ (up to 185 MJ), 5.1 kW,"
            " same time.",
        ),
        (
            "Untrusted",
            [H100, SLOW_CLOCK, L40S],
            "Fits: 8 x l40s-48gb: 120 MJ (up to 129 MJ), 2.4 kW, +49 % time. To choose it, set"
            " spec.accelerator.allowedProfiles: [l40s-48gb] in its AIWorkload or nodeSelector"
            " nvidia.com/gpu.product: NVIDIA-L40S in its pods.",
        ),
    ],
)
def test_a_refusal_says_what_would_be_admitted(
    policy: MakePolicy, caps: str, options: list[Option], remedy: str
) -> None:
    rule = policy(
        "team-a-limit",
        action="Deny",
        declaredCaps=caps,
        limits={"maxEnergyJoules": 130_000_000},
    )
    remedies = {"l40s-48gb": "nodeSelector nvidia.com/gpu.product: NVIDIA-L40S"}
    verdict = judge(Question(options, [rule], remedies=remedies))
    assert verdict.action is Action.DENY
    assert verdict.message == f"{NEEDS} {remedy}"


def test_an_untrusted_clock_is_not_charged(option: MakeOption, policy: MakePolicy) -> None:
    plain, slow = option("a", 100), option("a", 60, clock_megahertz=1000)
    for caps, energy in (("Untrusted", 100), ("Trusted", 60)):
        found = charged(
            Question([plain, slow], [policy(declaredCaps=caps)], declared_clock_megahertz=1000)
        )
        assert found is not None
        assert found.estimate.energy_joules == energy


def test_the_dearest_possible_option_is_charged(option: MakeOption) -> None:
    cheap, dear = option("a", 50), option("b", 90)
    unreachable = option("c", 200, reachable=False)
    absent = option("d", 300, feasibility="NotInCluster")
    full = option("e", 400, feasibility="InsufficientMemory")
    slow = option("f", 95, feasibility="TooSlow")
    fewer = option("g", 10, replicas=1)
    everything = [option("a", 50, replicas=2), fewer]
    assert charged(Question([cheap, dear, unreachable, absent, full])) is dear
    assert charged(Question([cheap, dear, slow])) is slow
    assert charged(Question([unreachable, absent, full])) is absent
    assert charged(Question([unreachable])) is unreachable
    assert charged(Question([absent, full])) is absent
    assert charged(Question([full])) is full
    assert charged(Question(everything)) is everything[0]
    assert charged(Question([])) is None


def test_power_is_held_against_the_option_that_draws_most(
    option: MakeOption, policy: MakePolicy
) -> None:
    hungry = option("fast", 90, power=100)
    slow = option("slow", 100, power=50)
    verdict = judge(Question([hungry, slow], [policy(action="Deny", limits={"maxPowerWatts": 60})]))
    assert verdict.charged is slow
    assert "needs 110 W" in verdict.message
    assert verdict.alternative is slow


def test_every_policy_counts_with_its_own_action(option: MakeOption, policy: MakePolicy) -> None:
    rules = [
        policy("deny", action="Deny", limits={"maxEnergyJoules": 1000}),
        policy("warn", action="Warn", limits={"maxEnergyJoules": 100}),
        policy("audit", action="Audit", limits={"maxEnergyJoules": 10}),
    ]
    verdict = judge(Question([option("a", 100)], rules))
    assert verdict.action is Action.WARN
    assert [(one.policy, one.action) for one in verdict.violations] == [
        ("warn", Action.WARN),
        ("audit", Action.AUDIT),
    ]
    assert len(verdict.warnings) == 2
    assert verdict.warnings[0].startswith("energy policy warn: needs 110 J")
    assert verdict.warnings[1].startswith("Nothing fits; the smallest is 8 x a")


def test_the_limits_of_the_user_refuse(option: MakeOption) -> None:
    limits = LimitsSpec(max_power_watts=10)
    verdict = judge(
        Question([option("a", power=10)], limits=limits, workload="AIWorkload team-a/train")
    )
    assert verdict.action is Action.DENY
    assert verdict.message.startswith("limits of AIWorkload team-a/train: needs 11 W")


def test_mean_or_high_is_held_against_the_limits(option: MakeOption, policy: MakePolicy) -> None:
    for uncertainty, action in (("Mean", Action.ALLOW), ("High", Action.DENY)):
        rule = policy(action="Deny", uncertainty=uncertainty, limits={"maxEnergyJoules": 100})
        assert judge(Question([option("a", 100)], [rule])).action is action


def test_energy_per_token_widens_with_the_energy(option: MakeOption, policy: MakePolicy) -> None:
    rule = policy(action="Deny", limits={"maxEnergyPerTokenMicrojoules": 1_000_000})
    verdict = judge(Question([option("a", per_token=950_000)], [rule]))
    assert "needs 1.04 J per token" in verdict.message
    assert judge(Question([option("a", per_token=900_000)], [rule])).action is Action.ALLOW
    assert judge(Question([option("encoder")], [rule])).action is Action.ALLOW
    bound = judge(Question([option("a", method="TDPBound")], [rule], problems=["no tokens"]))
    assert "the energy of a token is unknown (no tokens)" in bound.message


def test_a_gpu_that_is_not_allowed(option: MakeOption, policy: MakePolicy) -> None:
    rule = policy(action="Deny", limits={"allowedProfiles": ["b"]})
    options = [option("a", 100), option("b", 120)]
    verdict = judge(Question(options, [rule]))
    assert verdict.message.startswith("energy policy p: may run on a but only b may be used. Fits")
    assert verdict.alternative is options[1]
    narrowed = [option("a", 100, reachable=False), options[1]]
    assert judge(Question(narrowed, [rule])).action is Action.ALLOW


def test_required_inputs(option: MakeOption, policy: MakePolicy) -> None:
    rule = policy(action="Deny", limits={"requireInputs": "Required"})
    verdict = judge(Question([option("a")], [rule], problems=["1", "2", "3", "4", "5"]))
    assert verdict.message == (
        "energy policy p: every input must be known, but 1; 2; 3; and 2 more."
    )
    assert judge(Question([option("a")], [rule])).action is Action.ALLOW


@pytest.mark.parametrize(
    ("mode", "action"),
    [("UseTDPBound", Action.DENY), ("Warn", Action.WARN), ("Deny", Action.DENY)],
)
def test_only_a_bound_exists(
    option: MakeOption, policy: MakePolicy, mode: str, action: Action
) -> None:
    rule = policy(action="Deny", onEstimatorFailure=mode, limits={"maxEnergyJoules": 50})
    bound = option("a", 100, method="TDPBound", tenth=0)
    verdict = judge(Question([bound], [rule], problems=["model.name is missing"]))
    assert verdict.action is action
    assert verdict.charged is bound
    assert "model.name is missing" in verdict.message
    assert any("only a bound" in text for text in verdict.warnings)
    roomy = policy(action="Deny", onEstimatorFailure=mode, limits={"maxEnergyJoules": 500})
    expected = Action.DENY if mode == "Deny" else Action.ALLOW
    assert judge(Question([bound], [roomy])).action is expected


def test_without_any_profile_a_limit_is_not_kept(policy: MakePolicy) -> None:
    verdict = judge(Question([], [policy(action="Deny", limits={"maxEnergyJoules": 1})]))
    assert verdict.action is Action.DENY
    assert "no GPUProfile is known" in verdict.message
    assert judge(Question([], [policy(action="Deny")])).action is Action.ALLOW


def test_too_slow_for_the_user(option: MakeOption) -> None:
    fast = option("fast", seconds=100, reachable=False)
    slow = option("slow", seconds=130)
    limits = LimitsSpec(max_slowdown_percent=20)
    verdict = judge(Question([fast, slow], limits=limits))
    assert "takes 30 % more time than the fastest candidate" in verdict.message
    assert "but the limit is 20 %" in verdict.message
    reachable = option("fast", seconds=100)
    assert judge(Question([reachable, slow], limits=limits)).action is Action.ALLOW


def test_the_way_out_prefers_all_replicas_and_gpus_that_are_not_excluded(
    option: MakeOption, policy: MakePolicy
) -> None:
    rule = policy(action="Deny", limits={"maxEnergyJoules": 70})
    asked = option("a", 100, replicas=4, gpus=32)
    fewer = option("a", 50, replicas=2, gpus=16)
    excluded = option("b", 60, replicas=4, gpus=32, reachable=False)
    reachable = option("c", 62, replicas=4, gpus=32)
    assert judge(Question([asked, fewer], [rule])).alternative is fewer
    assert judge(Question([asked, fewer, excluded], [rule])).alternative is excluded
    verdict = judge(Question([asked, fewer, excluded, reachable], [rule]))
    assert verdict.alternative is reachable
    text = judge(Question([asked, fewer], [rule])).message
    assert "16 x a (2 of 4 replicas): 50 J (up to 55 J)" in text
    assert text.endswith("To choose it, run 2 replicas.")


def test_the_way_out_obeys_every_firm_limit(option: MakeOption, policy: MakePolicy) -> None:
    rules = [
        policy("energy", action="Deny", limits={"maxEnergyJoules": 90}),
        policy("power", action="Deny", limits={"maxPowerWatts": 20}),
        policy("soft", action="Warn", limits={"maxEnergyJoules": 10}),
    ]
    options = [option("a", 100), option("b", 50, power=30), option("c", 70, power=15)]
    assert judge(Question(options, rules)).alternative is options[2]


@given(
    st.lists(
        st.tuples(st.integers(1, 200), st.integers(1, 50), st.booleans(), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 250),
    st.integers(1, 60),
)
def test_whoever_follows_the_way_out_is_admitted(
    rows: list[tuple[int, int, bool, bool]], energy: int, power: int
) -> None:
    def make(number: int, row: tuple[int, int, bool, bool]) -> Option:
        joules, watts, reachable, feasible = row
        estimate = EstimateSummary(
            profile=f"p{number}",
            gpu_count=1,
            power_watts=watts,
            power_low_watts=watts,
            power_high_watts=watts,
            duration_seconds=1,
            energy_joules=joules,
            energy_low_joules=joules,
            energy_high_joules=joules,
            method="Calibrated",
        )
        feasibility: Any = "Feasible" if feasible else "NotInCluster"
        return Option(f"p{number}", estimate, reachable=reachable, feasibility=feasibility)

    options = [make(number, row) for number, row in enumerate(rows)]
    rule = EnergyPolicy.model_validate(
        {
            "metadata": {"name": "p"},
            "spec": {
                "action": "Deny",
                "limits": {"maxEnergyJoules": energy, "maxPowerWatts": power},
            },
        }
    )
    verdict = judge(Question(options, [rule]))
    if verdict.alternative is not None:
        chosen = [
            Option(one.profile, one.estimate, reachable=one is verdict.alternative)
            for one in options
        ]
        chosen = [
            Option(
                one.profile,
                one.estimate,
                feasibility=before.feasibility,
                reachable=one.profile == verdict.alternative.profile,
            )
            for one, before in zip(chosen, options, strict=True)
        ]
        assert judge(Question(chosen, [rule])).action is Action.ALLOW


def test_marks_of_candidates(option: MakeOption, policy: MakePolicy) -> None:
    options = [option("a", 50, seconds=100), option("b", 100, seconds=121)]
    assert [one.feasibility for one in within_slowdown(options, 20)] == ["Feasible", "TooSlow"]
    assert [one.feasibility for one in within_slowdown(options, None)] == ["Feasible"] * 2
    rule = policy(action="Deny", limits={"maxEnergyJoules": 60})
    marked = within_limits(Question(options, [rule]))
    assert [one.feasibility for one in marked] == ["Feasible", "OverLimit"]


def test_likely_is_the_best_of_what_is_possible(option: MakeOption) -> None:
    options = [
        option("a", 50, power=30),
        option("a", 10, clock_megahertz=500),
        option("b", 60, power=10),
        option("c", 20, reachable=False),
    ]
    assert likely(Question(options), "Energy") is options[0]
    assert likely(Question(options), "Power") is options[2]
    assert likely(Question([option("a", feasibility="NotInCluster")]), "Energy") is None


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


def test_warnings_are_cut_between_words_and_bounded_together() -> None:
    found = warnings(["word " * 100] * 40)
    assert all(len(text) <= 256 for text in found)
    assert found[0].endswith("word…")
    assert sum(len(text) for text in found) <= 4096


def test_a_bound_is_no_way_out_of_an_estimate(option: MakeOption, policy: MakePolicy) -> None:
    dear = option("dear", energy=1000)
    unknown = option("unknown", energy=10, method="TDPBound", reachable=False)
    rule = policy("p", action="Deny", limits={"maxEnergyJoules": 100})
    verdict = judge(Question([dear, unknown], [rule]))
    assert (verdict.action, verdict.alternative) == (Action.DENY, None)


def test_a_budget_without_room_says_what_is_needed_what_remains_and_what_fits(
    option: MakeOption,
) -> None:
    big = option("h100-sxm5-80gb", 171_000_000, 5100, 33_000)
    small = option("l40s-48gb", 100_000_000, 2000, 50_000, reachable=False)
    left = Balance(
        "team-a/monthly",
        Action.DENY,
        limit_joules=7_200_000_000,
        remaining_joules=130_000_000,
        until="2026-12-01T00:00+01:00",
    )
    verdict = judge(Question(options=[big, small], balances=[left]))
    assert verdict.action is Action.DENY
    assert verdict.message == (
        "energy budget team-a/monthly: needs 188 MJ (predicted 171 MJ, 90 % interval 154-188 MJ; "
        "5.1 kW, 4.59-5.61 kW; 8 x h100-sxm5-80gb, Calibrated) but 130 MJ of 7.2 GJ remain until "
        "2026-12-01T00:00+01:00. Fits: 8 x l40s-48gb: 100 MJ (up to 110 MJ), 2 kW, +52 % time. To "
        "choose it, change what excludes it, e.g. set spec.accelerator.allowedProfiles: "
        "[l40s-48gb] in its AIWorkload."
    )
    assert [one.budget for one in verdict.violations] == ["team-a/monthly"]
    marked = {
        one.profile: one.feasibility
        for one in within_limits(Question(options=[big, small], balances=[left]))
    }
    assert marked == {"h100-sxm5-80gb": "OverLimit", "l40s-48gb": "Feasible"}


@pytest.mark.parametrize(
    ("left", "action"),
    [
        (Balance("t/b", Action.HOLD, 1, 1), Action.HOLD),
        (Balance("t/b", Action.WARN, 1, 1), Action.WARN),
        (Balance("t/b", Action.AUDIT, 1, -5), Action.AUDIT),
        (Balance("t/b", Action.DENY, 999, 110), Action.ALLOW),
        (Balance("t/b", Action.DENY, 999, 109), Action.DENY),
        (Balance("t/b", Action.DENY, 999, 109, high=False), Action.ALLOW),
        (Balance("t/b", Action.DENY, 999, 109, seconds=10), Action.DENY),
        (Balance("t/b", Action.DENY, 999, 110, seconds=10), Action.ALLOW),
        (Balance("t/b", Action.HOLD, 0, 10**9, broken="cannot be read"), Action.HOLD),
    ],
)
def test_what_follows_from_a_balance(option: MakeOption, left: Balance, action: Action) -> None:
    assert judge(Question(options=[option("a", 100, 10, 10)], balances=[left])).action is action


def test_without_any_profile_a_budget_refuses() -> None:
    left = Balance("t/b", Action.DENY, 10**9, 10**9)
    verdict = judge(Question(options=[], balances=[left]))
    assert verdict.action is Action.DENY
    assert "no GPUProfile is known" in verdict.message
