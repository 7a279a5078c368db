"""The shipped model against the published tables: floors below which a change must not fall."""

from pathlib import Path

import pytest

from energaizer.validation import metrics, run

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = [
    pytest.mark.accuracy,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no measured tables in {DATA}"),
]


def overall(path):
    outcome = run.validate(DATA / path)
    table = outcome.tables[0]
    return {line.quantity: line for line in metrics.lines(table, []) if line.aggregate == "rows"}


def test_all_forward_passes_are_scored_and_beat_their_baselines():
    found = overall("single_gpu/measurements.csv")
    assert {line.n for line in found.values()} == {331}
    for line in found.values():
        assert line.figures.mape < 8.0
        assert line.coverage >= 0.85
        assert min(line.skill().values()) > 0.3


def test_nearly_all_kernels_are_scored():
    outcome = run.validate(DATA / "kernels/measurements.parquet")
    table = outcome.tables[0]
    assert int((table.failed == "").sum()) > 90_000


def test_dense_serving_is_scored():
    found = overall("serving/measurements.csv.gz")
    assert found["time"].n >= 100
    assert found["time"].figures.median < 20.0
    assert found["itl"].figures.median < 20.0
