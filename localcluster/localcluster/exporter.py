"""Stands in for NVIDIA's DCGM exporter at the wire: its text, its labels, made-up readings.

Simulated nodes have no GPUs to read, so each running pod's GPUs draw a share of the power that was
predicted for it. Nothing else is simulated: a real Prometheus scrapes this page.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from localcluster.api import Api

POWER_ANNOTATION = "energaizer.io/predicted-power-watts"
IDLE_W = 60.0
_POLL_S = 0.25
_MILLI = 1000.0
_RUNNING = "/api/v1/pods?fieldSelector=status.phase%3DRunning"


@dataclass
class Reading:
    """One GPU: who uses it, what it draws, what it has drawn so far."""

    labels: Mapping[str, str]
    power_w: float
    energy_j: float = 0.0


@dataclass
class Exporter:
    """The readings of all GPUs.

    Args:
        share: Drawn power over predicted power.
        unlabelled: Share of pods whose GPUs carry no pod label, as exporters without access to the
            kubelet give them.
        mig: Whether GPUs are slices.
    """

    share: float = 0.93
    unlabelled: float = 0.0
    mig: bool = False
    readings: dict[tuple[str, str, int], Reading] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def observe(self, pods: Iterable[Mapping[str, Any]], elapsed_s: float) -> None:
        """Let the GPUs of running pods draw power for `elapsed_s`, s."""
        with self.lock:
            for reading in self.readings.values():
                reading.energy_j += reading.power_w * elapsed_s
                reading.power_w = IDLE_W
            for pod in pods:
                self._run(pod)

    def _run(self, pod: Mapping[str, Any]) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        gpus = sum(
            int(value)
            for container in spec["containers"]
            for name, value in (container.get("resources", {}).get("limits") or {}).items()
            if name.startswith("nvidia.com/")
        )
        total = float((metadata.get("annotations") or {}).get(POWER_ANNOTATION, 0) or 0)
        for number in range(gpus):
            key = metadata["namespace"], metadata["name"], number
            if key not in self.readings:
                self.readings[key] = Reading(self._labels(pod, number), IDLE_W)
            self.readings[key].power_w = max(IDLE_W, total / gpus * self.share)

    def _labels(self, pod: Mapping[str, Any], number: int) -> Mapping[str, str]:
        metadata, spec = pod["metadata"], pod["spec"]
        digest = hashlib.sha256(f"{metadata['uid']}/{number}".encode()).hexdigest()
        labels = {
            "gpu": str(number),
            "UUID": f"GPU-{digest[:8]}-{digest[8:12]}-{digest[12:16]}",
            "modelName": "NVIDIA H100 80GB HBM3",
            "Hostname": spec.get("nodeName", ""),
        }
        if self.mig:
            labels |= {"GPU_I_PROFILE": "1g.10gb", "GPU_I_ID": str(7 + number)}
        if int(digest, 16) % 1000 < 1000 * self.unlabelled:
            return {**labels, "namespace": "", "pod": "", "container": ""}
        container = spec["containers"][0]["name"]
        names = {"namespace": metadata["namespace"], "pod": metadata["name"]}
        return {**labels, **names, "container": container}

    def page(self) -> str:
        """Return the text that Prometheus reads."""
        with self.lock:
            readings = list(self.readings.values())
        lines = ["# TYPE DCGM_FI_DEV_POWER_USAGE gauge"]
        lines += [_line("DCGM_FI_DEV_POWER_USAGE", one.labels, one.power_w) for one in readings]
        lines += ["# TYPE DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION counter"]
        lines += [
            _line("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", one.labels, one.energy_j * _MILLI)
            for one in readings
        ]
        return "\n".join(lines) + "\n"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"{name}{{{pairs}}} {value:.3f}"


def serve(page: Callable[[], str], port: int = 0) -> int:
    """Serve a page of metrics from a thread until this process ends; return its port.

    Args:
        page: Writes it, at each scrape.
        port: Where; 0 takes a free one.
    """

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page().encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            with suppress(BrokenPipeError):  # who asked has ended
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: a scrape each second is no news."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return int(server.server_address[1])


@click.command()
@click.option("--kubeconfig", required=True, type=click.Path(path_type=Path))
@click.option("--port", required=True, type=int)
@click.option("--share", default=Exporter.share, show_default=True, help="Drawn over predicted.")
@click.option("--unlabelled", default=0.0, show_default=True, help="Share of pods without labels.")
@click.option("--mig", is_flag=True, help="Report slices.")
def main(kubeconfig: Path, port: int, share: float, unlabelled: float, *, mig: bool) -> None:
    """Serve made-up readings of the GPUs of running pods until killed."""
    exporter, api = Exporter(share, unlabelled, mig), Api.of(kubeconfig)
    serve(exporter.page, port)
    last = time.monotonic()
    while True:
        body, now = api.text(_RUNNING), time.monotonic()
        exporter.observe(json.loads(body)["items"] if body else [], now - last)
        last = now
        time.sleep(_POLL_S)


if __name__ == "__main__":
    main()
