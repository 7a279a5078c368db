import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner

from annotated import LLAMA
from energaizer import catalog, cli, pipeline
from energaizer_operator import translate
from energaizer_operator.inputs import ResolvedInputs
from energaizer_operator.names import Reason
from energaizer_operator.resources.aiworkload.spec import Architecture
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.translate import Answer, EstimateError, Question, Setting
from energaizer_operator.translate.boards import board, profile_of
from energaizer_operator.translate.workloads import workload

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PLAIN = Setting()


def named(name: str, **changes: Any) -> GPUProfile:
    manifest = profile_of(catalog.gpu(name)).to_dict()
    manifest["spec"].update(changes)
    return GPUProfile.model_validate(manifest)


def ask_all(inputs: ResolvedInputs, profile: GPUProfile, *settings: Setting) -> tuple[Answer, ...]:
    (found,) = translate.answers([Question(inputs, profile, "", settings)], NOW)
    return found


def ask(inputs: ResolvedInputs, profile: GPUProfile, config: str | None = None) -> Answer:
    ((found,),) = translate.answers([Question(inputs, profile, "", config=config)], NOW)
    return found


H100 = named("h100-sxm5-80gb")


@pytest.mark.parametrize("gpu", catalog.gpus(), ids=lambda gpu: gpu.name)
def test_a_gpu_of_the_catalogue_survives_the_way_there_and_back(gpu: Any) -> None:
    described = board(profile_of(gpu))
    assert described.gpu == gpu
    assert described.missing == ()
    assert described.notes == ()


def test_the_catalogue_recognises_its_gpus() -> None:
    found = {profile.metadata.name: profile for profile in translate.catalogue()}
    assert len(found) == len(catalog.gpus())
    assert "H100-80GB-HBM3" in found["h100-sxm5-80gb"].spec.product_names
    assert found["mi300x-192gb"].spec.resource_names == ("amd.com/gpu",)
    assert max(len(profile.spec.supported_clocks_megahertz) for profile in found.values()) <= 64
    clocks = found["h100-sxm5-80gb"].spec.supported_clocks_megahertz
    assert (clocks[0], clocks[-1]) == (345, 1980)


def test_numbers_are_rounded_outward() -> None:
    exact = pipeline.estimate(workload(LLAMA, PLAIN, None), catalog.gpu("h100-sxm5-80gb"))
    told = ask(LLAMA, H100).summary
    for quantity, value, low, high in (
        (exact.energy, told.energy_joules, told.energy_low_joules, told.energy_high_joules),
        (exact.power, told.power_watts, told.power_low_watts, told.power_high_watts),
    ):
        assert 0 <= value - quantity.value < 1
        assert 0 <= quantity.low - low < 1
        assert 0 <= high - quantity.high < 1
    assert told.gpu_count == 1
    assert told.estimate_time == NOW
    assert told.estimator_version == translate.VERSION
    assert told.iteration_microseconds is not None
    assert told.iteration_microseconds > 1000


def test_a_lower_limit_in_the_profile_wins_and_says_so() -> None:
    lower = named("h100-sxm5-80gb", thermalDesignPowerWatts=400, powerCapRange=None)
    described = board(lower)
    assert described.gpu.power_limit_w == 400
    assert described.gpu.compute_units == H100.spec.compute_units
    assert "power_limit_w" in described.notes[0]
    assert ask(LLAMA, lower).summary.power_watts <= 400


def test_a_rounded_figure_is_no_difference() -> None:
    rounded = named("h100-sxm5-80gb", memoryBandwidthBytesPerSecond=3_350_000_000_000)
    assert board(rounded).gpu == catalog.gpu("h100-sxm5-80gb")


def test_a_gpu_of_ones_own_is_estimated_from_its_datasheet() -> None:
    spec = H100.to_dict()["spec"] | {"productNames": ["X1"], "memoryBytes": 10**11}
    own = GPUProfile.model_validate({"metadata": {"name": "x1"}, "spec": spec})
    described = board(own)
    assert described.gpu.name == "x1"
    assert described.gpu.memory_bytes == 1e11
    assert "x1 is not in the catalogue" in described.notes[0]
    assert ask(LLAMA, own).summary.method in ("Specification", "Extrapolated")


def test_a_profile_without_a_datasheet_has_a_bound_and_a_reason() -> None:
    spec = {"vendor": "NVIDIA", "productNames": ["X1"], "thermalDesignPowerWatts": 500}
    answer = ask(LLAMA, GPUProfile.model_validate({"metadata": {"name": "x1"}, "spec": spec}))
    assert answer.reason is Reason.TDP_BOUND_USED
    assert "GPUProfile x1 lacks memoryBytes" in answer.message
    assert answer.summary.method == "TDPBound"
    assert answer.summary.energy_high_joules == 500 * 3600


@pytest.mark.parametrize(
    ("changes", "reason", "says"),
    [
        ({"model_name": "no-such-model"}, Reason.UNKNOWN_MODEL, "no model"),
        ({"model_name": "meta-llama/Llama-3.1-70B"}, Reason.INFEASIBLE_MEMORY, "GiB"),
        ({"task": "Training", "steps": 10}, Reason.TDP_BOUND_USED, "sequence-length is missing"),
        ({"denoising_steps": 30}, Reason.TDP_BOUND_USED, "makes no images"),
        ({"input_tokens": None}, Reason.TDP_BOUND_USED, "input-tokens is missing"),
        ({"model_name": None}, Reason.TDP_BOUND_USED, "model is missing"),
        ({"tensor": 3, "gpus_per_replica": 8}, Reason.TDP_BOUND_USED, "does not divide the 8"),
        ({"model_source": "HuggingFaceConfig", "config_map": "c"}, Reason.TDP_BOUND_USED, "c wi"),
        ({"model_source": "Inline"}, Reason.TDP_BOUND_USED, "model.architecture"),
        ({"precision": "NVFP4"}, Reason.TDP_BOUND_USED, "fp4"),
    ],
)
def test_what_cannot_be_estimated_is_bounded_and_says_why(
    changes: dict[str, Any], reason: Reason, says: str
) -> None:
    answer = ask(replace(LLAMA, **changes), H100)
    assert answer.reason is reason
    assert says in answer.message
    assert answer.summary.method == "TDPBound"
    assert answer.summary.energy_joules == 700 * answer.summary.gpu_count * 3600
    assert not answer.honest


def test_the_bound_is_limit_times_gpus_times_the_declared_time() -> None:
    inputs = replace(LLAMA, gpus_per_replica=8, replicas=2, expected_seconds=60)
    told = translate.bound(inputs, H100, NOW)
    assert (told.power_high_watts, told.energy_high_joules) == (11200, 11200 * 60)
    assert (told.gpu_count, told.replicas, told.duration_seconds) == (16, 2, 60)


def test_no_cluster_is_too_large_for_a_bound() -> None:
    inputs = replace(LLAMA, gpus_per_replica=1024, replicas=100_000, expected_seconds=31_622_400)
    assert translate.bound(inputs, named("mi355x-288gb"), NOW).power_high_watts == 10**9


CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5,
}


def test_a_configuration_describes_the_same_model_as_the_catalogue() -> None:
    inputs = replace(LLAMA, model_source="HuggingFaceConfig", config_map="c", model_name="mine")
    answer = ask(inputs, H100, json.dumps(CONFIG))
    assert answer.honest
    assert answer.summary.energy_joules == ask(LLAMA, H100).summary.energy_joules


@pytest.mark.parametrize("config", ["", "[]", "{}", "{" * 10_000, '{"model_type": 7}', "x" * 2**21])
def test_a_broken_configuration_is_a_reason_and_no_crash(config: str) -> None:
    inputs = replace(LLAMA, model_source="HuggingFaceConfig", config_map="c")
    answer = ask(inputs, H100, config)
    assert answer.reason is Reason.INVALID_CONFIG_MAP
    assert answer.message


def test_an_architecture_describes_the_same_model_as_the_catalogue() -> None:
    shapes = Architecture(
        layers=32,
        hidden_size=4096,
        intermediate_size=14336,
        attention_heads=32,
        key_value_heads=8,
        vocabulary_size=128256,
        parameter_count=8_030_000_000,
    )
    inputs = replace(LLAMA, model_source="Inline", architecture=shapes, model_name=None)
    answer = ask(inputs, H100)
    assert answer.honest
    assert answer.summary.energy_joules == ask(LLAMA, H100).summary.energy_joules
    wrong = shapes.model_copy(update={"parameter_count": 70_000_000_000})
    assert "parameterCount" in ask(replace(inputs, architecture=wrong), H100).message
    experts = shapes.model_copy(update={"experts": 8, "parameter_count": None})
    assert "expertsPerToken is missing" in ask(replace(inputs, architecture=experts), H100).message
    many = experts.model_copy(update={"experts_per_token": 9})
    assert "choose 1 to 8" in ask(replace(inputs, architecture=many), H100).message


def test_an_inline_mixture_equals_the_catalogue() -> None:
    shapes = Architecture(
        layers=32, hiddenSize=4096, intermediateSize=14336, attentionHeads=32, keyValueHeads=8,
        vocabularySize=32000, experts=8, expertsPerToken=2,
    )  # fmt: skip
    named = replace(LLAMA, model_name="mixtral-8x7b", tensor=2, expert=2, gpus_per_replica=2)
    inline = replace(named, model_source="Inline", architecture=shapes, model_name=None)
    known, described = (ask(inputs, H100).summary for inputs in (named, inline))
    assert known is not None
    assert described is not None
    assert described.energy_joules == known.energy_joules


def test_serving_without_requests_lasts_as_long_as_is_said() -> None:
    hour = ask(replace(LLAMA, requests=None), H100).summary
    minute = ask(replace(LLAMA, requests=None, expected_seconds=60), H100).summary
    assert (hour.duration_seconds, minute.duration_seconds) == (3600, 60)
    assert hour.energy_joules == pytest.approx(60 * minute.energy_joules, rel=0.01)


def test_gpus_beyond_one_copy_of_the_model_hold_others() -> None:
    two = replace(LLAMA, gpus_per_replica=8, tensor=2)
    assert workload(two, PLAIN, None).parallelism.data == 4
    assert workload(two, PLAIN, None).parallelism.gpus == 8


@pytest.mark.parametrize("changes", [{}, {"requests": None}, {"expected_seconds": 600}])
def test_a_sweep_says_what_single_estimates_say(changes: dict[str, Any]) -> None:
    inputs = replace(LLAMA, **changes)
    settings = (PLAIN, Setting(1410), Setting(1200), Setting(None, 450), Setting(1980, 300))
    swept = ask_all(inputs, H100, *settings)
    for setting, answer in zip(settings, swept, strict=True):
        (alone,) = ask_all(inputs, H100, setting)
        assert answer.setting == setting
        assert answer.summary.energy_joules == pytest.approx(alone.summary.energy_joules, abs=1)
        assert answer.summary.power_watts == pytest.approx(alone.summary.power_watts, abs=1)
        assert answer.summary.duration_seconds == alone.summary.duration_seconds
        assert answer.summary.power_cap_watts == alone.summary.power_cap_watts


def test_no_clock_and_no_cap_makes_room_for_a_model_that_is_too_large() -> None:
    settings = (PLAIN, Setting(clock_megahertz=900), Setting(power_cap_watts=60))
    huge = replace(LLAMA, model_name="meta-llama/Llama-3.1-70B")
    found = ask_all(huge, named("t4-16gb"), *settings)
    assert found == tuple(ask_all(huge, named("t4-16gb"), one)[0] for one in settings)
    assert {one.feasibility for one in found} == {"InsufficientMemory"}


def test_the_report_is_what_the_command_line_writes() -> None:
    command = "estimate --model meta-llama/Llama-3.1-8B --gpu h100-sxm5-80gb --batch 16"
    lengths = "--input-tokens 512 --output-tokens 256 --requests 1000 -o json"
    done = CliRunner().invoke(cli.main, [*command.split(), *lengths.split()])
    assert done.exit_code == 0, done.output
    assert translate.report(LLAMA, H100, PLAIN, None) == json.loads(done.stdout)


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"model_name": "nobody"}, 2), ({"denoising_steps": 30}, 2), ({"input_tokens": None}, 2)],
)
def test_a_report_without_an_estimate_knows_its_exit_code(
    changes: dict[str, Any], code: int
) -> None:
    with pytest.raises(EstimateError) as raised:
        translate.report(replace(LLAMA, **changes), H100, PLAIN, None)
    assert raised.value.exit_code == code


def test_a_diffusion_model_is_asked_for_images() -> None:
    asked = replace(
        LLAMA, model_name="flux.1-dev", input_tokens=None, output_tokens=None, batch_size=2,
        height_pixels=512, width_pixels=768, denoising_steps=20, requests=100,
    )  # fmt: skip
    command = "estimate --model flux.1-dev --gpu h100-sxm5-80gb --batch 2 --requests 100"
    size = "--height 512 --width 768 --steps 20 -o json"
    done = CliRunner().invoke(cli.main, [*command.split(), *size.split()])
    answer = ask(asked, H100)
    assert answer.reason is Reason.ESTIMATED, answer.message
    energy = json.loads(done.stdout)["energy"]
    assert answer.summary.energy_joules == math.ceil(energy["value"])


def test_a_denoiser_of_ones_own_is_read_from_its_config() -> None:
    asked = replace(
        LLAMA, model_source="HuggingFaceConfig", config_map="mine", model_name="mine",
        input_tokens=None, output_tokens=None,
    )  # fmt: skip
    config = json.dumps({"_class_name": "FluxTransformer2DModel", "num_layers": 8})
    answer = ask(asked, H100, config)
    assert answer.reason is Reason.ESTIMATED, answer.message


def test_names_and_aliases_of_gpus_are_known() -> None:
    assert translate.canonical("H100") == "h100-sxm5-80gb"
    with pytest.raises(EstimateError, match="try"):
        translate.canonical("h100-sxn")


def test_requests_that_arrive_at_a_rate_leave_the_boards_idle_between_them() -> None:
    hour = replace(LLAMA, requests=None, expected_seconds=3600)
    busy = ask(hour, H100)
    calm = ask(replace(hour, requests_per_second_milli=500), H100)
    assert (calm.work, calm.summary.duration_seconds) == (1800, 3600)
    assert calm.summary.power_watts < busy.summary.power_watts
    assert busy.work is not None
    assert busy.work > 10 * 1800
    rushed = ask(replace(hour, requests_per_second_milli=10**7), H100)
    assert (rushed.feasibility, rushed.work) == ("TooSlow", None)
    assert "requests/s arrive but h100-sxm5-80gb x 1 serves" in rushed.message


def test_a_declared_duration_does_not_shorten_counted_work() -> None:
    job = ask(replace(LLAMA, requests=100_000), H100).summary
    understated = ask(replace(LLAMA, requests=100_000, expected_seconds=1), H100).summary
    assert understated.energy_joules == job.energy_joules
    longer = replace(LLAMA, requests=100_000, expected_seconds=2 * job.duration_seconds)
    held = ask(longer, H100).summary
    assert held.duration_seconds == 2 * job.duration_seconds
    assert job.energy_joules < held.energy_joules < 2 * job.energy_joules


def test_training_is_priced_by_steps_or_tokens() -> None:
    tune = replace(
        LLAMA, task="FineTuning", batch_size=64, sequence_length=4096, tensor=2, requests=None,
        micro_batch_size=1, gpus_per_replica=8, input_tokens=None, output_tokens=None,
    )  # fmt: skip
    steps = ask(replace(tune, steps=100), named("h200-sxm-141gb"))
    assert steps.honest, steps.message
    assert steps.work == 100
    assert steps.summary.gpu_count == 8
    tokens = ask(replace(tune, tokens=100 * 64 * 4096), named("h200-sxm-141gb"))
    assert tokens.summary == steps.summary


PRETRAIN = replace(
    LLAMA, task="Training", batch_size=64, sequence_length=4096, micro_batch_size=1, steps=10,
    requests=None, input_tokens=None, output_tokens=None, gpus_per_replica=8, replicas=4,
)  # fmt: skip


def test_every_degree_and_batch_of_training_counts() -> None:
    base = workload(PRETRAIN, PLAIN, None)
    assert (base.parallelism.gpus, base.parallelism.data) == (32, 32)
    assert base.training is not None
    assert base.training.zero == 3
    joules = {"": ask(PRETRAIN, named("h100-sxm")).summary.energy_joules}
    for name, change in {
        "tensor": {"tensor": 8}, "pipeline": {"pipeline": 4}, "context": {"context": 4},
        "micro": {"micro_batch_size": 2}, "sequence": {"sequence_length": 8192},
        "batch": {"batch_size": 128}, "steps": {"steps": 20},
    }.items():  # fmt: skip
        found = ask(replace(PRETRAIN, **change), named("h100-sxm"))
        assert found.reason is Reason.ESTIMATED, (name, found.message)
        assert found.summary.gpu_count == 32
        joules[name] = found.summary.energy_joules
    assert len(set(joules.values())) == len(joules), joules
    split = workload(replace(PRETRAIN, tensor=8, pipeline=2, data=2), PLAIN, None)
    assert (split.parallelism.data, split.training.zero if split.training else 0) == (2, 1)


def test_experts_lie_on_the_ranks_that_were_stated() -> None:
    mixture = replace(PRETRAIN, model_name="mistralai/Mixtral-8x7B-v0.1", tensor=4, expert=8)
    found = workload(mixture, PLAIN, None)
    assert found.parallelism.expert == 8
    assert ask(mixture, named("h100-sxm")).reason is Reason.ESTIMATED


def test_degrees_that_do_not_divide_say_what_would() -> None:
    found = ask(replace(PRETRAIN, pipeline=16, gpus_per_replica=16), named("h100-sxm"))
    assert found.reason is Reason.ESTIMATED
    odd = ask(replace(PRETRAIN, tensor=1, batch_size=63), named("h100-sxm"))
    assert odd.reason is not Reason.ESTIMATED
    assert "choose 32 or 64" in odd.message
