"""The way out of a refusal: whoever follows it is admitted."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator.options import Option
from energaizer_operator.policy import (
    Action,
    Question,
    judge,
)
from energaizer_operator.policy.wording import warnings
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.schema import EstimateSummary

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


def test_a_bound_is_no_way_out_of_an_estimate(option: MakeOption, policy: MakePolicy) -> None:
    dear = option("dear", energy=1000)
    unknown = option("unknown", energy=10, method="TDPBound", reachable=False)
    rule = policy("p", action="Deny", limits={"maxEnergyJoules": 100})
    verdict = judge(Question([dear, unknown], [rule]))
    assert (verdict.action, verdict.alternative) == (Action.DENY, None)


def test_warnings_are_cut_between_words_and_bounded_together() -> None:
    found = warnings(["word " * 100] * 40)
    assert all(len(text) <= 256 for text in found)
    assert found[0].endswith("word…")
    assert sum(len(text) for text in found) <= 4096
