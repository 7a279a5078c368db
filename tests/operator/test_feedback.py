"""Measured energy: accounts by hand, and the queries behind them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer_operator.feedback.accounts import Account, PodRun, Reading, Window, account
from energaizer_operator.feedback.prometheus import DCGM, KEPLER, queries

WINDOW = Window(1000.0, 1300.0)


def run(name: str = "a", gpus: int = 2, **other: object) -> PodRun:
    values = {"started": 0.0, "finished": None, "predicted_w": 1200.0, "shared": False, **other}
    return PodRun(pod=("team", name), gpus=gpus, **values)  # type: ignore[arg-type]


def test_a_whole_window_by_hand() -> None:
    # Two GPUs for 300 s are 600 GPU-seconds; 1200 W predicted for both, 1000 W measured.
    total = account([run()], {("team", "a"): Reading(300_000.0, 600.0)}, WINDOW)
    assert total.run_s == total.covered_s == 600
    assert total.coverage == 1
    assert total.predicted_j == 360_000
    assert total.error == pytest.approx(0.2)


def test_only_covered_time_is_compared() -> None:
    # A sensor that saw 560 of 600 GPU-seconds at 600 W a GPU, as predicted: no error.
    total = account([run()], {("team", "a"): Reading(560 * 600.0, 560.0)}, WINDOW)
    assert total.coverage == pytest.approx(560 / 600)
    assert total.error == pytest.approx(0.0)


def test_a_pod_counts_from_its_start_to_its_end() -> None:
    assert run(started=1100.0, finished=1250.0).seconds(WINDOW) == 150
    assert run(started=900.0).seconds(WINDOW) == 300
    assert run(started=1400.0).seconds(WINDOW) == 0
    assert run(started=0.0, finished=900.0).seconds(WINDOW) == 0


def test_a_pod_without_samples_lowers_coverage_and_silences_the_error() -> None:
    pods = [run("a"), run("b")]
    total = account(pods, {("team", "a"): Reading(300_000.0, 600.0)}, WINDOW)
    assert total.coverage == 0.5
    assert total.energy_j == 300_000
    assert total.error is None


def test_slices_of_a_gpu_are_never_covered() -> None:
    total = account([run(shared=True)], {("team", "a"): Reading(300_000.0, 600.0)}, WINDOW)
    assert total.shared
    assert total.coverage == 0
    assert total.energy_j == 0


def test_a_pod_on_an_unpredicted_gpu_is_measured_but_not_compared() -> None:
    total = account([run(predicted_w=None)], {("team", "a"): Reading(300_000.0, 600.0)}, WINDOW)
    assert total.energy_j == 300_000
    assert total.error is None


def test_a_pod_that_ran_for_a_moment_is_measured_but_not_compared() -> None:
    moment = run(started=1200.0, finished=1210.0)
    total = account([moment], {("team", "a"): Reading(1000.0, 20.0)}, WINDOW)
    assert total.energy_j == 1000
    assert total.error is None


numbers = st.floats(0, 1e9)


@given(st.lists(st.tuples(st.integers(1, 8), numbers, numbers), max_size=5), st.floats(0, 300))
def test_windows_add_up(pods: list[tuple[int, float, float]], cut: float) -> None:
    runs = [run(str(number), gpus) for number, (gpus, _, _) in enumerate(pods)]
    first, second = Window(1000.0, 1000.0 + cut), Window(1000.0 + cut, 1300.0)
    readings = {("team", str(n)): Reading(e, c) for n, (_, e, c) in enumerate(pods)}
    parts = account(runs, readings, first).plus(account(runs, readings, second))
    whole = account(runs, readings, WINDOW)
    assert parts.run_s == pytest.approx(whole.run_s)
    assert 0 <= parts.coverage <= 1
    assert Account().plus(whole) == whole


def test_queries_read_both_forms_of_labels() -> None:
    relabelled, plain = queries(DCGM, 300.0)
    assert relabelled[:2] == ("exported_namespace", "exported_pod")
    assert plain[:2] == ("namespace", "pod")
    assert 'exported_pod=""' in plain[2], "the exporter's own pod is not the workload's"
    assert "[300s]" in plain[2]
    assert plain[2].endswith("* 0.001"), "millijoules"
    assert "[300s:15s]" in plain[3]
    assert plain[3].endswith("* 15")
    assert queries(KEPLER, 300.0)[1][:2] == ("pod_namespace", "pod_name")
