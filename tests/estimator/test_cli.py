"""The command line: what people type, what they read, and the exit codes that scripts read."""

import csv
import io
import json
import subprocess
import sys

import pytest
from click.testing import CliRunner
from pydantic import TypeAdapter

from energaizer import cli, options
from energaizer.precision import Precision
from energaizer.result import Estimate

JOB = ["estimate", "--model", "llama-3.1-8b", "--gpu", "h100-sxm"]
TOKENS = ["--batch", "16", "--input-tokens", "1024", "--output-tokens", "256"]


def run(*args, **options):
    return CliRunner().invoke(cli.main, [*map(str, args)], **options)


def test_estimate_prints_a_table_that_fits_a_page():
    result = run(*JOB, *TOKENS)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith("meta-llama/Llama-3.1-8B on 1 x h100-sxm5-80gb, ")
    assert lines[1].startswith("batch 16, 1024 input and 256 output tokens, bf16")
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in result.output
    words = ("Power", "Energy", "Duration", "Energy per output token", "prefill", "decode", "dram")
    for word in (*words, "Provenance", "Memory of one GPU: ", "J/token", " W ", "profile "):
        assert word in result.output
    assert "not given" not in result.output


def test_columns_line_up():
    lines = run(*JOB, *TOKENS).output.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("Component"))
    block = lines[start : lines.index("", start)]
    assert len({len(line) for line in block}) == 1  # the last column is aligned to the right


def test_json_is_the_estimate_and_its_inputs():
    result = run(*JOB, *TOKENS, "-o", "json")
    content = json.loads(result.output)
    inputs = content.pop("inputs")
    estimate = TypeAdapter(Estimate).validate_python(content)
    assert list(content)[:4] == ["power", "energy", "duration", "energy_per_output_token"]
    assert set(content["power"]) == {"value", "low", "high", "unit", "provenance", "coverage"}
    assert estimate.power.unit == "W"
    assert estimate.energy.value == pytest.approx(
        estimate.power.value * estimate.duration.value, rel=1e-9
    )
    assert estimate.energy.value == pytest.approx(sum(p.energy.value for p in estimate.phases))
    tokens = 16 * 256
    assert estimate.energy_per_output_token.value == pytest.approx(estimate.energy.value / tokens)
    assert (inputs["batch"], inputs["model"]["name"]) == (16, "meta-llama/Llama-3.1-8B")


def test_csv_has_a_record_for_the_job_and_each_part():
    result = run(*JOB, *TOKENS, "-o", "csv")
    rows = list(csv.DictReader(io.StringIO(result.output)))
    assert [row["name"] for row in rows if row["part"] == "phase"] == ["prefill", "decode"]
    job = rows[0]
    parts = [float(row["energy_j"]) for row in rows if row["part"] == "component"]
    assert sum(parts) == pytest.approx(float(job["energy_j"]), rel=1e-9)
    assert float(job["power_low_w"]) <= float(job["power_w"]) <= float(job["power_high_w"])


def test_markdown_is_a_table():
    result = run(*JOB, *TOKENS, "-o", "markdown")
    assert result.output.startswith("## meta-llama/Llama-3.1-8B on ")
    assert "| --- | ---: |" in result.output


def test_what_nobody_said_is_noted():
    notes = json.loads(run(*JOB, "-o", "json").output)["notes"]
    assert "--input-tokens not given: 1024 assumed" in notes
    assert "--output-tokens not given: 256 assumed" in notes


def test_an_encoder_generates_nothing():
    result = run("estimate", "--model", "bert-base", "--gpu", "a10", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.output)["energy_per_output_token"] is None


def test_the_clock_and_the_cap_reach_the_estimate():
    slow = json.loads(run(*JOB, *TOKENS, "--clock", "1005MHz", "-o", "json").output)
    assert slow["clock_hz"] == pytest.approx(1.005e9)
    capped = json.loads(run(*JOB, *TOKENS, "--power-cap", "300 W", "-o", "json").output)
    assert capped["power_cap_w"] == 300
    assert capped["power"]["value"] <= 300.001


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["--gpu", "h100-sxn"], 2, 'no GPU "h100-sxn"; try "h100-sxm"'),
        (["--model", "llama-3.1-9b"], 2, 'no model "llama-3.1-9b"; try "llama-3.1-8b"'),
        (["--batch", "0"], 2, "--batch: should be greater than or equal to 1, not 0"),
        (["--batch", "-3"], 2, "--batch: "),
        (["--batch", "1e3"], 2, "'--batch': '1e3' is not a valid integer"),
        (["--batch", "9" * 30], 2, "--batch: should be less than or equal to 65536"),
        (["--input-tokens", "0"], 2, "--input-tokens: "),
        (["--clock", "1410MHy"], 2, '--clock: "1410MHy" has no unit of frequency; write it like'),
        (["--clock", "nan"], 2, '--clock: "nan" is no frequency'),
        (["--clock", "9GHz"], 2, "runs at 345 to 1980 MHz"),
        (["--power-cap", "-5W"], 2, '--power-cap: power "-5W" is negative'),
        (["--power-cap", "5W"], 2, "accepts limits of 200 to 700 W"),
        (["--duration", "soon"], 2, '--duration: "soon" is no duration'),
        (["--duration", "1e300s"], 2, "--duration: "),
        (["--tensor-parallel", "0"], 2, "--tensor-parallel: "),
        (["--tensor-parallel", "3"], 2, "tensor=3"),
        (["--precision", "fp7"], 2, "'fp7' is not one of 'fp32'"),
        (["--precision", "nvfp4"], 3, "no rate"),
        (["--model", "llama-3.1-405b"], 2, "which has 79.6 GiB"),
        (["--host", "servng"], 2, 'no host "servng"; try "serving"'),
        (["--profiles", "/nonexistent"], 2, "no folder /nonexistent"),
        (["--out", "/nonexistent/x.json"], 1, "cannot write /nonexistent/x.json: No such file"),
        (["--out", ""], 1, "cannot write to a file without a name"),
        (["--gpu", ""], 2, 'no GPU ""'),
        (["--colour"], 2, "No such option"),
    ],
)
def test_bad_input_is_one_line_and_a_code(args, code, message):
    result = run(*JOB, *args)
    assert result.exit_code == code
    assert message in result.stderr
    assert result.stderr.startswith("energaizer: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_unreadable_configurations(tmp_path):
    bad = tmp_path / "config.json"
    bad.write_text('{"model_type": "llama"}')
    result = run("estimate", "--model", bad, "--gpu", "h100")
    assert (result.exit_code, "no hidden_size; add it" in result.stderr) == (2, True)
    bad.write_text('{"model_type": "rwkv"}')
    assert run("estimate", "--model", bad, "--gpu", "h100").exit_code == 3
    bad.write_text("{")
    assert run("estimate", "--model", bad, "--gpu", "h100").exit_code == 2


def test_out_is_whole_or_not_at_all(tmp_path):
    file = tmp_path / "answer.json"
    file.write_text("precious")
    assert run(*JOB, "--batch", "0", "--out", file).exit_code == 2
    assert file.read_text() == "precious"
    result = run(*JOB, "--out", file)
    assert (result.exit_code, result.output) == (0, "")
    assert json.loads(file.read_text())["gpu"] == "h100-sxm5-80gb"  # the suffix names the format
    assert [path.name for path in tmp_path.iterdir()] == ["answer.json"]
    result = run(*JOB, "--out", tmp_path)
    assert (result.exit_code, f"cannot write {tmp_path}" in result.stderr) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == ["answer.json"]


SWEEP = ["sweep", *JOB[1:], "--input-tokens", "512", "--output-tokens", "64"]


def test_sweep_is_one_line_a_setting():
    result = run(*SWEEP, "--batch", "1..4", "--clock", "900MHz,1.2GHz")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "meta-llama/Llama-3.1-8B, 6 settings"
    assert lines[1] == "512 input and 64 output tokens, bf16, host serving"
    assert sum(line.startswith("h100-sxm5-80gb") for line in lines) == 6
    assert any(line.endswith("*") for line in lines)
    assert max(map(len, lines)) <= 100


def test_sweep_without_a_list_varies_the_clock():
    found = json.loads(run(*SWEEP, "-o", "json").output)["candidates"]
    clocks = [one["clock_hz"] for one in found]
    assert (min(clocks), max(clocks)) == (345e6, 1980e6)
    assert any(one["pareto"] for one in found)
    assert not all(one["pareto"] for one in found)
    assert all(one["energy_low_j"] <= one["energy_j"] <= one["energy_high_j"] for one in found)


def test_each_setting_of_a_sweep_equals_the_single_call():
    one = json.loads(run(*SWEEP, "--clock", "1005MHz", "-o", "json").output)["candidates"][0]
    job = run(*JOB, *SWEEP[-4:], "--clock", "1005MHz", "-o", "json")
    estimate = json.loads(job.output)
    assert one["energy_j"] == pytest.approx(estimate["energy"]["value"], rel=1e-6)
    assert one["duration_s"] == pytest.approx(estimate["duration"]["value"], rel=1e-6)


def test_sweep_says_which_gpu_it_left_out():
    result = run("sweep", *JOB[1:3], "--gpu", "h100-sxm,t4", "--precision", "fp16")
    assert result.exit_code == 0
    assert "left out: meta-llama/Llama-3.1-8B needs" in result.output
    assert "t4-16gb" in result.output
    only = run("sweep", *JOB[1:3], "--gpu", "t4", "--precision", "fp16")
    assert (only.exit_code, "which has 14.8 GiB" in only.stderr) == (2, True)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--clock", "2GHz..1GHz"], "--clock: "),
        (["--batch", "1,x"], '--batch: "x" is no whole number'),
        (["--power-cap", "9W"], "accepts limits of 200 to 700 W, not 9"),
        (["--gpu", "h100,h100-sxn"], 'no GPU "h100-sxn"'),
        (["--batch", "1..9999..1", "--clock", "1GHz..2GHz"], "combinations"),
    ],
)
def test_bad_sweeps_are_one_line(args, message):
    result = run(*SWEEP, *args)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_gpu_without_the_rate_is_refused():
    result = run("estimate", "--model", "gpt2", "--gpu", "t4")  # no bf16 on Turing
    assert (result.exit_code, "bf16 on t4-16gb: no rate" in result.stderr) == (3, True)


def test_gpus_and_models_list_what_matches():
    table = run("gpus", "a100").output
    assert table.splitlines()[1].startswith("a100-pcie-40gb")
    assert "h100" not in table
    assert max(map(len, run("gpus").output.splitlines())) <= 100
    assert max(map(len, run("models").output.splitlines())) <= 100
    found = json.loads(run("models", "qwen3-8b", "-o", "json").output)["models"]
    assert [model["name"] for model in found] == ["Qwen/Qwen3-8B"]
    rows = list(csv.DictReader(io.StringIO(run("gpus", "h100", "-o", "csv").output)))
    assert {row["name"] for row in rows} >= {"h100-sxm5-80gb", "h100-pcie-80gb"}


def test_show_tells_all_of_a_gpu_or_a_model():
    gpu = run("show", "h100-sxm").output
    for words in ("132 SMs", "3.35 TB/s", "989 TFLOP/s", "Source: NVIDIA H100", "345 MHz to 1980"):
        assert words in gpu
    assert "8,030,261,248 (8.03 B)" in run("show", "llama-3.1-8b").output
    missed = run("show", "nothing-like-it")
    assert missed.exit_code == 2
    assert 'no GPU "nothing-like-it"' in missed.stderr


def test_help_teaches_by_example():
    assert run().exit_code == 0
    for command in ([], ["estimate"], ["sweep"], ["gpus"], ["models"], ["show"]):
        result = run(*command, "--help")
        assert result.exit_code == 0
        assert "energaizer " + (command[0] if command else "estimate") in result.output


def test_precisions_are_those_of_the_library():
    assert tuple(Precision) == options.PRECISIONS


def test_as_a_process_with_a_reader_that_leaves():
    command = [sys.executable, "-m", "energaizer", "models", "-o", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == b""
    assert process.returncode in {0, 1}


def test_the_command_line_loads_only_what_it_needs():
    script = """
import sys
from click.testing import CliRunner
from energaizer import cli, options
CliRunner().invoke(cli.main, ["--help"])
assert not {"numpy", "pydantic"} & set(sys.modules), "help"
CliRunner().invoke(cli.main, ["estimate", "--model", "gpt2", "--gpu", "a10"])
heavy = {"pydantic", "rich", "pandas", "scipy", "pyarrow", "matplotlib", "kopf", "kubernetes"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
rooms = ("diffusion", "encoder_decoder", "training", "vision")
unused = {"energaizer.networks", "energaizer.node", "energaizer.families.operators"}
others = unused | {*(f"energaizer.lowering.{room}" for room in rooms)}
assert not others & set(sys.modules), others & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True)


ASKED = ("estimate", "--model", "gpt2", "--gpu", "a10", "-o", "json")


@pytest.mark.parametrize(
    ("args", "code"),
    [(ASKED, 0), ((*ASKED, "--batch", "0"), 2), (("estimate", "--model", "gpt2"), 2)],
)
def test_a_process_says_all_and_ends_with_its_code(args, code):
    alone = run(*args)
    done = subprocess.run(
        [sys.executable, "-m", "energaizer", *args], capture_output=True, text=True, check=False
    )
    assert (done.returncode, alone.exit_code) == (code, code)
    assert done.stdout == alone.stdout
    assert bool(done.stderr) == bool(code)
