import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator import human


@pytest.mark.parametrize(
    ("joules", "text"),
    [
        (171_000_000, "171 MJ (47.5 kWh)"),
        (7_200_000_000, "7.2 GJ (2 MWh)"),
        (1, "1 J (0.000278 Wh)"),
        (999_999, "1 MJ (278 Wh)"),
        (2**53 - 1, "9.01 PJ (2.5 TWh)"),
    ],
)
def test_energy_has_kilowatt_hours_beside_it(joules: int, text: str) -> None:
    assert human.energy(joules) == text


def test_span_names_a_shared_unit_once() -> None:
    assert human.span(158e6, 185e6, "J") == "158-185 MJ"
    assert human.span(950e3, 1.1e6, "J") == "950 kJ-1.1 MJ"


def test_a_need_just_over_the_limit_does_not_look_like_it() -> None:
    assert human.pair(130_000_001, 130_000_000, "J") == ("130.000001 MJ", "130 MJ")
    assert human.pair(185_000_000, 130_000_000, "J") == ("185 MJ", "130 MJ")


@given(st.integers(1, 2**53 - 1), st.integers(1, 2**53 - 1))
def test_different_numbers_look_different(first: int, second: int) -> None:
    texts = human.pair(first, second, "W")
    assert (texts[0] == texts[1]) == (first == second)


@given(st.integers(1, 2**53 - 1))
def test_every_text_fits_its_field(value: int) -> None:
    assert len(human.energy(value)) <= 32
    assert len(human.power(value)) <= 32
