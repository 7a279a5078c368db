"""docs/five-minutes.md does what it says: its commands run in order, as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from localcluster import Cluster
from localcluster.build import build
from localcluster.kubelet import LocalNode
from localcluster.monitoring import PrometheusProcess, start_prometheus
from localcluster.operator import ROOT
from localcluster.places import DEFAULT_POOLS
from localcluster.pools import load_pools
from polling import until
from released import UID, reserve

PAGE = (ROOT / "docs/five-minutes.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```)?", PAGE, re.MULTILINE | re.DOTALL)
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
"""Keeps our own pods off nodes that only pretend to run them, as GPU nodes of clouds do."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    pools = [pool.model_copy(update={"taints": (TAINT,)}) for pool in load_pools(DEFAULT_POOLS)]
    with Cluster(pools=pools) as started, LocalNode(started):
        yield started


def shell(cluster: Cluster, command: str, prometheus: str) -> subprocess.CompletedProcess[str]:
    """Run a block of the page from the root of the repository."""
    tools = f"{cluster.bin}:{build('helm').bin}:{os.environ['PATH']}"
    home = {
        f"HELM_{kind}_HOME": str(cluster.directory / "helm") for kind in ("CACHE", "CONFIG", "DATA")
    }
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=ROOT,
        env={
            **os.environ,
            **home,
            "KUBECONFIG": str(cluster.kubeconfig),
            "PATH": tools,
            "PROMETHEUS": prometheus,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def watch(cluster: Cluster) -> PrometheusProcess:
    """Start a Prometheus that scrapes what is behind the Service energaizer-metrics."""
    select = ("-n", "energaizer-system", "-l", "app.kubernetes.io/component", "-o", "json")
    pods = json.loads(cluster.kubectl("get", "pods", *select).stdout)["items"]
    addresses = [f"{pod['status']['podIP']}:8443" for pod in pods]
    rules = list((ROOT / "charts/energaizer/files/rules").glob("*.yaml"))
    started = start_prometheus(cluster, rules)
    started.scrape("energaizer", *addresses)
    started.wait_ready()
    return started


def refused_by_all(cluster: Cluster, command: str) -> bool:
    """Say whether many who ask at the same time, on connections of their own, are all refused."""
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: shell(cluster, command, "").returncode, range(8)))
    return all(codes)


def all_answered(cluster: Cluster, command: str, prometheus: str) -> bool:
    """Say whether Prometheus has a result for each query of a block."""
    found = answers(shell(cluster, command, prometheus).stdout)
    return len(found) == command.count("curl ") and all(found)


def answers(said: str) -> list[list[dict[str, Any]]]:
    """Return the results of the queries whose answers stand one behind the other."""
    found = []
    while said.strip():
        body, end = json.JSONDecoder().raw_decode(said)
        found.append(body["data"]["result"])
        said = said[end:].lstrip()
    return found


def test_every_command_of_the_page_runs(cluster: Cluster) -> None:
    assert len(BLOCKS) == 8, "a block was added: say here what it must print"
    prometheus: PrometheusProcess | None = None
    printed: list[str] = []
    for number, (command, refusal) in enumerate(BLOCKS):
        if "curl" in command:
            prometheus = watch(cluster)
            url = prometheus.url
            until(  # a scrape comes when its second comes
                lambda command=command, url=url: all_answered(cluster, command, url),  # type: ignore[misc]
                "what it asks for is scraped",
            )
        if refusal:  # each replica learns of the policy by a watch of its own
            rehearsal = command.replace("kubectl apply", "kubectl apply --dry-run=server")
            until(
                lambda rehearsal=rehearsal: refused_by_all(cluster, rehearsal),  # type: ignore[misc]
                "every replica knows the policy",
            )
        done = shell(cluster, command, prometheus.url if prometheus else "")
        said = done.stdout + done.stderr
        printed.append(said)
        assert (done.returncode != 0) == bool(refusal), f"{number}: {command}\n{said}"
    install, _, ask, boards, panel, _, refused, removal = printed
    assert "helm test energaizer" in install
    assert re.search(r"llama-8b-chat .* True ", ask)
    assert boards.count("energaizer-dashboard-") == 5
    workloads, watts = answers(panel)
    assert float(workloads[0]["value"][1]) >= 1
    assert float(watts[0]["value"][1]) > 100
    shown = next(text for _, text in BLOCKS if text)
    for part in (
        "denied the request: energy policy team-b-limit: needs",
        "Fits: 2 x b200-sxm-180gb",
    ):
        assert part in refused
        assert part in shown
    assert 'release "energaizer" uninstalled' in removal
    (patch,) = re.findall(r"`(kubectl patch [^`]+)`", PAGE)
    reserve(cluster, "team-a")
    delete = f"kubectl delete energyreservation {UID} -n team-a"
    assert shell(cluster, f"{delete} --timeout=1s", "").returncode != 0, "a finalizer is on it"
    command = patch.replace("NAMESPACE", "team-a").replace("NAME", UID)
    assert shell(cluster, command, "").returncode == 0
    assert "NotFound" in shell(cluster, delete, "").stderr
    if prometheus:
        prometheus.stop()
