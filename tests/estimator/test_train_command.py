"""`energaizer train`: what people type, read, and get wrong."""

import csv
import io
import json

import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from energaizer import cli
from energaizer.result import Estimate

JOB = ["--model", "llama-3.1-8b", "--gpu", "h100-sxm"]
MANY = [*JOB, "--gpus", "64", "--zero", "3", "--global-batch", "256", "--sequence-length", "8192"]


def run(*args):
    return CliRunner().invoke(cli.main, ["train", *map(str, args)])


def answer(*args):
    return TypeAdapter(Estimate).validate_python(
        {key: value for key, value in json.loads(run(*args, "-o", "json").output).items()
         if key != "inputs"}
    )  # fmt: skip


def test_a_run_is_told_in_full_and_fits_a_page():
    result = run(*MANY, "--tokens", "1T", "--node-power", "--node", "dgx-h100")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("meta-llama/Llama-3.1-8B on 64 x h100-sxm5-80gb")
    assert "476838 training steps of 256 in micro-batches of 1, adam, ZeRO 3" in lines[1]
    for word in ("forward", "backward", "optimizer", "MFU", "tokens/s", "Energy per trained token",
                 "At the sockets of 8 x dgx-h100", "fans", "largest micro-batch"):  # fmt: skip
        assert word in result.output, word
    assert "not given" not in result.output.replace("no clock given", "")


def test_replicas_fill_the_gpus():
    found = answer(*MANY, "--tp", "4", "--pp", "2")
    assert found.gpu_count == 64
    assert found.training.bubble_fraction == pytest.approx(1 / (256 / 8 + 1))


def test_tokens_and_steps_are_the_same_length():
    tokens = answer(*MANY, "--tokens", str(1000 * 256 * 8192))
    steps = answer(*MANY, "--steps", "1000")
    assert tokens.energy == steps.energy
    assert tokens.training.tokens == 1000 * 256 * 8192


def test_csv_has_the_figures_of_training():
    rows = list(csv.DictReader(io.StringIO(run(*MANY, "--node-power", "-o", "csv").output)))
    assert 0.1 < float(rows[0]["mfu"]) < 1.0
    assert float(rows[0]["node_power_w"]) > float(rows[0]["power_w"])


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--gpus", "24", "--tp", "8", "--pp", "2"], 2, "choose 16 or 32"),
        (["--gpus", "16", "--dp", "4"], 2, "leave --data-parallel out"),
        (["--steps", "5", "--tokens", "1T"], 2, "keep one"),
        (["--tokens", "many"], 2, "write it like 15T"),
        (["--gpus", "16", "--zero", "3", "--global-batch", "24"], 2, "choose 16 or 32"),
        (["--tp", "3"], 2, "choose"),
        (["--gpus", "16", "--node", "dgx-h10"], 2, 'try "dgx-h100"'),
        (["--tp", "8", "--micro-batch", "4096"], 2, "a micro_batch of"),
        (["--tp", "8", "--precision", "int8"], 3, "use bf16"),
        (["--micro-batch", "8", "--global-batch", "4"], 2, "set it to 4 or less"),
    ],
)
def test_what_does_not_work_names_what_does(options, code, told):
    result = run(*JOB, *options)
    assert result.exit_code == code, result.output
    assert told in result.output
    assert "Traceback" not in result.output
