"""What people type about a workload: lists, ranges, defaults."""

import pytest

from energaizer import arguments, catalog
from energaizer.errors import InputError
from energaizer.huggingface import model_from_config
from energaizer.precision import Precision

LLAMA = catalog.model("llama-3.1-8b")


def test_lists_and_ranges():
    assert arguments.numbers("1,2,8", "--batch") == (1, 2, 8)
    assert arguments.numbers("1..64", "--batch") == (1, 2, 4, 8, 16, 32, 64)
    assert arguments.numbers("3..20", "--batch") == (3, 6, 12, 20)
    assert arguments.numbers("2..10..4", "--batch") == (2, 6, 10)
    assert arguments.clocks("900MHz, 1.41GHz") == (9e8, 1.41e9)
    assert arguments.clocks("900MHz..1020MHz") == (9e8, 9.6e8, 1.02e9)
    assert arguments.clocks("900MHz..940MHz..15MHz") == (9e8, 9.15e8, 9.3e8, 9.4e8)
    assert arguments.caps("300W..400W,1kW") == (300, 350, 400, 1000)
    assert arguments.caps("300W,300W") == (300,)


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (arguments.clocks, "", '--clock: "" is no frequency'),
        (arguments.clocks, "1GHz..", '--clock: "" is no frequency'),
        (arguments.clocks, "2GHz..1GHz", "rising LOW..HIGH"),
        (arguments.clocks, "1GHz..2GHz..1Hz", "more than 10000 steps"),
        (arguments.clocks, "1GHz..2GHz..3GHz..4GHz", "rising LOW..HIGH"),
        (arguments.clocks, "1GHz..2GHz..0Hz", "the step of a range must be above zero"),
        (arguments.caps, "300W..x", '--power-cap: "x" is no power'),
        (lambda text: arguments.numbers(text, "--batch"), "a", '--batch: "a" is no whole number'),
        (lambda text: arguments.numbers(text, "--batch"), "0..4", "begins at 1"),
        (lambda text: arguments.numbers(text, "--batch"), "1..99999..1", "more than 10000"),
    ],
)
def test_lists_that_are_none(parse, text, message):
    with pytest.raises(InputError) as raised:
        parse(text)
    assert message in str(raised.value)


def test_a_quantised_checkpoint_sets_the_weights():
    config = {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 512,
        "quantization_config": {"quant_method": "gptq", "bits": 4},
    }  # fmt: skip
    model = model_from_config(config, "tiny")
    assert arguments.workload(model, {}).workload.weight_precision == Precision.INT4
    told = arguments.workload(model, {"weight_precision": "int8"}).workload
    assert told.weight_precision == Precision.INT8


def test_defaults_fit_the_model_and_are_noted():
    workload, notes = arguments.workload(catalog.model("bert-base"), {})
    assert (workload.input_tokens, workload.output_tokens) == (256, 0)
    assert len(notes) == 1
    workload, notes = arguments.workload(catalog.model("gpt2"), {"input_tokens": 1000})
    assert workload.output_tokens == 24
    assert notes == ("--output-tokens not given: 24 assumed",)
    assert arguments.workload(LLAMA, {"input_tokens": 9, "output_tokens": 0}).notes == ()


def test_settings_are_lists_around_one_workload():
    asked = {"batch": "1,2", "clock": "1GHz,1.2GHz", "power_cap": "300W", "input_tokens": 8}
    found = arguments.settings(LLAMA, asked)
    assert (found.batches, found.clocks_hz, found.caps_w) == ((1, 2), (1e9, 1.2e9), (300,))
    assert found.workload.clock_hz is None
    assert arguments.settings(LLAMA, {}).batches is None
    with pytest.raises(InputError, match="--batch"):
        arguments.settings(LLAMA, {"batch": "1,99999999"})
    many = {"batch": "1..5000..1", "clock": "1GHz..2GHz"}
    with pytest.raises(InputError, match="combinations"):
        arguments.settings(LLAMA, many)


def test_inputs_make_the_same_workload_again():
    workload = arguments.workload(LLAMA, {"batch": 4, "tensor": 2, "clock": "1.2GHz"}).workload
    assert type(workload).model_validate(arguments.inputs(workload)) == workload
    words = "batch 4, 1024 input and 256 output tokens, bf16, tensor-parallel 2, locked at 1200 MHz"
    assert arguments.in_words(workload) == f"{words}, host serving"
