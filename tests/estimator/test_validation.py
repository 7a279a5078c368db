import csv
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest

from energaizer import catalog, pipeline
from energaizer.cli import main
from energaizer.errors import InputError, UnknownNameError
from energaizer.validation import baselines, metrics, names, reading, report, run
from energaizer.validation.scores import Column, Scores, nowhere, texts
from energaizer.workload import Workload

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
        table = scored(tmp_path, SINGLE.drop(columns=["sm_mhz_set", "power_w", "run_s"])).tables[0]
        assert any("sm_mhz_set" in note for note in table.notes)
        lines = metrics.lines(table, [])
        assert {line.quantity for line in lines} == {"time", "energy"}


class TestKernels:
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


class TestFigures:
    def table(self, measured, predicted, groups=None):
        n = len(measured)
        measured, predicted = np.array(measured, float), np.array(predicted, float)
        column = Column("power", "W", measured, predicted, 0.9 * predicted, 1.1 * predicted,
                        texts([""] * n))  # fmt: skip
        return Scores(
            dataset="t", kind="single_gpu", columns=[column],
            groups={"gpu": texts(groups or ["a"] * n)}, slices=(("gpu",),), means="gpu",
            failed=texts([""] * n), provenance=texts(["calibrated"] * n),
            limit_w=np.full(n, 200.0), roofline_s=nowhere(n),
        )  # fmt: skip

    def test_errors_by_hand(self):
        found = metrics.figures(np.array([110.0, 80.0, 100.0]), np.full(3, 100.0))
        assert (found.mape, found.median, found.max) == pytest.approx((10.0, 10.0, 20.0))
        assert found.p90 == pytest.approx(18.0)
        assert found.bias == pytest.approx(0.0)

    def test_baselines_skill_and_coverage_by_hand(self):
        table = self.table([100.0, 50.0], [105.0, 40.0])
        baselines.apply(table, baselines.constants([table]))
        line = metrics.lines(table, [])[0]
        assert line.figures.mape == pytest.approx(12.5)
        assert line.baselines["constant"].mape == pytest.approx(37.5)  # 75 W for both
        assert line.baselines["limit"].mape == pytest.approx(200.0)
        assert line.skill()["constant"] == pytest.approx(1.0 - 12.5 / 37.5)
        assert line.coverage == 0.5
        assert line.log_width == pytest.approx(math.log(1.1 / 0.9))

    def test_groups_count_equally_in_the_second_average(self):
        table = self.table([100.0, 100.0, 100.0], [110.0, 110.0, 140.0], ["a", "a", "b"])
        rows, mean = metrics.lines(table, [])
        assert rows.figures.mape == pytest.approx(20.0)
        assert (mean.aggregate, mean.groups, mean.group) == ("group_mean", 2, {})
        assert mean.figures.mape == pytest.approx(25.0)

    def test_groups_stand_in_their_natural_order(self):
        table = self.table([100.0] * 3, [100.0] * 3, ["900", "1410", "a"])
        told = [group["gpu"] for group, _ in metrics.groups_of(table, ("gpu",))]
        assert told == ["900", "1410", "a"]

    def test_constants_come_from_another_table(self, tmp_path):
        other = write(tmp_path, SINGLE.assign(power_w=2 * SINGLE["power_w"]), "other.csv")
        own = scored(tmp_path, SINGLE).tables[0].column("power").baselines["constant"]
        theirs = scored(tmp_path, SINGLE, other=other).tables[0].column("power")
        np.testing.assert_allclose(theirs.baselines["constant"], 2 * own)

    def test_another_kind_of_table_is_no_source_of_constants(self, tmp_path):
        other = write(tmp_path, KERNELS, "kernels.csv")
        with pytest.raises(InputError, match="no single_gpu table"):
            scored(tmp_path, SINGLE, other=other)


SIZES = {
    "bert": "tiny mini small medium base large",
    "roberta": "base large",
    "gpt2": "gpt2 medium large xl",
    "opt": "opt-125m opt-350m opt-1p3b opt-2p7b opt-6p7b opt-13b opt-30b opt-66b opt-175b",
    "llama": "llama-7b llama-13b llama-30b llama-65b llama-2-7b llama-2-13b llama-2-70b llama-3-8b "
    "llama-3-70b llama-3p1-8b llama-3p1-70b llama-3p1-405b llama-3p2-1b llama-3p2-3b llama-3p3-70b",
    "llama2": "7b llama2-13b",
    "llama3p2": "1b llama3p2-3b",
    "mistral": "7b mistral-nemo-12b mistral-small-22b mistral-small-24b mistral-large-123b",
    "qwen2": "qwen2-0p5b qwen2-1p5b qwen2-7b qwen2-72b",
    "qwen2p5": "0p5b 1p5b 3b 7b 14b 32b qwen2p5-72b",
    "gemma": "2b gemma-7b gemma-2-2b gemma-2-9b gemma-2-27b gemma-3-1b gemma-3-27b",
    "t5": "small base large 3b 11b t5-v1p1-xl flan-t5-xxl",
    "whisper": "tiny base small medium large large-v2 large-v3 turbo tiny.en",
    "clip": "base large vit-b-32 vit-b-16 vit-l-14 large-patch14-336",
    "vit": "tiny small base large huge vit-base-patch32-384",
    "deit": "tiny small base base-384 base-distilled",
    "swin": "tiny small base large",
    "resnet": "resnet18 resnet26 resnet34 50 resnet101 152",
    "mobilenet": "v2 v2-0p35 v2-0p75 v2-1p4 v3-small v3-large",
    "mobilevit": "xxs xs s",
    "convnext": "tiny small base large xlarge",
    "efficientnet": "b0 b1 b2 b3 b4 b5 b6 b7",
}
"""Published sizes by family, as tables of measurements write them."""


def test_every_published_size_gets_a_prediction(tmp_path):
    runs = [(model, size) for model, told in SIZES.items() for size in told.split()]
    frame = pd.DataFrame(runs, columns=["model", "size"]).assign(
        gpu="h100", precision="bf16", batch=2, seq=64, mode="prefill", time_ms=1.0
    )
    table = scored(tmp_path, frame).tables[0]
    told = dict(zip(map(" ".join, runs), table.failed, strict=True))
    assert {name: reason for name, reason in told.items() if reason} == {}
    assert (table.column("time").predicted > 0).all()


class TestNames:
    @pytest.mark.parametrize(
        ("model", "size", "profile"),
        [
            ("opt", "opt-1p3b", "facebook/opt-1.3b"),
            ("bert", "large", "google-bert/bert-large-uncased"),
            ("gpt2", "gpt2", "openai-community/gpt2"),
            ("gpt2", "medium", "openai-community/gpt2-medium"),
            ("gpt2", "124m", "openai-community/gpt2"),
            ("roberta", "base", "FacebookAI/roberta-base"),
            ("qwen2", "qwen2-7b", "Qwen/Qwen2-7B"),
            ("llama2", "7b", "meta-llama/Llama-2-7b-hf"),
            ("llama", "llama-3p1-8b", "meta-llama/Llama-3.1-8B"),
            ("mistral", "7b", "mistralai/Mistral-7B-v0.3"),
            ("gemma", "gemma-2b", "google/gemma-2b"),
            ("meta-llama/Llama-3.1-405B-Instruct", "", "meta-llama/Llama-3.1-405B"),
        ],
    )
    def test_a_size_names_an_entry(self, model, size, profile):
        assert names.model(model, size).name == profile

    def test_every_name_of_a_gpu_has_a_profile(self):
        known = names.Names.shipped()
        for name, profile in known.gpus.items():
            assert names.board(name).gpu.name == profile
        for profile in known.hosts.values():
            assert catalog.host(profile).name == profile

    def test_an_unknown_model_says_how_to_find_one(self):
        with pytest.raises(UnknownNameError, match="energaizer models"):
            names.model("nobody", "huge")


class TestReading:
    def test_kinds_follow_from_columns_not_from_names(self, tmp_path):
        assert reading.read(write(tmp_path, KERNELS, "x.csv"), "x").kind.name == "kernels"
        assert reading.read(write(tmp_path, SINGLE, "y.csv.gz"), "y").kind.name == "single_gpu"

    def test_node_power_without_a_model_says_so(self, tmp_path):
        node = pd.DataFrame({"system": ["1xH100", "s"], "benchmark": ["ssd", "bert"],
                             "node_power_in_run_w": [7e3, 7e3]})  # fmt: skip
        outcome = scored(tmp_path, node)
        assert "no model yet" in outcome.tables[0].failed[0]
        assert "names no known board" in outcome.tables[0].failed[1]

    def test_node_power_is_that_of_a_node_and_counts_runs_once(self, tmp_path):
        node = pd.DataFrame({
            "system": ["8xXE9680x8H100-SXM-80GB-POWER"] * 2, "benchmark": ["llama2_70b_lora"] * 2,
            "submitter": ["a", "smc-dc-power"], "node_power_in_run_w": [7e3, 6.8e3],
        })  # fmt: skip
        power = scored(tmp_path, node).tables[0].column("power")
        assert power.scored.tolist() == [True, False]
        assert "counted once" in power.reason[1]
        assert 8 * 700 < power.predicted[0] < 10_200  # boards at their limit; the sheet's most
        assert power.low[0] < power.predicted[0] < power.high[0]

    def test_a_folder_holds_many_and_passes_over_the_others(self, tmp_path):
        write(tmp_path, SINGLE, "a.csv")
        write(tmp_path, KERNELS, "b.csv")
        (tmp_path / "c.csv").write_text("x,y\n1,2\n")
        outcome = run.validate(tmp_path)
        assert [table.dataset for table in outcome.tables] == ["a.csv", "b.csv"]
        assert "no recognised columns among x, y" in outcome.remarks[0]


class TestCommand:
    def test_json_holds_lines_and_skipped_rows(self, tmp_path, capsys):
        code, out, _ = called(["validate", write(tmp_path, SINGLE), "-o", "json"], capsys)
        told = json.loads(out)
        assert code == 0
        first = told["tables"][0]
        assert first["group"] == {}
        assert first["aggregate"] == "rows"
        assert set(first) >= {
            "dataset", "quantity", "unit", "n", "mape", "median", "p90", "max", "bias",
            "interval_coverage", "baselines", "skill",
        }  # fmt: skip
        assert [one["row"] for one in told["skipped"]] == [6, 7, 8]
        assert told["elapsed_s"] > 0
        assert told["fitted_on"][0]["gpu"] == "a100-pcie-40gb"

    def test_groups_and_rows(self, tmp_path, capsys):
        path, rows = write(tmp_path, SINGLE), tmp_path / "rows.csv"
        code, out, _ = called(
            ["validate", path, "--by", "gpu,precision", "--rows", rows, "-o", "json"], capsys
        )
        assert code == 0
        groups = [one["group"] for one in json.loads(out)["tables"]]
        assert {"gpu": "a10", "precision": "fp32"} in groups
        with rows.open() as file:
            told = list(csv.DictReader(file))
        assert list(told[0])[:10] == [
            "row", "quantity", "unit", "measured", "predicted", "low", "high", "provenance",
            "scored", "reason",
        ]  # fmt: skip
        assert len(told) == 3 * len(SINGLE)
        assert {one["scored"] for one in told} == {"true", "false"}

    def test_a_person_reads_tables(self, tmp_path, capsys):
        path = write(tmp_path, SINGLE)
        code, out, _ = called(["validate", path], capsys)
        assert code == 0
        assert "MAPE" in out
        assert "constant" in out
        assert "a100-pcie-40gb" in out
        code, out, _ = called(["validate", path, "-o", "markdown"], capsys)
        assert (code, out[:3]) == (0, "## ")
        code, out, _ = called(["validate", path, "--out", tmp_path / "s.json"], capsys)
        assert (code, out) == (0, "")
        assert json.loads((tmp_path / "s.json").read_text())["labels"] == "raw"

    @pytest.mark.parametrize(
        ("content", "code", "told"),
        [
            ("x,y\n1,2\n", 2, "no recognised columns"),
            ("", 2, "empty"),
            (None, 2, "no such file"),
            ("system,benchmark,node_power_in_run_w\ns,b,7000\n", 3, ""),
        ],
    )
    def test_exit_codes(self, tmp_path, capsys, content, code, told):
        path = tmp_path / "table.csv"
        if content is not None:
            path.write_text(content)
        got, _, err = called(["validate", path], capsys)
        assert got == code
        assert told in err

    def test_an_unknown_group_lists_the_known(self, tmp_path, capsys):
        code, _, err = called(["validate", write(tmp_path, SINGLE), "--by", "colour"], capsys)
        assert code == 2
        assert "known are" in err
        assert "precision" in err

    def test_rubbish_is_bad_input(self, tmp_path, capsys):
        path = tmp_path / "t.parquet"
        path.write_bytes(b"\x00\x01 no parquet")
        code, _, err = called(["validate", path], capsys)
        assert code == 2
        assert "no table" in err

    def test_without_pandas_it_says_what_to_install(self, tmp_path, capsys, monkeypatch):
        for name in [*sys.modules]:
            if name.startswith("energaizer.validation") and not name.endswith(".command"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "pandas", None)
        code, _, err = called(["validate", write_plain(tmp_path)], capsys)
        assert code == 1
        assert "pip install energaizer[calibration]" in err


def write_plain(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("gpu,model,batch,time_ms\na100,bert,1,1\n")
    return path
