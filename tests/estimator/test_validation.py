import json
import math

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from energaizer import catalog, pipeline, tables
from energaizer.cli import main
from energaizer.validation import metrics, report, run
from energaizer.workload import Workload
from measured_tables import KERNELS, SINGLE, predictions, scored, write


class TestSingleGpu:
    def test_a_row_gets_what_an_estimate_says(self, tmp_path):
        outcome = scored(tmp_path, SINGLE, labels="corrected")
        said = predictions(outcome)
        model = catalog.model("opt-1.3b").model_copy(update={"language_head": False})
        answer = pipeline.estimate(
            Workload(
                model=model, batch=4, input_tokens=512, attention="eager", clock_hz=1410e6,
                host="pytorch-eager",
            ),
            catalog.gpu("a100-pcie-40gb"),
        )  # fmt: skip
        pairs = (("time", answer.duration), ("power", answer.power), ("energy", answer.energy))
        for quantity, expected in pairs:
            row = said.loc[(quantity, 1)]
            assert row["predicted"] == pytest.approx(expected.value, rel=1e-6)
            assert row["low"] == pytest.approx(expected.low, rel=1e-3)
            assert row["high"] == pytest.approx(expected.high, rel=1e-3)
            assert row["provenance"] == expected.provenance.value

    def test_a_decode_step_is_one_token_of_each_sequence(self, tmp_path):
        frame = SINGLE.iloc[[1, 5]]
        prompt = scored(tmp_path, frame).tables[0].column("time").predicted
        step = scored(tmp_path, frame.assign(mode="decode")).tables[0].column("time").predicted
        assert (step < prompt).all()
        failed = scored(tmp_path, SINGLE.iloc[[0]].assign(mode="decode")).tables[0].failed
        assert "cannot decode" in failed[0]

    def test_no_measurement_enters_a_prediction(self, tmp_path):
        before = predictions(scored(tmp_path, SINGLE))
        mixed = SINGLE.copy()
        for name in ("time_ms", "power_w", "energy_j"):
            mixed[name] = mixed[name].to_numpy()[::-1] * 3.0
        after = predictions(scored(tmp_path, mixed.assign(sm_mhz=700, temp_c=20)))
        pd.testing.assert_frame_equal(before, after)

    def test_order_and_case_of_inputs_do_not_matter(self, tmp_path):
        before = predictions(scored(tmp_path, SINGLE))
        turned = SINGLE[SINGLE.columns[::-1]].assign(gpu=SINGLE["gpu"].str.upper())
        pd.testing.assert_frame_equal(before, predictions(scored(tmp_path, turned)))

    @pytest.mark.parametrize(
        ("separator", "decimal", "blank"), [(";", ",", ""), ("\t", ".", ""), (",", ".", " ")]
    )
    def test_tables_of_spreadsheets_are_read(self, tmp_path, separator, decimal, blank):
        path = tmp_path / "sheet.csv"
        named = SINGLE.rename(columns=lambda name: blank + name)
        named.to_csv(path, index=False, sep=separator, decimal=decimal)
        pd.testing.assert_frame_equal(
            report.rows_frame(run.validate(path)).drop(columns="dataset"),
            report.rows_frame(scored(tmp_path, SINGLE)).drop(columns="dataset"),
        )

    @pytest.mark.parametrize("absent", ["power_w", "energy_j"])
    def test_of_time_power_and_energy_one_follows(self, tmp_path, absent):
        whole = report.rows_frame(scored(tmp_path, SINGLE))
        rest = report.rows_frame(scored(tmp_path, SINGLE.drop(columns=absent)))
        pd.testing.assert_frame_equal(rest, whole)

    def test_a_board_without_a_format_fails_that_row_alone(self, tmp_path):
        boards = ["t4", "v100", "mi210", "a10"]
        frame = pd.concat([SINGLE.iloc[[0]].assign(gpu=board) for board in boards])
        failed = scored(tmp_path, frame).tables[0].failed.tolist()
        assert failed == ["bf16 on t4-16gb: no rate", "bf16 on v100-sxm2-32gb: no rate", "", ""]

    def test_convolutions_in_fp32_run_where_there_is_no_tf32(self, tmp_path):
        boards = ["t4", "v100", "mi210", "a100"]
        frame = pd.concat([SINGLE.iloc[[4]].assign(gpu=board, sm_mhz_set=None) for board in boards])
        column = scored(tmp_path, frame).tables[0].column("time")
        flop = 7.8e9 * 2 * 8  # ResNet-101: 7.8 GMAC an image
        for board, seconds in zip(boards, column.predicted, strict=True):
            assert seconds > flop / catalog.gpu(board).peak("tf32")

    def test_a_header_without_rows_is_said_and_is_no_success(self, tmp_path):
        path = write(tmp_path, SINGLE.iloc[:0])
        done = CliRunner().invoke(main, ["validate", str(path)])
        assert done.exit_code == 3
        assert "table.csv: holds no row" in done.output

    def test_the_header_says_what_was_fitted_on(self, tmp_path):
        outcome = scored(tmp_path, SINGLE)
        document = report.document(outcome, report.lines_of(outcome, []))
        assert "a10-24gb [calibrated" in tables.as_text(document).split("errors")[0]
        assert "a10-24gb [calibrated" in tables.as_markdown(document).split("errors")[0]

    def test_a_profile_name_is_a_gpu(self, tmp_path):
        named = SINGLE.assign(gpu=SINGLE["gpu"].replace({"a100": "a100-pcie-40gb"}))
        before = predictions(scored(tmp_path, SINGLE, labels="corrected"))
        after = predictions(scored(tmp_path, named, labels="corrected"))
        pd.testing.assert_frame_equal(before, after)

    def test_what_cannot_be_estimated_is_named_with_its_reason(self, tmp_path):
        table = scored(tmp_path, SINGLE).tables[0]
        assert [row for row, reason in enumerate(table.failed) if reason] == [6, 7, 8]
        assert 'no model "nobody, huge"' in table.failed[6]
        assert "fp8 on a100-pcie-40gb: no rate" in table.failed[7]
        assert "not at 2600" in table.failed[8]

    def test_short_runs_are_predicted_but_do_not_count(self, tmp_path):
        outcome = scored(tmp_path, SINGLE)
        frame = report.rows_frame(outcome)
        row = frame[(frame["row"] == 9) & (frame["quantity"] == "time")].iloc[0]
        assert row["scored"] == "false"
        assert "shorter than 5 s" in row["reason"]
        assert row["predicted"] > 0
        assert metrics.lines(outcome.tables[0], [])[0].n == 6

    def test_corrected_labels_remove_the_start_up(self, tmp_path):
        raw = scored(tmp_path, SINGLE).tables[0].column("time")
        corrected = scored(tmp_path, SINGLE, labels="corrected").tables[0].column("time")
        assert corrected.measured[0] == pytest.approx(0.02 - 1.67 / 1500)
        assert raw.measured[0] == 0.02

    def test_raw_labels_are_predicted_as_a_run_records_them(self, tmp_path):
        recorded = scored(tmp_path, SINGLE).tables[0]
        own = scored(tmp_path, SINGLE, labels="corrected").tables[0]
        time_s, watts = (own.column(name).predicted[0] for name in ("time", "power"))
        # 30 s of iterations, 1.67 s of 1.25 times idle: a100 at 900 MHz idles at 47.4 W.
        iterations = math.ceil(30.0 / time_s)
        begun_s = 1.67 / iterations
        assert recorded.column("time").predicted[0] == pytest.approx(time_s + begun_s)
        energy_j = time_s * watts + 1.25 * 47.4 * begun_s
        assert recorded.column("energy").predicted[0] == pytest.approx(energy_j, rel=1e-3)
        assert recorded.column("power").predicted[0] == pytest.approx(
            energy_j / (time_s + begun_s), rel=1e-3
        )

    def test_a_table_may_say_that_its_runs_have_no_start_up(self, tmp_path):
        none = SINGLE.assign(startup_s=0.0)
        own = scored(tmp_path, SINGLE, labels="corrected").tables[0].column("time")
        raw = scored(tmp_path, none).tables[0].column("time")
        np.testing.assert_allclose(raw.predicted, own.predicted)
        corrected = scored(tmp_path, none, labels="corrected").tables[0].column("time")
        np.testing.assert_allclose(corrected.measured, raw.measured)

    def test_the_clock_that_was_reached_changes_no_prediction(self, tmp_path):
        before = predictions(scored(tmp_path, SINGLE))
        after = predictions(scored(tmp_path, SINGLE.assign(sm_mhz=700, iters=7, run_s=31.0)))
        pd.testing.assert_frame_equal(before, after)

    def test_a_missing_optional_column_is_a_note(self, tmp_path):
        table = scored(
            tmp_path, SINGLE.drop(columns=["sm_mhz_set", "power_w", "energy_j", "run_s"])
        ).tables[0]
        assert any("sm_mhz_set" in note for note in table.notes)
        lines = metrics.lines(table, [])
        assert {line.quantity for line in lines} == {"time"}


class TestKernels:
    def test_a_board_without_a_format_fails_that_row_alone(self, tmp_path):
        table = scored(tmp_path, pd.concat([KERNELS.iloc[[0]].assign(gpu="t4"), KERNELS])).tables[0]
        assert table.failed[0] == "bf16 on t4-16gb: no rate"
        assert table.failed[1] == ""

    def test_only_what_has_a_method_is_predicted(self, tmp_path):
        table = scored(tmp_path, KERNELS).tables[0]
        assert [row for row, reason in enumerate(table.failed) if reason] == [5, 7, 8]
        assert "fp8 on a100-sxm4-80gb: no rate" in table.failed[5]
        assert "op moe" in table.failed[7]
        assert "dtype w4a8" in table.failed[8]
        assert np.isnan(table.column("time").predicted[[5, 7, 8]]).all()

    def test_flags_repeats_and_blind_powers_do_not_count(self, tmp_path):
        table = scored(tmp_path, KERNELS).tables[0]
        assert table.column("time").reason.tolist()[1:5] == [
            "", "repeats the key of an earlier row", "", "phys_flag sol_violation",
        ]  # fmt: skip
        assert table.column("power").scored.tolist() == [row == 1 for row in range(10)]
        assert "tier C" in table.column("power").reason[3]

    def test_recorded_power_follows_the_window(self, tmp_path):
        clear = scored(tmp_path, KERNELS.assign(obs_weight_g=1.0)).tables[0].column("power")
        seen = scored(tmp_path, KERNELS).tables[0].column("power")
        blind = scored(tmp_path, KERNELS.assign(obs_weight_g=0.0)).tables[0].column("power")
        middle = 0.5 * (clear.predicted[1] + blind.predicted[1])
        assert seen.predicted[1] == pytest.approx(middle)
        assert blind.predicted[1] < clear.predicted[1]

    def test_no_measurement_enters_a_prediction(self, tmp_path):
        before = predictions(scored(tmp_path, KERNELS))
        mixed = KERNELS.assign(latency_us=KERNELS["latency_us"].to_numpy()[::-1])
        after = predictions(scored(tmp_path, mixed))
        pd.testing.assert_frame_equal(before, after)

    def test_weight_only_products_multiply_wide_and_unpack(self, tmp_path):
        wide = KERNELS.assign(m=1, dtype="bfloat16")
        narrow = KERNELS.assign(m=1, dtype="int4_wo")
        row = 0
        slow = scored(tmp_path, wide).tables[0].column("time").predicted[row]
        quick = scored(tmp_path, narrow).tables[0].column("time").predicted[row]
        assert quick < slow

    def test_a_hundred_thousand_rows_are_read_from_parquet(self, tmp_path):
        path = tmp_path / "kernels.parquet"
        many = pd.concat([KERNELS] * 200, ignore_index=True).assign(m=np.arange(2000) % 512 + 1)
        many.to_parquet(path)
        outcome = run.validate(path)
        assert len(outcome.tables[0].failed) == 2000


class TestServing:
    ROW = pd.DataFrame(
        {
            "gpu_model": "H100", "family": "llm", "task": "lm-arena-chat",
            "model": ["meta-llama/Llama-3.1-8B-Instruct", "nobody/nothing-13b",
                      "meta-llama/Llama-3.1-8B-Instruct"],
            "num_gpus": 1, "attn_tp": [1, 1, 3], "weight_precision": "bfloat16",
            "max_num_seqs": 64, "avg_batch_size": 63.5, "avg_output_len": 500.0,
            "output_len_hist": json.dumps([10] * 50), "output_len_bin0": 1.0,
            "output_len_bin1": 1001.0, "avg_power_w": 600.0, "output_tokens_per_s": 5000.0,
            "energy_per_token_j": 0.12, "median_itl_ms": 12.0,
        }
    )  # fmt: skip

    def test_odd_cells_fail_or_unscore_their_row_alone(self, tmp_path):
        good = self.ROW.iloc[[0]]
        changes = {
            "": {},
            "weight_precision foo: unknown format": {"weight_precision": "foo"},
            "avg_batch_size and avg_output_len are needed, and positive": {"avg_batch_size": 0},
            "fp4 on h100-sxm5-80gb: no rate": {"weight_precision": "nvfp4"},
            "bf16 on t4-16gb: no rate": {"gpu_model": "T4"},
        }
        odd = {"output_tokens_per_s": 0, "num_gpus": "two", "median_itl_ms": "none"}
        frame = pd.concat([*(good.assign(**one) for one in changes.values()), good.assign(**odd)])
        table = scored(tmp_path, frame).tables[0]
        assert table.failed.tolist() == [*changes, ""]
        counted = {column.quantity: column.scored.tolist() for column in table.columns}
        assert counted["power"] == [True, *[False] * 4, True]
        assert counted["time"] == counted["itl"] == [True, *[False] * 5]

    def test_a_dense_model_is_predicted(self, tmp_path):
        table = scored(tmp_path, self.ROW).tables[0]
        quantities = {column.quantity: column for column in table.columns}
        step, watts = quantities["time"].predicted[0], quantities["power"].predicted[0]
        assert quantities["time"].measured[0] == pytest.approx(63.5 / 5000)
        assert quantities["energy_per_token"].predicted[0] == pytest.approx(watts * step / 63.5)
        assert quantities["itl"].predicted[0] <= step
        assert 4.48e-3 < step < 40e-3  # it reads 15 GB at 3.35 TB/s at least

    def test_what_it_lacks_is_named(self, tmp_path):
        failed = scored(tmp_path, self.ROW).tables[0].failed
        assert "nobody/nothing-13b" in failed[1]
        assert "do not divide" in failed[2]

    def test_prompts_are_assumed_in_words(self, tmp_path):
        table = scored(tmp_path, self.ROW).tables[0]
        assert any("prompt lengths" in note for note in table.notes)
