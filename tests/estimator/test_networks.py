"""Kernels of vision, speech and encoder-decoder models: by hand, against traces, as properties."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energaizer import catalog, kernels, lowering, memory, pipeline
from energaizer.coefficients import FAMILIES
from energaizer.errors import DoesNotFitError, InputError, NoEstimateError
from energaizer.families.operators import Tape
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.recipe import Training
from energaizer.workload import Workload

DATA = Path(__file__).parents[3] / "shared" / "data" / "single_gpu" / "workloads"
IMAGES = (
    "resnet18", "resnet50", "vit-small", "swin-tiny", "mobilenet-v2", "mobilenet-v3-small",
    "efficientnet-b0", "mobilevit-xxs", "convnext-tiny", "clip-vit-b-32",
)  # fmt: skip
GPU = catalog.gpu("a100-pcie-40gb")


def workload(name, **inputs):
    return Workload(model=catalog.model(name), **inputs)


def total(program, name, step=0):
    return float(program.counts[step] @ program.column(name))


def launches(program, family):
    return program.counts[0][program.column("family") == FAMILIES.index(family)].sum()


@pytest.mark.parametrize(("name", "gflop"), [("vit-large", 984.87), ("resnet101", 124.82)])
def test_product_flop_of_published_passes(name, gflop):
    model = catalog.model(name).bare()
    program = lowering.lower(Workload(model=model, batch=8, attention="eager"))
    assert total(program, "flops") / 1e9 == pytest.approx(gflop, abs=0.006)


@pytest.mark.accuracy
@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data lie beside the repository")
@pytest.mark.parametrize(
    ("prefix", "name"), [("vitmodel_large", "vit-large"), ("resnet101_", "resnet101")]
)
def test_products_of_traced_passes(prefix, name):
    for path in sorted(DATA.glob(f"{prefix}_*.json")):
        batch = next(int(f[1:]) for f in path.stem.split("_") if f[:1] == "b" and f[1:].isdigit())
        model = catalog.model(name).bare()
        program = lowering.lower(Workload(model=model, batch=batch, attention="eager"))
        traced: dict[tuple[float, ...], float] = {}
        for item in json.loads(path.read_text(encoding="utf-8")):
            shape = item["fields"]
            if item["kind"][0] in {"gemm", "conv2d"}:
                sides = sorted((shape["dimM"], shape["dimN"]))
                key = (shape["batch"], *sides, shape["dimK"])
                if name != "vit-large" or batch not in sides:
                    traced[key] = traced.get(key, 0) + item["count"]
        ours: dict[tuple[float, ...], float] = {}
        for row, count in zip(program.rows, program.counts[0], strict=True):
            kernel = kernels.Kernel(*row)
            pooler = name == "vit-large" and kernel.m == batch  # traced as 768 wide, not 1024
            if kernel.m and not pooler:
                key = (kernel.batch, *sorted((kernel.m, kernel.n)), kernel.k)
                ours[key] = ours.get(key, 0) + count
        assert ours == traced, path.stem


def test_a_convolution_moves_its_input_once():
    # Method, section 3: M, N, K; products; true input bytes.
    kernel = kernels.convolution(
        8.0, (64.0, 64.0, 1.0), (3136.0, 3136.0), 576.0, (2.0, 2.0), "bf16"
    )
    assert (kernel.m, kernel.n, kernel.k) == (25_088, 64, 576)
    assert kernel.flops == 2 * 924_844_032
    assert kernel.read_bytes == pytest.approx(3.21e6 + 64 * 576 * 2, rel=1e-3)
    assert kernel.write_bytes == pytest.approx(3.21e6, rel=1e-3)


def test_a_depthwise_convolution_streams():
    kernel = kernels.depthwise(8.0, 128.0, (4096.0, 4096.0), 9.0, (2.0, 2.0))
    assert (kernel.m, kernel.flops) == (0, 0)
    assert kernel.read_bytes == 8 * 128 * 4096 * 2 + 128 * 9 * 2
    assert 2 * 37_748_736 <= kernel.core_flops < 2 * 4_831_838_208 / 10


def test_grouped_convolutions_multiply_group_by_group():
    grouped = kernels.convolution(
        1.0, (256.0, 256.0, 32.0), (196.0, 196.0), 72.0, (2.0, 2.0), "bf16"
    )
    assert (grouped.batch, grouped.n, grouped.k) == (32, 8, 72)
    assert grouped.flops == 2 * 196 * 256 * 72
    assert grouped.read_bytes == 2 * (256 * 196 + 72 * 256)


def test_products_of_a_pass_are_conserved():
    for name in IMAGES:
        model = catalog.model(name)
        for attention in ("fused", "eager"):
            program = lowering.lower(workload(name, batch=3, attention=attention))
            seen = total(program, "flops")
            # Depthwise products run on the CUDA cores; a causal tower computes half its pairs.
            assert seen <= 2 * 3 * model.macs * (1 + 1e-9), name
            assert seen >= 2 * 3 * model.macs * 0.85, name


def test_half_precision_convolutions_are_laid_out_anew():
    half = lowering.lower(workload("resnet50", batch=2))
    full = lowering.lower(workload("resnet50", batch=2, precision=Precision.FP32))
    assert launches(half, "copy") == 53  # inputs; outputs are written as they were
    copied = half.column("write_bytes")[half.column("family") == FAMILIES.index("copy")]
    assert copied.max() == 2.0 * 2 * 256 * 56 * 56  # batch x bytes x the widest input
    assert launches(full, "copy") == 0
    products = full.column("family") == FAMILIES.index("convolution")
    assert set(full.column("rate")[products]) == {kernels.RATE["tf32"]}


def test_batch_norm_in_half_precision_has_two_helpers():
    half = lowering.lower(workload("resnet50", batch=2))
    full = lowering.lower(workload("resnet50", batch=2, precision=Precision.FP32))
    # 53 norms, 49 ReLU, 16 sums, two poolings; each norm with two kernels on its statistics
    assert launches(full, "elementwise") == 53 + 49 + 16 + 2
    assert launches(half, "elementwise") == launches(full, "elementwise") + 2 * 53
    # 106 helpers of norms and 53 layouts are .15 of a launch for the host
    assert half.launches[0] == pytest.approx(full.launches[0] + 0.15 * (106 + 53))


def test_windows_of_swin_by_hand():
    program = lowering.lower(workload("swin-tiny", batch=2, attention="eager"))
    softmax = program.rows[program.column("family") == FAMILIES.index("softmax")]
    rows = softmax[:, kernels.COLUMN["special"]] / 49
    # 64 windows of 49 tokens and 3 heads in the first stage, 1 window and 24 heads in the last
    assert {2 * 64 * 3 * 49, 2 * 1 * 24 * 49} <= set(rows)
    assert launches(program, "softmax") == 12
    wide = lowering.lower(workload("swin-tiny", batch=2, attention="eager", image_size=256))
    assert total(wide, "flops") > total(program, "flops")


@given(st.sampled_from(IMAGES), st.integers(1, 64), st.sampled_from(["fused", "eager"]))
def test_a_larger_batch_costs_more_in_all_but_less_an_image(name, batch, attention):
    small = pipeline.estimate(workload(name, batch=batch, attention=attention), GPU)
    large = pipeline.estimate(workload(name, batch=2 * batch, attention=attention), GPU)
    slack = 1 + 1e-9
    assert small.energy.value <= large.energy.value * slack
    assert small.duration.value <= large.duration.value * slack
    assert small.memory.total_bytes <= large.memory.total_bytes


def test_an_estimate_of_images():
    answer = pipeline.estimate(workload("vit-large", batch=32, requests=320), GPU)
    assert [(phase.name, phase.count) for phase in answer.phases] == [("forward", 10)]
    assert answer.energy_per_sample.unit == "J/image"
    assert answer.energy_per_sample.value == pytest.approx(answer.energy.value / 320)
    assert answer.energy_per_output_token is None
    assert sum(part.value for part in answer.components.values()) == pytest.approx(
        answer.energy.value
    )
    assert answer.memory.weights_bytes == 2 * 304_326_632


def test_an_encoder_decoder_encodes_and_then_writes():
    heard = pipeline.estimate(workload("whisper-small", batch=4), GPU)
    written = pipeline.estimate(workload("whisper-small", batch=4, output_tokens=50), GPU)
    assert [phase.name for phase in heard.phases] == ["forward"]
    assert [(phase.name, phase.count) for phase in written.phases] == [
        ("forward", 1), ("decode", 49),
    ]  # fmt: skip
    assert written.energy.value > heard.energy.value
    assert written.energy_per_output_token.value == pytest.approx(written.energy.value / 200)
    assert written.memory.kv_cache_bytes == 4 * 2 * 12 * 768 * (1500 + 54) * 2
    longer = pipeline.estimate(workload("whisper-small", batch=4, output_tokens=100), GPU)
    assert longer.duration.value > written.duration.value


def test_sampled_decoder_steps_stand_for_all():
    t5 = workload("t5-small", batch=2, input_tokens=128, output_tokens=41, attention="eager")
    program = lowering.lower(t5)
    model, inputs = t5.network, t5.network_inputs
    products = 0.0
    for context in range(2, 42):
        tape = Tape()
        model.decode(tape, 1.0, float(context), inputs)
        products += 2 * 2 * tape.macs
    steps = np.array([phase == "decode" for phase in program.phases])
    flops = program.counts[steps] @ program.column("flops")
    assert program.repetitions[steps].sum() == pytest.approx(40)
    assert program.repetitions[steps] @ flops == pytest.approx(products)


def test_training_costs_three_forward_passes_of_products():
    one = lowering.lower(workload("vit-large", batch=8))
    trained = lowering.lower(
        workload("vit-large", training=Training(global_batch=8, micro_batch=8))
    )

    def products(program, step):
        rows = program.column("m") > 0
        return program.counts[step] @ (program.column("flops") * rows)

    assert products(trained, 0) == pytest.approx(products(one, 0))
    assert products(trained, 1) == pytest.approx(2.0 * products(one, 0))
    many = Training(global_batch=64, micro_batch=64)
    found = pipeline.estimate(workload("resnet-50", training=many), GPU)
    assert found.training.tokens is None
    assert found.training.samples == 64
    assert found.energy_per_output_token is None
    assert found.energy_per_sample.value == pytest.approx(found.energy.value / 64)


def test_what_has_no_method_says_so():
    with pytest.raises(NoEstimateError, match="data-parallel"):
        memory.need(workload("vit-large", parallelism=Parallelism(tensor=2)), GPU)
    with pytest.raises(NoEstimateError, match="bf16"):
        lowering.lower(workload("vit-large", precision=Precision.FP8))
    with pytest.raises(NoEstimateError, match="only of one stack"):
        lowering.lower(workload("t5-base", input_tokens=512, training=Training(global_batch=8)))
    with pytest.raises(InputError, match="writes no tokens"):
        lowering.lower(workload("vit-large", output_tokens=5))
    with pytest.raises(InputError, match="at least"):
        lowering.lower(workload("resnet50", image_size=16))
    with pytest.raises(InputError, match="77 tokens"):
        lowering.lower(workload("clip-vit-b-32", input_tokens=100))
    with pytest.raises(DoesNotFitError, match="a batch of"):
        pipeline.estimate(workload("efficientnet-b7", batch=4096), GPU)


def test_a_workload_survives_a_round_trip():
    for name in ("mobilenet-v3-small", "whisper-tiny", "vit-base"):
        asked = workload(name, batch=4)
        assert Workload.model_validate(asked.model_dump(mode="json")) == asked
