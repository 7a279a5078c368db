"""What is fitted, with which prior: the one place where a modelling choice of a fit is written.

Means and log-sd of products come from kernels of the same process measured one by one, those of
hosts and streams are typical values; a fit moves them only as far as its data asks.
"""

from energaizer.calibration.fit import Parameter
from energaizer.gpu import Gpu

PRODUCTS = (
    Parameter("time.tile_edge", 0.05, 0.5),
    Parameter("time.tile_prologue", 250.0, 0.3),
    Parameter("time.core_prologue", 16.0, 0.7),
    Parameter("time.tail_overhead", 0.035, 0.5),
    Parameter("time.split_overhead", 0.03, 0.5),
    Parameter("time.core_split_overhead", 0.5, 0.7),
    Parameter("time.operand_bytes_per_cycle", 21.0, 0.3),
    Parameter("time.misaligned_factor", 3.0, 0.5),
    Parameter("rate_efficiency.fp32", 0.9, 0.1),
    Parameter("rate_efficiency.tf32", 0.85, 0.1),
)
"""Matrix products and convolutions."""
STREAMS = (
    Parameter("time.stream_bytes_per_cycle", 32.0, 0.5),
    Parameter("time.elements_per_cycle", 4.0, 0.7),
    Parameter("time.usable_l2_fraction", 0.6, 0.2, most=1.0),
    Parameter("time.memory_efficiency", 0.72, 0.05, most=1.0),
    Parameter("families.elementwise.memory_efficiency", 1.15, 0.1),
    Parameter("families.copy.memory_efficiency", 1.15, 0.1),
    Parameter("families.softmax.memory_efficiency", 1.15, 0.1),
)
"""Everything that moves bytes; long streams reach more of the DRAM peak than panels do."""
LAUNCHES = (
    Parameter("time.kernel_cycles", 3000.0, 0.3),
    Parameter("time.kernel_s", 1.0e-6, 0.3),
    Parameter("host.launch_s", 1.5e-5, 0.3),
    Parameter("host.call_s", 1.0e-5, 0.3),
    Parameter("host.step_s", 2.0e-4, 1.0),
)
"""Fixed costs of a kernel and of the host that launches it."""
FORWARD = (*PRODUCTS, *STREAMS, *LAUNCHES)
"""Whole forward passes of eager modules on one GPU."""

_WIDE_CORE_RATE = 128.0
_WIDE_CORE = Parameter("rate_efficiency.fp32", 0.72, 0.1)
_WHOLE_L2 = Parameter("time.usable_l2_fraction", 1.0, 0.2, most=1.0)


def forward(gpu: Gpu) -> tuple[Parameter, ...]:
    """Return what is fitted of forward passes on a GPU.

    Where an SM has twice as many fp32 lanes, half of them share their issue with integer work: the
    library reaches about .7 of that peak (published for boards of that chip), not .9. Chips beside
    GDDR have one L2; that of the A100 and later ones has two halves, and what both halves of the
    SMs read lies in both.
    """
    own = {each.path: each for each in FORWARD}
    if gpu.macs_per_cycle("fp32") >= _WIDE_CORE_RATE:
        own[_WIDE_CORE.path] = _WIDE_CORE
    if gpu.memory_type.startswith("GDDR"):
        own[_WHOLE_L2.path] = _WHOLE_L2
    return tuple(own.values())


STREAM_ENERGIES = tuple(
    f"families.{name}.energy_factor"
    for name in ("elementwise", "copy", "gather", "softmax", "norm")
)
"""Energy of the kernels that move bytes, against what their counted bytes cost in a product."""
_STREAM_ENERGY = 0.5
"""By families left out: of .5 and .65, the first where layout copies and indices are counted as
they run; all tables and each GPU from the other gain. The fit then leaves more to busy SMs."""


_FACTS = {"power.tail_share": 0.0, "time.contiguous_issue": 0.5}
"""An SM without a block of the last wave draws what an idle one does. PyTorch moves a contiguous
tensor by vectors and computes no index: of .4 and .5, .5 predicts time better, power alike."""


def starting(gpu: Gpu) -> dict[str, float]:
    """Return coefficients at the means of their priors, from which a fit of passes starts."""
    means = {own.path: own.mean for own in forward(gpu) if not own.path.startswith("host.")}
    return means | dict.fromkeys(STREAM_ENERGIES, _STREAM_ENERGY) | _FACTS


KERNEL_PRODUCTS = (
    Parameter("time.tile_edge", 0.15, 0.7),
    Parameter("time.tile_prologue", 128.0, 0.7),
    Parameter("time.tail_overhead", 0.1, 0.7),
    Parameter("time.split_overhead", 0.2, 0.7),
    Parameter("time.operand_bytes_per_cycle", 64.0, 0.7),
    Parameter("time.usable_l2_fraction", 0.6, 0.2, most=1.0),
    Parameter("time.kernel_cycles", 2500.0, 0.6),
    Parameter("time.kernel_s", 1.5e-6, 0.5),
    Parameter("time.memory_efficiency", 0.85, 0.15, most=1.0),
    Parameter("rate_efficiency.bf16", 0.95, 0.15),
)
"""Single products, replayed one by one."""
KERNEL_PREFILL = (
    Parameter("families.attention-prefill.compute_efficiency", 0.8, 0.3),
    Parameter("families.attention-prefill.paged_share", 1.0, 0.3),
    Parameter("families.attention-prefill.memory_efficiency", 0.9, 0.3),
    Parameter("families.attention-prefill.fixed_s", 8.0e-6, 0.7),
    Parameter("families.attention-prefill.block_cycles", 3000.0, 0.7),
)
KERNEL_DECODE = (
    Parameter("families.attention-decode.memory_efficiency", 0.9, 0.2),
    Parameter("families.attention-decode.compute_efficiency", 0.5, 0.5),
    Parameter("families.attention-decode.fixed_s", 8.0e-6, 0.7),
    Parameter("families.attention-decode.reduction_s", 3.0e-6, 0.7),
    Parameter("families.attention-decode.block_cycles", 3000.0, 0.7),
)
"""Fused attention kernels."""


def attention(gpu: Gpu) -> dict[str, float]:
    """Return what is known of the attention kernels that run on a GPU, and never fitted.

    Before Hopper that is FlashAttention-2: of a decode step it merges heads into rows of a tile,
    and then splits keys, only where there are groups of heads and no window. Tensor cores of
    Blackwell take an 8-bit cache at their 8-bit rate; before, its values are transposed first, and
    a key costs what it does in 16 bits.
    """
    architecture = gpu.architecture.lower()
    if architecture in {"ampere", "ada"}:
        return {"families.attention-decode.whole_heads": 1.0}
    if architecture == "blackwell":
        names = ("attention-prefill", "attention-decode")
        return {f"families.{name}.narrow_rate": 2.0 for name in names}
    return {}


POWER_SPREAD = {
    "power.flop_pj": 0.4,
    "power.l2_pj_per_byte": 0.3,
    "power.dram_pj_per_byte": 0.2,
    "power.special_pj": 0.4,
    "power.sm_active_w_per_ghz": 0.4,
    "power.idle_w": 0.2,
}
"""Relative spread of the priors of energies (method, 4.3)."""

KERNEL_POWER_SPREAD = {
    **POWER_SPREAD,
    "power.dram_pj_per_byte": 0.05,
    "power.l2_pj_per_byte": 0.1,
}
"""The same for single kernels, whose sensor saw them through a floor: bytes move little in power
there, and would otherwise be bought by busy SMs."""
