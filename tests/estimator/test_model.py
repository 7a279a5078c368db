"""Models: parameter counts as published, KV cache and weights per step by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from energaizer import catalog
from energaizer.model import Model
from energaizer.precision import Precision

# Totals of the published weights, in units of 1e9 (text stack of Gemma 3).
PUBLISHED = {
    "llama-7b": 6.738,
    "llama-13b": 13.016,
    "llama-30b": 32.529,
    "llama-65b": 65.286,
    "llama-2-7b": 6.738,
    "llama-2-13b": 13.016,
    "llama-2-70b": 68.977,
    "llama-3-8b": 8.030,
    "llama-3-70b": 70.554,
    "llama-3.1-8b": 8.030,
    "llama-3.1-70b": 70.554,
    "llama-3.1-405b": 405.85,
    "llama-3.2-1b": 1.236,
    "llama-3.2-3b": 3.213,
    "llama-3.3-70b": 70.554,
    "qwen2-0.5b": 0.494,
    "qwen2-1.5b": 1.544,
    "qwen2-7b": 7.616,
    "qwen2-72b": 72.706,
    "qwen2.5-0.5b": 0.494,
    "qwen2.5-1.5b": 1.544,
    "qwen2.5-3b": 3.086,
    "qwen2.5-7b": 7.616,
    "qwen2.5-14b": 14.770,
    "qwen2.5-32b": 32.764,
    "qwen2.5-72b": 72.706,
    "qwen3-0.6b": 0.596,
    "qwen3-1.7b": 1.721,
    "qwen3-4b": 4.022,
    "qwen3-8b": 8.191,
    "qwen3-14b": 14.768,
    "qwen3-32b": 32.762,
    "mistral-7b-v0.1": 7.242,
    "mistral-7b-v0.2": 7.242,
    "mistral-7b-v0.3": 7.248,
    "mistral-nemo": 12.248,
    "mistral-small-24b": 23.572,
    "mistral-small-22b": 22.247,
    "ministral-8b": 8.020,
    "mistral-large": 122.61,
    "gemma-2b": 2.506,
    "gemma-7b": 8.538,
    "gemma-2-2b": 2.614,
    "gemma-2-9b": 9.242,
    "gemma-2-27b": 27.227,
    "gemma-3-270m": 0.268,
    "gemma-3-1b": 1.000,
    "gemma-3-4b": 3.880,
    "gemma-3-12b": 11.766,
    "gemma-3-27b": 27.009,
    "opt-175b": 174.6,
    "bert-tiny": 0.00437,
    "bert-mini": 0.01110,
    "bert-small": 0.02850,
    "bert-medium": 0.04111,
    "gpt2": 0.1244,
    "gpt2-medium": 0.3548,
    "gpt2-large": 0.7740,
    "gpt2-xl": 1.5576,
    "gpt3": 174.6,
    "opt-125m": 0.1252,
    "opt-350m": 0.3312,
    "opt-1.3b": 1.3158,
    "opt-2.7b": 2.6516,
    "opt-6.7b": 6.6585,
    "opt-13b": 12.853,
    "opt-30b": 29.975,
    "opt-66b": 65.720,
    "bert-base": 0.1095,
    "bert-base-cased": 0.1083,
    "bert-large": 0.3351,
    "bert-large-cased": 0.3336,
    "roberta-base": 0.1246,
    "roberta-large": 0.3554,
    "phi-3-mini": 3.821,
    "phi-3-mini-128k": 3.821,
    "phi-3-medium": 13.960,
    "phi-3-medium-128k": 13.960,
    "phi-4": 14.660,
    "phi-4-mini": 3.836,
    "llama-3.1-405b-fp8": 405.85,
    "llama-4-scout": 107.77,
    "llama-4-maverick": 400.71,
    "llama-4-maverick-fp8": 400.71,
    "gpt-oss-20b": 20.91,
    "gpt-oss-120b": 116.8,
    "qwen1.5-moe": 14.3,
    "qwen2-57b-a14b": 57.4,
    "qwen3-30b-a3b": 30.53,
    "qwen3-30b-a3b-fp8": 30.53,
    "qwen3-235b": 235.1,
    "qwen3-235b-fp8": 235.1,
    "qwen3-coder-480b": 480.15,
    "qwen3-coder-480b-fp8": 480.15,
    "qwen3-next-80b": 80.0,
    "qwen3-vl-8b": 8.19,
    "qwen3-vl-32b": 32.76,
    "qwen3-vl-30b-a3b": 30.53,
    "qwen3-vl-235b": 235.1,
    "qwen3-vl-235b-fp8": 235.1,
    "qwen3-omni-30b-a3b": 30.53,
    "qwen2.5-vl-7b": 7.62,
    "qwen2.5-vl-72b": 72.7,
    "qwen3-embedding-8b": 7.57,
    "qwen3-embedding-0.6b": 0.596,
    "deepseek-v3": 671.0,
    "deepseek-v3.2": 671.9,
    "deepseek-v2": 236.0,
    "deepseek-v2-lite": 15.7,
    "kimi-k2": 1026.0,
    "nemotron-nano-9b-v2": 8.89,
    "nemotron-nano-12b-v2": 12.31,
    "nemotron-nano-12b-vl": 12.31,
    "jamba-mini-1.5": 51.6,
    "falcon-h1-7b": 7.59,
    "mamba-2.8b": 2.77,
    "mixtral-8x7b": 46.7,
    "mixtral-8x22b": 140.6,
    "pixtral-12b": 12.25,
    "glm-4.5": 353.0,
    "glm-4.5-air": 106.9,
    "minimax-m2": 228.7,
    "olmoe-1b-7b": 6.92,
    "phi-3.5-moe": 41.9,
    "command-r": 35.0,
    "command-r-plus": 103.8,
    "dbrx": 131.6,
    "llava-1.5-7b": 6.74,
    "internvl3-8b": 7.61,
}


def test_every_model_has_a_published_count():
    assert {catalog.model(name).name for name in PUBLISHED} == {
        m.name for m in catalog.models() if isinstance(m, Model)
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_agree_with_the_published_count(name):
    model = catalog.model(name)
    text = model.parameters - model.vision_parameters  # towers are counted apart
    assert text / 1e9 == pytest.approx(PUBLISHED[name], rel=0.01)


def test_llama_by_hand():
    model = catalog.model("llama-3.1-8b")
    # q and o 4096x4096, k and v 4096x1024; three matrices 4096x14336; 65 norms of 4096.
    assert model.attention_parameters == 2 * 4096 * 4096 + 2 * 4096 * 1024 == 41_943_040
    assert model.mlp_parameters == 3 * 4096 * 14336 == 176_160_768
    assert model.norm_parameters == 65 * 4096
    assert model.embedding_parameters == model.head_parameters == 128_256 * 4096
    assert model.parameters == 8_030_261_248


def test_biases_of_gpt2_by_hand():
    model = catalog.model("gpt2")
    # Published: 124 439 808, embeddings tied.
    assert model.parameters == 124_439_808


@pytest.mark.parametrize(("name", "expected"), [("llama-3.1-8b", 131_072), ("qwen3-8b", 147_456)])
def test_key_value_bytes_per_token(name, expected):
    assert catalog.model(name).key_value_bytes_per_token() == expected


def test_weights_read_per_step():
    read = catalog.model("llama-3.1-8b").bytes_read_per_step(Precision.BF16)
    assert read == 15_009_849_344  # docs/method.md prints 15.009 GB
    assert read / 3.35e12 == pytest.approx(4.480e-3, rel=1e-3)


def test_a_tied_head_is_read_but_not_stored_twice():
    model = catalog.model("llama-3.2-1b")
    table = 128_256 * 2048
    assert model.weight_bytes(Precision.BF16) == 2 * model.parameters
    assert model.bytes_read_per_step(Precision.BF16) == 2 * model.parameters
    assert model.head_parameters == table


def test_quantised_weights_leave_embeddings_wide():
    model = catalog.model("llama-3.1-8b")
    layers = 32 * (41_943_040 + 176_160_768)
    wide = 2 * 128_256 * 4096 + 65 * 4096
    assert model.weight_bytes(Precision.INT4) == layers * 0.515625 + 2 * wide


def test_sliding_layers_hold_their_window():
    model = catalog.model("gemma-2-9b")  # 21 of 42 layers see 4096 tokens; 8 heads of 256
    assert model.key_value_bytes(8192) == 2 * (21 * 8192 + 21 * 4096) * 2048 * 2
    assert model.key_value_bytes(100) == 100 * model.key_value_bytes_per_token()


@given(st.integers(1, 2**20), st.sampled_from(sorted(PUBLISHED)))
def test_the_cache_never_shrinks_with_context(context, name):
    model = catalog.model(name)
    assert 0 <= model.key_value_bytes(context) <= model.key_value_bytes(2 * context)
    assert model.key_value_bytes(context) <= context * model.key_value_bytes_per_token()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key_value_heads": 5}, "multiple"),
        ({"sliding_layers": 99}, "exceeds the layers"),
        ({"sliding_layers": 4, "sliding_window": None}, "needs a sliding_window"),
    ],
)
def test_contradictory_shapes_are_refused(change, message):
    fields = catalog.model("llama-3.1-8b").model_dump()
    with pytest.raises(ValidationError, match=message):
        Model.model_validate(fields | change)
