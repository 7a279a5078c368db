"""A user's own GPU from rows whose truth is known: another board made of the shipped A10 fit."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from energaizer import catalog, machine, power
from energaizer.calibration import problem
from energaizer.cli import main
from energaizer.errors import InputError
from energaizer.host import LaunchCost
from energaizer.tuning import fitting, measured

GPU = catalog.gpu("a10")
HOST = LaunchCost(launch_s=2.4e-5, call_s=1.6e-5, step_s=2e-4)
ROWS = [
    (model, size, "bf16", batch, seq)
    for model, size in (("gpt2", "gpt2"), ("bert", "large"))
    for batch, seq in ((1, 128), (8, 128), (4, 512), (16, 512))
]


def truth():
    """The A10 fit with a slower memory, a hungrier chip and a slower host."""
    own = catalog.coefficients(GPU)
    values = own.values()
    changed = {path: 1.3 * values[path] for path in values if path.startswith("power.flop_pj")}
    return own.with_values(changed | {"power.dram_pj_per_byte": 1.2 * own.power.dram_pj_per_byte})


def rows(tmp_path, kept=ROWS, name="table.csv", gpu="a10", clock=900):
    frame = pd.DataFrame(kept, columns=["model", "size", "precision", "batch", "seq"])
    frame = frame.assign(
        gpu=gpu, sm_mhz_set=clock, mode="prefill", attention="eager", time_ms=1.0, power_w=1.0,
        energy_j=1e-3, run_s=30.0, startup_s=0.0,
    )  # fmt: skip
    path = tmp_path / name
    frame.to_csv(path, index=False)
    board = measured.rows(measured.read(path, GPU), GPU, truth(), "raw").board
    seen = problem.predict(board.sample.runs, truth(), HOST)
    frame = frame.assign(
        time_ms=1e3 * seen.duration_s, power_w=seen.power_w, energy_j=seen.energy_j
    )
    frame.to_csv(path, index=False)
    return path


def run(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(each) for each in arguments])
    return stopped.value.code


def test_a_fit_recovers_what_made_the_rows_and_loads_again(tmp_path, capsys):
    out = tmp_path / "mine" / "calibrations" / "a10.json"
    code = run("calibrate", rows(tmp_path), "--gpu", "a10", "--out", out, "-o", "json",
               "--host-out", tmp_path / "host.json")  # fmt: skip
    assert code == 0
    told = json.loads(capsys.readouterr().out)
    errors = told["errors_percent"]
    assert errors["rows of the fit itself"]["time"]["mean"] < 6
    assert errors["rows of the fit itself"]["power"]["mean"] < 4
    assert set(errors) == {"rows of the fit itself", "whole model left out"}
    assert any(each.startswith("one clock (900 MHz)") for each in told["not_identified"])
    loaded = catalog.coefficients(GPU, tmp_path / "mine")
    assert loaded.provenance == "calibrated"
    assert "sha256:" in loaded.fitted_on[0].dataset
    assert loaded.fitted_on[0].held_out == "whole model left out"
    assert loaded.hull["batch"] == (1.0, 16.0)
    assert loaded.power.flop_pj["bf16"] > catalog.coefficients(GPU).power.flop_pj["bf16"]
    host = json.loads((tmp_path / "host.json").read_text())
    assert host["prefill"]["launch_s"] == pytest.approx(HOST.launch_s, rel=0.35)
    assert run("estimate", "--model", "gpt2", "--gpu", "a10", "--profiles", tmp_path / "mine",
               "-o", "json") == 0  # fmt: skip


def test_two_anchors_set_scales(tmp_path, capsys):
    path = rows(tmp_path, [ROWS[0], ROWS[7]])
    assert run("calibrate", path, "--gpu", "a10", "--out", tmp_path / "a10.json", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["method"].startswith("two anchors")
    assert told["errors_percent"]["rows of the fit itself"]["time"]["mean"] < 1
    assert any("scales only" in each for each in told["not_identified"])
    assert told["coefficients"]["provenance"] == "analytical"
    assert "cp " in told["usage"][0]


def test_without_a_launch_bound_row_the_host_is_carried_over(tmp_path):
    path = rows(tmp_path, [row for row in ROWS if row[3] >= 4] * 2)
    found = measured.read(path, GPU)
    begun = fitting.start(GPU)
    board = measured.rows(found, GPU, begun.coefficients, "raw").board
    heavy = board.sample.time_s > np.median(board.sample.time_s)
    kept = fitting.replace(board.sample, weight=np.where(heavy, 1.0, 0.0))
    result = fitting.fit(fitting.replace(board, sample=kept), begun, None)
    assert any("host is carried over" in each for each in result.missing)
    assert result.fitted.host == begun.host


def test_starts_name_the_nearest_relative():
    assert "shipped fit of a10-24gb" in fitting.start(GPU).told
    assert fitting.start(GPU, "prior").told == "datasheet and priors"
    other = fitting.start(catalog.gpu("a40"))
    assert "nearest relative" in other.told
    assert other.coefficients.gpu == "a40-48gb"
    assert fitting.start(catalog.gpu("mi300x")).told == "datasheet and priors"
    with pytest.raises(InputError, match="nothing was fitted"):
        fitting.start(GPU, "mi300x")


def test_idle_readings_replace_idle():
    own = catalog.coefficients(GPU)
    clock = np.array([600e6, 900e6, 1200e6, 1500e6])
    watts = 1.2 * power.idle_power(machine.of(GPU, own), clock)
    idle = pd.DataFrame({"clock_hz": clock, "idle_w": watts})
    fitted = fitting.with_idle(own, GPU, idle)
    assert power.idle_power(machine.of(GPU, fitted), clock) == pytest.approx(watts, rel=0.01)
    one = fitting.with_idle(own, GPU, idle[:1])
    assert power.idle_power(machine.of(GPU, one), clock[:1]) == pytest.approx(watts[:1])


def test_a_gpu_of_an_unknown_name_is_taken_when_alone(tmp_path):
    path = rows(tmp_path)
    frame = pd.read_csv(path).assign(gpu="my board")
    frame.to_csv(path, index=False)
    assert "is taken for a10-24gb" in measured.read(path, GPU).notes[0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"gpu": "h100"}, "no forward passes of a10-24gb"),
        ({"model": "nobody", "size": "huge"}, "no usable row for a10-24gb"),
        ({"time_ms": 0.0}, "no time_ms above 0"),
        ({"run_s": 1.0}, "run shorter than 5 s"),
        ({"power_w": 149.9, "energy_j": None}, "usable below the power limit"),
    ],
)
def test_errors_say_what_to_do(tmp_path, capsys, change, told):
    path = rows(tmp_path)
    pd.read_csv(path).assign(**change).to_csv(path, index=False)
    assert run("calibrate", path, "--gpu", "a10", "--out", tmp_path / "x.json") == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x.json").exists()


@pytest.mark.parametrize("library", ["pandas", "scipy"])
def test_without_a_library_it_says_what_to_install(library):
    code = (
        f"import sys; sys.modules['{library}'] = None; from energaizer.cli import main; "
        "main(['calibrate', 'x.csv', '--gpu', 'a10', '--out', 'x.json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install energaizer[calibration]" in done.stderr


def test_idle_readings_of_the_same_unknown_name_are_taken_too(tmp_path):
    path = rows(tmp_path)
    pd.read_csv(path).assign(gpu="my board").to_csv(path, index=False)
    idle = tmp_path / "idle.csv"
    idle.write_text("gpu,sm_mhz,idle_w\nmy board,900,24.5\nmy board,1200,-3\nmy board,,30\n")
    found = measured.read(path, GPU, idle).idle
    assert found[["clock_hz", "idle_w"]].to_numpy().tolist() == [[900e6, 24.5]]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("gpu,sm_mhz,idle_w\na10,900,-5\na10,,20\na10,some,none\n", "no idle power of a10-24gb"),
        ("gpu,sm_mhz,idle_w\nh100,900,70\nl4,900,12\n", "no idle power of a10-24gb above 0"),
        ("gpu,model,batch,time_ms\na10,gpt2,1,5\n", "no table of idle power; it needs gpu, sm_mhz"),
    ],
)
def test_idle_power_that_says_nothing_is_refused(tmp_path, content, told):
    idle = tmp_path / "idle.csv"
    idle.write_text(content)
    with pytest.raises(InputError, match=told):
        measured.read(rows(tmp_path), GPU, idle)
