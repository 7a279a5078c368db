"""The ledger by hand: windows, needs, promises, bookings, against worked numbers."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator import ledger
from energaizer_operator.resources.energybudget import EnergyBudget, Provisional, Window
from energaizer_operator.resources.energyreservation import EnergyReservation
from energaizer_operator.schema import EstimateSummary

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ROME = ZoneInfo("Europe/Rome")
ZONES = ("UTC", "Europe/Rome", "America/New_York", "Asia/Kathmandu", "America/Havana")


def budget(status: dict[str, Any] | None = None, **spec: Any) -> EnergyBudget:
    spec = {"limitJoules": 1000, "window": {"period": "Month"}} | spec
    return EnergyBudget.model_validate(
        {"metadata": {"name": "b"}, "spec": spec, "status": status or {}}
    )


def entry(uid: str, joules: int, **more: Any) -> Provisional:
    return Provisional(
        uid=uid, kind="Job", name=uid, energy_joules=joules, expires_time=NOW, **more
    )


def reservation(uid: str, joules: int = 100, kind: str = "Job", **parts: Any) -> EnergyReservation:
    spec = {
        "workloadRef": {"apiVersion": "batch/v1", "kind": kind, "name": uid, "uid": uid},
        "budgetNames": ["b"],
        "energyJoules": joules,
        "powerWatts": 2,
        "reservedTime": "2026-11-24T12:00:00Z",
    } | parts.pop("spec", {})
    body = {"metadata": {"name": uid}, "spec": spec, "status": parts}
    return EnergyReservation.model_validate(body)


@pytest.mark.parametrize(
    ("window", "now", "start", "end"),
    [
        ({"period": "Day"}, "2026-11-24T12:00Z", "2026-11-24T00:00Z", "2026-11-25T00:00Z"),
        ({"period": "Week"}, "2026-11-29T23:59Z", "2026-11-23T00:00Z", "2026-11-30T00:00Z"),
        ({"period": "Month"}, "2026-12-31T23:00Z", "2026-12-01T00:00Z", "2027-01-01T00:00Z"),
        ({"period": "Month"}, "2028-02-29T00:00Z", "2028-02-01T00:00Z", "2028-03-01T00:00Z"),
        # 31 October is the last day of a month that Rome ends an hour before UTC does.
        (
            {"period": "Month", "timeZone": "Europe/Rome"},
            "2026-10-31T23:30Z",
            "2026-10-31T23:00Z",
            "2026-11-30T23:00Z",
        ),
        # The clocks go forward on 29 March 2026 and back on 25 October: 23 and 25 hours.
        (
            {"period": "Day", "timeZone": "Europe/Rome"},
            "2026-03-29T12:00Z",
            "2026-03-28T23:00Z",
            "2026-03-29T22:00Z",
        ),
        (
            {"period": "Day", "timeZone": "Europe/Rome"},
            "2026-10-25T22:30Z",
            "2026-10-24T22:00Z",
            "2026-10-25T23:00Z",
        ),
    ],
)
def test_a_calendar_window(window: dict[str, Any], now: str, start: str, end: str) -> None:
    found = ledger.span(Window.model_validate(window), datetime.fromisoformat(now))
    assert found == ledger.Span(datetime.fromisoformat(start), datetime.fromisoformat(end))


@given(
    st.sampled_from(("Day", "Week", "Month")),
    st.sampled_from(ZONES),
    st.integers(0, 10 * 366 * 86400).map(
        lambda s: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
    ),
)
def test_windows_tile_the_time(period: str, zone: str, now: datetime) -> None:
    window = Window.model_validate({"period": period, "timeZone": zone})
    found = ledger.span(window, now)
    assert found.start is not None
    assert found.end is not None
    assert found.start <= now < found.end
    after = ledger.span(window, found.end)
    assert after.start == found.end
    assert ledger.span(window, found.end - timedelta(seconds=1)) == found
    local = found.start.astimezone(ZoneInfo(zone))
    assert (local.hour, local.minute) in ((0, 0), (1, 0)), "midnight, or the hour that it skips to"


def test_a_zone_that_nobody_knows_is_named() -> None:
    with pytest.raises(ledger.ZoneError, match=r'"Mars/Base" is no IANA time zone'):
        ledger.span(Window.model_validate({"period": "Day", "timeZone": "Mars/Base"}), NOW)


def test_what_ends_needs_its_energy_and_what_does_not_needs_the_rest_of_the_window() -> None:
    job = ledger.Demand(energy_joules=120, expected_joules=100, power_watts=3, expected_watts=2)
    serving = ledger.Demand(120, 100, 3, 2, endless=True)
    month = budget().spec
    left = int((datetime(2026, 12, 1, tzinfo=UTC) - NOW).total_seconds())
    assert ledger.need(job, month, NOW) == 120
    assert ledger.need(job, budget(reserveFor="Mean").spec, NOW) == 100
    assert ledger.need(serving, month, NOW) == 3 * left
    assert ledger.need(serving, budget(reserveFor="Mean").spec, NOW) == 2 * left
    rolling = budget(window={"type": "Rolling", "seconds": 7200}).spec
    assert ledger.need(serving, rolling, NOW) == 3 * 7200
    assert ledger.need(serving, budget(window={"type": "None"}).spec, NOW) == 120


def test_a_promise_is_made_once_and_only_where_there_is_room() -> None:
    stored = budget({"consumedJoules": 300, "reservedJoules": 200}, overcommitPercent=10)
    spec, status = stored.spec, stored.status
    assert ledger.remaining(spec, status) == 600
    first = ledger.admit(spec, status, entry("a", 600))
    assert first is not None
    assert ledger.remaining(spec, first) == 0
    assert ledger.admit(spec, first, entry("a", 600)) is first, "sent again: nothing new"
    assert ledger.admit(spec, first, entry("b", 1)) is None
    assert ledger.withdraw(first, "a") == status
    smaller = ledger.admit(spec, status, entry("a", 500))
    assert smaller is not None
    grown = ledger.admit(spec, smaller, entry("a", 600))
    assert grown is not None
    assert ledger.remaining(spec, grown) == 0


def test_a_budget_holds_so_many_promises() -> None:
    stored = budget({"consumedJoules": 0, "reservedJoules": 0})
    status = stored.status
    for number in range(128):
        status = ledger.admit(stored.spec, status, entry(str(number), 1)) or status
    with pytest.raises(ledger.FullError):
        ledger.admit(stored.spec, status, entry("one more", 1))
    assert ledger.admit(stored.spec, status, entry("too large", 10_000)) is None


def test_a_running_workload_moves_joules_from_reserved_to_consumed() -> None:
    halfway = reservation(
        "a",
        elapsedSeconds=20,
        consumedJoules=40,
        chargedThroughTime="2026-11-24T12:00:20Z",
    )
    closing = ledger.close(budget({"provisional": [entry("a", 100).to_dict()]}), [halfway], NOW)
    assert (closing.consumed, closing.reserved, closing.active) == (40, 60, 1)
    assert closing.provisional == ()
    understated = reservation("a", elapsedSeconds=90, consumedJoules=180)
    closing = ledger.close(budget(), [understated], NOW)
    assert (closing.consumed, closing.reserved) == (180, 0)
    retried = reservation("a", elapsedSeconds=90, consumedJoules=180, attemptJoules=150)
    assert ledger.close(budget(), [retried], NOW).reserved == 70
    measured = reservation("a", elapsedSeconds=20, consumedJoules=40, measuredJoules=55)
    assert ledger.close(budget(), [measured], NOW).consumed == 55
    assert ledger.close(budget(chargeBasis="Predicted"), [measured], NOW).consumed == 40


def test_a_settled_workload_is_folded_once_and_forgotten_with_its_reservation() -> None:
    done = reservation(
        "a",
        elapsedSeconds=10,
        consumedJoules=20,
        settledJoules=15,
        chargedThroughTime="2026-11-24T11:59:00Z",
        settledTime="2026-11-24T12:00:00Z",
    )
    closing = ledger.close(budget({"windowStartTime": "2026-11-01T00:00:00Z"}), [done], NOW)
    assert (closing.closed, closing.folded, closing.active) == (15, ("a",), 0)
    again = budget({"windowStartTime": "2026-11-01T00:00:00Z", "closedJoules": 15, "folded": ["a"]})
    assert ledger.close(again, [done], NOW).closed == 15
    gone = ledger.close(again, [], NOW)
    assert (gone.closed, gone.folded) == (15, ())


def test_a_new_window_begins_empty_but_for_what_still_runs() -> None:
    old = {"windowStartTime": "2026-10-01T00:00:00Z", "closedJoules": 900}
    midnight = datetime(2026, 11, 1, tzinfo=UTC)
    running = reservation(  # ran from 30 s before midnight to 10 s after it
        "a",
        elapsedSeconds=40,
        consumedJoules=80,
        chargedThroughTime="2026-11-01T00:00:10Z",
        spec={"reservedTime": "2026-10-31T23:59:30Z"},
    )
    closing = ledger.close(budget(old), [running], midnight + timedelta(seconds=10))
    assert (closing.closed, closing.consumed, closing.reserved) == (0, 20, 20)
    serving = reservation("s", kind="Deployment", spec={"reservedTime": "2026-10-31T23:59:30Z"})
    topped_up = ledger.close(budget(old), [serving], midnight + timedelta(seconds=10))
    assert topped_up.reserved == 2 * 30 * 24 * 3600


def test_a_rolling_window_forgets_slice_by_slice() -> None:
    rolling = {"type": "Rolling", "seconds": 3600}
    done = reservation(
        "a",
        elapsedSeconds=10,
        settledJoules=50,
        chargedThroughTime="2026-11-24T11:59:00Z",
        settledTime="2026-11-24T11:59:00Z",
    )
    closing = ledger.close(budget(window=rolling), [done], NOW)
    assert closing.closed == 50
    stored = budget(
        {"buckets": [bucket.to_dict() for bucket in closing.buckets], "folded": ["a"]},
        window=rolling,
    )
    assert ledger.close(stored, [done], NOW + timedelta(minutes=58)).closed == 50
    assert ledger.close(stored, [done], NOW + timedelta(minutes=62)).closed == 0


def test_pods_are_charged_for_the_time_they_ran() -> None:
    held = reservation("a", spec={"replicas": 2, "expectedPowerWatts": 10})
    runs = [
        ledger.PodRun(NOW, NOW + timedelta(seconds=4)),
        ledger.PodRun(NOW + timedelta(seconds=2)),
    ]
    first = ledger.follow(held.spec, held.status, runs, NOW + timedelta(seconds=10))
    assert (first.consumed_joules, first.elapsed_seconds) == (5 * (4 + 8), 8)
    same = ledger.follow(held.spec, first, runs, NOW + timedelta(seconds=10))
    assert same == first
    later = ledger.follow(held.spec, first, runs, NOW + timedelta(seconds=12), attempts=2)
    assert (later.consumed_joules, later.attempt_joules) == (5 * 14, 5 * 14)
    settled = ledger.settle(later, NOW + timedelta(seconds=13))
    assert settled.settled_joules == 70
    assert ledger.settle(settled, NOW + timedelta(days=1)) == settled
    measured = later.model_copy(update={"measured_joules": 66})
    assert ledger.settle(measured, NOW).settled_joules == 66


def test_a_rolling_update_takes_its_surge_too() -> None:
    two = EstimateSummary(
        **{"profile": "p", "gpu_count": 4, "replicas": 2, "method": "Calibrated"},
        **{"power_watts": 700, "power_low_watts": 601, "power_high_watts": 801},
        **{"energy_joules": 7000, "energy_low_joules": 6001, "energy_high_joules": 8001},
        duration_seconds=10,
        estimate_time=NOW,
    )
    height = ledger.surged(two, 1)
    assert (height.replicas, height.gpu_count) == (3, 6)
    assert (height.power_watts, height.power_high_watts) == (1050, 1202)
    assert height.energy_high_joules == 12002
    assert ledger.surged(two, 0) is two
    assert ledger.resized(two, 1).power_high_watts == 401
