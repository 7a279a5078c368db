"""Whatever ends a control plane, nothing of it is left: no process, no folder, no record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from localcluster import processes
from localcluster.places import state_root
from polling import until

UP_TO = 120.0


class Tool:
    """The command line, with records of its own, so that a test sees no other instance."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.environment = {**os.environ, "XDG_STATE_HOME": str(state)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "localcluster", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        with self.start(*arguments) as running:
            output, errors = running.communicate(timeout=2 * UP_TO)
        return running.returncode, output, errors

    def up(self, *arguments: str) -> dict[str, Any]:
        code, output, errors = self("up", "--nodes", str(self.nodes), "-o", "json", *arguments)
        assert code == 0, errors
        found: dict[str, Any] = json.loads(output)
        return found

    @property
    def nodes(self) -> Path:
        path = self.state / "nodes.yaml"
        path.write_text("pools: []\n")
        return path

    @property
    def root(self) -> Path:
        return state_root({"XDG_STATE_HOME": str(self.state)})

    def alive(self) -> list[processes.Running]:
        return [one for one in processes.running() if one.folder.is_relative_to(self.state)]

    def left(self) -> list[str]:
        return [path.name for path in self.root.iterdir() if path.name != "lock"]


@pytest.fixture
def tool(tmp_path: Path) -> Iterator[Tool]:
    chosen = Tool(tmp_path)
    yield chosen
    processes.stop(chosen.alive(), grace_s=0)


def test_down_leaves_no_process_and_no_folder(tool: Tool) -> None:
    up = tool.up()
    assert {one.component for one in tool.alive()} >= {"etcd", "kube-apiserver", "kwok"}
    assert tool("kubeconfig")[1].strip() == up["kubeconfig"]
    assert json.loads(tool("list", "-o", "json")[1])[0]["condition"] == "running"
    assert tool("up", "-o", "json")[0] == 0  # again is no error, and changes nothing
    code, _, errors = tool("down")
    assert (code, errors) == (0, '"default" stopped\n')
    assert tool.alive() == []
    assert tool.left() == []
    assert tool("down")[0] == 0


def test_down_all_stops_instances_in_any_folder(tool: Tool) -> None:
    tool.up("--name", "a")
    tool.up("--name", "b", "--dir", str(tool.state / "elsewhere"))
    assert tool("down", "--all")[0] == 0
    assert tool.alive() == []
    assert tool.left() == []
    assert not (tool.state / "elsewhere").exists()


def test_a_folder_with_content_is_refused_and_kept(tool: Tool) -> None:
    code, _, errors = tool("up", "--dir", str(tool.nodes.parent))
    assert code == 1
    assert "not empty" in errors
    assert tool.nodes.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_cleans_up_at_once(tool: Tool, number: signal.Signals) -> None:
    with tool.start("up", "--nodes", str(tool.nodes)) as running:
        until(lambda: len(tool.alive()) >= 2)
        running.send_signal(number)
        assert running.wait(timeout=UP_TO) in (130, 143)
    assert tool.alive() == []
    assert tool.left() == []


def test_a_killed_up_is_cleaned_by_the_next_call(tool: Tool) -> None:
    with tool.start("up", "--nodes", str(tool.nodes)) as running:
        until(lambda: len(tool.alive()) >= 2)
        running.kill()
    assert "no instance runs" in tool("list")[1]
    assert tool.alive() == []
    assert tool.left() == []


def test_killed_components_are_cleaned_by_the_next_call(tool: Tool) -> None:
    tool.up()
    for one in tool.alive():
        os.kill(one.pid, signal.SIGKILL)
    until(lambda: tool.alive() == [])
    assert tool.left() != []
    code, _, errors = tool("list")
    assert (code, errors) == (0, 'removed what a crashed "default" left\n')
    assert tool.left() == []


def test_one_dead_component_shows_as_broken_and_up_starts_anew(tool: Tool) -> None:
    tool.up()
    victim = next(one for one in tool.alive() if one.component == "kube-scheduler")
    os.kill(victim.pid, signal.SIGKILL)
    until(lambda: victim not in tool.alive())
    assert json.loads(tool("list", "-o", "json")[1])[0]["condition"] == "broken"
    tool.up()
    assert {one.component for one in tool.alive()} >= {"kube-scheduler", "etcd"}
    assert tool("down")[0] == 0


def test_the_cluster_of_a_killed_owner_dies_with_it(tool: Tool) -> None:
    script = (
        "import localcluster, time; localcluster.Cluster('x', pools=[]).start(); time.sleep(99)"
    )
    with subprocess.Popen([sys.executable, "-c", script], env=tool.environment) as owner:
        until(lambda: len(tool.alive()) == 5)
        owner.kill()
    until(lambda: tool.alive() == [])
    assert tool("list")[0] == 0
    assert tool.left() == []


def test_a_component_that_dies_is_named_with_its_log(tool: Tool) -> None:
    with tool.start("up", "--nodes", str(tool.nodes)) as running:
        until(lambda: any(one.component == "kube-apiserver" for one in tool.alive()))
        victim = next(one for one in tool.alive() if one.component == "etcd")
        os.kill(victim.pid, signal.SIGKILL)
        _, errors = running.communicate(timeout=UP_TO)
    assert running.returncode == 1
    assert "etcd was killed by signal 9; the end of its log:" in errors
    assert tool.alive() == []
