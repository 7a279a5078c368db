"""Text to SI and back."""

import pytest

from energaizer import units
from energaizer.errors import InputError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_frequency, "1410MHz", 1.41e9),
        (units.parse_frequency, "1.41 GHz", 1.41e9),
        (units.parse_frequency, "900mhz", 9e8),
        (units.parse_power, "700W", 700.0),
        (units.parse_power, "1.2kW", 1200.0),
        (units.parse_energy, "47.5kWh", 1.71e8),
        (units.parse_energy, "171MJ", 1.71e8),
        (units.parse_duration, "15min", 900.0),
        (units.parse_duration, "250ms", 0.25),
        (units.parse_duration, "2h", 7200.0),
        (units.parse_bytes, "80GiB", 80 * 2.0**30),
        (units.parse_bytes, "80Gi", 80 * 2.0**30),
        (units.parse_bytes, "40GB", 40e9),
        (units.parse_bytes, "123", 123.0),
        (units.parse_amount, "15T", 15e12),
        (units.parse_amount, "300B", 300e9),
        (units.parse_rate, "400Gb/s", 50e9),
        (units.parse_rate, "400 Gbps", 50e9),
        (units.parse_rate, "50GB/s", 50e9),
    ],
)
def test_parse(parse, text, value):
    assert parse(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("text", ["1410", "1.41e3 ", "1410."])
def test_a_clock_without_its_unit_is_told_to_have_none(text):
    with pytest.raises(InputError, match=f'"{text.strip()}" has no unit; write {text.strip()}MHz'):
        units.parse_frequency(text)
    assert units.parse_frequency("1.41e9") == 1.41e9


@pytest.mark.parametrize("text", ["", "W", "ten W", "700V", "-5W", "nan", "1e999W", "5 W W"])
def test_refuses_what_is_no_power(text):
    with pytest.raises(InputError):
        units.parse_power(text)


def test_format():
    assert units.format_energy(1.71e8) == "171 MJ (47.5 kWh)"
    assert units.format_energy(12.34) == "12.3 J"
    assert units.format_si(999.9, "W") == "1.00 kW"
    assert units.format_si(0.0, "W") == "0 W"
    assert units.format_duration(0.012592) == "12.6 ms"
    assert units.format_duration(912) == "15 min 12 s"
    assert units.format_duration(11100) == "3 h 05 min"
    assert units.format_frequency(1.41e9) == "1410 MHz"
    assert units.format_bytes(80 * 2**30) == "80.0 GiB"
    assert units.format_si(6.23e17, "J") == "623 PJ"
    assert units.format_si(1.46e18, "J") == "1.46 EJ"
    assert units.format_si(1e300, "J") == "1.00e+300 J"
    assert units.format_duration(86400 * 5 + 3600 * 3) == "5 d 03 h"
    assert units.format_duration(1e10) == "317 years"
