"""Gives the tests of this folder a real control plane, one a session, and our processes on it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import patient
import polling
from localcluster import Cluster, build, operator
from localcluster.crds import workload_crds
from localcluster.operator import OperatorProcess
from localcluster.places import DEFAULT_POOLS
from localcluster.pools import load_pools

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane with the nodes of localcluster/pools.yaml; it dies with the test run."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # ten minutes of silence would look like a hang
        build()
    with Cluster() as started:
        yield started


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> Cluster:
    """The control plane with our kinds, accounts, webhooks and GPU profiles."""
    patient.install(cluster)
    return cluster


@pytest.fixture(scope="session")
def foreign_kinds(installed: Cluster) -> None:
    """The CustomResourceDefinitions of others, as their modules ship them."""
    files = [part for path in workload_crds() for part in ("-f", str(path))]
    installed.kubectl("apply", "--server-side", *files)
    installed.wait_for_kinds(
        "jobsets.jobset.x-k8s.io", "rayservices.ray.io", "pytorchjobs.kubeflow.org"
    )


@pytest.fixture(scope="session")
def webhook_process(installed: Cluster) -> Iterator[OperatorProcess]:
    """The webhook, as a process of its own behind its Service."""
    process = patient.start_webhook(installed)
    patient.wait_reached(installed, process)
    yield process
    process.terminate()


@pytest.fixture(scope="module")
def controller_process(installed: Cluster) -> Iterator[OperatorProcess]:
    """A leading controller, as a process of its own, once it has counted the nodes."""
    process = operator.start_controller(installed)
    process.wait_leading()
    wait_counted(installed)
    yield process
    process.terminate()


def wait_counted(cluster: Cluster) -> None:
    """Return once every GPU node of the pools is counted: estimates change until then."""
    nodes = sum(pool.count for pool in load_pools(DEFAULT_POOLS) if "gpu" in str(pool.capacity))

    def counted() -> bool:
        profiles = json.loads(cluster.kubectl("get", "gpuprofiles", "-o", "json").stdout)["items"]
        return sum(one.get("status", {}).get("nodes") or 0 for one in profiles) >= nodes

    polling.until(counted, f"{nodes} GPU nodes are counted")


@dataclass
class Namespace:
    """A namespace of one test."""

    cluster: Cluster
    name: str

    def apply(self, *objects: dict[str, Any]) -> str:
        """Apply manifests here and return what kubectl said."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        done = self.cluster.kubectl("apply", "-n", self.name, "-f", "-", input=text)
        return done.stdout + done.stderr

    def refuse(self, *objects: dict[str, Any]) -> str:
        """Apply manifests that must be refused and return why they are."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        done = self.cluster.kubectl("apply", "-n", self.name, "-f", "-", input=text, check=False)
        assert done.returncode != 0, f"admitted, but should not be:\n{done.stdout}"
        return done.stderr

    def rehearse(self, *objects: dict[str, Any]) -> CompletedProcess[str]:
        """Create manifests in a dry run, and return what kubectl said, as JSON if they pass."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        flags = ("-n", self.name, "--dry-run=server", "-o", "json", "-f", "-")
        return self.cluster.kubectl("create", *flags, input=text, check=False)

    def wait_refused(self, body: dict[str, Any]) -> str:
        """Rehearse until it is refused: admission learns of a rule by a watch of its own."""
        said = ""

        def refused() -> bool:
            nonlocal said
            done = self.rehearse(body)
            said = done.stderr
            return done.returncode != 0

        polling.until(refused, f"{body['kind']} is refused in {self.name}")
        return said

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object, or an empty one."""
        return polling.read(self.cluster, kind, name, self.name)

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """Return all objects of a kind."""
        chosen = ("-l", selector) if selector else ()
        done = self.cluster.kubectl("get", kind, "-n", self.name, "-o", "json", *chosen)
        found: list[dict[str, Any]] = json.loads(done.stdout)["items"]
        return found

    def wait(
        self,
        kind: str,
        name: str,
        check: Callable[[dict[str, Any]], object],
        timeout_s: float = polling.PATIENCE_S,
    ) -> dict[str, Any]:
        """Return an object once `check` holds for it; fail with its last form."""
        return polling.wait_for(self.cluster, kind, name, check, self.name, timeout_s)


@pytest.fixture(scope="session")
def new_namespace(installed: Cluster) -> Callable[[], Namespace]:
    """Make a fresh namespace that opted in."""

    def make() -> Namespace:
        name = f"test-{uuid.uuid4().hex[:8]}"
        patient.make_namespace(installed, name, "enabled")
        return Namespace(installed, name)

    return make


@pytest.fixture
def namespace(new_namespace: Callable[[], Namespace]) -> Iterator[Namespace]:
    """A namespace of one test."""
    made = new_namespace()
    yield made
    made.cluster.kubectl("delete", "namespace", made.name, "--wait=false", "--ignore-not-found")
