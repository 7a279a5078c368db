"""GPUs: the datasheet's numbers, and profiles that contradict themselves."""

import json

import pytest
from pydantic import ValidationError

from energaizer import catalog
from energaizer.errors import InputError
from energaizer.gpu import Gpu

# name, SMs, f0 MHz, MAC/cycle/SM of bf16, tf32, fp32, DRAM GB/s, L2 MB, limit W, link GB/s:
# docs/method.md, 0.
REFERENCE = [
    ("a100-pcie-40gb", 108, 1410, 1024, 512, 64, 1555, 40, 250, 32),
    ("a100-sxm4-80gb", 108, 1410, 1024, 512, 64, 2039, 40, 400, 300),
    ("a10-24gb", 72, 1695, 512, 256, 128, 600, 6, 150, 32),
    ("l40s-48gb", 142, 2520, 512, 256, 128, 864, 96, 350, 32),
    ("h100-sxm5-80gb", 132, 1830, 2048, 1024, 128, 3352, 50, 700, 450),
    ("h200-sxm-141gb", 132, 1830, 2048, 1024, 128, 4800, 50, 700, 450),
    ("b200-sxm-180gb", 148, 1850, 4096, 2048, 128, 7700, 126, 1000, 900),
]


@pytest.mark.parametrize("row", REFERENCE, ids=lambda row: row[0])
def test_agrees_with_the_reference_table(row):
    gpu = catalog.gpu(row[0])
    rates = [gpu.macs_per_cycle(key) for key in ("bf16", "tf32", "fp32")]
    assert (
        gpu.name,
        gpu.compute_units,
        gpu.reference_clock_hz / 1e6,
        *rates,
        gpu.memory_bandwidth / 1e9,
        gpu.l2_bytes / 1e6,
        gpu.power_limit_w,
        gpu.link.bandwidth / 1e9,
    ) == row


# Dense TFLOP/s as printed by the vendor.
PRINTED = [
    ("a100-sxm4-80gb", "bf16", 312),
    ("a100-sxm4-80gb", "int8", 624),
    ("a10-24gb", "bf16", 125),
    ("a30-24gb", "bf16", 165),
    ("a40-48gb", "bf16", 149.7),
    ("t4-16gb", "fp16", 65),
    ("v100-sxm2-32gb", "fp16", 125),
    ("v100-pcie-16gb", "fp16", 112),
    ("l4-24gb", "fp8", 242.5),
    ("l40s-48gb", "fp8", 733),
    ("h100-sxm5-80gb", "bf16", 989.4),
    ("h100-sxm5-80gb", "fp8", 1978.9),
    ("h100-pcie-80gb", "bf16", 756.5),
    ("h100-nvl-94gb", "bf16", 835.5),
    ("b200-sxm-180gb", "fp4", 9000),
    ("b200-sxm-180gb", "bf16", 2250),
    ("gb200-186gb", "fp8", 5000),
    ("b300-sxm-288gb", "fp4", 13500),
    ("rtx-pro-6000-96gb", "fp4", 2015.2),
    ("mi210-64gb", "bf16", 181),
    ("mi250x-128gb", "bf16", 383),
    ("mi300x-192gb", "bf16", 1307.4),
    ("mi300x-192gb", "fp8", 2614.9),
    ("mi325x-256gb", "fp32", 163.4),
    ("mi355x-288gb", "bf16", 2516.6),
]


@pytest.mark.parametrize(("name", "rate", "teraflops"), PRINTED)
def test_peaks_are_dense_and_as_printed(name, rate, teraflops):
    assert catalog.gpu(name).rate(rate) / 1e12 == pytest.approx(teraflops, rel=0.01)


@pytest.mark.parametrize("gpu", catalog.gpus(), ids=lambda gpu: gpu.name)
def test_every_profile_is_plausible(gpu):
    assert gpu.source.citation
    assert gpu.source.date >= "2017"
    for key, peak in gpu.peak_flops.items():
        rate = peak / (2 * gpu.compute_units * gpu.reference_clock_hz)
        assert rate == pytest.approx(round(rate), abs=1e-9), key
        assert round(rate) % 64 == 0, key
    assert gpu.peak_flops["fp16"] >= gpu.peak_flops["fp32"]
    size = float(gpu.name.removesuffix("gb").rsplit("-", 1)[-1])
    assert gpu.memory_bytes / 1e9 == pytest.approx(size, rel=0.09)


def test_a100_supplies_are_those_published():
    assert catalog.gpu("a100-pcie-40gb").voltage[-2:] == ((1020e6, 0.69375), (1410e6, 0.89375))
    assert catalog.gpu("a100-sxm4-80gb").voltage[-2:] == ((1110e6, 0.74375), (1410e6, 0.91875))
    assert catalog.gpu("h100-sxm").voltage is None


def test_a_missing_rate_says_what_there_is():
    with pytest.raises(InputError, match=r"l40s-48gb has no fp4 rate; use one of fp32, tf32"):
        catalog.gpu("l40s").rate("fp4")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_clock_hz": 2e9}, "min <= reference <= max"),
        ({"min_power_limit_w": 800}, "exceeds power_limit_w"),
        ({"voltage": [[2e9, 0.8], [1e9, 0.9]]}, "rising"),
        ({"voltage": [[1e9, 0.9], [2e9, 0.8]]}, "rising"),
        ({"memory_bytes": float("nan")}, "finite"),
        ({"peak_flops": {"bf17": 1e12}}, "bf17"),
        ({"peak_flops": {}}, "at least 1"),
        ({"tdp": 700}, "Extra inputs"),
    ],
)
def test_contradictory_profiles_are_refused(change, message):
    fields = json.loads(catalog.gpu("h100-sxm").model_dump_json())
    with pytest.raises(ValidationError, match=message):
        Gpu.model_validate(fields | change)
