"""A real Prometheus beside an instance: it scrapes our processes and the API server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from localcluster import network, processes
from localcluster.build import build
from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError
from localcluster.places import write_private

EXPORTER, STATE_METRICS = "dcgm-exporter", "kube-state-metrics"
READY_TIMEOUT_S = 120.0
_POLL_S = 0.05
_POD_OF = {EXPORTER: {"namespace": "gpu-operator", "pod": "nvidia-dcgm-exporter-x7k2p"}}
"""Labels that service discovery adds to a target: the exporter's own become `exported_`."""


@dataclass
class PrometheusProcess:
    """A running Prometheus."""

    child: subprocess.Popen[bytes]
    url: str
    log: Path
    targets: Path
    """Folder of the files that say what to scrape."""

    def scrape(self, job: str, *addresses: str) -> None:
        """Scrape these addresses, `host:port`, from now on, in place of the job's former ones."""
        labels = {"job": job, **_POD_OF.get(job, {})}
        text = json.dumps([{"targets": addresses, "labels": labels}])
        write_private(self.targets / f"{job}.json", text)

    def wait_ready(self) -> None:
        """Return once it answers queries."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2):  # noqa: S310
                    return
            except OSError:
                time.sleep(_POLL_S)
        raise LocalClusterError(
            f"Prometheus not ready after {READY_TIMEOUT_S:.0f} s; see {self.log}"
        )

    def stop(self) -> None:
        """End it."""
        self.child.kill()
        self.child.wait(10)


@dataclass
class ExporterProcess:
    """A running stand-in for an exporter."""

    child: subprocess.Popen[bytes]
    address: str
    """Where it is scraped, `host:port`."""

    def stop(self) -> None:
        """End it."""
        self.child.kill()
        self.child.wait(10)


def start_exporter(cluster: Cluster, *options: str, leashed: bool = True) -> ExporterProcess:
    """Start a stand-in for the GPU exporter.

    Args:
        cluster: Whose running pods have GPUs that draw power.
        options: Of `python -m localcluster.exporter`.
        leashed: Whether it dies with this process.
    """
    return _start(cluster, EXPORTER, "localcluster.exporter", options, leashed=leashed)


def start_state_metrics(cluster: Cluster, *, leashed: bool = True) -> ExporterProcess:
    """Start a stand-in for kube-state-metrics, for the quotas of a cluster."""
    return _start(cluster, STATE_METRICS, "localcluster.statemetrics", (), leashed=leashed)


def _start(
    cluster: Cluster, name: str, module: str, options: Sequence[str], *, leashed: bool
) -> ExporterProcess:
    (port,) = network.free_ports(1)
    where = (f"--kubeconfig={cluster.kubeconfig}", f"--port={port}")
    command = [sys.executable, "-m", module, *where, *options]
    child = processes.spawn(name, command, cluster.directory, leashed=leashed)
    return ExporterProcess(child, f"127.0.0.1:{port}")


def start_prometheus(
    cluster: Cluster, rules: Sequence[Path] = (), *, leashed: bool = True, interval: str = "1s"
) -> PrometheusProcess:
    """Start a Prometheus in the folder of an instance; `scrape` tells it what to scrape.

    Args:
        cluster: Whose API server it scrapes from the start.
        rules: Files of recording rules and alerts.
        leashed: Whether it dies with this process.
        interval: Between two scrapes, and two evaluations of a rule.
    """
    also = (_api_server(cluster),)
    return start_alone(cluster.directory, rules, leashed=leashed, interval=interval, also=also)


def start_alone(
    directory: Path,
    rules: Sequence[Path] = (),
    *,
    leashed: bool = True,
    interval: str = "1s",
    also: Sequence[Mapping[str, object]] = (),
) -> PrometheusProcess:
    """Start a Prometheus that needs no cluster, in a folder.

    Args:
        directory: Of its data and its log.
        rules: Files of recording rules and alerts.
        leashed: Whether it dies with this process.
        interval: Between two scrapes, and two evaluations of a rule.
        also: Further scrape configurations.
    """
    folder = directory / "prometheus"
    targets = folder / "targets"
    targets.mkdir(parents=True, exist_ok=True)
    ours = {"job_name": "local", "file_sd_configs": [{"files": [f"{targets}/*.json"]}]}
    configuration = {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": [ours, *also],
    }
    write_private(folder / "prometheus.yml", yaml.safe_dump(configuration))
    (port,) = network.free_ports(1)
    child = processes.spawn(
        "prometheus",
        [
            str(build("prometheus").program("prometheus")),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ],
        directory,
        leashed=leashed,
    )
    return PrometheusProcess(
        child, f"http://127.0.0.1:{port}", directory / "prometheus.log", targets
    )


def _api_server(cluster: Cluster) -> Mapping[str, object]:
    """Return how an API server is scraped."""
    user = yaml.safe_load(cluster.kubeconfig.read_text())["users"][0]["user"]
    return {
        "job_name": "apiserver",
        "scheme": "https",
        "scrape_interval": "5s",  # its page is megabytes
        "authorization": {"credentials": user["token"]},
        "tls_config": {"ca_file": str(cluster.directory / "pki" / "ca.crt")},
        "static_configs": [{"targets": [cluster.server.removeprefix("https://")]}],
        "metric_relabel_configs": [
            {
                "source_labels": ["__name__"],
                "regex": "apiserver_admission_webhook_.*",
                "action": "keep",
            }
        ],
    }
