"""Training: the 6 N rule, recomputation, gradient exchange, pipelines (method, section 3)."""

import numpy as np
import pytest

from energaizer import catalog, lowering, memory, pipeline, simulation
from energaizer.errors import DoesNotFitError, InputError, NoEstimateError
from energaizer.links import pipeline_bubble
from energaizer.lowering import training
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.workload import Training, Workload
from reference_boards import H100

LLAMA = catalog.model("llama-3.2-1b")


def workload(model=LLAMA, tokens=1024, split=None, precision=Precision.BF16, **inputs):
    inputs = {"global_batch": 8, "micro_batch": 1} | inputs
    return Workload(
        model=model, input_tokens=tokens, training=Training(**inputs), precision=precision,
        parallelism=Parallelism(**(split or {})),
    )  # fmt: skip


def products(program, step):
    rows = program.column("m") > 0
    return program.runs[step] * (program.counts[step] @ (program.column("flops") * rows))


def test_six_flop_per_parameter_and_token():
    program = lowering.lower(workload())
    tokens = 8 * 1024
    forward, backward = products(program, 0), products(program, 1)
    assert backward == pytest.approx(2 * forward, rel=1e-12)
    # products of the layers and of the head; an embedding multiplies nothing
    norms = LLAMA.layers * 2 * LLAMA.hidden_size
    weights = memory.layer_parameters(LLAMA) - norms + LLAMA.vocabulary_size * LLAMA.hidden_size
    assert forward + backward == pytest.approx(6 * weights * tokens, rel=1e-9)


def test_full_recompute_is_eight_flop_per_parameter():
    plain, full = (lowering.lower(workload(recompute=how)) for how in ("none", "full"))
    assert products(full, 1) == pytest.approx(1.5 * products(plain, 1), rel=1e-12)
    selective = lowering.lower(workload(recompute="selective"))
    assert products(selective, 1) == products(plain, 1)
    assert training.flop_per_step(plain) < training.flop_per_step(selective)
    assert training.flop_per_step(selective) < training.flop_per_step(full)


def test_adam_moves_28_bytes_per_parameter():
    program = lowering.lower(workload())
    step = program.counts[2] @ (program.column("read_bytes") + program.column("write_bytes"))
    owned = training.parameters_of(LLAMA, Parallelism())
    assert step == pytest.approx(28 * owned)
    assert owned == pytest.approx(1.236e9, rel=1e-3)
    shared = lowering.lower(workload(split={"data": 4}, sharded_optimizer=True))
    quarter = shared.counts[2] @ (shared.column("read_bytes") + shared.column("write_bytes"))
    assert quarter == pytest.approx(step / 4)


def test_gradients_travel_once_a_step():
    program = lowering.lower(workload(split={"data": 4}))
    hidden = program.column("link_hidden") > 0
    sent = program.runs[1] * (program.counts[1] @ (program.column("link_bytes") * hidden))
    assert sent == pytest.approx(2 * training.parameters_of(LLAMA, Parallelism()))


def test_backward_hides_gradients():
    assert simulation.exposed(np.array([10.0]), np.array([4.0]), 0.7)[0] == 6.0
    assert simulation.exposed(np.array([10.0]), np.array([8.0]), 0.7)[0] == pytest.approx(8.6)


def test_a_pipeline_waits_in_its_bubble():
    program = lowering.lower(workload(split={"pipeline": 4}, global_batch=8))
    assert program.runs.tolist() == [8, 8, 1]
    assert program.slots.tolist() == [11, 11, 1]
    assert 1 - program.runs[0] / program.slots[0] == pytest.approx(pipeline_bubble(4, 8))
    whole = lowering.lower(workload())
    assert 4 * products(program, 1) == pytest.approx(products(whole, 1))


def test_an_estimate_is_conserved_and_counts_trained_tokens():
    found = pipeline.estimate(workload(steps=10), H100)
    assert [phase.name for phase in found.phases] == ["forward", "backward", "optimizer"]
    assert [phase.count for phase in found.phases] == [10, 10, 10]
    total = sum(phase.energy.value for phase in found.phases)
    assert found.energy.value == pytest.approx(total)
    assert found.energy.value / found.energy_per_output_token.value == pytest.approx(80 * 1024)
    forward, backward, _ = found.phases
    assert 1.7 < backward.duration.value / forward.duration.value < 2.6


def test_replicas_share_the_global_batch():
    one = pipeline.estimate(workload(), H100)
    four = pipeline.estimate(workload(split={"data": 4}), H100)
    assert four.gpu_count == 4
    assert four.duration.value < 0.5 * one.duration.value
    assert four.energy.value == pytest.approx(one.energy.value, rel=0.5)


def test_memory_holds_states_of_every_parameter():
    found = memory.need(workload(), H100)
    assert found.weights_bytes == pytest.approx(16 * training.parameters_of(LLAMA, Parallelism()))
    with pytest.raises(DoesNotFitError):
        pipeline.estimate(workload(catalog.model("llama-3.1-8b")), H100)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"global_batch": 6, "split": {"data": 4}}, InputError),
        ({"precision": Precision.FP8}, NoEstimateError),
    ],
)
def test_refusals(inputs, error):
    with pytest.raises(error):
        lowering.lower(workload(**inputs))
