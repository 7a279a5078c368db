"""Quantised checkpoints: only where the name tells model and bits for sure."""

import pytest

from energaizer.precision import Precision
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.translate import checkpoints, published_precision
from energaizer_operator.translate.workloads import Setting, workload

LLAMA = "meta-llama/Llama-3.1-8B"


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", Precision.INT4),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", Precision.FP8),
        ("neuralmagic/meta-llama-3.1-8b-instruct-quantized.w8a8", Precision.INT8),
        ("x/Llama-3.1-8B-Instruct-quantized.w4a16", Precision.INT4),
        ("unsloth/Llama-3.1-8B-Instruct-bnb-4bit", Precision.INT4),
        ("nvidia/Llama-3.1-8B-Instruct-NVFP4", Precision.NVFP4),
    ],
)
def test_a_quantised_checkpoint_has_the_shape_of_its_base(name: str, weights: Precision) -> None:
    assert checkpoints.base(name) == (LLAMA, weights)


@pytest.mark.parametrize(
    "name",
    [
        "TheBloke/Llama-3.1-8B-Instruct-GPTQ",  # 3, 4 and 8 bits are published so
        "a/Llama-3.1-8B-Instruct-GGUF",
        "a/my-finetune-AWQ",
        "a/Llama-3.1-8B-Instruct-abliterated",
        "AWQ",
        "",
    ],
)
def test_a_name_that_leaves_something_open_stays_unknown(name: str) -> None:
    assert checkpoints.base(name) is None


def test_its_weights_are_narrow_unless_somebody_says_otherwise() -> None:
    inputs = {"task": "Inference", "model_name": "x/Llama-3.1-8B-Instruct-AWQ", "precision": "BF16"}
    load = {"batch_size": 1, "input_tokens": 8, "output_tokens": 8, "gpus_per_replica": 1}
    made = workload(ResolvedInputs(**inputs, **load), Setting(), None)  # type: ignore[arg-type]
    assert (made.model.name, made.weight_precision) == (LLAMA, Precision.INT4)
    wide = ResolvedInputs(**inputs, **load, weight_precision="BF16")  # type: ignore[arg-type]
    assert workload(wide, Setting(), None).weight_precision is Precision.BF16


def test_a_checkpoint_tells_its_format() -> None:
    told = published_precision
    assert told("meta-llama/Llama-3.1-8B-Instruct", None) == "BF16"
    assert told("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", None) == "BF16"
    assert told("meta-llama/Llama-2-7b-chat-hf", None) == "FP16"
    assert told("google-bert/bert-base-uncased", None) is None
    assert told("unheard/of", None) is None
    assert told(None, None) is None
    assert told("mine", "{broken") is None
