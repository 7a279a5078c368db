"""Numbers as people read them: 171 MJ, 5.1 kW, 47.5 kWh; two that differ never look alike."""

from decimal import Decimal

_PREFIXES = ((10**15, "P"), (10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"), (1, ""))
_JOULES_PER_WATT_HOUR = 3600
_MINUTES = 120  # up to two minutes in seconds, up to two hours in minutes


def quantity(value: float, unit: str, digits: int = 3) -> str:
    """Return a positive quantity with a prefix and so many significant digits: `171 MJ`."""
    factor, prefix = _scale(value, digits)
    return f"{_digits(value / factor, digits)} {prefix}{unit}"


def span(low: float, high: float, unit: str, digits: int = 3) -> str:
    """Return an interval, with one unit where both ends share it: `158-185 MJ`."""
    (low_factor, low_prefix), (high_factor, high_prefix) = _scale(low, digits), _scale(high, digits)
    first = _digits(low / low_factor, digits)
    if low_prefix != high_prefix:
        first = f"{first} {low_prefix}{unit}"
    return f"{first}-{_digits(high / high_factor, digits)} {high_prefix}{unit}"


def pair(need: float, limit: float, unit: str) -> tuple[str, str]:
    """Return both numbers with as many digits as it takes to tell them apart."""
    for digits in range(3, 17):
        texts = quantity(need, unit, digits), quantity(limit, unit, digits)
        if need == limit or texts[0] != texts[1]:
            break
    return texts


def energy(joules: int) -> str:
    """Return joules with kilowatt-hours beside them: `171 MJ (47.5 kWh)`."""
    return f"{quantity(joules, 'J')} ({quantity(joules / _JOULES_PER_WATT_HOUR, 'Wh')})"


def power(watts: int) -> str:
    """Return watts with a prefix: `5.1 kW`."""
    return quantity(watts, "W")


def _scale(value: float, digits: int) -> tuple[int, str]:
    """Return the prefix that leaves one to three digits before the point, once rounded."""
    rounded = float(f"{value:.{digits}g}")
    for factor, prefix in _PREFIXES:
        if rounded >= factor:
            return factor, prefix
    return 1, ""


def _digits(value: float, digits: int) -> str:
    """Return so many significant digits, without trailing zeros and without an exponent."""
    text = f"{value:.{digits}g}"
    if "e" in text:
        text = f"{Decimal(text):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def duration(seconds: float) -> str:
    """Return `31 min 18 s`, `3 h 05 min` or `12.6 s`."""
    if seconds < _MINUTES:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < _MINUTES:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
