"""Training: the 6 N rule, recomputation, gradient exchange, pipelines (method, section 3)."""

import numpy as np
import pytest

from energaizer import (
    catalog,
    links,
    lowering,
    memory,
    pipeline,
    recipe,
    simulation,
    states,
    whatif,
)
from energaizer.errors import DoesNotFitError, InputError, NoEstimateError
from energaizer.links import pipeline_bubble
from energaizer.lowering import training
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.workload import Workload
from reference_boards import H100

LLAMA = catalog.model("llama-3.2-1b")
H100_SXM = catalog.gpu("h100-sxm")


def workload(model=LLAMA, tokens=1024, split=None, precision=Precision.BF16, **inputs):
    inputs = {"global_batch": 8, "micro_batch": 1} | inputs
    weights = inputs.pop("weight_precision", None)
    return Workload(
        weight_precision=weights,
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
    owned = memory.parameters_on(LLAMA, Parallelism())
    assert step == pytest.approx(28 * owned)
    assert owned == pytest.approx(1.236e9, rel=1e-3)
    shared = lowering.lower(workload(split={"data": 4}, zero=1))
    quarter = shared.counts[2] @ (shared.column("read_bytes") + shared.column("write_bytes"))
    assert quarter == pytest.approx(step / 4)


def test_gradients_travel_once_a_step():
    program = lowering.lower(workload(split={"data": 4}))
    hidden = program.column("link_hidden") > 0
    sent = program.runs[1] * (program.counts[1] @ (program.column("link_bytes") * hidden))
    assert sent == pytest.approx(2 * memory.parameters_on(LLAMA, Parallelism()))


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
    assert found.weights_bytes == pytest.approx(16 * memory.parameters_on(LLAMA, Parallelism()))
    with pytest.raises(DoesNotFitError):
        pipeline.estimate(workload(catalog.model("llama-3.1-8b")), H100)


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"global_batch": 6, "split": {"data": 4}}, InputError),
        ({"precision": Precision.INT8}, NoEstimateError),
    ],
)
def test_refusals(inputs, error):
    with pytest.raises(error):
        lowering.lower(workload(**inputs))


def held(split=None, **inputs):
    return memory.need(workload(split=split, **inputs), H100).weights_bytes


def test_zero_spreads_sixteen_bytes_stage_by_stage():
    whole = memory.parameters_on(LLAMA, Parallelism())
    eight = {"data": 8}
    assert held(eight) == pytest.approx(16 * whole)
    assert held(eight, zero=1) == pytest.approx((4 + 12 / 8) * whole)
    assert held(eight, zero=2) == pytest.approx((2 + 14 / 8) * whole)
    gathered = 2 / LLAMA.layers * 2 * whole  # two layers are whole at once
    assert held(eight, zero=3) == pytest.approx(16 / 8 * whole + gathered)
    assert held(optimizer="adam-8bit") == pytest.approx(10 * whole)
    assert held(optimizer="sgd") == pytest.approx(12 * whole)
    assert held({"tensor": 4, "pipeline": 2}) == pytest.approx(16 * whole / 8)


def sent(program, operation):
    """Bytes of messages of one kind in one optimiser step on one GPU, forward and backward."""
    rows = program.column("link_bytes") * (program.column("link_operation") == operation)
    rows = rows * (program.column("link_ranks") == 4)
    return (program.runs[:, None] * program.counts).sum(axis=0) @ rows


def test_zero_tells_replicas_twice_or_thrice_the_weights():
    whole = memory.parameters_on(LLAMA, Parallelism())
    plain, first, third = (
        lowering.lower(workload(split={"data": 4}, zero=stage, global_batch=4))
        for stage in (0, 1, 3)
    )
    assert sent(plain, links.ALL_REDUCE) == pytest.approx(2 * whole)
    assert sent(first, links.REDUCE_SCATTER) == pytest.approx(2 * whole)
    assert sent(first, links.ALL_GATHER) == pytest.approx(2 * whole)
    assert sent(third, links.ALL_GATHER) == pytest.approx(4 * whole)
    many = lowering.lower(workload(split={"data": 4}, zero=3, global_batch=16))
    assert sent(many, links.ALL_GATHER) == pytest.approx(4 * sent(third, links.ALL_GATHER))


def test_lora_trains_adapters_beside_frozen_weights():
    plain, lora = (lowering.lower(workload(lora_rank=rank)) for rank in (None, 16))
    adapters = states.adapter_parameters(LLAMA, 16, "all")
    h, q, k, i = 2048, 2048, 512, 8192
    pairs = 2 * (h + q) + 2 * (h + k) + 3 * (h + i)
    assert adapters == 16 * 16 * pairs
    tokens = 8 * 1024
    forward = products(plain, 0)
    extra = 2 * adapters * tokens
    assert products(lora, 0) == pytest.approx(forward + extra)
    assert products(lora, 1) == pytest.approx(forward + 2 * extra)  # no gradient of frozen weights
    frozen = 2 * memory.parameters_on(LLAMA, Parallelism())
    assert held(lora_rank=16) == pytest.approx(frozen + 16 * adapters)
    narrow = workload(lora_rank=16, weight_precision=Precision.INT4)
    assert memory.need(narrow, H100).weights_bytes < 0.3 * frozen + 16 * adapters
    assert pipeline.estimate(narrow, H100).training.mfu > 0.05


def test_context_parallel_ranks_share_a_sequence():
    one = lowering.lower(workload(tokens=8192))
    two = lowering.lower(workload(tokens=8192, split={"context": 2}))
    assert training.flop_per_step(two) == pytest.approx(0.5 * training.flop_per_step(one), rel=0.01)
    keys = 2 * 8192 * LLAMA.key_value_size * 2.0 * LLAMA.layers * 8  # K and V in bf16
    rows = two.column("link_bytes") * (two.column("link_operation") == links.ALL_GATHER)
    assert two.runs[0] * (two.counts[0] @ rows) == pytest.approx(keys)


def test_interleaving_shrinks_the_bubble():
    one, two = (
        pipeline.estimate(workload(split={"pipeline": 4}, interleave=chunks, zero=1), H100)
        for chunks in (1, 2)
    )
    assert one.training.bubble_fraction == pytest.approx(pipeline_bubble(4, 8))
    assert two.training.bubble_fraction == pytest.approx(pipeline_bubble(4, 8, 2))
    assert two.duration.value < one.duration.value


def test_fp8_multiplies_faster_and_keeps_wide_weights():
    model = catalog.model("llama-3.1-8b")
    split = {"tensor": 8}
    wide, narrow = (
        pipeline.estimate(workload(model, 4096, split, precision), H100)
        for precision in (Precision.BF16, Precision.FP8)
    )
    assert narrow.duration.value < wide.duration.value
    assert narrow.memory.weights_bytes > wide.memory.weights_bytes


def test_checkpoints_and_stalls_hold_idle_boards():
    found = pipeline.estimate(
        workload(steps=100, checkpoint_every=50, storage_bandwidth=1e9, stall_s=0.5), H100
    )
    phases = {phase.name: phase for phase in found.phases}
    written = 14 * memory.parameters_on(LLAMA, Parallelism())
    assert phases["checkpoint"].count == 2
    assert phases["checkpoint"].duration.value == pytest.approx(2 * written / 1e9)
    assert phases["input"].duration.value == pytest.approx(50.0)
    idle = phases["checkpoint"].power.value
    assert set(phases["checkpoint"].components) == {"idle"}
    assert phases["input"].power.value == pytest.approx(idle)
    assert idle < 0.5 * phases["forward"].power.value
    swept = whatif.sweep(
        workload(steps=100, checkpoint_every=50, storage_bandwidth=1e9, stall_s=0.5), [H100],
        clocks_hz=[H100.max_clock_hz],
    )  # fmt: skip
    assert swept[0].energy_j == pytest.approx(found.energy.value)
    assert swept[0].duration_s == pytest.approx(found.duration.value)


def test_thousands_of_gpus_are_the_same_arithmetic():
    split = {"tensor": 8, "pipeline": 8}
    model = catalog.model("llama-3.1-70b")
    found = [
        pipeline.estimate(
            workload(model, 4096, split | {"data": data}, global_batch=64 * data, zero=1), H100_SXM
        )
        for data in (1, 8, 64)
    ]
    assert [one.gpu_count for one in found] == [64, 512, 4096]
    steps = [one.training.step_s for one in found]
    assert steps[0] <= steps[1] <= steps[2] < 1.2 * steps[0]  # weak scaling, exchange hidden
    each = [one.energy.value / one.gpu_count for one in found]
    assert each[0] == pytest.approx(each[2], rel=0.1)


def test_the_same_work_on_more_gpus_never_costs_less_idle_energy():
    idle = [
        pipeline.estimate(workload(split={"data": data}, global_batch=64), H100)
        .components["idle"].value
        for data in (1, 2, 4, 8, 16)
    ]  # fmt: skip
    assert idle == sorted(idle)


def test_mfu_counts_what_recomputation_does_not_repeat():
    plain, full = (pipeline.estimate(workload(recompute=how), H100) for how in ("none", "full"))
    assert full.training.flop == plain.training.flop
    assert full.training.mfu < plain.training.mfu
    peak = H100.rate("bf16")
    told = plain.training
    assert told.mfu == pytest.approx(told.flop / (told.step_s * peak))
    six = 6 * LLAMA.parameters * told.tokens
    assert told.flop == pytest.approx(six, rel=0.12)  # attention comes on top


def test_tokens_to_steps_and_back():
    assert recipe.steps_for(15e12, 2048, 8192) == 894_070
    assert recipe.steps_for(1, 8, 1024) == 1
    for steps in (1, 7, 1000):
        assert recipe.steps_for(steps * 8 * 1024, 8, 1024) == steps


def test_experts_exchange_their_tokens():
    mixture = catalog.model("mixtral-8x7b")
    split = {"data": 8, "expert": 8}
    found = lowering.lower(workload(mixture, 4096, split, zero=1, global_batch=8))
    rows = found.column("link_bytes") * (found.column("link_operation") == links.ALL_TO_ALL)
    once = 4096 * 2 * mixture.hidden_size * 2.0  # tokens x experts each x width, bf16
    assert found.counts[0] @ rows == pytest.approx(2 * mixture.layers * once)
    assert found.counts[1] @ rows == pytest.approx(2 * mixture.layers * once)
    local = memory.need(workload(mixture, 4096, split, zero=1, global_batch=8), H100)
    whole = memory.need(workload(mixture, 4096, {"data": 8}, zero=1, global_batch=8), H100)
    assert local.weights_bytes < 0.5 * whole.weights_bytes


@pytest.mark.parametrize(
    ("inputs", "advice"),
    [
        ({"global_batch": 9, "split": {"data": 4}}, "choose 8 or 12"),
        ({"tokens": 1000, "split": {"context": 16}}, "choose 20"),
        ({"split": {"pipeline": 5}}, "choose pipeline=4"),
        ({"split": {"pipeline": 4}, "interleave": 3}, "choose interleave=2"),
        ({"split": {"pipeline": 4}, "interleave": 2, "global_batch": 6}, "set global_batch to 8"),
        ({"split": {"tensor": 3}}, "choose 2"),
        ({"weight_precision": Precision.INT4}, "set lora_rank"),
    ],
)
def test_a_split_that_does_not_work_names_one_that_does(inputs, advice):
    with pytest.raises(InputError, match=advice):
        lowering.lower(workload(**inputs))


def test_ends_of_a_pipeline_may_hold_embedding_and_head():
    lowering.lower(workload(catalog.model("llama-3.1-405b"), split={"tensor": 8, "pipeline": 16},
                            global_batch=16))  # fmt: skip


def test_a_micro_batch_that_does_not_fit_names_the_largest():
    with pytest.raises(DoesNotFitError, match=r"a micro_batch of (\d+) fits") as error:
        pipeline.estimate(workload(tokens=8192, global_batch=64, micro_batch=64), H100)
    fits = int(str(error.value).split("micro_batch of ")[1].split()[0])
    assert 1 <= fits < 64
    pipeline.estimate(workload(tokens=8192, global_batch=fits, micro_batch=fits), H100)


def test_node_power_stands_apart_from_boards():
    plain = pipeline.estimate(workload(split={"data": 8}), H100_SXM)
    inputs = workload(split={"data": 8}).model_copy(update={"node_power": True})
    found = pipeline.estimate(inputs, H100_SXM)
    assert plain.node is None
    assert found.power == plain.power
    node = found.node
    assert node.nodes == 1
    assert sum(node.parts_w.values()) == pytest.approx(node.power.value)
    assert node.parts_w["boards"] == found.power.value
    assert node.power.low < node.power.value < node.power.high
    assert node.energy.value == pytest.approx(node.power.value * found.duration.value)
    above = catalog.node("dgx-h100").overhead
    heat = found.power.value / (8 * H100_SXM.power_limit_w)
    fans = above.fans_idle_w + (above.fans_full_w - above.fans_idle_w) * heat**3
    host = above.processors_idle_w + 0.3 * (above.processors_full_w - above.processors_idle_w)
    rest = host + above.memory_w + above.network_w + above.other_w + fans
    expected = (found.power.value + rest) / above.supply_efficiency
    assert node.power.value == pytest.approx(expected)
