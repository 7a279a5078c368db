"""Idle, supply, the cap and its conservation laws (method, section 4)."""

import csv
from pathlib import Path

import numpy as np
import pytest

from energaizer import machine, power
from energaizer.priors import from_specification, interpolate
from reference_boards import A10, A100, H100, PRIOR, prior_machine

DATA = Path(__file__).parents[3] / "shared" / "data" / "single_gpu"


def test_idle_of_the_reference_board():
    idle = power.idle_power(prior_machine(A100), np.array([900e6, 1410e6]))
    assert idle == pytest.approx([47.45, 67.10], abs=0.05)


def test_idle_scales_with_the_chip_not_with_the_limit():
    large, small = from_specification(A100, PRIOR).power, from_specification(A10, PRIOR).power
    assert small.idle_w_per_v3 / large.idle_w_per_v3 == pytest.approx(72 / 108)
    assert small.idle_w_per_v2_ghz / large.idle_w_per_v2_ghz == pytest.approx(72 / 108)


def test_a_held_board_draws_its_floor_at_the_reference_clock():
    board = prior_machine(H100)
    idle = power.idle_power(board, np.array([1830e6]))[0]
    assert idle == pytest.approx(0.97 * 132)


def test_supply_is_flat_then_linear():
    board = prior_machine(A100)
    found = board.supply(np.array([100e6, 1020e6, 1215e6, 2000e6]))
    assert found == pytest.approx([0.69375, 0.69375, 0.79375, 0.89375])
    assert interpolate(A100.voltage, 1215e6) == pytest.approx(0.79375)


def test_unknown_supply_is_noted():
    found = from_specification(A10, PRIOR)
    assert any("voltage" in note for note in found.notes)
    assert found.voltage[0][1] == 0.70
    assert found.voltage[-1] == (1695e6, 1.0)


@pytest.mark.accuracy
@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data lie beside the repository")
@pytest.mark.parametrize(
    ("limit", "grid_mhz", "grid_w", "mean_mhz"),
    [(250, 1275, 244.44, 1283.4), (200, 1155, 196.30, None), (150, 915, 149.63, None)],
)
def test_throttled_clock(limit, grid_mhz, grid_w, mean_mhz):
    with (DATA / "supply_voltage.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["gpu"] == "a100"]
    clock = np.array([float(row["sm_mhz"]) for row in rows])
    volt = np.array([float(row["volt"]) for row in rows])
    with (DATA / "idle_power.csv").open(encoding="utf-8") as file:
        idle = {float(r["sm_mhz"]): float(r["idle_w"]) for r in csv.DictReader(file)
                if r["gpu"] == "a100"}  # fmt: skip
    table = np.array([idle[mhz] for mhz in clock])
    watts = table + 230.0 * volt**2 * clock / 1e3
    order = np.argsort(clock)
    found = power.throttle(watts[order][:, None], limit)
    low, share = found.low[0], found.high_share[0]
    assert clock[order][low] == grid_mhz
    assert watts[order][low] == pytest.approx(grid_w, abs=0.006)
    if mean_mhz:
        mean = (1 - share) * clock[order][low] + share * clock[order][found.high[0]]
        assert mean == pytest.approx(mean_mhz, abs=0.06)


def test_throttle_by_hand():
    watts = np.array([[100.0, 300.0, 10.0], [200.0, 400.0, 20.0], [400.0, 500.0, 30.0]])
    found = power.throttle(watts, 250.0)
    assert found.low.tolist() == [1, 0, 2]
    assert found.high_share[0] == pytest.approx(0.25)
    assert found.over.tolist() == [False, True, False]


def test_many_limits_equal_one_by_one():
    watts = np.array([[100.0, 300.0, 10.0], [200.0, 400.0, 20.0], [400.0, 500.0, 30.0]])
    limits = np.array([250.0, 450.0, 5.0])
    together = power.throttle(watts, limits)
    for row, limit in enumerate(limits):
        alone = power.throttle(watts, float(limit))
        for name in ("first", "low", "high", "high_share", "over"):
            assert getattr(together, name)[row].tolist() == getattr(alone, name).tolist()


def test_energies_by_hand():
    board = prior_machine(A100)
    joules = np.array([[4.0, 3.0, 2.0, 1.0, 5.0, 0.5]])
    clock = np.array([[1410e6]])
    found = power.energies(
        power.points(board, clock), np.array([[2.0]]), np.array([[1.5]]),
        power.Activity(joules),
    )[0, 0]  # fmt: skip
    parts = dict(zip(power.COMPONENTS, found.tolist(), strict=True))
    squared = 0.89375**2
    assert parts["idle"] == pytest.approx(2 * 67.10, abs=0.1)
    assert parts["sm_active"] == pytest.approx(1.2037 * 108 * 1.41 * squared * 1.5)
    assert parts["tensor"] == pytest.approx(4 * squared)
    assert parts["special"] == pytest.approx(1 * squared)
    assert (parts["dram"], parts["link"], parts["leakage"]) == (5.0, 0.5, 0.0)


def test_heat_adds_leakage_only_above_idle():
    coefficients = from_specification(A100, PRIOR).with_values({"power.leakage_w": 30.0})
    board = machine.build(A100, coefficients)
    at = power.points(board, np.array([1410e6]))
    assert at.idle_w[0] == pytest.approx(67.0, abs=0.2)
    none = power.leakage_power(at, at.idle_w)
    assert none[0] == pytest.approx(0.0, abs=0.2)
    some = power.leakage_power(at, np.array([240.0]))
    assert 1.0 < some[0] < 20.0


def test_missing_energy_is_priced_like_bf16():
    board = prior_machine(A100)
    flops = np.zeros((1, 7))
    flops[0, 4] = 1e12  # fp8, which this board has no energy for
    found = power.work_energies(power.prices(board), flops, np.zeros((1, 4)), np.ones(1))
    assert found.core_j[0, 0] == pytest.approx(0.9)
