"""Gives the tests of this folder a real control plane, one a session, and our processes on it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from localcluster import Cluster, build, operator
from localcluster.crds import workload_crds
from localcluster.operator import OperatorProcess

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
    operator.install(cluster)
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
    process = operator.start_webhook(installed)
    process.wait_ready()
    yield process
    process.terminate()


@pytest.fixture(scope="module")
def controller_process(installed: Cluster) -> Iterator[OperatorProcess]:
    """A leading controller, as a process of its own."""
    process = operator.start_controller(installed)
    process.wait_leading()
    yield process
    process.terminate()


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

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object, or an empty one."""
        done = self.cluster.kubectl("get", kind, name, "-n", self.name, "-o", "json", check=False)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

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
        timeout_s: float = 20.0,
    ) -> dict[str, Any]:
        """Return an object once `check` holds for it; fail with its last form."""
        deadline = time.monotonic() + timeout_s
        while True:
            body = self.get(kind, name)
            if body and check(body):
                return body
            assert time.monotonic() < deadline, f"{kind} {name} after {timeout_s} s: {body}"
            time.sleep(0.1)


@pytest.fixture(scope="session")
def new_namespace(installed: Cluster) -> Callable[[], Namespace]:
    """Make a fresh namespace that opted in."""

    def make() -> Namespace:
        name = f"test-{uuid.uuid4().hex[:8]}"
        installed.kubectl("create", "namespace", name)
        installed.kubectl("label", "namespace", name, "energaizer.io/admission=enabled")
        return Namespace(installed, name)

    return make


@pytest.fixture
def namespace(new_namespace: Callable[[], Namespace]) -> Iterator[Namespace]:
    """A namespace of one test."""
    made = new_namespace()
    yield made
    made.cluster.kubectl("delete", "namespace", made.name, "--wait=false", "--ignore-not-found")


def reason(body: dict[str, Any], type_: str) -> str:
    """Return the reason of one condition of an object, or nothing."""
    return str(condition(body, type_).get("reason", ""))


def condition(body: dict[str, Any], type_: str) -> dict[str, Any]:
    """Return one condition of an object, or an empty one."""
    conditions = body.get("status", {}).get("conditions", [])
    return next((one for one in conditions if one["type"] == type_), {})
