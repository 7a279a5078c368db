"""Budgets beside policies, as a judgement sees them."""

from collections.abc import Callable

import pytest

from energaizer_operator.options import Option
from energaizer_operator.policy import (
    Action,
    Balance,
    Question,
    judge,
    within_limits,
)

MakeOption = Callable[..., Option]


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
        (Balance("t/b", Action.DENY, 999, 219, seconds=10, surge=1), Action.DENY),
        (Balance("t/b", Action.DENY, 999, 220, seconds=10, surge=1), Action.ALLOW),
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
