"""A GPU by two readings: a launch-bound row sets its host, a compute-bound row its scales."""

from pathlib import Path

import numpy as np

from energaizer import catalog
from energaizer.calibration import boards, dataset, fit, forward, plan, problem
from energaizer.calibration.fit import Sample
from energaizer.calibration.forward import Board
from energaizer.coefficients import Coefficients
from energaizer.host import LaunchCost

_ENERGIES = (
    "power.sm_active_w_per_ghz", "power.l2_pj_per_byte", "power.special_pj",
    "power.dram_pj_per_byte", "power.flop_pj.",
)  # fmt: skip
_TYPICAL = LaunchCost(launch_s=1.6e-5, call_s=1.1e-5, step_s=2.1e-4)
"""Launch cost of an eager host, whose parts keep their proportion on another."""
_LEAST_ENERGY = 0.2
_TRUST = 0.5
"""Share of the log distance between a carried scale and the one that a single row asks for by which
the scale moves: rows scatter about as much as GPUs do."""
_NO_HOST = LaunchCost(launch_s=0.0, step_s=0.0)
_ROUNDS = 4
_HALVINGS = 30
_SLOWEST = 0.2


def scaled_host(host: LaunchCost, factor: float) -> LaunchCost:
    """Return a host so many times as slow."""
    return LaunchCost(
        launch_s=host.launch_s * factor, call_s=host.call_s * factor, step_s=host.step_s * factor
    )


def anchored(
    board: Board, coefficients: Coefficients, launch_row: int, compute_row: int,
    host: LaunchCost = _TYPICAL, *, streams_only: bool = False,
) -> tuple[Coefficients, LaunchCost]:  # fmt: skip
    """Return coefficients and host that two measured rows tell.

    The host follows from the launch-bound row. Of the compute-bound row, power asks for one factor
    of all dynamic energies, and time for one factor of the rates that nothing else has told. One
    row is as far from its neighbours as one GPU from the next, so that each factor moves half way,
    in logs; where only streaming kernels are unknown, all the way.

    Args:
        board: Measured rows of the GPU.
        coefficients: What is known without them.
        launch_row: Index of a launch-bound row.
        compute_row: Index of a compute-bound row.
        host: A host whose parts have typical proportions.
        streams_only: Products were measured one by one on this GPU: only the issue rate and the
            energy of streaming kernels are unknown.
    """
    seconds = board.sample.time_s
    runs = board.sample.runs

    def pick(row: int) -> problem.Runs:
        chosen = np.zeros(len(seconds), dtype=np.bool_)
        chosen[row] = True
        return runs.select(chosen)

    launch, compute = pick(launch_row), pick(compute_row)
    trust = 1.0 if streams_only else _TRUST
    own = coefficients
    for _ in range(_ROUNDS):
        low, high = _SLOWEST, 1.0 / _SLOWEST
        for _ in range(_HALVINGS):
            middle = (low * high) ** 0.5
            own = faster(coefficients, middle, streams_only=streams_only)
            if problem.evaluate(compute, own, host).duration_s[0] > seconds[compute_row]:
                low = middle
            else:
                high = middle
        own = faster(coefficients, middle**trust, streams_only=streams_only)
        seen = problem.evaluate(launch, own, host)
        host = scaled_host(host, float(seconds[launch_row] / seen.duration_s[0]))
    coefficients = own
    paths = {
        path: value
        for path, value in coefficients.values().items()
        if path.startswith(plan.STREAM_ENERGIES if streams_only else _ENERGIES)
    }

    def watts(factor: float) -> float:
        own = coefficients.with_values({path: value * factor for path, value in paths.items()})
        seen = problem.evaluate(compute, own, host)
        energy = problem.joules(compute, own, seen, compute.clock_hz)[0].sum()
        return float(energy / seen.duration_s[0])

    # Power is affine in the energies.
    slope = watts(2.0) - watts(1.0)
    factor = 1.0 + (float(board.sample.power_w[compute_row]) - watts(1.0)) / slope
    factor = max(factor, _LEAST_ENERGY) ** trust
    scaled = {path: value * factor for path, value in paths.items()}
    return coefficients.with_values(scaled), host


def faster(
    coefficients: Coefficients, factor: float, *, streams_only: bool = False
) -> Coefficients:
    """Return coefficients with rates of eager passes scaled, within what they may be."""
    time = coefficients.time
    values: dict[str, float] = {}
    if time.elements_per_cycle is not None:
        values["time.elements_per_cycle"] = time.elements_per_cycle * factor
    if streams_only:
        return coefficients.with_values(values)
    values["time.memory_efficiency"] = min(1.0, time.memory_efficiency * factor)
    values["time.stream_bytes_per_cycle"] = time.stream_bytes_per_cycle * factor
    # The row ran in half precision: it tells nothing about the other rates.
    values["rate_efficiency.bf16"] = coefficients.rate_efficiency.get("bf16", 1.0) * factor
    return coefficients.with_values(values)


def apply(data: Path, name: str, coefficients: Coefficients) -> tuple[Coefficients, LaunchCost]:
    """Return coefficients anchored at the two rows of a table board that has no more."""
    gpu = catalog.gpu(dataset.BOARDS[name])
    (board,) = forward.boards(data, (name,), gpu, coefficients, boards.idle_labels(data))
    order = np.argsort(board.sample.time_s)
    return anchored(board, coefficients, int(order[0]), int(order[-1]), streams_only=True)


def energies(
    data: Path, name: str, coefficients: Coefficients, held: Sample, weight: float = 4.0
) -> Coefficients:
    """Return energies that explain a compute-bound row and products that met the limit together.

    Energies of a neighbour are the prior: where one term is as good as another, each moves a
    little. The timing of `coefficients` stays as it is.

    Args:
        data: Folder of the tables.
        name: Table board with the two rows.
        coefficients: What is known without them; its energies are the prior.
        held: Kernels at the clock to which the limit lowered them, power at the limit.
        weight: Rows of independent evidence that the anchor counts as, and all of `held` together.
    """
    timed, _ = apply(data, name, coefficients)
    gpu = catalog.gpu(dataset.BOARDS[name])
    (board,) = forward.boards(data, (name,), gpu, coefficients, boards.idle_labels(data))
    own = board.sample
    anchor = Sample(own.runs, own.time_s, own.power_w, weight * (own.time_s == own.time_s.max()))
    plain = coefficients.with_values(
        {"time.elements_per_cycle": timed.time.elements_per_cycle or 1.0}
    )
    shared = Sample(held.runs, held.time_s, held.power_w, weight * held.weight / held.weight.sum())
    found = fit.fit_power([anchor, shared], plain, _NO_HOST, plan.POWER_SPREAD)
    return Coefficients.model_validate(
        {**coefficients.model_dump(), "power": found.power.model_dump()}
    )
