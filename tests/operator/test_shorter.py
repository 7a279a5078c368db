"""Less work as the last way out: how much of it fits, and how to ask for no more than that."""

import re
from collections.abc import Callable
from typing import Any

import pytest

import steady_physics
from energaizer_operator import decision, estimation
from energaizer_operator.decision import Decision, Subject, World
from energaizer_operator.estimation import Estimator
from energaizer_operator.owners import describe
from energaizer_operator.policy import Action, Balance
from energaizer_operator.resources.energypolicy import EnergyPolicy
from reviewing import deployment, job

Object = dict[str, Any]
INTERACTIVE = {"energaizer.io/task": "Inference"}
COUNT = {"energaizer.io/requests": "1000000"}
TRAINING = {
    "energaizer.io/task": "FineTuning",
    "energaizer.io/batch-size": "64",
    "energaizer.io/sequence-length": "4096",
    "energaizer.io/steps": "8000",
}
Policy = Callable[..., EnergyPolicy]


def world(*policies: EnergyPolicy) -> World:
    return World.of(estimation.catalogue(), policies, in_cluster=["l40s-48gb"])


def described(annotations: dict[str, str], without: str = "", gpus: int = 1) -> Object:
    made = job(gpus=gpus)
    merged = made["metadata"]["annotations"] | annotations
    merged.pop(without, None)
    made["metadata"]["annotations"] = merged
    return made


def decided(obj: Object, *policies: EnergyPolicy, balances: tuple[Balance, ...] = ()) -> Decision:
    estimator = Estimator()
    return decision.decide(Subject(describe(obj)), world(*policies), estimator, balances)


def energy(obj: Object) -> int:
    charged = decided(obj).verdict.charged
    assert charged is not None
    assert charged.estimate.method != "TDPBound"
    return charged.estimate.energy_high_joules


CASES = {
    "requests": (described(COUNT), "energaizer.io/requests"),
    "steps of a training": (described(TRAINING, gpus=8), "energaizer.io/steps"),
    "a declared time": (
        described({"energaizer.io/expected-duration-seconds": "40000"}, "energaizer.io/requests"),
        "energaizer.io/expected-duration-seconds",
    ),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("share", [0.15, 0.5, 0.83])
def test_whoever_does_less_as_told_is_admitted(policy: Policy, name: str, share: float) -> None:
    obj, key = CASES[name]
    rule = policy(action="Deny", limits={"maxEnergyJoules": int(share * energy(obj))})
    verdict = decided(obj, rule).verdict
    assert verdict.action is Action.DENY
    told = re.search(
        r'(\d+) % of its work: .*-(\d+) % time\. .*set annotation (\S+): "(\d+)"', verdict.message
    )
    assert told is not None, verdict.message
    done, saved, annotation, value = told.groups()
    assert annotation == key
    assert int(done) + int(saved) == pytest.approx(100, abs=2), "the price in time"
    assert share - 0.1 < int(done) / 100 <= share + 0.01
    obj["metadata"]["annotations"] = {**obj["metadata"]["annotations"], key: value}
    assert decided(obj, rule).verdict.action is Action.ALLOW


def test_a_budget_offers_what_remains(monkeypatch: pytest.MonkeyPatch) -> None:
    steady_physics.install(monkeypatch)
    obj = described(COUNT)
    left = Balance("team-a/monthly", Action.DENY, 10**12, energy(obj) // 2)
    verdict = decided(obj, balances=(left,)).verdict
    assert verdict.alternative is not None
    assert verdict.message.endswith(
        "Fits: 4 x l40s-48gb for 49 % of its work: 333 kJ (up to 366 kJ), 700 W, -51 % time. To"
        ' choose it, set annotation energaizer.io/requests: "490000".'
    )


@pytest.mark.parametrize(
    ("obj", "limits"),
    [
        (described(COUNT), {"maxPowerWatts": 100}),
        (described(COUNT), {"maxEnergyPerTokenMicrojoules": 1}),
        (described(COUNT), {"maxEnergyJoules": 10}),
        (described({}, "energaizer.io/batch-size"), {"maxEnergyJoules": 10**6}),
        (deployment(1), {"maxEnergyJoules": 10**6}),
    ],
    ids=["watts", "joules a token", "next to nothing is left", "only a bound", "endless work"],
)
def test_where_less_work_helps_nobody_it_is_not_offered(
    policy: Policy, obj: Object, limits: dict[str, int]
) -> None:
    verdict = decided(obj, policy(action="Deny", limits=limits)).verdict
    assert verdict.action is Action.DENY
    assert "of its work" not in verdict.message


def test_a_dearer_start_is_allowed_for_at_the_second_try(
    policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the work takes more than half the energy where every run begins with some."""
    steady_physics.install(monkeypatch)
    obj = described(COUNT)
    whole = energy(obj)
    real = steady_physics.brief

    def with_start(workload: Any, gpu: Any, machine: object = None) -> Any:
        plain = real(workload, gpu, machine)
        parts = ("value", "low", "high")
        more = {part: getattr(plain.energy, part) + 0.2 * whole for part in parts}
        return plain._replace(energy=plain.energy._replace(**more))

    monkeypatch.setattr(steady_physics, "brief", with_start)
    rule = policy(action="Deny", limits={"maxEnergyJoules": int(0.6 * energy(obj))})
    verdict = decided(obj, rule).verdict
    assert verdict.alternative is not None, verdict.message
    assert "for 51 % of its work" in verdict.message
    assert verdict.alternative.estimate.energy_high_joules <= 0.6 * energy(obj)
