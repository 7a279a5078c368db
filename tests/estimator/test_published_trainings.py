"""Public facts about trainings beside our prediction (docs/training.md): wide, honest bounds.

Cards count GPU hours of everything that ran; a prediction is of undisturbed steps, so it must stay
below them, and not absurdly so.
"""

import pytest

from energaizer import catalog, pipeline
from energaizer.parallelism import Parallelism
from energaizer.recipe import Training, steps_for
from energaizer.workload import Workload


def estimate(model, gpu, split, tokens, **training):
    described = Workload(
        model=catalog.model(model), input_tokens=tokens, parallelism=Parallelism(**split),
        training=Training(**training),
    )  # fmt: skip
    return pipeline.estimate(described, catalog.gpu(gpu))


@pytest.mark.parametrize(
    ("split", "tokens", "batch", "published"),
    [
        ({"tensor": 8, "pipeline": 16, "data": 64}, 8192, 2048, 0.43),
        ({"tensor": 8, "pipeline": 16, "data": 128}, 8192, 2048, 0.41),
        ({"tensor": 8, "pipeline": 16, "data": 8, "context": 16}, 131072, 128, 0.38),
    ],
)
def test_mfu_of_llama_405b(split, tokens, batch, published):
    found = estimate("llama-3.1-405b", "h100-sxm", split, tokens, global_batch=batch, zero=1,
                     recompute="selective", interleave=2)  # fmt: skip
    assert found.training.mfu == pytest.approx(published, rel=0.25)


FSDP = {"zero": 3, "recompute": "selective"}
MEGATRON = {"zero": 1, "recompute": "selective"}


@pytest.mark.parametrize(
    ("run", "batch", "trained", "recipe", "published"),
    [
        (("llama-2-7b", "a100-80gb", {"data": 256}, 4096), 1024, 2e12, FSDP, 184_320),
        (("llama-2-70b", "a100-80gb", {"tensor": 8, "pipeline": 4, "data": 64}, 4096), 1024, 2e12,
         MEGATRON, 1_720_320),
        (("llama-3.1-70b", "h100-sxm", {"tensor": 8, "pipeline": 4, "data": 128}, 8192), 2048,
         15e12, MEGATRON, 7.0e6),
        (("llama-3.1-405b", "h100-sxm", {"tensor": 8, "pipeline": 16, "data": 64}, 8192), 2048,
         15e12, MEGATRON, 30.84e6),
    ],
)  # fmt: skip
def test_gpu_hours_stay_below_the_card(run, batch, trained, recipe, published):
    *_, tokens = run
    steps = steps_for(trained, batch, tokens)
    found = estimate(*run, global_batch=batch, steps=steps, **recipe)
    hours = found.duration.value * found.gpu_count / 3600
    assert 0.5 * published < hours < published


def test_the_8b_card_is_far_above_undisturbed_steps():
    found = estimate("llama-3.1-8b", "h100-sxm", {"data": 1024}, 8192, global_batch=1024, zero=3,
                     steps=steps_for(15e12, 1024, 8192))  # fmt: skip
    hours = found.duration.value * found.gpu_count / 3600
    assert 0.2 * 1.46e6 < hours < 1.46e6
    peak = found.gpu_count * catalog.gpu("h100-sxm").rate("bf16") * found.duration.value
    assert found.training.flop < peak  # no faster than the silicon
