"""Diffusion models: published sizes, counts by hand, parallelism, and what is refused."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from energaizer import catalog, lowering, machine, memory, pipeline, power, simulation, whatif
from energaizer.batch import Batch
from energaizer.cli import main
from energaizer.errors import DoesNotFitError, InputError, NoEstimateError
from energaizer.families import Generation
from energaizer.families.diffusion.component import Denoiser
from energaizer.families.diffusion.pipeline import Pipeline, Setting, tapes
from energaizer.families.diffusion.scene import Scene
from energaizer.families.diffusion.videos import _tiled
from energaizer.families.operators import Attention, Convolution, Tape
from energaizer.host import with_kernels
from energaizer.kernels import COLUMN, FAMILY, Kernel, Program
from energaizer.parallelism import Parallelism
from energaizer.precision import Precision
from energaizer.workload import Workload

PUBLISHED = {  # 1e9 parameters of denoisers, by the repositories' checkpoints
    "sd-1.5": 0.8595,
    "sd-2.1": 0.8659,
    "sdxl": 2.5675,
    "ssd-1b": 1.3309,
    # Checkpoints also hold tables of positions that are computed, not learned: 57 M and 226 M.
    "sd-3-medium": 2.0853 - 192**2 * 1536e-9,
    "sd-3.5-medium": 2.4696 - 384**2 * 1536e-9,
    "sd-3.5-large": 8.0566,
    "flux.1-dev": 11.901,
    "flux.1-schnell": 11.891,
    "hunyuandit": 1.500,
    "pixart-alpha": 0.6112,
    "pixart-sigma": 0.6108,
    "sana-600m": 0.592,
    "sana-1.6b": 1.604,
    "sana-1.5-4.8b": 4.72,
    "wan2.1-1.3b": 1.419,
    "wan2.1-14b": 14.288,
    "wan2.2-5b": 5.000,
    "cogvideox-2b": 1.694,
    "cogvideox-5b": 5.570,
    "hunyuanvideo": 12.821,
    "mochi": 10.029,
    "ltx-video": 1.923,
}
ENCODERS = {"clip-l": 0.1231, "openclip-h": 0.3404, "openclip-bigg": 0.6947, "t5-xxl": 4.762,
            "umt5-xxl": 5.681, "gemma-2-2b": 2.614}  # fmt: skip


def made(name: str) -> Pipeline:
    found = catalog.model(name)
    assert isinstance(found, Pipeline)
    return found


def asked(name: str, context: int = 1, ring: int = 1, **fields: Any) -> Workload:
    parallelism = Parallelism(context=context, ring=ring)
    return Workload(model=made(name), parallelism=parallelism, **fields)


def flops(program: Program, step: int = 1) -> float:
    return float(program.counts[step] @ program.column("flops"))


@pytest.mark.parametrize(("name", "billions"), PUBLISHED.items())
def test_denoisers_have_the_published_parameters(name: str, billions: float) -> None:
    assert made(name).parts["denoiser"] / 1e9 == pytest.approx(billions, rel=3e-3)


def test_text_encoders_have_the_published_parameters() -> None:
    seen = {}
    for model in catalog.models():
        if isinstance(model, Pipeline):
            for encoder in model.text_encoders:
                to = Tape()
                encoder.encode(to)
                seen[encoder.name] = to.parameters / 1e9
    for name, billions in ENCODERS.items():
        assert seen[name] == pytest.approx(billions, rel=5e-3), name


@pytest.mark.parametrize(
    ("name", "millions"), [("sd-1.5", 49.49), ("hunyuanvideo", 146.1), ("wan2.1-1.3b", 73.3)]
)
def test_decoders_have_the_published_parameters(name: str, millions: float) -> None:
    assert made(name).parts["decoder"] / 1e6 == pytest.approx(millions, rel=2e-3)


def test_products_of_one_step_by_hand() -> None:
    """FLUX: 57 layers of 12 h^2 a token, attention 2 S^2 h, few others (width 3072, S 4608)."""
    width, tokens = 3072, 64 * 64 + 512
    linear = 57 * 12 * width**2 * tokens
    attention = 57 * 2 * tokens**2 * width
    assert made("flux.1-dev").macs == pytest.approx(linear + attention, rel=0.01)


def test_tokens_of_an_image_and_of_a_video() -> None:
    assert Scene(128, 128, 1, 0).tokens(2) == 64 * 64
    assert made("wan2.1-1.3b").scene(made("wan2.1-1.3b").setting(None)) == (60, 104, 21, 512, 1)
    assert Scene(60, 104, 21, 0).tokens(2) == 21 * 30 * 52
    assert Scene(96, 170, 21, 0).tokens(2, 2) == 11 * 48 * 85  # an odd frame is filled up
    assert Scene(60, 104, 21, 256, 8).joint_text == 32
    assert Scene(60, 104, 21, 333, 8).joint_text == 333  # not divided evenly: on every board


def test_a_convolution_over_frames_by_hand() -> None:
    flat = Convolution(16, 32, (10, 12), (3, 3))
    deep = flat._replace(frames=5, depth=3)
    assert deep.parameters == 3 * flat.parameters
    assert deep.macs == 15 * flat.macs
    assert deep.elements == 5 * flat.elements


def test_filters_over_frames_are_a_family_of_their_own() -> None:
    def decoded(name: str, family: str) -> float:
        program = lowering.lower(asked(name))
        own = program.column("family") == FAMILY[family]
        return float(program.counts[2] @ (program.column("flops") * own))

    assert decoded("wan2.1-1.3b", "convolution-3d") > 10 * decoded("wan2.1-1.3b", "convolution") > 0
    assert decoded("sdxl", "convolution-3d") == 0.0
    assert decoded("sdxl", "convolution") > 0


def test_tiles_of_a_video_overlap() -> None:
    assert _tiled(90, 32, 24) == (32, (32 + 32 + 32 + 18) / 32)
    assert _tiled(33, 5, 3) == (5, (10 * 5 + 3) / 5)
    assert _tiled(4, 5, 3) == (4, 1.0)
    small = tapes(made("hunyuanvideo"), Setting(256, 256, 9, 50, 6.0)).decode
    large = tapes(made("hunyuanvideo"), Setting(448, 448, 9, 50, 6.0)).decode
    assert large.macs == pytest.approx(small.macs * ((32 + 32 + 8) / 32) ** 2)
    assert large.parameters == small.parameters


def test_one_board_decodes_or_each() -> None:
    def joules(name: str, boards: int) -> tuple[float, float]:
        phase = pipeline.estimate(asked(name, boards), gpu).phases[2]
        return phase.duration.value, phase.energy.value

    gpu = catalog.gpu("h100-sxm")
    board = machine.of(gpu, catalog.coefficients(gpu))
    idle_w = float(power.idle_power(board, np.array([gpu.max_clock_hz]))[0])

    alone_s, alone_j = joules("pixart-sigma", 1)
    shared_s, shared_j = joules("pixart-sigma", 4)
    assert shared_s == pytest.approx(alone_s)
    assert shared_j == pytest.approx(alone_j + 3 * alone_s * idle_w)
    assert lowering.lower(asked("cogvideox-5b", 4)).runs.tolist() == [1.0, 1.0, 0.25]
    assert lowering.lower(asked("wan2.1-1.3b", 4)).runs.tolist() == [1.0, 1.0, 1.0]


def test_guidance_evaluates_twice() -> None:
    batched = lowering.lower(asked("sdxl"))
    alone = lowering.lower(asked("sdxl", generation=Generation(guidance_scale=1.0)))
    assert flops(batched) == pytest.approx(2.0 * flops(alone))
    in_turn = lowering.lower(asked("wan2.1-1.3b", generation=Generation(frames=5)))
    assert in_turn.repetitions.tolist() == [1.0, 100.0, 1.0]
    distilled = lowering.lower(asked("flux.1-dev", generation=Generation(guidance_scale=7.0)))
    assert distilled.repetitions.tolist() == [1.0, 28.0, 1.0]


def test_steps_are_counted_not_looped() -> None:
    few = lowering.lower(asked("flux.1-dev", generation=Generation(steps=1)))
    many = lowering.lower(asked("flux.1-dev", generation=Generation(steps=1000)))
    assert few.rows.shape == many.rows.shape
    assert many.repetitions[1] == 1000 * few.repetitions[1]


@pytest.mark.parametrize(("context", "ring"), [(4, 1), (4, 4), (8, 2)])
def test_boards_share_the_products_of_a_step(context: int, ring: int) -> None:
    whole = flops(lowering.lower(asked("hunyuanvideo", generation=Generation(frames=5))))
    share = lowering.lower(asked("hunyuanvideo", context, ring, generation=Generation(frames=5)))
    assert context * flops(share) == pytest.approx(whole, rel=0.02)
    links = share.rows[share.column("link_bytes") > 0]
    assert len(links) == (context // ring > 1) + (ring > 1)


def test_bytes_of_an_exchange_by_hand() -> None:
    """FLUX over four boards: a quarter of the image's tokens, 3072 wide, in bf16."""
    program = lowering.lower(asked("flux.1-dev", 4))
    sent = program.rows[program.column("link_bytes") > 0]
    assert sent[:, COLUMN["link_bytes"]].tolist() == [4096 / 4 * 3072 * 2]
    place = program.column("link_bytes") > 0
    assert program.counts[1][place].tolist() == [4 * 57]


def test_a_head_is_filled_up_to_a_multiple_of_32() -> None:
    program = lowering.lower(asked("pixart-sigma", generation=Generation(guidance_scale=1.0)))
    tape = tapes(made("pixart-sigma"), made("pixart-sigma").setting(None)).denoise
    pairs = sum(
        count * operator.scores
        for operator, count in tape.counts.items()
        if isinstance(operator, Attention)
    )
    special = program.column("special") * (program.column("flops") > 0)
    assert float(program.counts[1] @ special) == pytest.approx(pairs)
    assert float(program.counts[1] @ program.column("casts")) == pytest.approx(2.0 * pairs)
    attended = program.column("flops") * (special > 0)
    assert float(program.counts[1] @ attended) == pytest.approx(4.0 * 96 * pairs)


def test_casts_take_time_and_draw_nothing_of_their_own() -> None:
    one = Kernel(FAMILY["attention-prefill"], special=1e9, casts=2e9, blocks=1e4)
    gpu, clock = catalog.gpu("h100-sxm"), np.array([1.5e9, 1.5e9])
    priced = one._replace(special=3e9, casts=0.0)
    seen = Batch.of_kernels(gpu, [one, priced], clock, np.array([700.0, 700.0])).predict(
        catalog.coefficients(gpu)
    )
    assert seen.duration_s[0] == seen.duration_s[1]
    place = power.COMPONENTS.index("special")
    assert 3.0 * seen.components_j[0, place] == pytest.approx(seen.components_j[1, place])
    assert seen.components_j[0, place] > 0


@pytest.mark.parametrize(
    ("name", "fields", "told"),
    [
        ("sdxl", {"height": 1001}, "try 1000"),
        ("wan2.1-1.3b", {"frames": 80}, "try 81"),
        ("mochi", {"frames": 101}, "try 103"),
        ("flux.1-dev", {"frames": 5}, "makes images"),
    ],
)
def test_sizes_that_do_not_work_name_the_nearest(
    name: str, fields: dict[str, int], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        lowering.lower(asked(name, generation=Generation(**fields)))


def test_parallelism_that_does_not_work() -> None:
    with pytest.raises(InputError, match="set ring to 2 of 16 boards"):
        lowering.lower(asked("flux.1-dev", 16))
    with pytest.raises(NoEstimateError, match="data-parallel replicas"):
        lowering.lower(asked("sdxl", 2))
    with pytest.raises(NoEstimateError, match="context"):
        lowering.lower(Workload(model=made("flux.1-dev"), parallelism=Parallelism(tensor=2)))
    with pytest.raises(ValidationError, match="ring 3 must divide context 4"):
        Parallelism(context=4, ring=3)


def test_what_does_not_fit_says_what_does() -> None:
    gpu = catalog.gpu("l40s")
    with pytest.raises(DoesNotFitError, match="not even one"):
        pipeline.estimate(asked("wan2.2-a14b"), gpu)
    need = memory.need(asked("flux.1-dev"), catalog.gpu("h100-sxm"))
    assert need.weights_bytes == pytest.approx(2 * made("flux.1-dev").parameters)
    assert made("wan2.2-a14b").parameters - made("wan2.1-14b").parameters == pytest.approx(
        14.288e9, rel=1e-3
    )


def test_phases_sum_to_the_whole() -> None:
    answer = pipeline.estimate(asked("sd-3.5-large", batch=2), catalog.gpu("h100-sxm"))
    assert [phase.name for phase in answer.phases] == ["text-encode", "denoise", "decode"]
    assert [phase.count for phase in answer.phases] == [1, 28, 1]
    assert sum(phase.energy.value for phase in answer.phases) == pytest.approx(answer.energy.value)
    assert answer.energy_per_sample is not None
    assert answer.energy_per_sample.unit == "J/image"
    assert answer.energy_per_sample.value == pytest.approx(answer.energy.value / 2)


def test_a_sweep_says_what_single_estimates_say() -> None:
    gpu, load = catalog.gpu("h100-sxm"), asked("pixart-sigma", clock_hz=1.2e9)
    one = pipeline.estimate(load, gpu)
    swept = whatif.sweep(load, [gpu])
    assert swept[0].energy_j == pytest.approx(one.energy.value, rel=1e-6)


def test_a_framework_brings_kernels_of_its_own() -> None:
    host, gpu = catalog.host("diffusion"), catalog.gpu("h100-sxm")
    served = catalog.coefficients(gpu)
    own = with_kernels(host, gpu, served)
    told = next(part for part in host.kernels if part.architecture == "hopper")
    reach = next(part for part in told.families if part.family == "attention-prefill")
    assert own.families["attention-prefill"].compute_efficiency == reach.compute_efficiency
    assert own.families["attention-decode"] == served.families["attention-decode"]
    assert with_kernels(catalog.host("training"), gpu, served) is served


def test_more_boards_never_slow_a_video_down() -> None:
    gpu = catalog.gpu("h100-sxm")
    times = [
        pipeline.estimate(asked("hunyuanvideo", boards), gpu).duration.value
        for boards in (1, 2, 4, 8)
    ]
    assert times == sorted(times, reverse=True)


def test_a_workload_survives_json() -> None:
    load = asked(
        "wan2.1-1.3b", generation=Generation(frames=33, steps=20), precision=Precision.FP16
    )
    again = Workload.model_validate_json(load.model_dump_json())
    assert again == load
    assert lowering.lower(again).repetitions.tolist() == [1.0, 40.0, 1.0]


def test_only_what_generates_takes_a_generation() -> None:
    with pytest.raises(ValidationError, match="makes no images"):
        Workload(model=catalog.model("resnet50"), generation=Generation(steps=3))
    with pytest.raises(ValidationError, match="leave image_size out"):
        asked("sdxl", image_size=512)


def test_an_unknown_denoiser_is_named() -> None:
    with pytest.raises(NoEstimateError, match='"UNet3DConditionModel"; known are'):
        Denoiser.described({"_class_name": "UNet3DConditionModel"})
    with pytest.raises(NoEstimateError, match='"AutoencoderKL"'):  # a decoder is no denoiser
        Denoiser.described({"_class_name": "AutoencoderKL"})


def saved(folder: Path, **configs: dict[str, Any]) -> Path:
    index = {"_class_name": "SomePipeline"}
    for name, config in configs.items():
        index[name] = ["diffusers", config.get("_class_name", "X")]  # type: ignore[assignment]
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    (folder / "model_index.json").write_text(json.dumps(index | {"safety_checker": [None, None]}))
    return folder


def test_a_folder_of_diffusers_is_read(tmp_path: Path) -> None:
    clip = {"model_type": "clip_text_model", "num_hidden_layers": 12, "hidden_size": 768,
            "intermediate_size": 3072, "num_attention_heads": 12, "vocab_size": 49408,
            "max_position_embeddings": 77}  # fmt: skip
    unet = {"_class_name": "UNet2DConditionModel", "cross_attention_dim": 768, "sample_size": 64,
            "norm_eps": 1e-5, "mid_block_type": None}  # fmt: skip
    vae = {"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512],
           "layers_per_block": 2}  # fmt: skip
    folder = saved(tmp_path / "mine", unet=unet, vae=vae, text_encoder=clip)
    found = catalog.load_model(folder)
    assert isinstance(found, Pipeline)
    assert found.name == "mine"
    assert found.parameters == made("sd-1.5").parameters
    assert "as of stable-diffusion-v1-5" in found.notes[0]
    alone = catalog.load_model(folder / "unet" / "config.json")
    assert "decoder" in alone.notes[0]


@pytest.mark.parametrize(
    ("unet", "error", "told"),
    [
        ({"_class_name": "Kandinsky3UNet"}, NoEstimateError, "Kandinsky3UNet"),
        (
            {"_class_name": "UNet2DConditionModel", "block_out_channels": [320, 640]},
            InputError,
            "one entry for each stage",
        ),
    ],
)
def test_what_a_folder_lacks_is_said(
    tmp_path: Path, unet: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        catalog.load_model(saved(tmp_path, unet=unet))


def test_the_command_line_speaks_of_images() -> None:
    run = CliRunner().invoke(
        main, ["estimate", "--model", "FLUX.1-dev", "--gpu", "h100-sxm", "--steps", "4", "--height",
               "512", "--width", "768", "-o", "json"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    answer = json.loads(run.output)
    assert answer["inputs"]["generation"] == {"height": 512, "width": 768, "steps": 4}
    assert answer["energy_per_sample"]["unit"] == "J/image"
    boards = ["--context-parallel", "4", "--ring", "2"]
    table = CliRunner().invoke(main, ["estimate", "--model", "mochi", "--gpu", "h200", *boards])
    assert "context-parallel 4, ring-parallel 2" in table.output
    assert "video of 848 x 480, 163 frames, 64 steps, guided, 2 passes a step" in table.output
    wrong = CliRunner().invoke(
        main, ["estimate", "--model", "gpt2", "--gpu", "h200", "--steps", "3"]
    )
    assert wrong.exit_code == 2


def test_launches_of_a_step_are_those_of_the_program() -> None:
    program = lowering.lower(asked("flux.1-dev"))
    gpu = catalog.gpu("h100-sxm")
    from energaizer import machine  # noqa: PLC0415

    loaded = simulation.load(
        program, machine.of(gpu, catalog.coefficients(gpu)), catalog.host("diffusion")
    )
    assert math.isfinite(loaded.host_s.sum())
    assert (loaded.gaps_s[:2] == 0).all()
    assert loaded.gaps_s[2] > 0  # a host stores the image
