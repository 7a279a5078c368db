"""One workload on one kind of GPU -> watts, joules, seconds: the journey from end to end.

`estimate` checks meaning, lowers the workload to kernels, simulates its steps, sums them to phases
and to the job, and attaches interval, provenance and coverage. `upper_bound` is the last fallback.
Descriptions are checked where they are made; from here on there are only arrays.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from energaizer import (
    __version__,
    job,
    memory,
    place,
    running,
    uncertainty,
)
from energaizer.coefficients import Coefficients
from energaizer.demand import stretches
from energaizer.errors import InputError
from energaizer.families import Network
from energaizer.gpu import Gpu
from energaizer.host import Host
from energaizer.job import Total
from energaizer.kernels import FloatArray
from energaizer.machine import Machine
from energaizer.model import Model
from energaizer.power import COMPONENTS
from energaizer.result import (
    Brief,
    Estimate,
    PhaseEstimate,
    Provenance,
    Quantity,
)
from energaizer.running import NO_ANSWER, Placed, Ran, Setting, attempt, host_name, setting_of
from energaizer.workload import Workload

if TYPE_CHECKING:  # loaded by `place` for more than one board
    from energaizer.node import Node

__all__ = [
    "NO_ANSWER",
    "Judge",
    "Setting",
    "attempt",
    "brief",
    "briefs",
    "estimate",
    "host_name",
    "judges",
    "setting_of",
    "upper_bound",
]
_DURATION, _POWER, _ENERGY = range(3)
_ROUNDING = 1e-9
_WEAK = frozenset({Provenance.SPECIFICATION, Provenance.EXTRAPOLATED, Provenance.BOUND})
_LEAST = 1e-300  # no weight at all, to divide by
_MINOR = 0.01  # parts below this share of energy do not weaken a provenance


def estimate(
    workload: Workload,
    gpu: Gpu,
    coefficients: Coefficients | None = None,
    host: Host | None = None,
    node: "Node | None" = None,
) -> Estimate:
    """Return power, energy and time of a workload on a GPU.

    Args:
        workload: Model, inputs, and how they are run.
        gpu: The board.
        coefficients: What was fitted about it; None: the catalogue's.
        host: Launch costs; None: the catalogue's profile of the workload's `host`.
        node: The server; None: the catalogue's of the workload's `node`.

    Raises:
        InputError: The workload contradicts itself, or the board cannot be set that way.
        TooSlowError: Requests arrive faster than they are served.
        DoesNotFitError: It needs more memory than the GPUs have.
        NoEstimateError: There is no method for it; the message says what is missing.
    """
    ran = running.ran(workload, running.placed(workload, gpu, coefficients, host, node), {})
    answer = _result(workload, ran)
    if workload.training is not None:
        did = job.figures(workload, workload.training, gpu, ran.program, (ran.step_s, ran.times))
        answer = answer._replace(training=did)
    if workload.node_power:
        answer = answer._replace(node=place.drawn(workload, ran.board, node, answer))
    return answer


def brief(workload: Workload, gpu: Gpu, coefficients: Coefficients | None = None) -> Brief:
    """Return the sums of `estimate`, the very same, in half of the time; raises as it does."""
    (found,) = briefs([(workload, gpu, coefficients)])
    if isinstance(found, Exception):
        raise found
    return found


def briefs(asked: Sequence[tuple[Workload, Gpu, Coefficients | None]]) -> list[Brief | Exception]:
    """Return the sums of `estimate` for many workloads and boards, or why there are none.

    They are found at once: the more there are, the less each costs. None depends on the others.

    Args:
        asked: Workloads, boards, and what was fitted about these; None: the catalogue's.
    """
    placed = [attempt(running.placed, *one) for one in asked]
    found = attempt(running.together, [one for one in placed if isinstance(one, Placed)])
    known = {} if isinstance(found, Exception) else found  # each by itself says what is wrong
    ran = [
        attempt(running.ran, workload, one, known) if isinstance(one, Placed) else one
        for (workload, _, _), one in zip(asked, placed, strict=True)
    ]
    judged = iter(
        _judged_together(
            [
                (workload, one)
                for (workload, _, _), one in zip(asked, ran, strict=True)
                if isinstance(one, Ran)
            ]
        )
    )
    return [
        attempt(_brief, workload, one, next(judged)) if isinstance(one, Ran) else one
        for (workload, _, _), one in zip(asked, ran, strict=True)
    ]


def _provenance(board: Machine, coverage: float, *, outside: bool) -> tuple[Provenance, float]:
    """Return the provenance of a sum and the share of it that counts as calibrated."""
    own = board.coefficients.provenance
    if own in _WEAK:
        found = Provenance.weakest(own, Provenance.EXTRAPOLATED) if outside else own
        return found, 0.0 if own == Provenance.SPECIFICATION else coverage
    if outside:
        return Provenance.EXTRAPOLATED, coverage
    whole = coverage >= 1.0 - _MINOR
    return (Provenance.CALIBRATED if whole else Provenance.ANALYTICAL), coverage


def judges(board: Machine, shares: FloatArray, outside: Sequence[bool]) -> "list[Judge]":
    """Return who judges each of N sums over kernels.

    Args:
        board: The GPU.
        shares: Weight of each family and regime in each sum, shape (N, families, regimes).
        outside: Whether inputs of each lie outside of what was fitted.
    """
    return _judges([(board, slice(None))], shares, outside)


def _judges(
    boards: Sequence[tuple[Machine, slice]], shares: FloatArray, outside: Sequence[bool]
) -> "list[Judge]":
    """Return the same of sums on several boards, each with the place of its own."""
    cells = shares.reshape(len(shares), -1)
    total = np.add.reduce(cells, axis=1)
    parts = cells / np.maximum(total, _LEAST)[:, None]
    products = np.empty((len(uncertainty.QUANTITIES), *cells.shape))
    known: list[float] = []
    each: list[Machine] = []
    for board, own in boards:
        spread = uncertainty.spread_of(board.coefficients.residuals)
        products[:, own] = parts[own] @ spread
        calibrated = shares[own, board.calibrated]
        known += np.add.reduce(calibrated.reshape(len(calibrated), -1), axis=1).tolist()
        each += [board] * len(calibrated)
    widths = uncertainty.half_widths(products, parts).tolist()
    return [
        Judge(width, *_provenance(board, min(1.0, own / all_) if all_ else 1.0, outside=beyond))
        for board, width, own, all_, beyond in zip(
            each, widths, known, total.tolist(), outside, strict=True
        )
    ]


class Judge:
    """Turns sums into quantities with one spread, one provenance and one coverage."""

    def __init__(
        self, half_widths: Sequence[float], provenance: Provenance, coverage: float
    ) -> None:
        """Take the half-widths of ln of a sum by quantity, before what its provenance adds."""
        self.provenance, self.coverage = provenance, coverage
        wide = uncertainty.widening(provenance)
        self.factors = [math.exp(min(wide * width, 20.0)) for width in half_widths]

    def widen(self, unmodelled: float) -> None:
        """Say that a share of the work has no formula: it may take as long as it is large."""
        if unmodelled:
            self.factors = [factor / (1.0 - unmodelled) for factor in self.factors]
            self.provenance = Provenance.weakest(self.provenance, Provenance.ANALYTICAL)
            self.coverage *= 1.0 - unmodelled

    def hold(self, *, steady: bool) -> None:
        """Take the duration as given; what runs steadily errs in energy as it does in power."""
        self.factors[_DURATION] = 1.0
        if steady:
            self.factors[_ENERGY] = self.factors[_POWER]

    def of(self, quantity: int, value: float, unit: str, most: float = math.inf) -> Quantity:
        """Return a value with its interval; `most` bounds the upper end, never below the value."""
        factor = self.factors[quantity]
        high = max(value, min(value * factor, most))
        return Quantity(value, value / factor, high, unit, self.provenance, self.coverage)


def _judged(workload: Workload, ran: Ran, shares: FloatArray) -> tuple[list[Judge], list[str]]:
    """Return who judges some sums of a job (`judges`), and which inputs no fit has seen."""
    hull_notes = uncertainty.outside_hull(ran.board, _inputs(workload, ran.setting))
    every = judges(ran.board, shares, [bool(hull_notes)] * len(shares))
    for one in every:
        one.widen(_unmodelled(workload))
    return every, list(hull_notes)


def _judged_together(jobs: Sequence[tuple[Workload, Ran]]) -> list[Judge]:
    """Return who judges the whole of each job; those on one kind of board are judged at once."""
    by_board: dict[Machine, list[int]] = {}
    for index, (_, ran) in enumerate(jobs):
        by_board.setdefault(ran.board, []).append(index)
    if not jobs:
        return []
    order = [index for places in by_board.values() for index in places]
    own = [jobs[index] for index in order]
    boards = zip(by_board, stretches([len(places) for places in by_board.values()]), strict=True)
    shares = np.array([sum(total.shares for total in ran.totals) for _, ran in own])
    outside = [
        bool(uncertainty.outside_hull(ran.board, _inputs(workload, ran.setting)))
        for workload, ran in own
    ]
    found = dict(zip(order, _judges(list(boards), shares, outside), strict=True))
    for index, (workload, _) in enumerate(jobs):
        found[index].widen(_unmodelled(workload))
    return [found[index] for index in range(len(jobs))]


def _unmodelled(workload: Workload) -> float:
    """Return the share of the work that has no formula."""
    return 0.0 if isinstance(workload.model, Model) else workload.model.unmodelled


def _brief(workload: Workload, ran: Ran, judge: Judge) -> Brief:
    """Return what a job comes to."""
    totals, times, boards = ran.totals, ran.times, workload.parallelism.gpus
    duration = sum(total.duration_s for total in totals)
    energy = sum(sum(_joules(total, boards)) for total in totals)
    if _given(workload, duration):
        judge.hold(steady=job.steady(workload))
    tokens = job.output_tokens(workload, times)
    most = max(ran.setting.limit_w * boards, energy / duration)
    decode = next((total for total in totals if total.name == "decode"), None)
    return Brief(
        power=judge.of(_POWER, energy / duration, "W", most),
        energy=judge.of(_ENERGY, energy, "J"),
        duration=judge.of(_DURATION, duration, "s"),
        energy_per_output_token=judge.of(_ENERGY, energy / tokens, "J/token") if tokens else None,
        decode_s=decode.duration_s / round(decode.count)
        if decode and round(decode.count)
        else None,
        completed=job.completed(workload, times),
        gpu_count=boards,
        clock_hz=sum(total.clock_s for total in totals) / duration,
    )


def _given(workload: Workload, duration_s: float) -> bool:
    """Return whether the duration of a job is that which was asked for."""
    wanted = workload.duration_s
    return wanted is not None and duration_s <= wanted * (1 + _ROUNDING)


def _joules(total: Total, boards: int) -> list[float]:
    return [value * boards for value in total.energy_j.tolist()]


def _result(workload: Workload, ran: Ran) -> Estimate:
    board, setting, totals, notes = ran.board, ran.setting, ran.totals, ran.notes
    boards = workload.parallelism.gpus
    shares = [total.shares for total in totals]
    alone = len(totals) == 1  # and errs as the whole does
    if not alone:
        shares.append(np.sum(shares, axis=0))
    every, hull_notes = _judged(workload, ran, np.array(shares))
    judge = every[-1]
    phases = tuple(
        _phase(total, own, boards, setting.limit_w * boards)
        for total, own in zip(totals, every[: len(totals)], strict=True)
    )
    components = dict.fromkeys(COMPONENTS, 0.0)
    for phase in phases:
        for name, part in phase.components.items():
            components[name] += part.value
    whole = _brief(workload, ran, judge)
    alone = alone and not _given(workload, whole.duration.value)
    samples = whole.completed * (workload.training.global_batch if workload.training else 1)
    if any(total.over for total in totals):
        notes.append(
            f"even the lowest clock of {board.gpu.name} exceeds the limit of {setting.limit_w:g} W"
        )
    if any(total.throttled for total in totals):
        notes.append(f"the limit of {setting.limit_w:g} W lowers the clock")
    notes.extend((*board.coefficients.notes, *workload.model.notes, *hull_notes))
    return Estimate(
        power=whole.power,
        energy=whole.energy,
        duration=whole.duration,
        energy_per_output_token=whole.energy_per_output_token,
        energy_per_sample=(
            judge.of(_ENERGY, whole.energy.value / samples, f"J/{workload.model.sample}")
            if isinstance(workload.model, Network)
            else None
        ),
        phases=phases,
        components=phases[0].components
        if alone
        else {name: judge.of(_ENERGY, value, "J") for name, value in components.items() if value},
        completed=whole.completed,
        model=workload.model.name,
        gpu=board.gpu.name,
        gpu_count=boards,
        clock_hz=whole.clock_hz,
        power_cap_w=setting.limit_w,
        memory=memory.need(workload, board.gpu),
        training=None,
        node=None,
        profile_hash=board.digest,
        version=__version__,
        notes=tuple(notes),
    )


def _phase(total: Total, judge: Judge, boards: int, most: float) -> PhaseEstimate:
    joules = _joules(total, boards)
    energy = sum(joules)
    return PhaseEstimate(
        name=total.name,
        count=round(total.count),
        duration=judge.of(_DURATION, total.duration_s, "s"),
        power=judge.of(_POWER, energy / total.duration_s, "W", most),
        energy=judge.of(_ENERGY, energy, "J"),
        clock_hz=total.clock_s / total.duration_s,
        throttled=total.throttled,
        components={
            name: judge.of(_ENERGY, value, "J")
            for name, value in zip(COMPONENTS, joules, strict=True)
            if value
        },
    )


def _inputs(workload: Workload, setting: Setting) -> dict[str, float]:
    ranks = float(workload.parallelism.tensor)
    found = {"clock_hz": setting.clock_hz, "batch": float(workload.batch), "tensor": ranks}
    if workload.has_tokens:
        found["input_tokens"] = float(workload.prompt_tokens)
        found["context_tokens"] = float(workload.prompt_tokens + workload.output_tokens)
    return found


def upper_bound(gpu: Gpu, gpu_count: int, duration_s: float) -> Brief:
    """Return the most that so many boards can draw in so much time: limit x time, not an estimate.

    Args:
        gpu: The board.
        gpu_count: Boards that are held.
        duration_s: How long, s.

    Raises:
        InputError: A count or duration that is none.
    """
    if gpu_count < 1 or not math.isfinite(duration_s) or duration_s <= 0:
        raise InputError(
            f"no bound for {gpu_count} boards over {duration_s:g} s; both must be positive"
        )
    watts = gpu.power_limit_w * gpu_count

    def bound(value: float, unit: str, low: float = 0.0) -> Quantity:
        return Quantity(
            value=value, low=low, high=value, unit=unit, provenance=Provenance.BOUND, coverage=0.0
        )

    return Brief(
        power=bound(watts, "W"),
        energy=bound(watts * duration_s, "J"),
        duration=bound(duration_s, "s", low=duration_s),
        energy_per_output_token=None,
        decode_s=None,
        completed=0.0,
        gpu_count=gpu_count,
        clock_hz=gpu.max_clock_hz,
    )
