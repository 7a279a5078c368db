"""Golden values of the method: waves (2.3), products (2.4), streaming kernels and links (3)."""

import math

import numpy as np
import pytest

from energaizer import attention, blocks, demand, kernels, machine, tiling, timeline, waves
from energaizer.attention import Heads
from energaizer.precision import Precision
from reference_boards import A10, A100, H100, prior_machine

MIB = 2**20


def evaluate(gpu, kernel):
    machine = prior_machine(gpu)
    found = demand.alternatives(kernels.table([kernel]), machine)
    return demand.compile_work(found, machine), found, machine


@pytest.mark.parametrize(
    ("blocks", "resident", "expected"), [(1024, 1, (10, 52, 1, 0)), (512, 3, (2, 80, 2, 1))]
)
def test_waves(blocks, resident, expected):
    assert tuple(float(x) for x in waves.waves(blocks, resident, 108)) == expected


B16, F32 = (2.0, 2.0, 2.0), (4.0, 4.0, 4.0)
# board, MHz, batch x m x n x k, rate, (tile, split), (blocks, waves), (mma, l2) cycles,
# (DRAM MB, us without fixed cost, us)
GEMMS = [
    (A100, 1410, (1, 4096, 4096, 4096), "bf16", (256, 128, 1), (512, 5), (762694, 233017),
     (130.80, 542.17, 545.44)),
    (A100, 900, (1, 4096, 4096, 4096), "bf16", (256, 128, 1), (512, 5), (762694, 233017),
     (130.80, 849.30, 853.58)),
    (A100, 900, (1, 128, 1024, 1024), "bf16", (64, 64, 2), (64, 1), (4133, 1214),
     (2.62, 6.94, 11.22)),
    (A100, 1410, (1, 8, 4096, 4096), "bf16", (32, 128, 8), (256, 3), (11975, 6068),
     (33.69, 21.91, 25.18)),
    (A100, 900, (96, 128, 128, 64), "bf16", (128, 64, 1), (192, 2), (2697, 683),
     (6.29, 4.32, 8.60)),
    (A100, 900, (1, 1024, 3072, 768), "fp32", (64, 64, 1), (768, 8), (466519, 43691),
     (25.17, 518.36, 522.64)),
    (A10, 900, (1, 1024, 2304, 768), "bf16", (128, 128, 1), (144, 2), (65828, 12288),
     (9.83, 73.21, 77.49)),
    (H100, 1830, (1, 8192, 8192, 8192), "bf16", (256, 128, 1), (2048, 16), (2373352, 1525201),
     (936.02, 1349.61, 1352.48)),
]  # fmt: skip


@pytest.mark.parametrize("row", GEMMS, ids=lambda row: f"{row[0].name}-{row[2]}-{row[1]}")
def test_product(row):
    gpu, mhz, shape, rate, tile, (blocks, rounds), (mma, l2), (moved, inner, total) = row
    kernel = kernels.gemm(*shape, F32 if rate == "fp32" else B16, rate)
    work, found, machine = evaluate(gpu, kernel)
    form = tiling.form_of(machine.coefficients.time, machine.units)
    choice = tiling.choose(found.plans, machine.rates[found.rate], form)
    plan = choice.plan[0]
    assert (tiling.TILE_M[plan], tiling.TILE_N[plan], tiling.SPLIT[plan]) == tile
    assert choice.blocks[0] == blocks
    assert choice.waves[0] == rounds
    assert choice.mma_cycles[0] == pytest.approx(mma, abs=0.51)
    assert choice.l2_cycles[0] == pytest.approx(l2, abs=0.51)
    assert work.dram_bytes[0] / 1e6 == pytest.approx(moved, abs=0.0051)
    clock = np.array([[mhz * 1e6]])
    seconds = timeline.durations(work, clock)[0, 0]
    fixed = work.fixed_cycles[0] / (mhz * 1e6) + work.fixed_s[0]
    assert (seconds - fixed) * 1e6 == pytest.approx(inner, abs=0.0051)
    assert seconds * 1e6 == pytest.approx(total, abs=0.0051)


def microseconds(kernel, gpu=A100, mhz=900):
    work, _, _ = evaluate(gpu, kernel)
    clock = np.array([[mhz * 1e6]])
    total = timeline.durations(work, clock)[0, 0] * 1e6
    fixed = (work.fixed_cycles[0] / (mhz * 1e6) + work.fixed_s[0]) * 1e6
    return work, total - fixed, total


def test_add():
    n = 8_388_608
    work, inner, total = microseconds(kernels.elementwise(n, 4.0 * n, 2.0 * n))
    assert work.dram_bytes[0] / 1555e9 * 1e6 == pytest.approx(32.37, abs=0.006)
    assert inner == pytest.approx(32.86, abs=0.01)
    assert total == pytest.approx(37.14, abs=0.01)


def test_softmax():
    work, inner, _ = microseconds(kernels.softmax(65536, 1024, 2.0))
    assert work.special[0] / (16 * 108 * 900e6) * 1e6 == pytest.approx(43.15, abs=0.01)
    # 175.26 is DRAM with on-chip; exponentials add a little to the smooth maximum
    assert inner == pytest.approx(175.26, rel=2e-3)


def test_layer_norm():
    _, inner, total = microseconds(kernels.normalization(4096, 2048, 2.0))
    assert inner == pytest.approx(21.91, abs=0.01)
    assert total == pytest.approx(26.19, abs=0.01)


def test_long_rows_are_read_twice():
    short, _, _ = microseconds(kernels.normalization(4096, 32768, 2.0))
    long, _, _ = microseconds(kernels.normalization(4096, 32769, 2.0))
    assert long.dram_bytes[0] / short.dram_bytes[0] == pytest.approx(1.5, rel=1e-3)


def test_attention_counts():
    assert attention.causal_pairs(4096) == 8_390_656
    assert 4 * 32 * 128 * attention.causal_pairs(4096) == 137_472_507_904
    assert attention.causal_pairs(8192, 1024) == 7_864_832
    assert attention.chunk_pairs(6144, 2048) == 14_681_088


@pytest.mark.parametrize(
    ("batch", "context", "splits"), [(1, 8192, 17), (16, 8192, 2), (4, 1024, 4), (1, 512, 2)]
)
def test_decode_splits(batch, context, splits):
    assert attention.decode_splits(context, batch, 8, 132) == splits
    work, _, _ = evaluate(
        H100, attention.decode(Heads(batch, 32, 8, 128), context, 2.0, 2.0, "bf16")
    )
    assert work.blocks[0] >= batch * 8
    assert work.blocks[0] <= batch * 8 * splits + 1e-9


def test_decode_attention_amounts():
    kernel = attention.decode(Heads(32, 32, 8, 128), 2048, 2.0, 2.0, "bf16")
    queries = 32 * 32 * 128 * 2
    assert kernel.read_bytes - queries == 268_435_456
    assert kernel.flops == 1_073_741_824
    assert kernel.flops / (kernel.read_bytes - queries) == 4.0


def test_causal_tiles_compute_half_the_diagonal():
    kernel = attention.prefill(Heads(1, 1, 1, 128), 4096, 8_390_656, 2.0, 2.0, "bf16")
    tiles = 32
    exact = 4 * 128 * 4096**2
    assert kernel.flops / exact == pytest.approx((tiles + 1) / (2 * tiles), rel=1e-3)


def test_host_gaps():
    joined = timeline.host_norm(np.array([10e-3]), np.array([12e-3]))
    assert joined[0] * 1e3 == pytest.approx(12.592, abs=5e-4)
    assert timeline.queued(np.array([5.0, 1.0, 1.0]), 2.0) == 9.0
    assert timeline.queued(np.array([1.0, 1.0]), 2.0) == 5.0


def test_fourth_norm_is_a_smooth_maximum():
    found = timeline.fourth_norm(np.array([3.0]), np.array([4.0]))
    assert found[0] == pytest.approx(math.pow(3**4 + 4**4, 0.25))


def test_block_scales_lie_apart_from_the_elements_they_scale():
    """A row of fp8 with scales is a row of bytes: as well aligned, hardly larger."""
    seconds = []
    for size in (1.0, Precision.FP8.bytes_per_element):
        product = kernels.gemm(1.0, 4096.0, 4096.0, 4096.0, (size, size, 2.0), "fp8")
        work, _, machine = evaluate(H100, product)
        clock = np.array([[machine.gpu.reference_clock_hz]])
        seconds.append(timeline.durations(work, clock)[0, 0])
    assert seconds[1] == pytest.approx(seconds[0], rel=0.01)


def test_a_last_wave_leaves_sms_without_work():
    # 128 blocks on 108 SMs: two rounds of 108 places, 88 of which stay empty
    assert waves.active_fraction(128.0, 108.0, 0.0) == pytest.approx(128 / 216)
    assert waves.active_fraction(128.0, 108.0, 0.5) == pytest.approx((1 + 128 / 216) / 2)
    assert waves.active_fraction(128.0, 108.0) == 1.0
    for share in (0.0, 0.5, 1.0):  # one round is as full as its blocks say
        assert waves.active_fraction(54.0, 108.0, share) == 0.5


def test_elements_of_contiguous_tensors_issue_faster():
    plain = kernels.copy(2.0**26, 2.0)
    rated = prior_machine(A100).coefficients.with_values(
        {"time.elements_per_cycle": 1.0, "time.contiguous_issue": 0.5}
    )
    built = machine.build(A100, rated)
    found = demand.alternatives(kernels.table([plain, kernels.contiguous(plain)]), built)
    each = demand.compile_work(found, built)
    # bound by issue: the other limits are far below an element per cycle and SM
    assert each.cycles[0] == pytest.approx(2.0**26 / A100.compute_units, rel=1e-3)
    assert each.cycles[1] == pytest.approx(each.cycles[0] / 2.0, rel=1e-2)
    assert each.dram_bytes[1] == each.dram_bytes[0]


def test_elements_with_an_index_of_their_own_cost_arithmetic():
    plain = kernels.copy(2.0**20, 2.0)
    found = blocks.indexed(plain)
    assert found.core_flops == 30 * 2**20
    assert found._replace(core_flops=0.0) == plain


def test_a_helper_costs_the_gpu_a_whole_start():
    helper = kernels.copy(1.0, 2.0)._replace(launches=0.15)
    work, _, built = evaluate(A100, helper)
    twice, _, _ = evaluate(A100, helper._replace(launches=2.0))
    assert work.fixed_cycles[0] == built.coefficients.time.kernel_cycles
    assert twice.fixed_cycles[0] == 2 * built.coefficients.time.kernel_cycles


@pytest.mark.parametrize(("gpu", "slower"), [(A100, 3.0), (A10, 2.0), (H100, 5.0)])
def test_loads_of_single_elements_take_as_long_on_any_tensor_core(gpu, slower):
    """1024, 512 and 2048 MAC a cycle: 1 + 2 R/1024 of the work of an aligned product."""
    found, cycles = [], []
    for inner in (1024.0, 1023.0):  # equal steps of 32; rows of 2046 bytes are ragged
        kernel = kernels.gemm(1.0, 4096.0, 4096.0, inner, B16, "bf16")
        _, plans, built = evaluate(gpu, kernel)
        form = tiling.form_of(built.coefficients.time, built.units)
        choice = tiling.choose(plans.plans, built.rates[plans.rate], form)
        found.append(choice.plan[0])
        cycles.append(choice.mma_cycles[0])
    assert found[0] == found[1]
    assert cycles[1] == pytest.approx(slower * cycles[0])


def test_heads_between_compiled_sizes_are_filled_up():
    took = []
    for size in (72.0, 80.0, 96.0):
        heads = Heads(8.0, 16.0, 16.0, size)
        kernel = attention.prefill(heads, 4096.0, 4096.0**2, 2.0, 2.0, "bf16")
        assert kernel.flops == 4.0 * 8 * 16 * size * 4096**2
        work, _, _ = evaluate(H100, kernel)
        assert work.flops.sum() == pytest.approx(4.0 * 8 * 16 * 96 * 4096**2)  # what is done
        took.append(float(work.cycles[0]))
    assert took[1] == pytest.approx(took[0], rel=1e-3)
    assert took[2] == pytest.approx(took[0], rel=0.02)  # but for its bytes


@pytest.mark.parametrize(
    ("pairs", "group", "mean", "longest"),
    [
        (4096.0**2, 1.0, 4096.0, 4096.0),
        (attention.causal_pairs(4096), 1.0, 4097 / 2 + 64 + 64, 4096.0),
        (attention.causal_pairs(4096), 8.0, 4097 / 2 + 8 + 64, 4096.0),
        (attention.causal_pairs(4096, 128), 1.0, 126.015625 + 128 + 128, 384.0),
    ],
)
def test_keys_that_blocks_of_a_prompt_compute(pairs, group, mean, longest):
    kernel = attention.prefill(Heads(1.0, group, 1.0, 128.0), 4096.0, pairs, 2.0, 2.0, "bf16")
    assert kernel.blocks == 32 * group
    assert kernel.special / (kernel.blocks * 128) == pytest.approx(mean)
    assert kernel.longest == pytest.approx(longest / mean)


def test_a_prompt_takes_as_long_as_its_longest_block():
    """Few heads leave SMs idle: the last tile of a causal prompt walks over all of its keys."""
    causal, whole = (
        attention.prefill(Heads(1.0, 1.0, 1.0, 128.0), 8192.0, pairs, 2.0, 2.0, "bf16")
        for pairs in (attention.causal_pairs(8192), 8192.0**2)
    )
    cycles = [float(evaluate(H100, each)[0].cycles[0]) for each in (causal, whole)]
    assert cycles[0] == pytest.approx(cycles[1], rel=0.02)
    many = [
        float(evaluate(H100, attention.prefill(
            Heads(64.0, 8.0, 8.0, 128.0), 8192.0, pairs, 2.0, 2.0, "bf16"))[0].cycles[0])
        for pairs in (attention.causal_pairs(8192), 8192.0**2)
    ]  # fmt: skip
    assert many[0] < 0.6 * many[1]


def decode_work(gpu, coefficients, heads, window=math.inf, cache=2.0):
    kernel = attention.decode(heads, 32768.0, 2.0, cache, "bf16", window)
    built = machine.build(gpu, coefficients)
    return demand.compile_work(demand.alternatives(kernels.table([kernel]), built), built)


def test_flashattention_2_splits_keys_of_groups_without_a_window_only():
    merged = prior_machine(A100).coefficients
    own = merged.with_values({"families.attention-decode.whole_heads": 1.0})
    alike, grouped = Heads(1.0, 8.0, 8.0, 128.0), Heads(1.0, 32.0, 8.0, 128.0)
    for heads, window, many in ((alike, math.inf, 8), (grouped, 4096.0, 32)):
        before, after = (decode_work(A100, each, heads, window) for each in (merged, own))
        assert after.blocks[0] == many < before.blocks[0]
        assert after.cycles[0] > before.cycles[0]
        assert after.fixed_s[0] < before.fixed_s[0]  # nothing to reduce
    for heads, cache in ((grouped, 2.0), (alike, 1.0)):  # its kernels know no 8-bit cache
        before, after = (decode_work(A100, each, heads, cache=cache) for each in (merged, own))
        assert after.cycles[0] == before.cycles[0]


def test_tensor_cores_that_take_a_narrow_cache_are_faster_on_it_alone():
    plain = prior_machine(H100).coefficients
    fast = plain.with_values({"families.attention-decode.narrow_rate": 2.0})
    heads = Heads(64.0, 32.0, 8.0, 256.0)
    cycles = {cache: [float(decode_work(H100, each, heads, cache=cache).cycles[0])
                      for each in (plain, fast)] for cache in (1.0, 2.0)}  # fmt: skip
    assert cycles[1.0][1] < 0.75 * cycles[1.0][0]
    assert cycles[2.0][1] == cycles[2.0][0]
