from collections.abc import Callable

from energaizer_operator.options import Option
from energaizer_operator.ranking import candidates

MakeOption = Callable[..., Option]


def test_candidates_are_ranked_and_bounded(option: MakeOption) -> None:
    many = [option(f"g{number}", 1000 - number) for number in range(40)]
    infeasible = option("cheap", 1, feasibility="InsufficientMemory")
    fewer = option("g0", 1, replicas=1)
    found = candidates([infeasible, *many], "Energy")
    assert len(found) == 32
    assert found[0].name == "g39"
    assert [one.rank for one in found] == list(range(1, 33))
    two = [option("g0", 10, replicas=2), fewer, infeasible]
    assert [one.energy_joules for one in candidates(two, "Energy")] == [10]


def test_own_and_declared_settings_come_before_better_ones(option: MakeOption) -> None:
    slow = [option("a", 10 + clock, clock_megahertz=clock) for clock in range(500, 510)]
    dear, declared = option("b", 900), option("a", 950, power_cap_watts=300)
    found = candidates([*slow, dear, declared], "Energy", most=3, declared=(None, 300))
    assert [one.name for one in found] == ["a-500mhz", "b", "a-300w"]
    assert [one.rank for one in found] == [1, 2, 3]
