"""What a policy or a user's limit forbids, and which option is held against it."""

from collections.abc import Callable

import pytest

from energaizer_operator.options import Option
from energaizer_operator.policy import (
    Action,
    Question,
    judge,
    likely,
    within_limits,
    within_slowdown,
)
from energaizer_operator.resources.aiworkload.spec import LimitsSpec
from energaizer_operator.resources.energypolicy import EnergyPolicy

MakeOption = Callable[..., Option]
MakePolicy = Callable[..., EnergyPolicy]


def charged(question: Question) -> Option | None:
    return judge(question).charged


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


def test_two_limits_of_one_estimate_describe_it_once(
    option: MakeOption, policy: MakePolicy
) -> None:
    limits = {"maxEnergyJoules": 50, "maxPowerWatts": 5}
    said = judge(Question([option("a", 100)], [policy(action="Deny", limits=limits)])).message
    assert said.startswith("energy policy p: needs 110 J (predicted 100 J, 90 % interval")
    assert "Also energy policy p: needs 11 W but the limit is 5 W at once." in said


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
