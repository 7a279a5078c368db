"""A node of this machine: pods that are bound to it run as local processes, without containers.

What runs is what the manifest says: command, arguments, environment, probes, restarts, the grace
at the end, under the rights of the pod's own account. What a container engine adds is not there:
the image (the programs come from this repository's environment), namespaces, users, limits, and
mounts other than an emptyDir at /tmp; the account's token comes as a kubeconfig. Each pod has a
loopback address of its own, and a Service with such pods behind it works at its ClusterIP.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

from localcluster import processes
from localcluster.api import Api
from localcluster.balancer import Balancer, frontends
from localcluster.cluster import Cluster
from localcluster.errors import LocalClusterError

POLL_S = 0.2
HEARTBEAT_S = 10.0
PODS_FROM_SERVICES = 64 << 16
"""Pods have the loopback slice this far above that of the Services: 127.128.0.0/16 and on."""
_MERGE = "application/merge-patch+json"
_PROBES = {"startupProbe": 60, "livenessProbe": 3, "readinessProbe": 3}

Body = dict[str, Any]


class LocalNode:
    """A Ready node whose pods are processes; `with LocalNode(cluster):` brings and removes it.

    Args:
        cluster: Where.
        name: Of the node, also its hostname label.
    """

    def __init__(self, cluster: Cluster, name: str = "local") -> None:
        """Take the wishes; nothing runs yet."""
        self.cluster = cluster
        self.name = name
        self.api = Api.of(cluster.kubeconfig)
        self._runs: dict[str, _Run] = {}
        self._addresses = iter(range(1, 65000))
        self._accounts = threading.Lock()
        self._stop = threading.Event()
        self._balancer = Balancer()
        self._thread = threading.Thread(target=self._work, name=f"node-{name}", daemon=True)

    def __enter__(self) -> Self:
        """Register the node and begin."""
        self.cluster.kubectl("apply", "-f", "-", input=_NODE.format(name=self.name))
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End every process and remove the node."""
        self._stop.set()
        self._thread.join(10)
        for run in self._runs.values():
            run.kill()
        for run in self._runs.values():
            run.join(60)
        self._balancer.close()
        self.cluster.kubectl("delete", "node", self.name, "--wait=false", check=False)

    def log(self, pod: str) -> str:
        """Return what the processes of a pod wrote."""
        return (self.cluster.directory / f"pod-{pod}.log").read_text(errors="replace")

    def address(self) -> str:
        """Return a loopback address that no pod had yet."""
        first = self.cluster.services.network_address + PODS_FROM_SERVICES
        return str(IPv4Address(int(first) + next(self._addresses)))

    def kubeconfig(self, namespace: str, account: str) -> Path:
        """Return a fresh kubeconfig of an account; one at a time, for they share a file."""
        with self._accounts:
            return self.cluster.service_account_kubeconfig(namespace, account)

    def _work(self) -> None:
        beaten = time.monotonic()
        while not self._stop.wait(POLL_S):
            with suppress(OSError, HTTPException):  # the API server may be stopped before us
                self._sync()
                if time.monotonic() - beaten > HEARTBEAT_S:
                    self._beat()
                    beaten = time.monotonic()

    def _sync(self) -> None:
        """Bring processes and Services to what the API server says."""
        pods = self.api.call("GET", f"/api/v1/pods?fieldSelector=spec.nodeName={self.name}")[
            "items"
        ]
        uids = {pod["metadata"]["uid"] for pod in pods}
        for pod in pods:
            run = self._runs.get(pod["metadata"]["uid"])
            if run is None and pod["status"]["phase"] == "Pending":
                run = self._runs[pod["metadata"]["uid"]] = _Run(self, pod)
                run.start()
            if run is not None and "deletionTimestamp" in pod["metadata"]:
                run.leave()
        for uid in set(self._runs) - uids:
            self._runs.pop(uid).kill()
        services = self.api.call("GET", "/api/v1/services")["items"] if pods else []
        self._balancer.update(frontends(services, pods))

    def _beat(self) -> None:
        """Say that the node lives."""
        path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        spec = {"holderIdentity": self.name, "leaseDurationSeconds": 40, "renewTime": now}
        try:
            self.api.call("PATCH", f"{path}/{self.name}", {"spec": spec}, _MERGE)
        except urllib.error.HTTPError:
            self.api.call("POST", path, {"metadata": {"name": self.name}, "spec": spec})
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
        capacity = {"cpu": "64", "memory": "256Gi", "pods": "110"}
        status = {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [{**ready, "lastHeartbeatTime": _now(), "lastTransitionTime": _now()}],
        }
        self.api.call("PATCH", f"/api/v1/nodes/{self.name}/status", {"status": status}, _MERGE)


@dataclass
class _Probe:
    """One probe of a container and its failures in a row."""

    url: str
    timeout_s: float
    period_s: float
    threshold: int
    failures: int = 0
    passed: bool = False
    next_at: float = 0.0

    @classmethod
    def of(cls, kind: str, container: Body, address: str) -> _Probe | None:
        """Return the HTTP probe of a container, or None if it has none of that kind."""
        probe = container.get(kind)
        if probe is None:
            return None
        port = probe["httpGet"]["port"]
        named = {one.get("name"): one["containerPort"] for one in container.get("ports", [])}
        return cls(
            f"http://{address}:{named.get(port, port)}{probe['httpGet'].get('path', '/')}",
            probe.get("timeoutSeconds", 1),
            probe.get("periodSeconds", 10),
            probe.get("failureThreshold", _PROBES[kind]),
        )

    def look(self) -> None:
        """Ask, if it is time to."""
        if time.monotonic() < self.next_at:
            return
        self.next_at = time.monotonic() + self.period_s
        try:
            with urllib.request.urlopen(self.url, timeout=self.timeout_s):  # noqa: S310
                self.failures, self.passed = 0, True
        except OSError:
            self.failures += 1

    @property
    def failed(self) -> bool:
        """Whether it has failed too often in a row."""
        return self.failures >= self.threshold


@dataclass(eq=False)
class _Run(threading.Thread):
    """The life of one pod with one container, in a thread that its process is leashed to."""

    node: LocalNode
    pod: Body
    child: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    _leave: threading.Event = field(default_factory=threading.Event)
    _killed: bool = False
    _told: Body = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Become a thread."""
        super().__init__(name=self.pod["metadata"]["name"], daemon=True)
        self.address = self.node.address()

    def leave(self) -> None:
        """Ask the pod to end with its grace."""
        self._leave.set()

    def kill(self) -> None:
        """End it at once; its object is gone."""
        self._killed = True
        self._leave.set()
        if self.child is not None and self.child.poll() is None:
            self.child.kill()

    def run(self) -> None:
        """Run until the process ends for good, or the pod is deleted."""
        try:
            while True:
                code = self._live()
                over = self._leave.is_set() or self.pod["spec"]["restartPolicy"] != "Always"
                if over:
                    break
                self.restarts += 1
                self._leave.wait(min(1.0 * self.restarts, 10.0))
            self._tell("Succeeded" if code == 0 else "Failed", _ended(code))
        except (LocalClusterError, OSError) as error:
            with suppress(OSError):
                self._tell("Failed", {"waiting": {"reason": "Error", "message": str(error)}})
        if self._leave.wait() and not self._killed:
            self._remove()

    def _live(self) -> int:
        """Start the process, watch it until it ends or must end; return its exit code."""
        container = self.pod["spec"]["containers"][0]
        environment = self._environment(container)
        program, *arguments = container["command"]
        found = shutil.which(program, path=environment["PATH"])
        if found is None:
            raise LocalClusterError(f"no program {program} in {environment['PATH']}")
        self.child = processes.spawn(
            f"pod-{self.pod['metadata']['name']}",
            [found, *arguments, *container.get("args", [])],
            self.node.cluster.directory,
            leashed=True,
            environment=environment,
        )
        probes = {kind: _Probe.of(kind, container, self.address) for kind in _PROBES}
        running = {"running": {"startedAt": _now()}}
        while self.child.poll() is None and not self._leave.wait(POLL_S):
            started = _good(probes["startupProbe"])
            ready = started and _good(probes["readinessProbe"])
            guard = probes["livenessProbe" if started else "startupProbe"]
            if not _good(guard) and guard is not None and guard.failed:
                break
            with suppress(OSError):  # a status that is not written now is written soon
                self._tell("Running", running, ready=ready)
        grace = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        self.child.terminate()
        try:
            return self.child.wait(grace)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait(10)

    def _environment(self, container: Body) -> dict[str, str]:
        """Return what the kubelet would set, and where the account's token is."""
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        scratch = self.node.cluster.directory / "scratch" / metadata["uid"]
        scratch.mkdir(parents=True, exist_ok=True)
        for mount in container.get("volumeMounts", []):
            inside = mount["mountPath"].startswith("/var/run/secrets/kubernetes.io/")
            if mount["mountPath"] != "/tmp" and not inside:  # noqa: S108 (the manifest's)
                raise LocalClusterError(f"a process cannot mount {mount['mountPath']}")
        fields = {
            "metadata.name": metadata["name"],
            "metadata.namespace": metadata["namespace"],
            "metadata.uid": metadata["uid"],
            "spec.nodeName": spec["nodeName"],
            "status.podIP": self.address,
        }
        values = {
            one["name"]: one.get("value", "")
            if "valueFrom" not in one
            else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
            for one in container.get("env", [])
        }
        account = self.node.kubeconfig(metadata["namespace"], spec["serviceAccountName"])
        programs = f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"
        return {**values, "KUBECONFIG": str(account), "TMPDIR": str(scratch), "PATH": programs}

    def _tell(self, phase: str, state: Body, *, ready: bool = False) -> None:
        """Write the pod's status, if it changed."""
        container = self.pod["spec"]["containers"][0]
        flag = "True" if ready else "False"
        kept = [one for one in self.pod["status"]["conditions"] if one["type"] == "PodScheduled"]
        done = {"type": "Initialized", "status": "True", "lastTransitionTime": _now()}
        both = [
            {"type": kind, "status": flag, "lastTransitionTime": _now()}
            for kind in ("Ready", "ContainersReady")
        ]
        told = {"phase": phase, "ready": ready, "state": state, "restarts": self.restarts}
        if told == self._told or self._killed:
            return
        status = {
            "phase": phase,
            "hostIP": "127.0.0.1",
            "podIP": self.address,
            "podIPs": [{"ip": self.address}],
            "startTime": self.pod["metadata"]["creationTimestamp"],
            "conditions": [*kept, done, *both],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": ready,
                    "started": ready,
                    "restartCount": self.restarts,
                    "state": state,
                }
            ],
        }
        self.node.api.call("PATCH", f"{self._path}/status", {"status": status}, _MERGE)
        self._told = told

    def _remove(self) -> None:
        """Let the API server forget the pod, as a kubelet does at the end."""
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        with suppress(OSError):
            self.node.api.call("DELETE", self._path, body)

    @property
    def _path(self) -> str:
        metadata = self.pod["metadata"]
        return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def _good(probe: _Probe | None) -> bool:
    """Ask a probe and say whether it holds; a container without one is always well."""
    if probe is None:
        return True
    probe.look()
    return probe.passed and not probe.failed


def _ended(code: int) -> Body:
    reason = "Completed" if code == 0 else "Error"
    return {"terminated": {"exitCode": code if code >= 0 else 128 - code, "reason": reason}}


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


_NODE = """\
apiVersion: v1
kind: Node
metadata:
  name: {name}
  labels: {{kubernetes.io/hostname: {name}, kubernetes.io/os: linux, kubernetes.io/arch: amd64}}
"""
