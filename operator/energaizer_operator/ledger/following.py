"""What a running workload took: its predicted power for as long as its pods ran."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from energaizer_operator.resources.energyreservation import (
    EnergyReservationSpec,
    EnergyReservationStatus,
)

_SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class PodRun:
    """When a pod ran."""

    start: datetime
    end: datetime | None = None
    """None while it runs."""

    def seconds(self, since: datetime, until: datetime) -> int:
        """Return how long it ran in a time, s, rounded down."""
        last = until if self.end is None else min(self.end, until)
        return max(0, (last - max(self.start, since)) // _SECOND)


def follow(
    spec: EnergyReservationSpec,
    status: EnergyReservationStatus,
    runs: Sequence[PodRun],
    now: datetime,
    attempts: int = 1,
) -> EnergyReservationStatus:
    """Return the status with what pods took since it was last brought up to date.

    An understated duration keeps charging: nothing ends at the predicted time. A new attempt needs
    the whole prediction once more.

    Args:
        spec: What was predicted.
        status: As it stands.
        runs: Pods that ran since, or still run.
        now: The present.
        attempts: How often its pods were begun.
    """
    now = now.replace(microsecond=0)
    first = min((run.start for run in runs), default=now)
    since = status.charged_through_time or min(first, now)
    ran = [run.seconds(since, now) for run in runs]
    consumed = (status.consumed_joules or 0) + predicted(spec, runs, since, now)
    retried = attempts > (status.attempts or 1)
    return status.model_copy(
        update={
            "attempts": max(attempts, status.attempts or 1),
            "attempt_joules": consumed if retried else status.attempt_joules or 0,
            "consumed_joules": consumed,
            "elapsed_seconds": (status.elapsed_seconds or 0) + max(ran, default=0),
            "charged_through_time": max(now, since),
        }
    )


def predicted(
    spec: EnergyReservationSpec, runs: Sequence[PodRun], since: datetime, until: datetime
) -> int:
    """Return what pods should have taken in a time, J: their power for as long as they ran."""
    each = -(-(spec.expected_power_watts or spec.power_watts) // max(1, spec.replicas))
    return each * sum(run.seconds(since, until) for run in runs)


def settle(status: EnergyReservationStatus, now: datetime) -> EnergyReservationStatus:
    """Return the status of a workload whose pods are gone: measured energy if known, else ours."""
    if status.settled_time is not None:
        return status
    measured = status.measured_joules
    final = status.consumed_joules or 0 if measured is None else measured
    return status.model_copy(
        update={"settled_joules": final, "settled_time": now.replace(microsecond=0)}
    )
