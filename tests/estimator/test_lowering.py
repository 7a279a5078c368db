"""Kernels of dense transformers: counts by hand, and against traced operator lists."""

import json
from pathlib import Path

import numpy as np
import pytest

from energaizer import catalog, kernels, stacks
from energaizer.coefficients import FAMILIES
from energaizer.errors import InputError, NoEstimateError
from energaizer.lowering import transformer
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.workload import Workload

DATA = Path(__file__).parents[3] / "shared" / "data" / "single_gpu" / "workloads"
NAMES = {
    "bertmodel_large": "bert-large",
    "gpt2model_gpt2": "gpt2",
    "optmodel_opt-1p3b": "opt-1.3b",
}


def workload(name, **inputs):
    return Workload(model=catalog.model(name), **({"input_tokens": 128} | inputs))


def total(program, name, step=0):
    return float(program.counts[step] @ program.column(name))


def of_family(program, name):
    return program.column("family") == FAMILIES.index(name)


def backbone(name, **inputs):
    """The model without its language head, as the traced passes ran."""
    found = workload(name, attention="eager", host="pytorch-eager", **inputs)
    return found.model_copy(
        update={"model": found.model.model_copy(update={"language_head": False})}
    )


@pytest.mark.parametrize(
    ("name", "batch", "gflop"),
    [("bert-large", 1, 78.92), ("gpt2", 1, 22.35), ("opt-1.3b", 1, 312.46)],
)
def test_product_flop_of_published_passes(name, batch, gflop):
    program = transformer.lower(backbone(name, batch=batch))
    assert total(program, "flops") / 1e9 == pytest.approx(gflop, abs=0.006)


@pytest.mark.accuracy
@pytest.mark.skipif(not DATA.is_dir(), reason="the measured data lie beside the repository")
@pytest.mark.parametrize("prefix", NAMES)
def test_products_of_traced_passes(prefix):
    for path in sorted(DATA.glob(f"{prefix}_*prefill.json")):
        fields = path.stem.split("_")
        batch = int(next(f[1:] for f in fields if f[0] == "b" and f[1:].isdigit()))
        tokens = int(next(f[1:] for f in fields if f[0] == "s" and f[1:].isdigit()))
        program = transformer.lower(backbone(NAMES[prefix], batch=batch, input_tokens=tokens))
        traced: dict[tuple[float, ...], float] = {}
        softmax = norms = 0
        for item in json.loads(path.read_text(encoding="utf-8")):
            shape = item["fields"]
            if item["kind"][0] == "gemm":
                key = (shape["batch"], *sorted((shape["dimM"], shape["dimN"])), shape["dimK"])
                traced[key] = traced.get(key, 0) + item["count"]
            softmax += item["count"] * (item["kind"][0] == "softmax")
            norms += item["count"] * (item["kind"][0] == "layernorm")
        ours: dict[tuple[float, ...], float] = {}
        for row, count in zip(program.rows, program.counts[0], strict=True):
            kernel = kernels.Kernel(*row)
            if kernel.m:
                key = (kernel.batch, *sorted((kernel.m, kernel.n)), kernel.k)
                ours[key] = ours.get(key, 0) + count
        assert ours == traced, path.stem
        assert program.counts[0][of_family(program, "softmax")].sum() == softmax
        assert program.counts[0][of_family(program, "norm")].sum() == norms


def test_weights_of_a_decode_step():
    program = transformer.lower(workload("llama-3.1-8b", output_tokens=2))
    products = program.column("m") > 0
    read = program.column("n") * program.column("k") * program.column("b_bytes")
    assert program.counts[1] @ (read * products) / 1e9 == pytest.approx(15.009, abs=5e-4)


def test_decode_steps_stand_for_all():
    contexts, weights = stacks.decode_contexts(129.0, 383.0, (200.0,))
    every = np.arange(129.0, 384.0)
    assert weights.sum() == pytest.approx(255)
    assert weights @ contexts == pytest.approx(every.sum())
    assert weights @ np.minimum(contexts, 200) == pytest.approx(
        np.minimum(every, 200).sum(), rel=1e-4
    )
    assert weights @ np.sqrt(contexts) == pytest.approx(np.sqrt(every).sum(), rel=1e-6)
    few, ones = stacks.decode_contexts(5.0, 7.0, ())
    assert (few.tolist(), ones.tolist()) == ([5, 6, 7], [1, 1, 1])


def test_tensor_parallel_splits_work_and_adds_exchange():
    whole = transformer.lower(workload("llama-3.1-8b", output_tokens=2))
    half = transformer.lower(
        workload("llama-3.1-8b", output_tokens=2, parallelism=Parallelism(tensor=2))
    )
    for step in (0, 1):
        assert total(half, "flops", step) == pytest.approx(
            total(whole, "flops", step) / 2, rel=1e-9
        )
    exchanges = half.counts[0][of_family(half, "collective")].sum()
    assert exchanges == 2 * 32
    message = half.column("link_bytes")[of_family(half, "collective")].max()
    assert message == 128 * 4096 * 2


def test_more_ranks_than_kv_heads_keep_one_each():
    program = transformer.lower(
        workload("llama-3.1-8b", output_tokens=2, parallelism=Parallelism(tensor=16))
    )
    decode = of_family(program, "attention-decode")
    queries = 2 * 128 * 2  # q in, with one KV head of 128
    assert program.column("read_bytes")[decode][0] - queries == 2 * 129 * 128 * 2


def test_pipeline_stages_share_layers():
    whole = transformer.lower(workload("llama-3.1-8b", batch=8))
    staged = transformer.lower(
        workload("llama-3.1-8b", batch=8, parallelism=Parallelism(pipeline=4))
    )
    assert staged.slots.tolist() == [4 + 4 - 1]
    assert staged.runs.tolist() == [4]
    done = total(staged, "flops") * staged.runs[0] * staged.stages
    assert done == pytest.approx(total(whole, "flops"), rel=1e-9)


def test_windowed_layers_read_only_their_window():
    full = workload("gemma-3-27b", input_tokens=4096, output_tokens=2)
    program = transformer.lower(full)
    decode = of_family(program, "attention-decode")
    counts = program.counts[1][decode]
    blocks = program.column("flops")[decode] / (
        4 * full.model.attention_heads * full.model.head_size
    )
    assert dict(zip(blocks.tolist(), counts.tolist(), strict=True)) == {4097.0: 10.0, 1024.0: 52.0}


def test_narrow_weights_move_fewer_bytes_and_as_many_flop():
    wide = transformer.lower(workload("llama-3.1-8b"))
    narrow = transformer.lower(workload("llama-3.1-8b", weight_precision=Precision.INT4))
    assert total(narrow, "flops") == total(wide, "flops")
    assert total(narrow, "read_bytes") < total(wide, "read_bytes")
    assert total(narrow, "core_flops") > total(wide, "core_flops")


def test_eight_bit_products_quantise_their_input():
    program = transformer.lower(workload("llama-3.1-8b", precision=Precision.FP8))
    plain = transformer.lower(workload("llama-3.1-8b"))
    assert program.launches[0] == plain.launches[0] + 4 * 32
    rates = program.column("rate")[(program.column("m") > 0)]
    assert {kernels.RATE["fp8"], kernels.RATE["bf16"]} == set(rates.tolist())


def test_equal_workloads_share_their_program():
    assert transformer.lower(workload("gpt2")) is transformer.lower(workload("gpt2"))


@pytest.mark.parametrize(
    ("inputs", "error", "text"),
    [
        ({"parallelism": Parallelism(tensor=5)}, InputError, "choose 4"),
        ({"parallelism": Parallelism(pipeline=64)}, InputError, "layers"),
        ({"parallelism": Parallelism(expert=2)}, InputError, "experts"),
        ({"parallelism": Parallelism(context=2)}, NoEstimateError, "context parallelism"),
    ],
)
def test_refusals_say_what_to_change(inputs, error, text):
    with pytest.raises(error, match=text):
        transformer.lower(workload("llama-3.1-8b", **inputs))


def test_an_encoder_cannot_decode():
    with pytest.raises(InputError, match="encoder"):
        transformer.lower(workload("bert-large", output_tokens=5))


def test_kernels_over_contiguous_tensors_are_told():
    program = transformer.lower(backbone("bert-large", batch=8))
    streamed = of_family(program, "elementwise") | of_family(program, "copy")
    ordered = program.column("contiguous") > 0
    # by layer: two residual adds, GELU and the scaling; the mask and four layouts of heads are not
    assert program.counts[0][ordered & streamed].sum() == 24 * 4 + 2  # two more of embeddings
    scores = 8 * 16 * 128 * 128 * 2.0
    by_bytes = program.column("write_bytes") == scores
    assert program.counts[0][by_bytes & streamed & ordered].sum() == 24
    assert not ordered[of_family(program, "copy")].any()
