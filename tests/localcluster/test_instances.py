import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from localcluster import LocalClusterError, instances, processes
from localcluster.cluster import check_name
from localcluster.components import START_ORDER, Ports
from localcluster.errors import require_linux
from localcluster.places import cache_root, state_root

RECORD = instances.Record(
    name="a",
    folder=Path("/x/a"),
    home=Path("/x/home"),
    version="v1.37.2",
    created=datetime(2026, 11, 24, tzinfo=UTC),
    ports=Ports(1, 2, 3),
    services=IPv4Network("127.64.0.0/16"),
    leashed=False,
    owner_pid=1,
    owner_ticks=1,
    ready=True,
)
ALL = set(START_ORDER)


@pytest.mark.parametrize(
    ("changes", "alive", "owner_lives", "expected"),
    [
        ({"ready": False}, {"etcd"}, True, "starting"),
        ({"ready": False}, {"etcd"}, False, "stale"),
        ({}, ALL, False, "running"),
        ({}, ALL - {"kwok"}, False, "broken"),
        ({}, set(), False, "stale"),
        ({"leashed": True}, ALL, True, "running"),
        ({"leashed": True}, ALL, False, "stale"),
    ],
)
def test_the_condition_follows_from_what_lives(
    changes: dict[str, bool], alive: set[str], owner_lives: bool, expected: str
) -> None:
    record = RECORD.model_copy(update=changes)
    assert instances.judge(record, alive, owner_lives=owner_lives) == expected


def test_a_record_survives_the_disk() -> None:
    assert instances.Record.model_validate_json(RECORD.model_dump_json()) == RECORD


def test_places_follow_xdg_unless_it_is_relative() -> None:
    assert cache_root({"XDG_CACHE_HOME": "/c"}) == Path("/c/energaizer/localcluster")
    assert state_root({"XDG_STATE_HOME": "s"}).is_relative_to(Path.home() / ".local" / "state")


@pytest.mark.parametrize("name", ["", "A", "a/b", "-a", "a-", "a" * 41])
def test_a_name_unfit_for_files_is_refused(name: str) -> None:
    with pytest.raises(LocalClusterError, match="no name for an instance"):
        check_name(name)


def test_other_systems_are_told_plainly() -> None:
    with pytest.raises(LocalClusterError, match=r"darwin answers on 127\.0\.0\.1 alone"):
        require_linux("darwin")


def sleeper(folder: Path, *, deaf: bool) -> subprocess.Popen[bytes]:
    script = "import signal, time; "
    script += "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if deaf else ""
    script += "print('on', flush=True); time.sleep(60)"
    child = processes.spawn("etcd", [sys.executable, "-c", script], folder, leashed=True)
    while not (folder / "etcd.log").read_text():
        assert child.poll() is None
        time.sleep(0.01)
    return child


@pytest.mark.parametrize(("deaf", "signal_number"), [(False, 15), (True, 9)])
def test_a_component_is_found_by_its_folder_asked_and_then_killed(
    tmp_path: Path, deaf: bool, signal_number: int
) -> None:
    with sleeper(tmp_path, deaf=deaf) as child:
        found = processes.running(tmp_path)
        assert found == (processes.Running(child.pid, "etcd", tmp_path),)
        processes.stop(found, grace_s=0.2 if deaf else 60)
        assert child.wait(timeout=60) == -signal_number
    assert processes.running(tmp_path) == ()


def test_a_process_that_is_not_the_component_is_never_killed(tmp_path: Path) -> None:
    with sleeper(tmp_path, deaf=False) as child:
        processes.stop([processes.Running(child.pid, "etcd", tmp_path / "other")], grace_s=0)
        assert child.poll() is None
        child.kill()


def test_a_process_is_named_by_its_id_and_start() -> None:
    assert processes.start_ticks(os.getpid()) == processes.start_ticks(os.getpid()) is not None
    assert processes.start_ticks(2**22 + 1) is None
