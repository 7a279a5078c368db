"""Steady serving: conservation, limits and directions of a server under load."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from energaizer import catalog
from energaizer.cli import main
from energaizer.errors import DoesNotFitError, InputError, TooSlowError
from energaizer.parallelism import Parallelism
from energaizer.steady import server as servers
from energaizer.steady.estimate import serve
from energaizer.steady.traffic import Lengths, Speculation, Traffic
from energaizer.workload import Workload

H100 = catalog.gpu("h100-sxm5-80gb")


def ask(name="llama-3.1-8b", gpu=H100, split=None, **traffic):
    given = {"prompts": Lengths(mean=512), "outputs": Lengths(mean=256, spread=1.0)} | traffic
    if "requests_per_second" not in given:
        given.setdefault("batch", 32)
    work = Workload(
        model=catalog.model(name), input_tokens=512, output_tokens=256,
        parallelism=split or Parallelism(),
    )  # fmt: skip
    return serve(work, Traffic(**given), gpu)


def test_lengths_by_hand():
    # equal lengths o give o/2, as wide as exponential ones give o
    equal = Traffic(batch=1, prompts=Lengths(mean=8), outputs=Lengths(mean=100))
    wide = equal.model_copy(update={"outputs": Lengths(mean=100, spread=1.0)})
    assert (equal.position, wide.position) == (50.0, 100.0)
    points, weights = Lengths(mean=1000.0, spread=0.5).points()
    assert weights.sum() == pytest.approx(1.0)
    assert points @ weights == pytest.approx(1000.0, rel=5e-3)
    assert (points**2) @ weights == pytest.approx(1000.0**2 * 1.25, rel=2e-2)


def test_drafts_that_are_kept():
    # a = 1/2, k = 3: 1 + 1/2 + 1/4 + 1/8
    assert Speculation(tokens=3, acceptance=0.5).kept == 1.875
    assert Speculation(tokens=3, acceptance=0.0).kept == 1.0


def test_a_request_is_the_sum_of_its_parts():
    found = ask(requests_per_second=1.0)
    parts = (
        found.prefill_energy_per_request, found.decode_energy_per_request,
        found.idle_energy_per_request,
    )  # fmt: skip
    assert sum(part.value for part in parts) == pytest.approx(found.energy_per_request.value)
    assert found.power.value == pytest.approx(found.energy_per_request.value * 1.0)
    assert found.energy_per_output_token.value * 256 == pytest.approx(
        found.energy_per_request.value
    )
    assert found.requests_per_second.low == found.requests_per_second.high == 1.0


def test_little_s_law():
    found = ask(requests_per_second=8.0)
    # running sequences = arrivals x time that an output takes
    assert found.batch == pytest.approx(8.0 * 256 * found.time_per_output_token.value, rel=0.03)
    at = ask(batch=found.batch)
    assert at.requests_per_second.value == pytest.approx(8.0, rel=0.03)


def test_more_load_costs_less_a_token_and_takes_longer():
    found = [ask(batch=batch) for batch in (1, 8, 64, 256)]
    tokens = [one.energy_per_output_token.value for one in found]
    gaps = [one.time_per_output_token.value for one in found]
    assert tokens == sorted(tokens, reverse=True)
    assert gaps == sorted(gaps)
    assert all(one.power.value <= one.peak_power.value <= 700.0 * (1 + 1e-9) for one in found)
    idle = ask(requests_per_second=0.01)
    assert idle.busy_fraction < 0.05
    assert 100.0 < idle.power.value < 200.0


def test_a_rate_beyond_the_largest_batch_is_refused():
    most = ask(requests_per_second=1.0).most_requests_per_second
    ask(requests_per_second=0.99 * most)
    with pytest.raises(TooSlowError, match="largest batch of"):
        ask(requests_per_second=1.05 * most)


def test_prompts_of_their_own_replicas_stop_interfering():
    both = ask(batch=64)
    apart = ask(batch=64, prefill_replicas=1)
    assert apart.time_per_output_token.value < both.time_per_output_token.value
    assert apart.gpu_count == 2
    assert apart.inter_token_latency.value == apart.time_per_output_token.value
    busy = ask(batch=600, prefill_replicas=1, outputs=Lengths(mean=16))
    assert any("outrun their pool" in note for note in busy.notes)


def test_drafts_pay_at_small_batch_alone():
    split = Parallelism(tensor=4)
    small = catalog.model("llama-3.2-1b")
    guess = Speculation(tokens=4, acceptance=0.8, draft=small)

    def gain(batch):
        plain = ask("llama-3.1-70b", split=split, batch=batch)
        drafted = ask("llama-3.1-70b", split=split, batch=batch, speculation=guess)
        return plain.time_per_output_token.value / drafted.time_per_output_token.value

    assert gain(1) > 1.5 > gain(512)


def test_what_a_server_cannot_do():
    with pytest.raises(DoesNotFitError, match="a batch of"):
        ask(batch=60000)
    with pytest.raises(InputError, match="writes no tokens"):
        ask("bert-base")
    with pytest.raises(InputError, match="do not divide by tensor=3"):
        ask("llama-3.1-8b", split=Parallelism(tensor=3))
    with pytest.raises(ValueError, match="one of batch"):
        Traffic(prompts=Lengths(mean=1), outputs=Lengths(mean=1))


def test_a_mixture_over_experts_of_replicas():
    one = ask("qwen3-30b-a3b", split=Parallelism(tensor=1, data=4, expert=4), batch=32)
    alone = ask("qwen3-30b-a3b", split=Parallelism(tensor=1, data=4), batch=32)
    assert one.memory.weights_bytes < 0.4 * alone.memory.weights_bytes
    assert np.isfinite(one.power.value)


def test_stages_work_on_parts_of_the_sequences_at_once():
    # A stage runs half of the layers for half of the sequences, twice a step: all boards work, and
    # the host waits once for each part.
    one = ask("llama-3.1-8b", batch=32)
    two = ask("llama-3.1-8b", split=Parallelism(pipeline=2), batch=64)
    assert two.gpu_count == 2
    assert two.output_tokens_per_second.value == pytest.approx(
        2.0 * one.output_tokens_per_second.value, rel=0.2
    )
    assert two.energy_per_output_token.value == pytest.approx(
        one.energy_per_output_token.value, rel=0.2
    )
    alone = ask("llama-3.1-8b", split=Parallelism(pipeline=2), batch=1)
    assert any("leave stages of 2 idle" in note for note in alone.notes)
    assert alone.decode_power.value < 2.0 * ask("llama-3.1-8b", batch=1).decode_power.value


def test_a_network_between_its_boards_slows_a_server():
    def served(**given):
        work = Workload(
            model=catalog.model("llama-3.1-70b"), input_tokens=512, output_tokens=256,
            parallelism=Parallelism(tensor=8), **given,
        )  # fmt: skip
        traffic = Traffic(batch=32, prompts=Lengths(mean=512), outputs=Lengths(mean=256))
        return serve(work, traffic, H100)

    inside, across = served(), served(gpus_per_node=4, network_bandwidth=12.5e9)
    assert across.time_per_output_token.value > 1.2 * inside.time_per_output_token.value
    assert across.power.value < inside.power.value
    assert any("no node given" in note for note in across.notes)


def test_the_cache_is_read_once_for_all_drafts():
    work = Workload(model=catalog.model("llama-3.1-8b"), input_tokens=4096, output_tokens=256)
    traffic = Traffic(
        batch=16, prompts=Lengths(mean=4096), outputs=Lengths(mean=256),
        speculation=Speculation(tokens=3, acceptance=0.5),
    )  # fmt: skip
    plain = servers.server(work, traffic.model_copy(update={"speculation": None}), H100)
    drafted = servers.server(work, traffic, H100)
    assert drafted.decode(16).duration_s < 1.5 * plain.decode(16).duration_s


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("", "give --batch, the sequences that run together, or --requests-per-second, one of"),
        ("--batch 3 --requests-per-second 2", "give --batch"),
        ("--batch 0", "--batch: should be greater than 0, not 0.0"),
        ("--requests-per-second -1", "--requests-per-second: should be greater than 0"),
        ("--batch 8 --output-tokens 0", "--output-tokens: should be greater than 0, not 0"),
        ("--batch 8 --input-spread 11", "--input-spread: should be less than or equal to 10"),
        ("--batch 8 --chunk-tokens 1", "--chunk-tokens: should be greater than or equal to 16"),
        ("--batch 8 --draft-tokens 0", "--draft-tokens: should be greater than or equal to 1"),
        ("--batch 8 --draft-tokens 1 --acceptance 1", "--acceptance: should be less than 1"),
        ("--batch 8 --draft-model gpt2", "--draft-model needs --draft-tokens"),
        ("--batch 8 --prefill-replicas -1", "--prefill-replicas: should be greater than or equal"),
        ("--batch 8 --draft-tokens 2 --draft-model bert-base", "name a small decoder"),
        ("--batch 8 --model vit-large", "no decoder-only language model; `energaizer estimate`"),
        ("--batch 8 --model t5-base", "no decoder-only language model; `energaizer estimate`"),
        ("--batch 8 --tp 0", "--tensor-parallel: should be greater than or equal to 1, not 0"),
    ],
)
def test_a_fault_names_what_can_be_typed(options: str, told: str):
    asked = ["serve", "--model", "llama-3.1-8b", "--gpu", "h100", *options.split()]
    done = CliRunner().invoke(main, asked)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


def test_the_command_in_all_formats(tmp_path: Path):
    job = ["serve", "--model", "llama-3.1-8b", "--gpu", "h100", "--batch", "16"]
    table = CliRunner().invoke(main, job, catch_exceptions=False)
    CliRunner().invoke(main, [*job, "--out", str(tmp_path / "s.json")], catch_exceptions=False)
    assert json.loads((tmp_path / "s.json").read_text())["inputs"]["traffic"]["batch"] == 16
    assert "Energy per request" in table.output
    assert max(map(len, table.output.splitlines())) <= 100
    found = json.loads(CliRunner().invoke(main, [*job, "-o", "json"]).output)
    assert found["energy_per_output_token"]["unit"] == "J/token"
    assert found["inputs"]["traffic"]["batch"] == 16
    header, row = CliRunner().invoke(main, [*job, "-o", "csv"]).output.splitlines()
    assert "power_low" in header
    assert row.count(",") == header.count(",")
