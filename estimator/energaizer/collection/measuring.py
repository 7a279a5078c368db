"""How one workload is measured: warm up, fill the sensor's window, then count joules and seconds.

A board reports power as the mean of about one second, so a reading taken early tells what ran
before. Warm-up is longer than that window, and the run lasts at least five seconds. Where the board
has an energy counter, joules are its difference; elsewhere power is the time-weighted mean of the
samples, all of which lie behind the window. Nothing here knows a driver or a framework: `Sensor`
and `Work` are all that is asked of them.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

from energaizer.errors import EnergaizerError, InputError

WARM_UP_S = 2.0
SHORTEST_S = 5.0
_CHUNK_S = 0.5  # of work between two looks at the sensor
_SETTLE_S = 3.0  # from the end of work, or of a clock change, to an idle reading
_LOOK_S = 0.1
_FELL_MHZ = 20.0
_MOST_DRIFT = 0.05  # of time between the halves of a run: above, the host was disturbed


class SensorError(EnergaizerError):
    """The GPU cannot be read: driver, library or permission. Exit code 2."""


class NoRoomError(EnergaizerError):
    """A workload does not fit into the memory of the board; the set goes on without it."""


class Sensor(Protocol):
    """A board's own readings."""

    def name(self) -> str:
        """Return the product name that the driver reports."""

    def limit_w(self) -> float:
        """Return the enforced power limit, W."""

    def energy_j(self) -> float | None:
        """Return the energy counter, J since some moment; None: this board has none."""

    def power_w(self) -> float:
        """Return reported power, W: a mean over about the last second."""

    def clock_mhz(self) -> float:
        """Return the SM clock, MHz."""

    def temperature_c(self) -> float:
        """Return the die temperature, C."""

    def lock(self, mhz: float) -> str:
        """Hold the clock; return why that was refused, "" where it was not."""

    def unlock(self) -> None:
        """Let the clock go."""


class Work(Protocol):
    """Something to run many times."""

    def run(self, iterations: int) -> None:
        """Run so many times and wait until the GPU is done."""

    def close(self) -> None:
        """Free the memory."""


class Time(NamedTuple):
    """A clock that never goes back, and how to wait; replaced in tests."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


class Reading(NamedTuple):
    """What a run took, per iteration.

    Attributes:
        time_s: Seconds of an iteration.
        energy_j: Joules of an iteration.
        power_w: Mean watts, `energy_j / time_s`.
        clock_mhz: Mean SM clock.
        temperature_c: Mean die temperature.
        iterations: Iterations behind it.
        run_s: Seconds behind it.
        disturbed: The halves of the run differ in speed by more than a twentieth.
        source: `counter` or `sampled`.
    """

    time_s: float
    energy_j: float
    power_w: float
    clock_mhz: float
    temperature_c: float
    iterations: int
    run_s: float
    disturbed: bool
    source: str

    def throttled(self, asked_mhz: float | None) -> bool:
        """Return whether the board ran below the clock that it was held at."""
        return asked_mhz is not None and self.clock_mhz < asked_mhz - _FELL_MHZ


class _Looks:
    """Samples of power, clock and temperature, each with the seconds it stands for."""

    def __init__(self, sensor: Sensor) -> None:
        self._sensor = sensor
        self._sums = [0.0, 0.0, 0.0]
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        sensor = self._sensor
        values = (sensor.power_w(), sensor.clock_mhz(), sensor.temperature_c())
        self._sums = [
            total + seconds * value for total, value in zip(self._sums, values, strict=True)
        ]
        self.seconds += seconds

    def means(self) -> tuple[float, float, float]:
        power, clock, heat = (total / self.seconds for total in self._sums)
        return power, clock, heat


def measure(sensor: Sensor, work: Work, seconds: float, time: Time) -> Reading:
    """Return time, energy and power of a workload in steady state.

    Args:
        sensor: The board.
        work: What runs.
        seconds: How long to count, at least `SHORTEST_S`.
        time: Clock and wait.

    Raises:
        InputError: The run asked for is too short for the sensor's window.
        SensorError: The board's counter stood still.
    """
    if seconds < SHORTEST_S:
        raise InputError(f"--seconds {seconds:g}: the sensor's window needs {SHORTEST_S:g} or more")
    each = _warmed(work, time)
    chunk = max(1, round(min(_CHUNK_S, seconds) / each))
    looks, ends, done = _Looks(sensor), [], 0
    before = sensor.energy_j()
    began = last = time.now()
    while last - began < seconds:
        work.run(chunk)
        done += chunk
        ended = time.now()
        looks.add(ended - last)
        ends.append(ended - began)
        last = ended
    after = sensor.energy_j()
    run_s = last - began
    power, clock, heat = looks.means()
    joules = power * run_s
    if before is not None and after is not None:
        joules = after - before
        if joules <= 0:
            raise SensorError("the energy counter stood still while work ran; is it another GPU?")
    return Reading(
        time_s=run_s / done, energy_j=joules / done, power_w=joules / run_s, clock_mhz=clock,
        temperature_c=heat, iterations=done, run_s=run_s, disturbed=_disturbed(ends),
        source="sampled" if before is None or after is None else "counter",
    )  # fmt: skip


def idle(sensor: Sensor, seconds: float, time: Time) -> tuple[float, float]:
    """Return power without work, W, and the clock, MHz, after the board has settled."""
    time.sleep(_SETTLE_S)
    looks = _Looks(sensor)
    before = sensor.energy_j()
    began = last = time.now()
    while last - began < max(seconds, SHORTEST_S):
        time.sleep(_LOOK_S)
        now = time.now()
        looks.add(now - last)
        last = now
    after = sensor.energy_j()
    power, clock, _ = looks.means()
    if before is not None and after is not None and after > before:
        power = (after - before) / (last - began)
    return power, clock


def _warmed(work: Work, time: Time) -> float:
    """Run until the sensor's window holds nothing else; return seconds of an iteration."""
    work.run(1)  # compiles, allocates
    began = time.now()
    done, count = 0, 1
    while True:
        work.run(count)
        done += count
        spent = time.now() - began
        if spent >= WARM_UP_S:
            return spent / done
        each = max(spent, 1e-6) / done
        count = max(1, math.ceil(min(_CHUNK_S, WARM_UP_S - spent) / each))


def _disturbed(ends: list[float]) -> bool:
    half = len(ends) // 2
    if half < 2:  # noqa: PLR2004
        return False
    first = ends[half - 1] / half
    second = (ends[-1] - ends[half - 1]) / (len(ends) - half)
    return abs(second / first - 1.0) > _MOST_DRIFT
