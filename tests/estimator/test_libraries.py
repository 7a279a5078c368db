"""Kernels of one library: how a row finds them, and what a fit of them recovers."""

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from energaizer import catalog
from energaizer.calibration import (
    __main__ as command,
)
from energaizer.calibration import (
    dataset,
    kernel_fit,
    kernel_report,
    library_errors,
    library_fit,
    library_rows,
    problem,
    residuals,
    single_kernels,
)
from energaizer.calibration.libraries import FOLDER, HeldOut, Libraries, Library, keys
from energaizer.coefficients import FittedOn, Residual
from energaizer.gpu import Source
from energaizer.validation import kernel_rows, run

GPU = catalog.gpu("h200-sxm")
COMMON = catalog.coefficients(GPU)
WIDE = Residual(quantity="duration", family="any", log_sd=0.3, n=100)
SLOW = Library(values={"families.gemm.fixed_s": 1e-3}, residuals=(WIDE,), rows=100)


def known(**kernels):
    return Libraries(
        gpu=GPU.name, kernels=kernels, fitted_on=FittedOn(dataset="t", date="2026-01", rows=1),
        source=Source(citation="a test", date="2026-01", licence="none"),
    )  # fmt: skip


def shapes(count=80):
    random = np.random.default_rng(3)
    sizes = random.integers(1, 64, (count, 3)) * 128
    return pd.DataFrame(sizes, columns=["m", "n", "k"]).assign(
        gpu="h200_sxm", framework="mine", op="gemm", dtype="bfloat16", kv_dtype="", batch=0,
        seq_q=0, seq_kv=0, window=0, heads=0, kv_heads=0, head_dim=0, latency_us=1.0,
        power_w=np.nan, power_limit_w=700.0, obs_weight_g=0.5, power_tier="",
    )  # fmt: skip


def test_a_row_finds_its_narrowest_library():
    row = ("vllm", "attn_gen", "bfloat16", "fp8", 128.0)
    assert [*keys(row)] == ["vllm attn_gen bfloat16 fp8 128", "vllm attn_gen bfloat16 fp8"]
    assert [*keys(("vllm", "gemm", "fp8", "", 0.0))] == ["vllm gemm fp8"]
    found = known(**{"vllm attn_gen bfloat16 fp8": SLOW})
    assert found.find(row) == "vllm attn_gen bfloat16 fp8"
    assert found.find(("sglang", *row[1:])) == ""


def test_a_library_replaces_values_and_the_residuals_that_it_has():
    own = SLOW.of(COMMON)
    assert own.families["gemm"].fixed_s == 1e-3
    assert own.families["attention-decode"] == COMMON.families["attention-decode"]
    assert [row for row in own.residuals if row.quantity == "duration"] == [WIDE]
    assert {row.quantity for row in own.residuals} == {row.quantity for row in COMMON.residuals}


def test_rows_of_a_library_are_predicted_with_it(tmp_path, monkeypatch):
    path = tmp_path / "k.csv"
    pd.concat([shapes(2), shapes(2).assign(framework="other")]).to_csv(path, index=False)
    monkeypatch.setattr(
        kernel_rows.Libraries, "shipped", lambda _: known(**{"mine gemm bfloat16": SLOW})
    )
    (table,) = run.validate(path).tables
    predicted = table.column("time").predicted
    np.testing.assert_allclose(predicted[:2] - predicted[2:], 1e-3, rtol=0.02)
    assert any("2 rows of h200-sxm-141gb by the fit" in note for note in table.notes)


def test_a_fit_finds_what_sets_a_library_apart():
    frame = shapes()
    ((key, group),) = library_rows.groups(frame, GPU, COMMON)
    assert key == "mine gemm bfloat16"
    truth = COMMON.with_values(
        {"families.gemm.fixed_s": 2e-5, "families.gemm.memory_efficiency": 0.6}
    )
    seconds = problem.predict(group.table.runs, truth, kernel_fit.NO_HOST).duration_s
    group = library_rows.Group(
        group.family, group.table, seconds, group.watts, group.share, group.fold
    )
    group.table.frame["latency_us"] = 1e6 * seconds
    found, seen, _ = library_fit.library(group, COMMON)
    # what a shape takes at the limit is left to the energies, which nothing tells here
    assert np.median(np.abs(seen.duration_s / seconds - 1.0)) < 0.03
    assert found.values["families.gemm.fixed_s"] == pytest.approx(2e-5, rel=0.1)
    (row,) = found.residuals
    assert row.quantity == "duration"
    assert row.log_sd < 0.1


def test_rows_that_no_fit_drew_are_scored_by_the_fits_that_left_their_shape_out(monkeypatch):
    frame = shapes().assign(power_tier="A", power_w=350.0, latency_us=100.0)
    frame.loc[:9, "power_tier"] = "C"  # tells nothing
    monkeypatch.setattr(library_rows, "_MOST", 60)
    ((key, group),) = library_rows.groups(frame, GPU, COMMON)
    assert len(group.seconds) == 60
    slow = SLOW.of(COMMON)
    fits = tuple(slow if index % 2 else COMMON for index in range(single_kernels.FOLDS))
    every_row = library_errors.together(frame, GPU, COMMON, {key: fits})
    found = {each.quantity: each for each in every_row}
    assert {each.n for each in found.values()} == {70}
    monkeypatch.setattr(library_rows, "_MOST", 80)
    ((_, whole),) = library_rows.groups(frame[10:], GPU, COMMON)
    every = [problem.predict(whole.table.runs, own, kernel_fit.NO_HOST).duration_s
             for own in (COMMON, slow)]  # fmt: skip
    errors = 100.0 * np.abs(np.where(whole.fold % 2, every[1], every[0]) / 1e-4 - 1.0)
    assert found["time"].median == pytest.approx(np.median(errors), abs=0.06)
    assert found["time"].percentiles[89] == pytest.approx(np.percentile(errors, 90), abs=0.06)
    assert not library_errors.together(frame, GPU, COMMON, {})  # kernels of no library


def test_errors_of_two_gpus_join_by_their_percentiles():
    whole = [np.random.default_rng(seed).exponential(scale, 4000)
             for seed, scale in ((1, 5.0), (2, 20.0))]  # fmt: skip
    spread = [np.percentile(each, range(1, 100)) for each in whole]
    parts = [
        HeldOut(framework="", op="", quantity="time", n=count, median=own[49], mean=own.mean(),
                p90=own[89], bias=0.0, percentiles=tuple(own))
        for own, count in zip(spread, (3000, 1000), strict=True)
    ]  # fmt: skip
    rows, median, goal, verdict, _, p90 = kernel_report.joined(parts, 6.0)
    pooled = np.concatenate([np.repeat(whole[0], 3), whole[1]])
    assert (rows, goal, verdict) == ("4000", "6", "met")
    assert float(median) == pytest.approx(np.median(pooled), rel=0.02)
    assert float(p90) == pytest.approx(np.percentile(pooled, 90), rel=0.05)
    assert kernel_report.joined(parts[1:], 6.0)[3] == "missed"


def test_a_selection_of_runs_keeps_the_kernels_that_they_run():
    ((_, group),) = library_rows.groups(shapes(), GPU, COMMON)
    chosen = np.arange(len(group.seconds)) % 3 == 0
    whole = problem.evaluate(group.table.runs, COMMON, kernel_fit.NO_HOST).duration_s
    some = group.table.runs.select(chosen)
    assert len(some.found.rows) == np.count_nonzero(chosen)
    alone = problem.evaluate(some, COMMON, kernel_fit.NO_HOST).duration_s
    np.testing.assert_array_equal(alone, whole[chosen])


def test_the_power_limit_has_no_say_in_products_of_narrow_formats():
    frame = pd.concat([shapes(), shapes().assign(dtype="fp8")])
    found = {key: group.table for key, group in library_rows.groups(frame, GPU, COMMON)}
    wide, narrow = found["mine gemm bfloat16"], found["mine gemm fp8"]
    for table in (wide, narrow):  # all at .6 of the peak of their format
        flops = 2.0 * table.frame[["m", "n", "k"]].prod(axis=1)
        rate = 0.6 * GPU.peak_flops["bf16" if table is wide else "fp8"]
        table.frame["latency_us"] = 1e6 * flops / rate
    assert single_kernels.near_limit(wide).all()
    assert not single_kernels.near_limit(narrow).any()


def test_a_stage_of_the_fit_writes_the_same_twice(tmp_path, monkeypatch):
    frame = shapes()
    frame["latency_us"] = 5.0 + frame[["m", "n", "k"]].prod(axis=1) / 2e8
    monkeypatch.setattr(dataset, "CHIPS", {"h200_sxm": GPU.name})
    monkeypatch.setattr(dataset, "kernel_table", lambda _data, _ops: frame)
    monkeypatch.setattr(dataset, "digest", lambda _path: "0")
    other = tmp_path / "other" / "calibrations"
    other.mkdir(parents=True)
    changed = COMMON.with_values({"families.gemm.memory_efficiency": 0.3})
    (other / f"{GPU.name}.json").write_text(changed.dumps(), encoding="utf-8")
    texts = []
    for folder in ("first", "second", "other"):
        asked = ["fit", str(tmp_path), "--only", "libraries", "--date", "2026-01-01", "--profiles"]
        result = CliRunner().invoke(command.main, [*asked, str(tmp_path / folder)])
        assert result.exit_code == 0, result.output
        (path,) = (tmp_path / folder).rglob(f"{FOLDER}/*.json")
        assert result.output.split() == [str(path)]
        texts.append(path.read_text(encoding="utf-8"))
    first, second, rested_on_other = texts
    assert first == second
    assert rested_on_other != first  # on what the stage before wrote there


SHIPPED = sorted((Path(catalog.__file__).parent / "profiles" / FOLDER).glob("*.json"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_library_names_its_gpu_and_date(file):
    found = Libraries.shipped(file.stem)
    assert found is not None
    assert found.gpu == file.stem
    assert date.fromisoformat(found.fitted_on.date)
    common = catalog.coefficients(catalog.gpu(file.stem))
    for library in found.kernels.values():
        assert library.of(common).gpu == file.stem


def test_a_gpu_without_measured_kernels_has_no_library():
    assert len(SHIPPED) > 0
    assert Libraries.shipped("a10-24gb") is None


def test_an_interval_holds_nine_of_ten_residuals():
    z = np.concatenate([np.linspace(-0.05, 0.05, 36), [0.3, 0.4, -0.6, 0.5]]) + 0.02
    spread = residuals.spread(z)
    inside = np.abs(z) <= np.log(spread.factor) + 1e-12
    assert 0.9 <= inside.mean() <= 0.95
    # ten clocks of one workload are one: the fewer differ, the farther out the quantile
    assert residuals.spread(z, independent=4).factor > spread.factor
