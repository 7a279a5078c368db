"""Sensor laws, idle, residual statistics and fits, on numbers worked by hand; no measured table."""

import numpy as np
import pandas as pd
import pytest

from energaizer import catalog
from energaizer.calibration import (
    anchors,
    boards,
    dataset,
    fit,
    forward,
    heldout,
    kernel_fit,
    misses,
    plan,
    problem,
    residuals,
    scoring,
    single_kernels,
)
from energaizer.errors import InputError
from energaizer.host import LaunchCost


def test_startup_correction():
    startup, before, iterations = 1.67, 59.2, 108
    time_s = dataset.startup_time(0.293180, startup, iterations)
    energy = dataset.startup_energy(44.0250, before, startup, iterations)
    assert time_s * 1e3 == pytest.approx(277.717, abs=5e-4)
    assert energy == pytest.approx(43.110, abs=5e-4)
    assert energy / time_s == pytest.approx(155.23, abs=5e-3)


@pytest.mark.parametrize(
    ("readings", "share"),
    [(1, 0.0), (5, 0.2), (9, 0.4), (11, 0.5), (21, 0.7381), (31, 0.8226), (47, 0.8830)],
)
def test_window_share(readings, share):
    assert dataset.window_share(readings) == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize(("readings", "watts"), [(11, 409.0), (5, 240.4)])
def test_recorded_power_after_a_floor(readings, watts):
    share = dataset.window_share(readings)
    assert dataset.recorded_power(690.0, 128.0, share) == pytest.approx(watts)


def test_idle_fit_recovers_its_own_law():
    clock = np.linspace(210e6, 1410e6, 40)
    volt = np.interp(clock, [1.02e9, 1.41e9], [0.69375, 0.89375])
    truth = dataset.Idle(32.0, 10.4, 32.7, 0.0, 40)
    found = dataset.fit_idle(clock, volt, truth.power(clock, volt))
    assert found.constant_w == pytest.approx(32.0)
    assert found.per_v2_ghz == pytest.approx(10.4)
    assert found.per_v3 == pytest.approx(32.7)
    assert found.mean_error_w == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("clock", "volt", "watts"), [(900e6, 0.69375, 47.45), (1.41e9, 0.89375, 67.10)]
)
def test_idle_of_the_a100(clock, volt, watts):
    assert dataset.Idle(32.0, 10.4, 32.7, 0.27, 81).power(clock, volt) == pytest.approx(
        watts, abs=0.06
    )


def test_missing_and_changed_tables_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such table"):
        dataset.idle_table(tmp_path)
    folder = tmp_path / "single_gpu"
    folder.mkdir()
    pd.DataFrame({"gpu": ["a100"], "sm_mhz": [900], "idle_w": [47.0]}).to_csv(
        folder / "idle_power.csv", index=False
    )
    with pytest.raises(InputError, match="expected 272 rows, found 1"):
        dataset.idle_table(tmp_path)


def test_errors_are_percent_of_the_measurement():
    found = residuals.errors([110.0, 90.0, 100.0, 130.0], [100.0, 100.0, 100.0, 100.0])
    assert found.mean == pytest.approx(12.5)
    assert found.median == pytest.approx(10.0)
    assert found.worst == pytest.approx(30.0)
    assert found.bias == pytest.approx(5.0)
    assert residuals.skill(5.0, 20.0) == pytest.approx(0.75)
    assert residuals.coverage([1, 1], [2, 2], [1.5, 3.0]) == pytest.approx(0.5)


def test_interval_factor():
    assert residuals.Spread(0.08, 0.0, 50).factor == pytest.approx(1.141, abs=5e-4)


def test_small_groups_shrink_to_their_parent():
    parent = residuals.Spread(0.2, 0.0, 500)
    few = residuals.spread(np.zeros(10), parent)
    assert few.log_sd == pytest.approx(0.2 * np.sqrt(0.5))
    assert residuals.spread(np.array([]), parent).log_sd == pytest.approx(0.2)
    many = residuals.spread(np.zeros(1000), parent)
    assert many.log_sd < 0.03


FLOPS = {
    ("bert", 1, 128): 78.92e9, ("gpt2", 1, 128): 22.35e9, ("opt", 1, 128): 312.46e9,
    ("vit", 8, 0): 984.87e9, ("resnet101", 8, 0): 124.82e9,
}  # fmt: skip


@pytest.mark.parametrize("key", FLOPS)
def test_programs_hold_the_flops_of_their_models(key):
    kernels, _ = forward.groups(forward.program(key[0], "bf16", key[1], key[2]))
    products = sum(kernel.flops * count for kernel, count in kernels)
    assert products == pytest.approx(FLOPS[key], rel=1e-3)


def synthetic(coefficients, host, gpu):
    keys = [("bert", 8, 128), ("bert", 1, 128), ("gpt2", 16, 512), ("opt", 4, 512), ("vit", 16, 0)]
    programs = [forward.groups(forward.program(m, "bf16", b, s)) for m, b, s in keys]
    row = np.repeat(np.arange(len(keys)), 3)
    clock = np.tile([600e6, 900e6, 1200e6], len(keys))
    runs = problem.runs(gpu, coefficients, programs, row, clock)
    seen = problem.evaluate(runs, coefficients, host)
    watts = problem.joules(runs, coefficients, seen, clock).sum(axis=1) / seen.duration_s
    return fit.Sample(runs, seen.duration_s, watts, np.ones(len(row)))


@pytest.fixture(scope="module")
def a100():
    gpu = catalog.gpu("a100-pcie-40gb")
    return gpu, catalog.coefficients(gpu).with_values(plan.starting(gpu))


def test_a_fit_recovers_what_made_its_data(a100):
    gpu, begin = a100
    truth = begin.with_values(
        {"time.memory_efficiency": 0.69, "time.tile_prologue": 320.0, "power.flop_pj.bf16": 1.25}
    )
    host = LaunchCost(launch_s=1.2e-5, call_s=1.1e-5, step_s=2e-4)
    sample = synthetic(truth, host, gpu)
    setup = heldout.Setup(begin, LaunchCost(launch_s=1.5e-5, step_s=2e-4), plan.FORWARD)
    found = heldout.fit_boards([sample], setup)
    seen = found.predict(sample.runs)
    assert seen.duration_s == pytest.approx(sample.time_s, rel=0.03)
    free = sample.power_w < gpu.power_limit_w
    assert seen.power_w[free] == pytest.approx(sample.power_w[free], rel=0.02)
    assert found.host.launch_s == pytest.approx(1.2e-5, rel=0.15)


def test_the_same_fit_twice_is_the_same(a100):
    gpu, begin = a100
    host = LaunchCost(launch_s=1.5e-5, call_s=1e-5, step_s=2e-4)
    sample = synthetic(begin, host, gpu)
    setup = heldout.Setup(begin, host, plan.FORWARD[:4])
    first, second = (heldout.fit_boards([sample], setup) for _ in range(2))
    assert first.coefficients == second.coefficients


def test_a_prediction_never_exceeds_the_limit(a100):
    gpu, begin = a100
    host = LaunchCost(launch_s=1.5e-5, call_s=1e-5, step_s=2e-4)
    hot = begin.with_values({"power.flop_pj.bf16": 8.0})
    sample = synthetic(hot, host, gpu)
    seen = problem.predict(sample.runs, hot, host)
    assert seen.throttled.any()
    assert seen.power_w.max() <= gpu.power_limit_w * (1 + 1e-9)
    assert np.all(seen.duration_s >= sample.time_s * (1 - 1e-9))


def test_anchors_set_the_host_and_move_scales_half_way(a100):
    gpu, begin = a100
    host = LaunchCost(launch_s=1.2e-5, call_s=0.9e-5, step_s=1e-4)
    truth = begin.with_values({"time.elements_per_cycle": 3.0, "power.sm_active_w_per_ghz": 0.9})
    sample = synthetic(truth, host, gpu)
    frame = pd.DataFrame({"model": ["x"] * len(sample.time_s)})
    board = forward.Board(frame, sample)
    found, other = anchors.anchored(board, begin, 4, 10)
    seen = problem.predict(sample.runs, found, other)
    before = problem.predict(sample.runs, begin, other)
    assert seen.duration_s[4] == pytest.approx(sample.time_s[4], rel=1e-3)
    # One row is evidence for half of the distance that it asks for, in logs.
    asked = np.log(sample.power_w[10] / before.power_w[10])
    assert 0.3 < np.log(seen.power_w[10] / before.power_w[10]) / asked < 0.7
    asked = np.log(sample.time_s[10] / before.duration_s[10])
    assert 0.3 < np.log(seen.duration_s[10] / before.duration_s[10]) / asked < 0.7


def test_where_only_streams_are_unknown_anchors_reproduce_their_rows(a100):
    gpu, begin = a100
    host = LaunchCost(launch_s=1.2e-5, call_s=0.9e-5, step_s=1e-4)
    truth = begin.with_values({"time.elements_per_cycle": 3.0})
    sample = synthetic(truth, host, gpu)
    frame = pd.DataFrame({"model": ["x"] * len(sample.time_s)})
    found, other = anchors.anchored(forward.Board(frame, sample), begin, 4, 10, streams_only=True)
    seen = problem.predict(sample.runs, found, other)
    for row in (4, 10):
        assert seen.duration_s[row] == pytest.approx(sample.time_s[row], rel=1e-3)
    assert seen.power_w[10] == pytest.approx(sample.power_w[10], rel=1e-3)


def test_half_of_what_moved_another_gpu_carries_over(a100):
    gpu, begin = a100
    other = begin.with_values({"rate_efficiency.fp32": 0.72})
    moved = other.with_values(
        {
            "time.kernel_cycles": 4.0 * other.time.kernel_cycles,
            "power.dram_pj_per_byte": 0.25 * other.power.dram_pj_per_byte,
            "power.idle_w": 2.0 * other.power.idle_w,
            "rate_efficiency.fp32": 0.36,
        }
    )
    host = LaunchCost(launch_s=1e-5, step_s=1e-4)
    job = boards.Job(gpu, (), heldout.Setup(begin, host, ()))
    found = scoring.carried(heldout.Fitted(moved, host, np.zeros(0)), other, job)
    assert found.time.kernel_cycles == pytest.approx(2.0 * begin.time.kernel_cycles)
    assert found.power.dram_pj_per_byte == pytest.approx(0.5 * begin.power.dram_pj_per_byte)
    # Idle was read, and CUDA cores of another width tell nothing.
    assert found.power.idle_w == begin.power.idle_w
    assert found.rate_efficiency["fp32"] == begin.rate_efficiency["fp32"]


def test_reasons_for_a_miss_name_who_carries_it(a100):
    gpu, begin = a100
    host = LaunchCost(launch_s=1e-5, step_s=1e-4)
    sample = synthetic(begin, host, gpu)
    n = len(sample.time_s)
    model = np.where(np.arange(n) < n // 2, "opt", "bert")
    frame = pd.DataFrame(
        {
            "model": model, "precision": "bf16", "time_s": sample.time_s, "power": sample.power_w,
            "energy": sample.time_s * sample.power_w,
        }
    )  # fmt: skip
    wrong = np.where(model == "bert", 1.2, 1.0)
    none, capped = np.zeros(n), np.zeros(n, dtype=np.bool_)
    outcome = heldout.Outcome(sample.time_s, sample.power_w * wrong, none, none + 1.0, capped)
    scored = scoring.Scored(
        "x", forward.Board(frame, sample), outcome, np.ones(n, dtype=np.bool_), none, none
    )
    own = {"x": heldout.Fitted(begin, host, np.zeros(0))}
    text = misses.passes([("x", scored, (6.0, 3.5, 50.0))], own)
    share = 20.0 * np.count_nonzero(model == "bert") / n
    assert f"| x | power | {share:.1f} | 3.5 | {share - 3.5:.1f} | 0.0 | 0.0 |" in text
    assert "| x | power | bert bf16 |" in text
    assert "opt bf16" not in text
    assert "| time |" not in text
    assert misses.passes([("x", scored, (6.0, 50.0, 50.0))], own) == ""


def test_a_table_that_nobody_fitted_takes_the_usual_warm_share(a100):
    gpu, begin = a100
    rows = {"op": ["gemm", "attn_ctx"], "dtype": "bfloat16", "kv_dtype": "", "obs_weight_g": 0.5}
    table = single_kernels.Table(gpu, pd.DataFrame(rows), None)
    power = kernel_fit.PowerFit(begin, 100.0, {"gemm:bfloat16:": 1.0}, 0.25)
    # The second before: the kernel's own 500 W, or a quarter of the way from the floor to it.
    assert power.recorded(table, np.array([500.0, 500.0])) == pytest.approx([500.0, 350.0])


def test_profiles_keep_five_digits(a100):
    _, begin = a100
    short = boards.rounded(begin.with_values({"time.tile_edge": 0.123456789}))
    assert short.time.tile_edge == pytest.approx(0.12346, abs=1e-12)
