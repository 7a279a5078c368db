import csv
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest

from energaizer.errors import InputError
from energaizer.validation import baselines, metrics, reading, run
from energaizer.validation.scores import Column, Scores, nowhere, texts
from measured_tables import KERNELS, SINGLE, called, scored, write


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
