"""A factor on dynamic energies from measured workloads: found, judged, applied."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer import catalog, machine, pipeline, power
from energaizer.correction import LEAST, Observation, correct, scaled
from energaizer.errors import InputError
from energaizer.workload import Workload

GPU = catalog.gpu("a100-sxm4-80gb")
SHIPPED = catalog.coefficients(GPU)
IDLE_W = float(power.idle_power(machine.of(GPU, SHIPPED), np.array([1e9]))[0])


def seen(predicted_w: float, factor: float, name: str = "w") -> Observation:
    return Observation(name, predicted_w, IDLE_W + factor * (predicted_w - IDLE_W), 1e9)


@given(st.floats(0.8, 1.2), st.lists(st.floats(150, 300), min_size=LEAST, max_size=12))
def test_a_true_factor_is_recovered(factor: float, watts: list[float]) -> None:
    found = correct(GPU, SHIPPED, [seen(one, factor) for one in watts])
    assert found.factor == pytest.approx(factor)
    assert found.error_after == pytest.approx(0, abs=1e-9)


def test_each_workload_is_judged_by_the_others() -> None:
    factors = (1.10, 1.10, 1.10, 1.12, 1.30)
    observations = [seen(250, factor, f"w{n}") for n, factor in enumerate(factors)]
    found = correct(GPU, SHIPPED, observations)
    assert found.factor == pytest.approx(1.10)
    last = found.judged[-1]  # by the median of the others, 1.10
    measured = IDLE_W + 1.30 * (250 - IDLE_W)
    assert last.before == pytest.approx(250 / measured - 1)
    assert last.after == pytest.approx((IDLE_W + 1.10 * (250 - IDLE_W)) / measured - 1)
    assert found.improves


def test_no_bias_is_no_improvement() -> None:
    factors = (0.8, 0.9, 1.0, 1.1, 1.2, 1.0)
    found = correct(GPU, SHIPPED, [seen(250, factor) for factor in factors])
    assert found.factor == pytest.approx(1.0)
    assert not found.improves


def test_what_tells_nothing_is_left_out() -> None:
    good = [seen(250, 1.1, f"w{n}") for n in range(LEAST)]
    capped = Observation("capped", 395, 400, 1e9)
    low = Observation("low", 250, 245, 1e9, limit_w=250)
    idle = Observation("idle", 250, IDLE_W / 2, 1e9)
    found = correct(GPU, SHIPPED, [*good, capped, low, idle])
    assert found.left_out == ("capped", "low", "idle")
    assert found.factor == pytest.approx(1.1)
    with pytest.raises(InputError, match="5 are needed"):
        correct(GPU, SHIPPED, [*good[1:], capped])


def test_scaled_coefficients_predict_the_corrected_power() -> None:
    load = Workload(
        model=catalog.model("llama-3.1-8b"),
        batch=16,
        input_tokens=512,
        output_tokens=64,
        clock_hz=1e9,
    )
    usual = pipeline.estimate(load, GPU, SHIPPED)
    found = pipeline.estimate(load, GPU, scaled(SHIPPED, 1.1))
    above = usual.energy.value - usual.components["idle"].value
    assert found.duration.value == pytest.approx(usual.duration.value)
    assert found.components["idle"].value == pytest.approx(usual.components["idle"].value)
    expected = usual.components["idle"].value + 1.1 * above
    assert found.energy.value == pytest.approx(expected, rel=0.005)  # leakage grows with heat
