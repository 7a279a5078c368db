"""Quantities with units at the edge of the program: text in, SI inside, SI-prefixed text out.

Everything below this room computes in hertz, watts, joules, seconds and bytes; a user writes
`1410MHz`, `700W`, `80GiB`, `15min`, and reads `171 MJ (47.5 kWh)`.
"""

import math
import re
from types import MappingProxyType

from energaizer.errors import InputError

JOULES_PER_KWH = 3.6e6
_WATT_HOUR, _TWO_MINUTES, _TWO_HOURS, _TWO_DAYS = 3600.0, 120, 7200, 48 * 3600
_YEAR = 365.25 * 86400
_TWO_YEARS, _LONGEST = 2 * _YEAR, 1e4
_DECIMAL = {
    "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "": 1.0,
    "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
}  # fmt: skip
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50}
_NUMBER = r"(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
_TIMES = MappingProxyType({"min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0})
_ENERGIES = MappingProxyType({"Wh": 3600.0, "J": 1.0})
_TEXT = re.compile(rf"^\s*{_NUMBER}\s*(?P<unit>[^\d\s.+-][^\s]*)?\s*$")
_PRINTED = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""),
            (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"))  # fmt: skip


def _split(text: str, kind: str, example: str) -> tuple[float, str]:
    found = _TEXT.match(text)
    if found is None:
        raise InputError(f'"{text}" is no {kind}; write it like {example}')
    value = float(found["number"])
    if not math.isfinite(value):
        raise InputError(f'{kind} "{text}" is not finite; write it like {example}')
    return value, found["unit"] or ""


def _prefixed(text: str, base: str, kind: str, example: str) -> float:
    value, unit = _split(text, kind, example)
    if unit == "":
        return value
    prefix = unit[: -len(base)]
    if not unit.endswith(base) or prefix not in _DECIMAL:
        raise InputError(f'"{text}" has no unit of {kind}; write it like {example}')
    return value * _DECIMAL[prefix]


def parse_frequency(text: str) -> float:
    """Return hertz of `1410MHz`, `1410mhz` or `1.41 GHz`; a bare number is hertz.

    No clock ticks in millihertz, so a small m is read as mega, and a bare number of less than a
    megahertz is taken for one whose unit was forgotten.
    """
    found = re.sub(r"([kmg])hz\s*$", lambda hit: f"{hit[1].upper()}Hz", text, flags=re.IGNORECASE)
    value = _positive(_prefixed(found, "Hz", "frequency", "1410MHz"), text, "frequency")
    bare = text.strip()
    if value < _DECIMAL["M"] and not bare[-1].isalpha():
        raise InputError(f'"{bare}" has no unit; write {bare}MHz')
    return value


def parse_power(text: str) -> float:
    """Return watts of `700W` or `1.2 kW`; a bare number is watts."""
    return _positive(_prefixed(text, "W", "power", "700W"), text, "power")


def parse_energy(text: str) -> float:
    """Return joules of `171MJ`, `47.5 kWh` or a bare number of joules."""
    value, unit = _split(text, "energy", "171MJ or 47.5kWh")
    for base, factor in _ENERGIES.items():
        prefix = unit.removesuffix(base)
        if prefix != unit and prefix in _DECIMAL:
            return _positive(value * factor * _DECIMAL[prefix], text, "energy")
    if unit == "":
        return _positive(value, text, "energy")
    raise InputError(f'"{text}" has no unit of energy; write it like 171MJ or 47.5kWh')


def parse_duration(text: str) -> float:
    """Return seconds of `90s`, `250ms`, `15min`, `2h`, `1d` or a bare number of seconds."""
    value, unit = _split(text, "duration", "90s or 15min")
    if unit in _TIMES:
        return _positive(value * _TIMES[unit], text, "duration")
    return _positive(_prefixed(text, "s", "duration", "90s or 15min"), text, "duration")


def parse_bytes(text: str) -> float:
    """Return bytes of `80GiB`, `80Gi` (as Kubernetes writes), `40GB` or a bare number of bytes."""
    value, unit = _split(text, "size", "80GiB")
    prefix = unit.removesuffix("B")
    if prefix in _BINARY:
        return _positive(value * _BINARY[prefix], text, "size")
    if prefix in _DECIMAL and prefix not in {"n", "u", "µ", "μ", "m"}:
        return _positive(value * _DECIMAL[prefix], text, "size")
    raise InputError(f'"{text}" has no unit of size; write it like 80GiB')


def parse_amount(text: str) -> float:
    """Return a count of `15T`, `300G`, `1.5e9` or `300B`, which people write for billions."""
    value, unit = _split(text, "amount", "15T")
    prefix = "G" if unit == "B" else unit
    if prefix in _DECIMAL and _DECIMAL[prefix] >= 1.0:
        return _positive(value * _DECIMAL[prefix], text, "amount")
    raise InputError(f'"{text}" is no amount; write it like 15T or 300G')


def parse_rate(text: str) -> float:
    """Return B/s of `400Gb/s` (bits), `50GB/s` (bytes) or a bare number of bytes per second."""
    value, unit = _split(text, "rate", "400Gb/s")
    amount = unit.removesuffix("/s").removesuffix("ps")
    for base, factor in (("b", 0.125), ("B", 1.0)):
        prefix = amount.removesuffix(base)
        if prefix != amount and prefix in _DECIMAL:
            return _positive(value * factor * _DECIMAL[prefix], text, "rate")
    if unit == "":
        return _positive(value, text, "rate")
    raise InputError(f'"{text}" has no unit of rate; write it like 400Gb/s or 50GB/s')


def _positive(value: float, text: str, kind: str) -> float:
    if value < 0:
        raise InputError(f'{kind} "{text}" is negative')
    return value


def format_si(value: float, unit: str, digits: int = 3) -> str:
    """Return a number with an SI prefix: `format_si(1.71e8, "J")` is `171 MJ`.

    Args:
        value: Any number; NaN and infinities are printed as such.
        unit: Base unit without prefix; `""` prints the prefix alone.
        digits: Significant digits.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".rstrip()
    rounded = float(f"{value:.{digits - 1}e}")
    scale, prefix = next((item for item in _PRINTED if abs(rounded) >= item[0]), _PRINTED[-1])
    scaled = rounded / scale
    if not 10**-digits < abs(scaled) < _LONGEST:
        return f"{value:.{digits - 1}e} {unit}".rstrip()
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(scaled)) + 1e-12))
    return f"{scaled:.{decimals}f} {prefix}{unit}".rstrip()


def format_energy(energy_j: float) -> str:
    """Return `171 MJ (47.5 kWh)`; watt-hours only from 1 Wh up, where people think in them."""
    text = format_si(energy_j, "J")
    return f"{text} ({format_si(energy_j / _WATT_HOUR, 'Wh')})" if energy_j >= _WATT_HOUR else text


def format_power(power_w: float) -> str:
    """Return `412 W` or `5.60 kW`."""
    return format_si(power_w, "W")


def format_duration(duration_s: float) -> str:
    """Return `12.6 ms`, `4.20 s`, `15 min 12 s`, `3 h 05 min`, `5 d 03 h` or `2.5 years`."""
    if not math.isfinite(duration_s) or abs(duration_s) < _TWO_MINUTES:
        return format_si(duration_s, "s")
    seconds = round(duration_s)
    if seconds < _TWO_HOURS:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    minutes = round(duration_s / 60)
    if minutes * 60 < _TWO_DAYS:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    if duration_s < _TWO_YEARS:
        hours = round(duration_s / 3600)
        return f"{hours // 24} d {hours % 24:02d} h"
    return f"{duration_s / _YEAR:.3g} years"


def format_frequency(clock_hz: float) -> str:
    """Return `1410 MHz`, the way clocks of GPUs are written."""
    return f"{clock_hz / 1e6:.0f} MHz" if math.isfinite(clock_hz) else f"{clock_hz:g} Hz"


def format_bytes(size: float) -> str:
    """Return `80.0 GiB` with binary prefixes, the way memory is sold and requested."""
    for prefix, factor in reversed(_BINARY.items()):
        if abs(size) >= factor:
            return f"{size / factor:.1f} {prefix}B"
    return f"{size:.0f} B"
