"""Whole estimates: conservation, monotonicity, sweeps against single calls, refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from energaizer import batch, catalog, job, lowering, machine, pipeline, power, simulation, whatif
from energaizer.errors import DoesNotFitError, InputError, NoEstimateError
from energaizer.host import with_kernels
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.result import Provenance
from energaizer.workload import Workload
from reference_boards import A100, H100, prior_machine

LLAMA = catalog.model("llama-3.1-8b")
GPT2 = catalog.model("gpt2")
CLOCKS = st.integers(0, 80).map(lambda step: 210e6 + step * 15e6)


def workload(model=LLAMA, **inputs):
    return Workload(
        model=model, **({"batch": 8, "input_tokens": 256, "output_tokens": 64} | inputs)
    )


def conserved(found):
    """Energy is the sum of phases, of components, and mean power times time."""
    phases = sum(phase.energy.value for phase in found.phases)
    assert found.energy.value == pytest.approx(phases, rel=1e-12)
    parts = sum(part.value for part in found.components.values())
    assert found.energy.value == pytest.approx(parts, rel=1e-12)
    assert found.energy.value == pytest.approx(found.power.value * found.duration.value, rel=1e-12)
    for phase in found.phases:
        inside = sum(part.value for part in phase.components.values())
        assert phase.energy.value == pytest.approx(inside, rel=1e-12)
    for quantity in (found.power, found.energy, found.duration):
        assert 0 < quantity.low <= quantity.value <= quantity.high


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 64), tokens=st.integers(1, 3000), output=st.integers(0, 900), clock=CLOCKS,
    tensor=st.sampled_from([1, 2, 8]), stages=st.sampled_from([1, 4]),
)  # fmt: skip
def test_conservation(size, tokens, output, clock, tensor, stages):
    found = pipeline.estimate(
        workload(
            batch=size, input_tokens=tokens, output_tokens=output, clock_hz=clock,
            parallelism=Parallelism(tensor=tensor, pipeline=stages),
        ),
        H100,
    )  # fmt: skip
    conserved(found)
    boards = found.gpu_count
    assert boards == tensor * stages
    for phase in found.phases:
        assert phase.power.value <= found.power_cap_w * boards * (1 + 1e-9)
        assert phase.power.value >= phase.components["idle"].value / phase.duration.value
        assert phase.clock_hz <= clock * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 32), tokens=st.integers(1, 2000), clock=CLOCKS)
def test_time_never_rises_with_clock(size, tokens, clock):
    slow = pipeline.estimate(workload(batch=size, input_tokens=tokens, clock_hz=clock), H100)
    fast = pipeline.estimate(workload(batch=size, input_tokens=tokens, clock_hz=clock + 15e6), H100)
    assert fast.duration.value <= slow.duration.value * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 64), tokens=st.integers(1, 2000), limit=st.floats(280, 690))
def test_power_never_falls_nor_time_rises_with_a_higher_limit(size, tokens, limit):
    low = pipeline.estimate(workload(batch=size, input_tokens=tokens, power_cap_w=limit), H100)
    high = pipeline.estimate(
        workload(batch=size, input_tokens=tokens, power_cap_w=limit + 10), H100
    )
    for under, over in zip(low.phases, high.phases, strict=True):
        assert over.power.value >= under.power.value * (1 - 1e-9)
        assert over.duration.value <= under.duration.value * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(1, 24), tokens=st.integers(16, 1000), output=st.integers(2, 300))
def test_doubling_work_costs_more(size, tokens, output):
    base = {"batch": size, "input_tokens": tokens, "output_tokens": output, "clock_hz": 1.2e9}
    one = pipeline.estimate(workload(**base), H100)
    for name in ("batch", "input_tokens", "output_tokens"):
        two = pipeline.estimate(workload(**(base | {name: 2 * base[name]})), H100)
        assert two.energy.value > one.energy.value
        assert two.duration.value >= one.duration.value * (1 - 1e-9)


def test_more_layers_cost_more():
    half = LLAMA.model_copy(update={"layers": 16})
    one, two = (pipeline.estimate(workload(model), H100) for model in (half, LLAMA))
    assert two.energy.value > 1.5 * one.energy.value


@settings(max_examples=30, deadline=None)
@given(size=st.integers(1, 32), tokens=st.integers(1, 2000), clock=CLOCKS)
def test_kernels_take_at_least_their_roofline(size, tokens, clock):
    program = lowering.lower(workload(batch=size, input_tokens=tokens))
    loaded = simulation.load(program, prior_machine(H100), catalog.host("serving"))
    seconds = simulation.sweep(loaded, power.at_clock(loaded.machine, clock)).kernel_s[0]
    assert (seconds >= loaded.work.dram_bytes / H100.memory_bandwidth).all()
    peak = 2 * loaded.machine.rates * loaded.machine.units * clock
    floor = np.nansum(loaded.work.flops / peak, axis=1)
    assert (seconds >= floor * (1 - 1e-9)).all()


@settings(max_examples=10, deadline=None)
@given(
    size=st.integers(1, 48), step=st.integers(0, 80), limit=st.sampled_from([300.0, 500.0, 700.0])
)
def test_a_sweep_equals_single_calls(size, step, limit):
    base = workload(batch=size)
    found = whatif.sweep(base, [H100], clocks_hz=[210e6 + step * 15e6], limits_w=[limit])
    single = pipeline.estimate(
        base.model_copy(update={"clock_hz": 210e6 + step * 15e6, "power_cap_w": limit}), H100
    )
    assert found[0].energy_j == pytest.approx(single.energy.value, rel=1e-12)
    assert found[0].duration_s == pytest.approx(single.duration.value, rel=1e-12)
    assert found[0].mean_clock_hz == pytest.approx(single.clock_hz, rel=1e-12)
    assert found[0].throttled == any(phase.throttled for phase in single.phases)


@pytest.mark.parametrize("changes", [{"requests": 100}, {"duration_s": 60.0}, {}])
def test_settings_swept_together_equal_each_alone(changes):
    base = workload(batch=48, **changes)
    clocks, limits, boards = (600e6, 1410e6), (200.0, 300.0), (H100, A100)
    found = whatif.sweep(base, boards, clocks_hz=clocks, limits_w=limits, batches=[8, 48])
    assert len(found) == len(boards) * 2 * len(clocks)  # each board takes one of the limits
    for one in found:
        setting = {"clock_hz": one.clock_hz, "power_cap_w": one.power_cap_w, "batch": one.batch}
        board = H100 if one.gpu == H100.name else A100
        single = pipeline.estimate(base.model_copy(update=setting), board)
        assert one.energy_j == pytest.approx(single.energy.value, rel=1e-12)
        assert one.duration_s == pytest.approx(single.duration.value, rel=1e-12)
        assert one.mean_clock_hz == pytest.approx(single.clock_hz, rel=1e-12)
        assert one.throttled == any(phase.throttled for phase in single.phases)


def test_a_batch_of_cases_equals_single_calls():
    cases = [
        workload(batch=size, clock_hz=clock) for size, clock in ((1, 6e8), (8, 1.83e9), (64, 1.8e9))
    ]
    coefficients, host = catalog.coefficients(H100), catalog.host("serving")
    many = batch.Batch(
        H100, [lowering.lower(case) for case in cases],
        np.array([case.clock_hz for case in cases]), np.array(700.0),
    ).predict(with_kernels(host, H100, coefficients), host)  # fmt: skip
    for index, case in enumerate(cases):
        single = pipeline.estimate(case, H100, coefficients)
        assert many.duration_s[index] == pytest.approx(single.duration.value, rel=1e-9)
        assert many.energy_j[index] == pytest.approx(single.energy.value, rel=1e-9)


def test_cached_equals_uncached():
    base = workload(batch=7, input_tokens=301)
    warm = [pipeline.estimate(base, H100) for _ in range(2)]
    lowering.transformer._lower.cache_clear()
    simulation.load.cache_clear()
    assert pipeline.estimate(base, H100) == warm[0] == warm[1]


def test_replicas_multiply_energy_not_time():
    one = pipeline.estimate(workload(), H100)
    four = pipeline.estimate(workload(parallelism=Parallelism(data=4)), H100)
    assert four.energy.value == pytest.approx(4 * one.energy.value)
    assert four.duration.value == one.duration.value
    assert four.energy_per_output_token.value == pytest.approx(one.energy_per_output_token.value)


def test_requests_run_in_batches_and_the_last_is_smaller():
    assert job.batches(workload(requests=20)) == ((8, 2.0), (4, 1.0))
    assert job.batches(workload(requests=3)) == ((3, 1.0),)
    found = pipeline.estimate(workload(requests=20), H100)
    conserved(found)
    tokens = found.energy.value / found.energy_per_output_token.value
    assert tokens == pytest.approx(20 * 64)


def test_steady_serving_fills_its_duration():
    found = pipeline.estimate(workload(duration_s=3600.0), H100)
    conserved(found)
    assert found.duration.value == pytest.approx(3600.0)
    once = pipeline.estimate(workload(), H100)
    assert found.power.value == pytest.approx(once.power.value)


def test_a_held_board_is_idle_until_its_time_is_over():
    found = pipeline.estimate(workload(requests=8, duration_s=60.0), H100)
    conserved(found)
    idle = next(phase for phase in found.phases if phase.name == "idle")
    assert found.duration.value == pytest.approx(60.0)
    assert 0 < idle.power.value < 0.4 * H100.power_limit_w
    assert set(idle.components) == {"idle"}


def test_energy_per_token_golden():
    # 4 GPUs at 700 W, 30 ms a step, 64 sequences (method, section 6)
    assert pytest.approx(1.3125) == 4 * 700 * 0.030 / 64


def test_a_limit_below_the_floor_is_flagged():
    board = H100.model_copy(update={"min_power_limit_w": 100.0})
    found = pipeline.estimate(workload(batch=64, power_cap_w=110.0), board)
    assert any("lowest clock" in note for note in found.notes)
    assert found.clock_hz == pytest.approx(board.min_clock_hz)


def test_datasheet_numbers_say_so_and_widen():
    found = pipeline.estimate(workload(), H100)
    assert found.power.provenance == Provenance.SPECIFICATION
    assert found.energy.coverage == 0.0
    assert found.energy.high / found.energy.value > 1.3
    assert any("datasheet" in note for note in found.notes)


def test_inputs_outside_the_hull_extrapolate():
    own = catalog.coefficients(H100)
    inside = own.model_copy(
        update={"provenance": Provenance.CALIBRATED, "hull": {"batch": (1, 16)}}
    )
    near = pipeline.estimate(workload(), H100, inside)
    far = pipeline.estimate(workload(batch=32), H100, inside)
    assert near.energy.provenance == Provenance.ANALYTICAL
    assert far.energy.provenance == Provenance.EXTRAPOLATED
    assert far.energy.high / far.energy.value > near.energy.high / near.energy.value
    assert any("batch 32" in note for note in far.notes)


def test_contexts_beyond_the_model_name_the_longest_prompt():
    with pytest.raises(InputError, match=r"1024 positions of .*choose input_tokens=925 or less"):
        pipeline.estimate(workload(GPT2, input_tokens=1000, output_tokens=100), H100)


def test_memory():
    found = pipeline.estimate(workload(), H100).memory
    assert found.weights_bytes == pytest.approx(16.06e9, rel=1e-3)
    assert found.kv_cache_bytes == 131072 * 8 * (256 + 64)
    with pytest.raises(DoesNotFitError, match=f"a batch of {found.largest_batch} fits"):
        pipeline.estimate(workload(batch=found.largest_batch + 1), H100)
    pipeline.estimate(workload(batch=found.largest_batch), H100)
    with pytest.raises(DoesNotFitError, match=r"not even one sequence fits; tensor=16 fits"):
        pipeline.estimate(workload(catalog.model("llama-3.1-405b")), H100)
    split = Parallelism(tensor=16)
    pipeline.estimate(workload(catalog.model("llama-3.1-405b"), parallelism=split), H100)


def test_outputs_beyond_the_model_name_the_longest_output():
    with pytest.raises(InputError, match=r"1024 positions of .*choose output_tokens=925 or less"):
        pipeline.estimate(workload(GPT2, input_tokens=100, output_tokens=1000), H100)
    pipeline.estimate(workload(GPT2, input_tokens=100, output_tokens=925), H100)


def test_stages_that_do_not_divide_the_layers_name_the_nearest_that_do():
    split = Parallelism(pipeline=3)
    with pytest.raises(
        InputError, match=r"32 layers of .* by pipeline=3; choose 2, or allow uneve"
    ):
        pipeline.estimate(workload(parallelism=split), H100)
    uneven = workload(parallelism=Parallelism(pipeline=3, uneven=True), batch=3)
    paced = lowering.lower(
        uneven
    ).slots  # stages of 11, 11 and 10 layers: the longest sets the pace
    assert paced[0] == pytest.approx(3 + 2 * 33 / 32)
    assert paced[1] == pytest.approx(3 * 33 / 32)


def test_upper_bound():
    bound = pipeline.upper_bound(H100, 8, 60.0)
    assert bound.energy.value == 8 * 700 * 60
    assert bound.energy.provenance == Provenance.BOUND
    for count, seconds in ((0, 1.0), (1, 0.0), (1, math.nan), (1, math.inf)):
        with pytest.raises(InputError):
            pipeline.upper_bound(H100, count, seconds)


def test_a_format_without_a_rate_has_no_estimate():
    with pytest.raises(NoEstimateError, match="fp8 on a100"):
        pipeline.estimate(workload(precision=Precision.FP8), A100)


def test_a_gpu_that_states_no_rate_of_its_cuda_cores_has_no_estimate():
    bare = H100.model_copy(update={"name": "bare", "peak_flops": {"bf16": 8e14}})
    with pytest.raises(NoEstimateError, match=r"fp32 on bare: no rate; .* add peak_flops\.fp32"):
        pipeline.estimate(workload(), bare)


@pytest.mark.parametrize(
    "inputs",
    [{"clock_hz": 9e9}, {"clock_hz": 1e6}, {"power_cap_w": 20.0}, {"power_cap_w": 900.0}],
)
def test_settings_that_the_board_refuses(inputs):
    with pytest.raises(InputError):
        pipeline.estimate(workload(**inputs), H100)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0])
@pytest.mark.parametrize("name", ["clock_hz", "power_cap_w", "duration_s"])
def test_numbers_that_are_none_are_refused(name, value):
    with pytest.raises((ValidationError, InputError)):
        pipeline.estimate(workload(**{name: value}), H100)


def test_huge_inputs_end_in_an_answer_or_an_error():
    with pytest.raises(InputError, match="positions"):
        pipeline.estimate(workload(batch=65536, input_tokens=16777216), H100)
    with pytest.raises(DoesNotFitError):
        pipeline.estimate(workload(batch=65536, input_tokens=131000), H100)


def test_front_holds_what_nothing_beats():
    found = whatif.sweep(workload(), [H100, A100], batches=[1, 8, 32], limits_w=[250.0, 500.0])
    front = whatif.pareto(found)
    assert 0 < len(front) < len(found)
    for one in front:
        assert not any(
            other.output_tokens_per_s > one.output_tokens_per_s
            and other.energy_per_output_token < one.energy_per_output_token
            for other in found
        )
    assert {one.gpu for one in found} == {H100.name, A100.name}


def test_machines_are_built_once():
    own = catalog.coefficients(H100)
    assert machine.of(H100, own) is machine.of(H100, own)
