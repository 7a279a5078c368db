"""Measured rows of diffusion: which there are, what is predicted for them, what is not."""

from pathlib import Path

import pandas as pd
import pytest

from energaizer import catalog, pipeline
from energaizer.families import Generation
from energaizer.parallelism import Parallelism
from energaizer.validation import run
from energaizer.workload import Workload

ROW = {
    "gpu_model": "H100", "num_gpus": 2, "task": "text-to-image", "ulysses_degree": 2,
    "ring_degree": 1, "batch_size": 4, "inference_steps": 20, "height": 1024, "width": 1024,
    "num_frames": 1, "batch_latency_s": 3.0, "avg_power_w": 1000.0,
    "energy_per_generation_j": 750.0,
}  # fmt: skip
TEXT = {"gpu_model": "H100", "num_gpus": 1, "model": "Qwen/Qwen3-8B", "task": "lm-arena-chat",
        "family": "llm", "avg_batch_size": 8.0, "avg_output_len": 400.0, "attn_tp": 1,
        "output_tokens_per_s": 900.0, "energy_per_token_j": 0.4, "avg_power_w": 360.0}  # fmt: skip


def test_rows_of_diffusion_stand_apart_and_equal_single_estimates(tmp_path: Path) -> None:
    sigma = ROW | {"model": "PixArt-alpha/PixArt-Sigma-XL-2-1024-MS"}
    unknown = ROW | {"model": "nobody/draws"}
    file = tmp_path / "mixed.csv"
    pd.DataFrame([TEXT, sigma, unknown]).to_csv(file, index=False)
    text, made = run.validate(file).tables
    assert (text.kind, made.kind) == ("serving", "diffusion")
    assert len(text.failed) == 1
    assert 'no model "nobody/draws"' in made.failed[1]
    load = Workload(
        model=catalog.model("pixart-sigma"), input_tokens=1, batch=4,
        generation=Generation(steps=20), parallelism=Parallelism(context=2),
    )  # fmt: skip
    one = pipeline.estimate(load, catalog.gpu("h100-sxm"))
    expected = {
        "time": one.duration.value, "power": one.power.value,
        "energy_per_generation": one.energy.value / 4,
    }  # fmt: skip
    for name, value in expected.items():
        column = made.column(name)
        assert column is not None
        assert column.predicted[0] == pytest.approx(value, rel=1e-2), name
        assert column.low[0] < column.predicted[0] < column.high[0] * (1 + 1e-9), name


def test_an_older_schema_gives_power_from_its_energy(tmp_path: Path) -> None:
    row = {"Model": "stabilityai/stable-diffusion-xl-base-1.0", "GPU": "NVIDIA H100 80GB HBM3",
           "task": "text-to-image", "Energy/req (J)": None, "Energy/image (J)": 600.0,
           "Batch latency (s)": 4.0, "Batch size": 4, "Denoising steps": 25}  # fmt: skip
    file = tmp_path / "older.csv"
    pd.DataFrame([row]).to_csv(file, index=False)
    (made,) = run.validate(file).tables
    power = made.column("power")
    assert power is not None
    assert power.measured[0] == 600.0
    assert power.scored.all()
