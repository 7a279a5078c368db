"""Windows of time: calendar periods in somebody's time zone, the last so many seconds, or for ever.

A day of a zone with daylight saving has 23, 24 or 25 hours, so boundaries are found in local time
and compared in UTC.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from energaizer_operator.resources.energybudget import MAX_BUCKETS, Period, Window

_DECEMBER = 12
_WEEK_DAYS = 7


class ZoneError(ValueError):
    """A budget names a time zone that nobody knows."""


@dataclass(frozen=True)
class Span:
    """One window: from `start` on, until before `end`; None where it is open."""

    start: datetime | None = None
    end: datetime | None = None

    def seconds_left(self, now: datetime) -> int | None:
        """Return the time to the end, s, rounded up and never negative; None without an end."""
        if self.end is None:
            return None
        return max(0, -((now - self.end) // timedelta(seconds=1)))

    def share(self, joules: int, end: datetime, seconds: int) -> int:
        """Return the part of some energy that falls into the window, rounded up, J.

        Args:
            joules: Taken evenly over the time.
            end: When the last of them was taken.
            seconds: Over how long they were taken, s.
        """
        begin = end - timedelta(seconds=seconds)
        first = begin if self.start is None else max(begin, self.start)
        last = end if self.end is None else min(end, self.end)
        if first == begin and last == end:
            return joules
        if last <= first:
            return 0
        inside = (last - first) // timedelta(seconds=1)
        return -(-joules * inside // seconds)


def span(window: Window, now: datetime) -> Span:
    """Return the window at a time, in UTC.

    Raises:
        ZoneError: The time zone does not exist.
    """
    if window.type == "None":
        return Span()
    if window.type == "Rolling":
        width = bucket_width(window)
        epoch = datetime.fromtimestamp(0, UTC)
        slices = (now - timedelta(seconds=window.seconds or 0) - epoch) // width
        return Span(start=epoch + slices * width)
    zone = zone_of(window.time_zone)
    period: Period = window.period or "Month"
    first = _first(now.astimezone(zone), period)
    return Span(first.astimezone(UTC), _next(first, period).astimezone(UTC))


@lru_cache(maxsize=64)
def zone_of(name: str) -> ZoneInfo:
    """Return a time zone.

    Raises:
        ZoneError: It does not exist.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ZoneError(
            f'window.timeZone "{name}" is no IANA time zone; write one such as Europe/Rome, or UTC'
        ) from None


def bucket_width(window: Window) -> timedelta:
    """Return the length of one slice of a rolling window, in whole seconds."""
    return timedelta(seconds=-(-(window.seconds or 0) // (MAX_BUCKETS - 2)))


def _first(local: datetime, period: Period) -> datetime:
    """Return the first moment of the period that holds a local time."""
    day = datetime(local.year, local.month, local.day, tzinfo=local.tzinfo)
    if period == "Week":
        return day - timedelta(days=local.weekday())  # local arithmetic: midnight stays midnight
    if period == "Month":
        return day.replace(day=1)
    return day


def _next(first: datetime, period: Period) -> datetime:
    """Return the first moment of the period after the one that begins at `first`."""
    if period == "Month":
        after = first.month == _DECEMBER
        return first.replace(year=first.year + after, month=1 if after else first.month + 1)
    return first + timedelta(days=_WEEK_DAYS if period == "Week" else 1)


def local(window: Window, moment: datetime) -> str:
    """Return a moment in the window's own time zone: `2026-12-01T00:00+01:00`."""
    return moment.astimezone(zone_of(window.time_zone)).isoformat(timespec="minutes")
