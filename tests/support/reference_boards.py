"""Boards by rounded datasheets, for tests only: the golden values of the method hold for these."""

from pathlib import Path

from energaizer import machine
from energaizer.gpu import Gpu, Link, Source
from energaizer.priors import Prior, from_specification

PROFILES = Path(machine.__file__).parent / "profiles"
SOURCE = Source(citation="reference table of the method, section 0", date="2026-11")

A100_SUPPLY = (
    (210e6, 0.69375), (1020e6, 0.69375), (1410e6, 0.89375),
)  # fmt: skip


def board(name, chip, rates, memory, outside, **more):
    """Return a board; chip is (architecture, SMs, f0), outside is (limit, link)."""
    architecture, units, clock = chip
    bandwidth, l2, size, kind = memory
    limit, link = outside
    per_cycle = 2.0 * units * clock
    return Gpu(
        name=name, vendor="NVIDIA", architecture=architecture, compute_units=units,
        reference_clock_hz=clock, min_clock_hz=210e6, max_clock_hz=clock,
        peak_flops={key: rate * per_cycle for key, rate in rates.items()},
        memory_bytes=size, memory_bandwidth=bandwidth, memory_type=kind, l2_bytes=l2,
        power_limit_w=limit, min_power_limit_w=0.4 * limit,
        link=Link(kind=link[0], bandwidth=link[1]), source=SOURCE, **more,
    )  # fmt: skip


A100 = board(
    "a100-pcie-40gb", ("Ampere", 108, 1410e6), {"bf16": 1024, "tf32": 512, "fp32": 64},
    (1555e9, 40e6, 40e9, "HBM2"), (250, ("PCIe", 32e9)), voltage=A100_SUPPLY,
)  # fmt: skip
A10 = board(
    "a10", ("Ampere", 72, 1695e6), {"bf16": 512, "tf32": 256, "fp32": 128},
    (600e9, 6e6, 24e9, "GDDR6"), (150, ("PCIe", 32e9)),
)  # fmt: skip
H100 = board(
    "h100-sxm", ("Hopper", 132, 1830e6), {"bf16": 2048, "tf32": 1024, "fp32": 128, "fp8": 4096},
    (3352e9, 50e6, 80e9, "HBM3"), (700, ("NVLink", 450e9)),
)  # fmt: skip
PRIOR = Prior.loads((PROFILES / "calibrations" / "prior.json").read_text(encoding="utf-8"))


def prior_machine(gpu):
    return machine.build(gpu, from_specification(gpu, PRIOR))
