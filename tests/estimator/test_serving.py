import math
from types import SimpleNamespace

import numpy as np
import pytest

from energaizer import catalog, lowering, machine, power, serving
from energaizer.batch import Batch
from energaizer.calibration import serving_fit, serving_ship
from energaizer.calibration.serving_fit import Said
from energaizer.calibration.serving_unseen import Unseen
from energaizer.errors import InputError
from energaizer.host import with_kernels
from energaizer.kernels import FAMILY
from energaizer.serving import Mix, Step
from energaizer.workload import Workload

LLAMA = Workload(model=catalog.model("llama-3.1-8b"), input_tokens=1, output_tokens=1)


class TestPosition:
    def test_equal_and_exponential_lengths(self):
        assert serving.steady_position(400.0, 400.0**2) == 200.0
        assert serving.steady_position(400.0, 2 * 400.0**2) == 400.0

    def test_a_closed_run_by_hand(self):
        # Two slots, lengths 2, 4, 4, 6: the window ends when one request (4 - 2 - 1) has, at 2.
        # Both slots have then been at positions 0 to 2: mean 1; one prompt was started in 2 steps.
        found = serving.closed_run(np.array([2.0, 4.0, 4.0, 6.0]), 2)
        assert found.position == pytest.approx(1.0)
        assert found.prompts_per_step == pytest.approx(0.5)

    def test_a_long_run_comes_near_the_steady_state(self):
        lengths = np.full(4000, 100.0) + 50.0 * np.sin(np.arange(4000.0))
        found = serving.closed_run(lengths, 32)
        steady = serving.steady_position(lengths.mean(), (lengths**2).mean())
        assert found.position == pytest.approx(steady, rel=0.03)
        assert found.prompts_per_step == pytest.approx(32 / lengths.mean(), rel=0.03)

    def test_more_slots_than_requests_start_nothing(self):
        assert serving.closed_run(np.array([10.0, 20.0]), 64).prompts_per_step == 0.0

    def test_nothing_is_refused(self):
        with pytest.raises(InputError, match="at least one"):
            serving.closed_run(np.array([]), 4)
        with pytest.raises(InputError, match="rising edges"):
            serving.lengths_of(np.array([1.0]), 5.0, 5.0)

    def test_a_histogram_keeps_its_mean(self):
        counts = np.array([1.0, 2.0, 1.0])
        lengths = serving.lengths_of(counts, 0.0, 300.0)
        assert sorted(lengths) == [50.0, 150.0, 150.0, 250.0]


class TestSteps:
    MIX = Mix(batch=16.2, prompt_tokens=100.0, position=200.4, prompts_per_step=0.04)

    def test_a_decode_step_runs_the_mean_batch_at_the_mean_context(self):
        step = serving.decode_step(LLAMA, self.MIX)
        assert step.phases == ("decode",)
        assert step.sequences.tolist() == [16.0]
        assert self.MIX.context == 300

    def test_prompts_share_a_pass_over_the_weights(self):
        step, together = serving.prompt_step(LLAMA, self.MIX)
        assert together == 21  # 2048 tokens of 100 each
        assert step.phases == ("prefill",)
        assert step.sequences.tolist() == [21.0]

    def test_a_sampler_keeps_busy_sms_for_every_logit(self):
        step = serving.decode_step(LLAMA, self.MIX)
        (place,) = np.flatnonzero(step.column("family") == FAMILY["sort"])
        blocks = step.column("blocks")[place]
        assert blocks == pytest.approx(16 * 128_256 / 1024)
        gpu = catalog.gpu("h100-sxm")
        plain = catalog.coefficients(gpu)
        sort = {"block_cycles": 1e5, "provenance": "calibrated"}
        slow = plain.with_values({}, families={**plain.model_dump()["families"], "sort": sort})
        one = np.array([gpu.max_clock_hz]), np.array([1e4])
        fast, sorted_ = (Batch(gpu, [step], *one).predict(own) for own in (plain, slow))
        more = 1e5 * blocks / gpu.compute_units / gpu.max_clock_hz
        assert 0.5 * more < sorted_.duration_s[0] - fast.duration_s[0] < more  # hides behind bytes
        assert sorted_.power_w[0] > 1.2 * power.idle_power(machine.of(gpu, plain), one[0])[0]

    def test_four_boards_at_700_w(self):
        # 4 GPUs at 700 W, 30 ms, B = 64 -> 1.3125 J a token
        step = serving.mean_step(
            Step(np.array([0.02]), np.array([14.0])),
            Step(np.array([0.1]), np.array([70.0])),
            np.array([0.1]),
        )
        assert step.duration_s[0] == pytest.approx(0.03)
        assert 4 * step.energy_j[0] / 64 == pytest.approx(1.3125)

    def test_the_median_gap_holds_a_prompt_only_if_most_do(self):
        decode = Step(np.full(2, 0.01), np.zeros(2))
        mean = Step(np.full(2, 0.03), np.zeros(2))
        rate = np.array([0.9 * math.log(2.0), 1.1 * math.log(2.0)])
        assert serving.median_gap(decode, mean, rate).tolist() == [0.01, 0.03]

    def test_a_step_that_holds_prompts_waits_once(self):
        # lambda = ln 2: half of the steps hold a prompt; 20 ms + .693 x 0 + .5 x 4 ms = 22 ms
        step = serving.mean_step(
            Step(np.array([0.02]), np.array([14.0])), Step(np.zeros(1), np.zeros(1)),
            np.array([math.log(2.0)]), Step(np.array([0.004]), np.array([0.4])),
        )  # fmt: skip
        assert step.duration_s[0] == pytest.approx(0.022)
        assert step.energy_j[0] == pytest.approx(14.2)

    def test_a_sampler_sorts_all_logits(self):
        # 16 sequences x 128256 logits x 400 B = 820.8 MB
        step = serving.decode_step(LLAMA, self.MIX)
        (place,) = np.flatnonzero(step.column("family") == FAMILY["sort"])
        moved = step.column("read_bytes")[place] + step.column("write_bytes")[place]
        assert moved == pytest.approx(16 * 128256 * 400)
        assert step.counts[0, place] == 1.0

    def test_a_batch_that_decodes_sorts_in_each_step_unless_it_runs_bare_or_eager(self):
        job = LLAMA.model_copy(update={"batch": 16, "output_tokens": 256})
        alone = job.model_copy(update={"model": LLAMA.transformer.bare()})
        eager = job.model_copy(update={"attention": "eager"})

        def sorts(workload: Workload) -> float:
            program = lowering.lower(workload)
            of_sort = program.column("family") == FAMILY["sort"]
            return float((program.counts[:, of_sort].sum(axis=1) * program.repetitions).sum())

        assert (sorts(job), sorts(alone), sorts(eager)) == (pytest.approx(255.0), 0.0, 0.0)


def test_a_stage_waits_for_each_part_that_holds_prompts():
    # few prompts: each makes one wait; many: every part of the sequences has one
    assert serving.waits(0.01, 4.0) == pytest.approx(0.01, rel=2e-3)
    assert serving.waits(1e3, 4.0) == pytest.approx(4.0)
    assert serving.waits(0.7) == pytest.approx(1.0 - np.exp(-0.7))


def test_half_of_what_one_row_tells_is_taken_over():
    rows = SimpleNamespace(
        gpu=catalog.gpu("h100-sxm5-80gb"), step_s=np.array([0.04, 0.02]),
        power_w=np.array([500.0, 300.0]), boards=np.array([2.0, 1.0]), batch=np.array([8.0, 4.0]),
    )  # fmt: skip
    said = Said(*(np.array(pair) for pair in ((0.01, 0.01), (0.01, 0.01), (200.0, 650.0), (1, 1))))
    found = Unseen(rows, said, 100.0).anchored(0)
    # four times slower and four times the watts above idle: twice of both, within the limit
    assert found.step_s == pytest.approx([0.02, 0.02])
    assert found.power_w == pytest.approx([300.0, 700.0])
    assert found.token_j == pytest.approx([2.0 * 300.0 * 0.02 / 8.0, 700.0 * 0.02 / 4.0])


class TestEngine:
    def test_its_products_draw_more_and_take_as_long(self):
        step = serving.decode_step(LLAMA, TestSteps.MIX)
        gpu = catalog.gpu("h100-sxm")
        one = np.array([gpu.max_clock_hz]), np.array([1e4])
        plain = catalog.coefficients(gpu)
        hot = plain.with_values({"families.gemm.toggle": 2.0})
        told, more = (Batch(gpu, [step], *one).predict(own) for own in (plain, hot))
        assert more.duration_s[0] == told.duration_s[0]
        assert more.energy_j[0] > told.energy_j[0]
        moved = power.COMPONENTS.index("dram")
        assert more.components_j[0, moved] == told.components_j[0, moved]

    @pytest.mark.parametrize("board", ["h100-sxm", "h200", "b200", "b300", "a100-80gb", "mi300x"])
    def test_it_sorts_on_every_board_and_claims_no_fit(self, board):
        gpu = catalog.gpu(board)
        own = catalog.coefficients(gpu)
        found = with_kernels(catalog.host("serving"), gpu, own).families
        assert found["sort"].block_cycles > 0.0
        assert found["gemm"].provenance == own.families["gemm"].provenance
        fitted = gpu.architecture.lower() in {"hopper", "blackwell"}
        assert (found["gemm"].toggle > 1.0) == fitted

    def test_its_scales_turn_a_board_into_the_one_that_it_was_fitted_on(self):
        gpu = catalog.gpu("h100-sxm")
        (board,) = serving_fit.prepared({gpu.name: catalog.coefficients(gpu)}).values()
        values = board.values()
        moved = {
            "power.flop_pj.bf16": 2.5 * values["power.flop_pj.bf16"],
            "power.sm_active_w_per_ghz": 0.6 * values["power.sm_active_w_per_ghz"],
            "families.gemm.toggle": 1.5, "families.grouped-gemm.toggle": 1.5,
        }  # fmt: skip
        kernels = serving_ship.kernels_of(board.with_values(moved), board, "hopper")
        assert {path for path, _ in kernels.scales} == {path for path in moved if "power" in path}
        host = serving_ship.PRIOR.model_copy(update={"kernels": (kernels,)})
        found = with_kernels(host, gpu, board).values()
        assert {path: found[path] for path in moved} == pytest.approx(moved, rel=1e-3)
