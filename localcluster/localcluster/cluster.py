"""A control plane on this machine, as an object: start it, use it, stop it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from localcluster import instances, processes
from localcluster.api import Api
from localcluster.build import build
from localcluster.credentials import write_kubeconfig
from localcluster.errors import LocalClusterError, PortTakenError, require_linux
from localcluster.instances import Record
from localcluster.launch import Launch
from localcluster.places import DEFAULT_POOLS
from localcluster.pools import NodePool, load_pools, node_manifests

ATTEMPTS = 3
"""Starts before giving up on ports that others take first."""

_NUMBERS = count(1)

TOKEN_DURATION = "24h"  # noqa: S105 (a duration)


class Cluster:
    """One instance: etcd, API server, controller manager, scheduler and KWOK.

    As a context manager it starts and stops::

        with Cluster("mine") as cluster:
            cluster.kubectl("get", "nodes")

    Args:
        name: Its name, unique on this machine; `test-<process id>-<number>` if None.
        pools: Node pools; those of localcluster/pools.yaml if None, no node if empty.
        directory: Where its data go, absent or empty; beside the record if None.
        leashed: Whether the kernel kills it when this process dies. Start it from a thread that
            lives as long as the process; the main one does.
        say: Takes lines of progress.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        pools: Sequence[NodePool] | None = None,
        directory: Path | None = None,
        leashed: bool = True,
        say: Callable[[str], None] = lambda line: None,  # noqa: ARG005
    ) -> None:
        """Take the wishes; nothing runs before `start`."""
        self.name = check_name(name or f"test-{os.getpid()}-{next(_NUMBERS)}")
        self._pools = pools
        self._directory = directory
        self._leashed = leashed
        self._say = say
        self._record: Record | None = None
        self._launch: Launch | None = None

    @classmethod
    def attach(cls, name: str = "default") -> Self:
        """Return a running instance that another process started, such as `up`."""
        record = instances.find(check_name(name))
        if record is None or instances.condition(record) != "running":
            what = "no instance" if record is None else f"{instances.condition(record)} instance"
            raise LocalClusterError(
                f'{what} "{name}"; start it: python -m localcluster up --name {name}'
            )
        cluster = cls(name, leashed=record.leashed)
        cluster._record = record
        return cluster

    def start(self) -> Self:
        """Build the programs if the cache lacks them, start, and wait until it works."""
        require_linux()
        if self._record is not None:
            raise LocalClusterError(f'instance "{self.name}" is started already; stop it first')
        built = build("kubernetes", sys.stderr)
        for attempt in range(1, ATTEMPTS + 1):
            self._record = instances.reserve(
                self.name, self._directory, built, leashed=self._leashed
            )
            try:
                self._start(self._record)
            except PortTakenError:
                self.stop(grace_s=0)
                if attempt == ATTEMPTS:
                    raise
                self._say("another process took one of the ports; choosing others")
            except BaseException:
                self.stop(grace_s=0)
                raise
            else:
                break
        return self

    def stop(self, grace_s: float = instances.GRACE_S) -> None:
        """Stop it and delete its folder; on one that is stopped it does nothing.

        Args:
            grace_s: Seconds to let a process end by itself; 0 kills at once.
        """
        if self._record is not None:
            instances.remove(self._record, grace_s)
            processes.reap(self._record.folder)
        self._record = self._launch = None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()

    @property
    def record(self) -> Record:
        """Ports, folder, version and the rest; an error unless it runs."""
        if self._record is None:
            raise LocalClusterError(f'instance "{self.name}" is not started; call start()')
        return self._record

    @property
    def directory(self) -> Path:
        """Private folder of the instance: data, logs, keys, kubeconfigs."""
        return self.record.folder

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the admin."""
        return self.record.kubeconfig

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self.record.plan.server

    @property
    def services(self) -> IPv4Network:
        """Loopback range of the ClusterIPs: bind a Service's address and it is reachable."""
        return self.record.services

    @property
    def version(self) -> str:
        """Version of Kubernetes."""
        return self.record.version

    @property
    def bin(self) -> Path:
        """Folder of the programs, kubectl among them, fit for PATH."""
        return self.record.plan.built.bin

    @property
    def audit_log(self) -> Path:
        """JSON lines, one a call of any service account outside kube-system."""
        return self.directory / "audit.log"

    def audit(self) -> list[dict[str, Any]]:
        """Return the calls that the audit log tells of; one that is half written is for later."""
        whole, _, _ = self.audit_log.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def kubectl(
        self,
        *arguments: str,
        input: str | None = None,  # noqa: A002 (the name that subprocess.run has)
        check: bool = True,
        kubeconfig: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl and return what it printed.

        Args:
            arguments: Its arguments.
            input: Text for `-f -`.
            check: Whether a failure raises, with what kubectl said.
            kubeconfig: Another account's; the admin's if None.
        """
        done = subprocess.run(
            [str(self.bin / "kubectl"), *arguments],
            env={
                **os.environ,
                "KUBECONFIG": str(kubeconfig or self.kubeconfig),
                "KUBECACHEDIR": str(self.directory / "kubectl-cache"),
            },
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode != 0:
            raise LocalClusterError(
                f"kubectl {' '.join(arguments)} ended with code {done.returncode}: "
                f"{done.stderr.strip()}"
            )
        return done

    def wait_for_kinds(self, *names: str, timeout_s: float = 60.0) -> None:
        """Wait until the API server serves CustomResourceDefinitions.

        `kubectl wait` gives up at once on a definition whose status is still empty, which is what
        one is for its first milliseconds.

        Args:
            names: Of the definitions, such as `jobsets.jobset.x-k8s.io`; all there are if none.
            timeout_s: After this many seconds it is an error.

        Raises:
            LocalClusterError: One is not established in time, or does not exist.
        """
        until = time.monotonic() + timeout_s
        while True:
            found = json.loads(self.kubectl("get", "crd", *names, "--output", "json").stdout)
            waiting = [
                definition["metadata"]["name"]
                for definition in found.get("items", [found])
                if not _is_established(definition)
            ]
            if not waiting:
                return
            if time.monotonic() > until:
                raise LocalClusterError(
                    f"not established after {timeout_s:g} s: {', '.join(waiting)}; "
                    f"kubectl describe crd {waiting[0]} says why"
                )
            time.sleep(0.1)

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """Return a kubeconfig of a service account, with a fresh token by TokenRequest.

        Args:
            namespace: Its namespace, also the kubeconfig's default.
            name: Its name; the account must exist.
        """
        made = self.kubectl(
            "create", "token", name, "--namespace", namespace, "--duration", TOKEN_DURATION
        )
        path = self.directory / "accounts" / f"{namespace}.{name}.kubeconfig"
        write_kubeconfig(
            path,
            context=f"{name}@localcluster-{self.name}",
            server=self.server,
            authority=self.directory / "pki" / "ca.crt",
            token=made.stdout.strip(),
            namespace=namespace,
        )
        return path

    def apply_nodes(self, pools: Sequence[NodePool]) -> None:
        """Create or change the nodes of pools and wait until they are Ready.

        Args:
            pools: The pools; nodes of others stay as they are.
        """
        manifests = node_manifests(pools)
        if not manifests:
            return
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests})
        apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=localcluster")
        self.kubectl(*apply, "-f", "-", input=text)
        self.kubectl(*apply, "--subresource=status", "-f", "-", input=text)
        names = {str(manifest["metadata"]["name"]) for manifest in manifests}
        api = self._api
        launch = self._launch or Launch(self.record.plan, leashed=self._leashed, say=self._say)
        launch.wait("the nodes", lambda: not api.nodes_not_ready(names))

    def logs(self, component: str, lines: int = 0) -> list[str]:
        """Return the log of a component.

        Args:
            component: Such as `kube-apiserver`.
            lines: The last so many; all if 0.
        """
        return self.record.plan.log(component, lines)

    def _start(self, record: Record) -> None:
        """Start the components of a reserved instance and wait until pods could run."""
        self._launch = Launch(record.plan, leashed=self._leashed, say=self._say)
        self._launch.run(f"localcluster-{self.name}")
        self.apply_nodes(load_pools(DEFAULT_POOLS) if self._pools is None else self._pools)
        account = "/api/v1/namespaces/default/serviceaccounts/default"  # no pod without it
        api = self._api
        self._launch.wait("the controller manager", lambda: api.exists(account))
        self._say(f"controllers, scheduler and nodes ready ({self._launch.elapsed})")
        self._record = record.model_copy(update={"ready": True})
        self._record.save()

    @property
    def _api(self) -> Api:
        """A reader of the API, as the admin."""
        return Api.of(self.kubeconfig)


def _is_established(definition: dict[str, Any]) -> bool:
    """Return whether a CustomResourceDefinition is served, by its own word."""
    conditions = definition.get("status", {}).get("conditions") or ()
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def check_name(name: str) -> str:
    """Return a name that is fit for files and contexts, or raise."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", name):
        raise LocalClusterError(
            f'"{name}" is no name for an instance: lower-case letters, digits and inner hyphens, '
            "40 at most"
        )
    return name
