"""Measuring against a simulated board: energy counter, one-second window, clock, time."""

import csv
import sys

import pytest

from energaizer.cli import main
from energaizer.collection import cases, measuring, session, store
from energaizer.collection.measuring import NoRoomError, SensorError, Time
from energaizer.collection.torch_work import Framework
from energaizer.errors import InputError

IDLE_W, BUSY_W, LIMIT_W = 50.0, 250.0, 300.0


class Simulated:
    """A board whose time passes only by work and waits; power is kept as a history of steps."""

    def __init__(self, counter=True, locks=True, load_w=BUSY_W):
        self.seconds, self.joules = 1000.0, 5.0e6
        self.history = [(0.0, 1000.0, IDLE_W)]
        self.counter, self.locks, self.load_w = counter, locks, load_w
        self.mhz, self.locked = 1410.0, []

    def pass_time(self, seconds, watts):
        self.history.append((self.seconds, self.seconds + seconds, watts))
        self.seconds += seconds
        self.joules += seconds * watts

    def time(self):
        return Time(lambda: self.seconds, lambda seconds: self.pass_time(seconds, IDLE_W))

    def name(self):
        return "NVIDIA A100-PCIE-40GB"

    def limit_w(self):
        return LIMIT_W

    def energy_j(self):
        return self.joules if self.counter else None

    def power_w(self):
        low, high = self.seconds - 1.0, self.seconds
        return sum(max(0.0, min(b, high) - max(a, low)) * w for a, b, w in self.history)

    def clock_mhz(self):
        return self.mhz

    def temperature_c(self):
        return 60.0

    def lock(self, mhz):
        if not self.locks:
            return "Insufficient Permissions"
        self.mhz = mhz
        self.locked.append(mhz)
        return ""

    def unlock(self):
        self.locked.append("unlocked")


class Passes:
    def __init__(self, board, each_s=0.02, drift=1.0):
        self.board, self.each_s, self.drift, self.closed = board, each_s, drift, False
        self.runs = 0

    def run(self, iterations):
        self.runs += iterations
        self.board.pass_time(iterations * self.each_s, self.board.load_w)
        self.each_s *= self.drift

    def close(self):
        self.closed = True


def test_counter_gives_joules_and_seconds_of_an_iteration():
    board = Simulated()
    found = measuring.measure(board, Passes(board), 10.0, board.time())
    assert found.time_s == pytest.approx(0.02)
    assert found.energy_j == pytest.approx(0.02 * BUSY_W)
    assert found.power_w == pytest.approx(BUSY_W)
    assert found.source == "counter"
    assert found.run_s >= 10.0
    assert found.energy_j * found.iterations == pytest.approx(found.power_w * found.run_s)
    assert found.clock_mhz == 1410.0
    assert not found.disturbed


def test_sampled_power_lies_behind_the_window():
    board = Simulated(counter=False)
    found = measuring.measure(board, Passes(board), 5.0, board.time())
    assert found.source == "sampled"
    assert found.power_w == pytest.approx(BUSY_W)  # a reading before warm-up would hold idle


def test_the_window_would_deceive_without_warm_up():
    board = Simulated(counter=False)
    board.pass_time(0.5, BUSY_W)
    assert board.power_w() == pytest.approx((IDLE_W + BUSY_W) / 2)


def test_warm_up_lasts_two_seconds_for_short_and_long_work():
    for each_s in (1e-5, 0.02, 3.0):
        board = Simulated()
        before = board.seconds
        found = measuring.measure(board, Passes(board, each_s), 5.0, board.time())
        assert board.seconds - before - found.run_s >= measuring.WARM_UP_S
        assert found.time_s == pytest.approx(each_s)


def test_a_run_that_slows_down_is_flagged():
    board = Simulated()
    assert measuring.measure(board, Passes(board, drift=1.02), 10.0, board.time()).disturbed


def test_short_runs_and_a_dead_counter_are_refused():
    board = Simulated(load_w=0.0)
    with pytest.raises(InputError, match="5 or more"):
        measuring.measure(board, Passes(board), 1.0, board.time())
    with pytest.raises(SensorError, match="stood still"):
        measuring.measure(board, Passes(board), 5.0, board.time())


def test_idle_waits_until_the_window_is_empty():
    board = Simulated(counter=False)
    board.pass_time(5.0, BUSY_W)
    watts, mhz = measuring.idle(board, 5.0, board.time())
    assert watts == pytest.approx(IDLE_W)
    assert mhz == pytest.approx(1410.0)


def collect(tmp_path, board, clocks=(), which="all", make=None):
    told = []
    plan = session.Plan(tuple(cases.cases(which))[-6:], clocks, 5.0, tmp_path / "table.csv")
    made = []

    def passes(case):
        made.append(case)
        return make(case) if make else Passes(board)

    return session.collect(plan, board, passes, told.append, board.time()), told, made


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_rows_have_the_columns_that_validate_reads(tmp_path):
    board = Simulated()
    outcome, told, _ = collect(tmp_path, board, (900.0, 1200.0), "forward")
    assert outcome == (12, 0, 0)
    rows = rows_of(tmp_path / "table.csv")
    assert list(rows[0]) == list(store.FORWARD)
    assert {row["sm_mhz_set"] for row in rows} == {"900", "1200"}
    for row in rows:
        assert float(row["power_w"]) == pytest.approx(
            1000 * float(row["energy_j"]) / float(row["time_ms"]), rel=1e-6
        )
    idle = rows_of(tmp_path / "table.idle.csv")
    assert [(row["sm_mhz"], float(row["idle_w"])) for row in idle] == [("900", 50), ("1200", 50)]
    assert board.locked[-1] == "unlocked"
    assert "left" in " ".join(told)


def test_what_is_there_is_skipped_and_an_interruption_loses_nothing(tmp_path):
    board = Simulated()
    count = 0

    def third(_):
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return Passes(board)

    with pytest.raises(KeyboardInterrupt):
        collect(tmp_path, board, (900.0,), "forward", third)
    assert len(rows_of(tmp_path / "table.csv")) == 2
    assert board.locked[-1] == "unlocked"
    outcome, _, made = collect(tmp_path, board, (900.0,), "forward")
    assert outcome == (4, 2, 0)
    assert len(made) == 4
    assert collect(tmp_path, board, (900.0,), "forward")[0] == (0, 6, 0)
    assert len(rows_of(tmp_path / "table.idle.csv")) == 1
    assert not list(tmp_path.glob(".*.part"))


def test_without_the_right_to_hold_a_clock_it_says_so_and_goes_on(tmp_path):
    board = Simulated(locks=False)
    outcome, told, _ = collect(tmp_path, board, (900.0, 1200.0), "forward")
    assert outcome.measured == 6
    assert "not held" in told[0]
    assert rows_of(tmp_path / "table.csv")[0]["sm_mhz_set"] == ""


def test_kernels_go_beside_with_power_of_their_own(tmp_path):
    board = Simulated()
    collect(tmp_path, board, which="kernels")
    row = rows_of(tmp_path / "table.kernels.csv")[0]
    assert float(row["latency_us"]) == pytest.approx(2e4)
    assert (row["power_tier"], row["obs_weight_g"]) == ("A+", "1")


def test_a_case_without_room_is_left_out(tmp_path):
    board = Simulated()

    def full(_):
        raise NoRoomError("too large")

    outcome, told, _ = collect(tmp_path, board, which="forward", make=full)
    assert outcome == (0, 0, 6)
    assert "too large" in told[-1]


def test_a_foreign_file_is_not_overwritten(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="give another --out"):
        collect(tmp_path, Simulated())
    assert (tmp_path / "table.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("module", ["pynvml"])
def test_without_nvml_it_says_what_to_install(monkeypatch, capsys, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit) as stopped:
        main(["collect"])
    assert stopped.value.code == 2
    assert "pip install energaizer[collect]" in capsys.readouterr().err


def test_without_torch_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SensorError, match="pip install torch"):
        Framework("GPU-1", models=False)


def test_the_list_needs_no_gpu(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["collect", "--list", "--set", "kernels", "--clock", "900MHz,1200MHz"])
    assert stopped.value.code == 0
    told = capsys.readouterr()
    assert "gemm bfloat16 8192 x 8192 x 8192" in told.out
    assert "28 runs" in told.err
