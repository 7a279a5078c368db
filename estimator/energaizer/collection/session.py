"""A whole measurement: every case at every clock, resumed where a former one was stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from energaizer.collection import measuring, store
from energaizer.collection.cases import Case, Forward
from energaizer.collection.measuring import NoRoomError, Reading, Sensor, Time, Work
from energaizer.collection.store import Row, Store
from energaizer.units import format_duration

_FIXED_S = 8.0  # of a case beside its seconds: building, warming up
_IDLE_KEY = ("gpu", "sm_mhz")
_FORWARD_KEY = store.FORWARD[:9]
_KERNEL_KEY = store.KERNELS[:13]
Make = Callable[[Case], Work]
Tell = Callable[[str], None]


class Plan(NamedTuple):
    """What to measure, and where it goes.

    Attributes:
        cases: What runs.
        clocks_mhz: Clocks to hold; empty: as the board chooses.
        seconds: How long each run counts.
        out: File of the forward passes; kernels and idle power go beside it.
    """

    cases: Sequence[Case]
    clocks_mhz: Sequence[float]
    seconds: float
    out: Path


class Outcome(NamedTuple):
    """How many rows were measured, were there already, or could not be."""

    measured: int
    known: int
    failed: int


def collect(plan: Plan, sensor: Sensor, make: Make, tell: Tell, time: Time) -> Outcome:
    """Measure what is not in the files yet.

    Every row is written as soon as it is known, so that an interruption costs at most the run at
    hand. A held clock is let go in any case.

    Args:
        plan: What to measure.
        sensor: The board.
        make: Builds the work of a case.
        tell: Takes one line of progress.
        time: Clock and wait.
    """
    files = _Files(plan.out, sensor.name())
    clocks: list[float | None] = list(plan.clocks_mhz) or [None]
    done = known = failed = 0
    steps = [(clock, case) for clock in clocks for case in plan.cases]
    try:
        if plan.clocks_mhz and (refused := sensor.lock(plan.clocks_mhz[0])):
            tell(f"clock not held: {refused}; going on at the clock that the board chooses")
            clocks, steps = [None], [(None, case) for case in plan.cases]
        for clock in clocks:
            _hold(sensor, clock)
            _idle(files, sensor, clock, plan.seconds, tell, time)
        held: float | None = clocks[-1]
        for index, (clock, case) in enumerate(steps):
            if files.has(case, clock):
                known += 1
                continue
            if clock != held:
                _hold(sensor, clock)
                held = clock
            left = format_duration(_FIXED_S * (n := len(steps) - index) + n * plan.seconds)
            where = "" if clock is None else f" at {clock:.0f} MHz"
            tell(f"{index + 1}/{len(steps)} {case}{where}; at most {left} left")
            try:
                reading = _run(make, case, sensor, plan.seconds, time)
            except NoRoomError as error:
                failed += 1
                tell(f"  left out: {error}")
                continue
            files.add(case, clock, reading, sensor.limit_w())
            done += 1
            tell(f"  {reading.time_s * 1e3:.4g} ms, {reading.power_w:.1f} W ({reading.source})")
    finally:
        if plan.clocks_mhz:
            sensor.unlock()
    return Outcome(done, known, failed)


class _Files:
    """The tables of one GPU."""

    def __init__(self, out: Path, gpu: str) -> None:
        self._gpu = gpu
        self._forward = Store(out, store.FORWARD, _FORWARD_KEY)
        self._kernels = Store(store.beside(out, "kernels"), store.KERNELS, _KERNEL_KEY)
        self.idle = Store(store.beside(out, "idle"), store.IDLE, _IDLE_KEY)

    def key(self, case: Case, clock: float | None) -> Row:
        told = "" if clock is None else f"{clock:.0f}"
        return {"gpu": self._gpu, **case.columns(), "sm_mhz_set": told}

    def has(self, case: Case, clock: float | None) -> bool:
        return self._of(case).has(self.key(case, clock))

    def add(self, case: Case, clock: float | None, reading: Reading, limit_w: float) -> None:
        shared: Row = {
            "sm_mhz": reading.clock_mhz, "power_w": reading.power_w, "power_limit_w": limit_w,
            "temp_c": reading.temperature_c, "iters": reading.iterations, "run_s": reading.run_s,
            "energy_source": reading.source,
        }  # fmt: skip
        if isinstance(case, Forward):
            own: Row = {
                "energy_j": reading.energy_j, "time_ms": reading.time_s * 1e3,
                "host_noise_flag": reading.disturbed, "power_capped": reading.throttled(clock),
            }  # fmt: skip
        else:
            # The window was filled before counting began: all of the power is the kernel's own.
            own = {"latency_us": reading.time_s * 1e6, "obs_weight_g": 1.0, "power_tier": "A+"}
        self._of(case).add({**self.key(case, clock), **shared, **own})

    def add_idle(self, watts: float, clock: float) -> None:
        self.idle.add({"gpu": self._gpu, "sm_mhz": clock, "idle_w": watts})

    def has_idle(self, clock: float | None) -> bool:
        if clock is None:
            return len(self.idle) > 0
        return self.idle.has({"gpu": self._gpu, "sm_mhz": clock})

    def _of(self, case: Case) -> Store:
        return self._forward if isinstance(case, Forward) else self._kernels


def _hold(sensor: Sensor, clock: float | None) -> None:
    if clock is not None and (refused := sensor.lock(clock)):
        raise measuring.SensorError(f"the clock {clock:.0f} MHz was refused: {refused}")


def _idle(
    files: _Files, sensor: Sensor, clock: float | None, seconds: float, tell: Tell, time: Time
) -> None:
    if files.has_idle(clock):
        return
    at = "" if clock is None else f" at {clock:.0f} MHz"
    tell(f"idle power{at}")
    watts, seen = measuring.idle(sensor, min(seconds, 2 * measuring.SHORTEST_S), time)
    files.add_idle(watts, seen if clock is None else clock)
    tell(f"  {watts:.1f} W at {seen:.0f} MHz")


def _run(make: Make, case: Case, sensor: Sensor, seconds: float, time: Time) -> Reading:
    work = make(case)
    try:
        return measuring.measure(sensor, work, seconds, time)
    finally:
        work.close()
