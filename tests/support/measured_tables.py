"""Small tables in the shape of measurements, and how tests have them scored."""

import pandas as pd
import pytest

from energaizer.cli import main
from energaizer.validation import report, run

SINGLE = pd.DataFrame(
    [
        ("a100", "bert", "large", "bf16", 8, 128, "eager", 900, 0.0200, 150.0, 1500),
        ("a100", "opt", "opt-1p3b", "bf16", 4, 512, "eager", 1410, 0.0800, 240.0, 400),
        ("a10", "gpt2", "gpt2", "fp32", 1, 256, "eager_inferred", 900, 0.0150, 90.0, 2000),
        ("a10", "vit", "large", "bf16", 16, 0, "model_default", 900, 0.1000, 140.0, 300),
        ("h100", "resnet101", "101", "fp32", 8, 0, "model_default", 1830, 0.0200, 400.0, 1500),
        ("a100", "qwen2", "qwen2-7b", "bf16", 1, 512, "eager", 900, 0.1000, 200.0, 300),
        ("a100", "nobody", "huge", "bf16", 1, 512, "eager", 900, 0.1000, 200.0, 300),
        ("a100", "bert", "large", "fp8", 1, 512, "eager", 900, 0.1000, 200.0, 300),
        ("a100", "bert", "large", "bf16", 1, 512, "eager", 2600, 0.1000, 200.0, 300),
        ("a100", "bert", "large", "bf16", 1, 512, "eager", 900, 0.1000, 200.0, 30),
    ],
    columns=["gpu", "model", "size", "precision", "batch", "seq", "attention", "sm_mhz_set",
             "time_s", "power_w", "iters"],
).assign(
    time_ms=lambda frame: 1e3 * frame["time_s"],
    energy_j=lambda frame: frame["time_s"] * frame["power_w"],
    run_s=lambda frame: frame["time_s"] * frame["iters"],
    remark="a column that nobody asked for",
).drop(columns="time_s")  # fmt: skip
KERNELS = pd.DataFrame(
    [
        ("a100_sxm", "gemm", "bfloat16", 4096, 4096, 4096, 560.0, None, None, "", ""),
        ("h200_sxm", "gemm", "fp8", 4096, 4096, 4096, 130.0, 600.0, 0.5, "A", ""),
        ("h200_sxm", "gemm", "fp8", 4096, 4096, 4096, 131.0, 601.0, 0.5, "A", ""),
        ("h200_sxm", "gemm", "fp8", 64, 4096, 4096, 20.0, 300.0, 0.1, "C", ""),
        ("h200_sxm", "gemm", "bfloat16", 64, 4096, 4096, 20.0, 300.0, 0.6, "A", "sol_violation"),
        ("a100_sxm", "gemm", "fp8", 64, 4096, 4096, 20.0, None, None, "", ""),
        ("a100_sxm", "gemm", "int4_wo", 64, 4096, 4096, 20.0, None, None, "", ""),
        ("a100_sxm", "moe", "bfloat16", 64, 4096, 4096, 20.0, None, None, "", ""),
        ("b200_sxm", "gemm", "w4a8", 64, 4096, 4096, 20.0, None, None, "", ""),
        ("l40s", "quant_scalematrix", "fp8", 4096, 0, 4096, 60.0, None, None, "", ""),
    ],
    columns=["gpu", "op", "dtype", "m", "n", "k", "latency_us", "power_w", "obs_weight_g",
             "power_tier", "phys_flag"],
)  # fmt: skip


def write(tmp_path, frame, name="table.csv"):
    path = tmp_path / name
    frame.to_csv(path, index=False)
    return path


def scored(tmp_path, frame, **options):
    return run.validate(write(tmp_path, frame), **options)


def predictions(outcome):
    frame = report.rows_frame(outcome)
    return frame.set_index(["quantity", "row"])[["predicted", "low", "high", "provenance"]]


def called(arguments, capsys):
    """Return exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    out = capsys.readouterr()
    return ended.value.code, out.out, out.err
