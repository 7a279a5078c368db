"""`energaizer validate` on a table made of its own predictions: every error is then known."""

import pandas as pd
import pytest

from energaizer import catalog, validation
from energaizer.errors import InputError


def table(tmp_path, **changes):
    rows = []
    for model, size, batch, seq in (
        ("bert", "large", 8, 128), ("gpt2", "gpt2", 8, 512), ("vit", "large", 16, 0),
    ):  # fmt: skip
        rows.append(
            {
                "gpu": "a100", "model": model, "size": size, "precision": "bf16", "batch": batch,
                "seq": seq, "sm_mhz_set": 900, "energy_j": 5.0, "time_ms": 40.0,
                "power_w": 125.0, "iters": 750, "run_s": 30.0,
            }
            | changes
        )  # fmt: skip
    path = tmp_path / "rows.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def test_predictions_scored_against_themselves(tmp_path):
    found = validation.validate(table(tmp_path)).frame
    for quantity in ("duration", "power", "energy"):
        found[f"corrected_{quantity}"] = found[quantity]
        errors, _, inside = validation.score(found, quantity, "corrected")
        assert errors.mean == pytest.approx(0.0, abs=1e-9)
        assert inside == 1.0
        found[f"corrected_{quantity}"] = found[quantity] / 1.1
        errors, _, _ = validation.score(found, quantity, "corrected")
        assert errors.bias == pytest.approx(10.0)


def test_the_law_of_the_sensor_adds_its_start(tmp_path):
    found = validation.validate(table(tmp_path)).frame
    assert (found["law_duration"] > found["duration"]).all()
    assert (found["law_power"] < found["power"]).all()
    assert found["corrected_duration"].iloc[0] == pytest.approx(0.040 - 1.67 / 750)


def test_text_and_rows(tmp_path):
    rows = tmp_path / "out.csv"
    said = validation.run(table(tmp_path), "raw", rows)
    assert "a100, as estimated" in said
    assert "a100, as a sensor records it" in said
    assert len(pd.read_csv(rows)) == 3


def test_what_cannot_be_predicted_is_listed(tmp_path):
    path = table(tmp_path)
    frame = pd.read_csv(path)
    frame.loc[0, "gpu"] = "abacus"
    frame.loc[1, ["model", "size"]] = ["perceptron", "small"]
    frame.to_csv(path, index=False)
    report = validation.validate(path)
    assert len(report.frame) == 1
    assert any("abacus" in line for line in report.skipped)
    assert any("perceptron" in line for line in report.skipped)


def test_other_sizes_and_boards(tmp_path):
    path = table(tmp_path, gpu="h100", sm_mhz_set=1830)
    frame = pd.read_csv(path)
    frame.loc[0, ["model", "size"]] = ["resnet50", ""]
    frame.loc[2, "size"] = "base"
    frame.to_csv(path, index=False)
    found = validation.validate(path).frame
    assert list(found["profile"]) == [catalog.gpu("h100-sxm").name] * 3
    assert found["power"].between(60.0, 700.0).all()


def test_a_table_without_its_columns(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("gpu,model\na100,bert\n")
    with pytest.raises(InputError, match="no column precision"):
        validation.validate(path)
    with pytest.raises(InputError, match="no such table"):
        validation.validate(tmp_path / "none.csv")
