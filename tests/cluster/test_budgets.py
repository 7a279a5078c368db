"""Energy budgets on a real API server: three replicas of the webhook, one leader, many at once."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from energaizer_operator import names
from localcluster import Cluster, operator
from localcluster.operator import OperatorProcess

Namespace = Any
REPLICAS = 3
AT_ONCE = 20
INPUTS = {
    names.ANNOTATION_TASK: "BatchInference",
    names.ANNOTATION_MODEL: "meta-llama/Llama-3.1-8B",
    names.ANNOTATION_PRECISION: "BF16",
    names.ANNOTATION_BATCH_SIZE: "16",
    names.ANNOTATION_INPUT_TOKENS: "512",
    names.ANNOTATION_OUTPUT_TOKENS: "256",
    names.ANNOTATION_REQUESTS: "100000",
}
HUGE = 10**15


@pytest.fixture(scope="module", autouse=True)
def replicas(installed: Cluster, controller_process: OperatorProcess) -> Iterator[None]:
    """Three replicas of the webhook behind one Service, and a leader that knows the GPUs."""
    assert controller_process.running
    started = [operator.start_webhook(installed, number) for number in range(1, REPLICAS + 1)]
    for one in started:
        one.wait_ready()
    deadline = time.monotonic() + 30
    while not _nodes(installed, "h100-sxm5-80gb"):
        assert time.monotonic() < deadline, "no node was recognised"
        time.sleep(0.2)
    yield
    for one in started:
        assert one.running, one.tail(40)
        one.terminate()


def _nodes(cluster: Cluster, profile: str) -> int:
    said = cluster.kubectl("get", "gpuprofile", profile, "-o", "json").stdout
    return int(json.loads(said).get("status", {}).get("nodes") or 0)


def job(name: str, **spec: Any) -> dict[str, Any]:
    limits = {"nvidia.com/gpu": 1}
    container = {"name": "main", "image": "example.com/main:1", "resources": {"limits": limits}}
    pod = {"restartPolicy": "Never", "containers": [container], "schedulerName": "nobody"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "annotations": INPUTS},
        "spec": {"template": {"spec": pod}, **spec},
    }


def deployment(name: str, replicas: int) -> dict[str, Any]:
    template = job(name)["spec"]["template"]
    template["spec"]["restartPolicy"] = "Always"
    template["metadata"] = {"labels": {"app": name}}
    inputs = {key: value for key, value in INPUTS.items() if key != names.ANNOTATION_REQUESTS}
    annotations = {**inputs, names.ANNOTATION_TASK: "Inference"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": template,
        },
    }


class Crowd:
    """Sends objects to the API server on many connections at once."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        content = yaml.safe_load(cluster.kubeconfig.read_text())
        place = content["clusters"][0]["cluster"]
        authority = b64decode(place["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        self._host = urlsplit(place["server"]).netloc
        self._token = content["users"][0]["user"]["token"]
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def create(self, bodies: list[dict[str, Any]], query: str = "") -> list[tuple[int, str]]:
        """Create objects, as client-go does: what is told to come again does so, ten times."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda body: self._create(body, query), bodies))

    def _create(self, body: dict[str, Any], query: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        for _ in range(10):
            connection = http.client.HTTPSConnection(self._host, context=self._context)
            connection.request("POST", self._path + query, json.dumps(body), headers)
            answer = connection.getresponse()
            said = answer.read().decode()
            connection.close()
            if answer.status != 429:
                return answer.status, said
            time.sleep(float(answer.headers.get("Retry-After") or 1))
        return 429, said


@pytest.fixture
def budget(namespace: Namespace) -> Callable[..., dict[str, Any]]:
    """Make an EnergyBudget and wait until the leader has seen it."""

    def make(joules: int, action: str = "Deny", name: str = "monthly", **spec: Any) -> Any:
        namespace.apply(
            {
                "apiVersion": names.API_VERSION,
                "kind": "EnergyBudget",
                "metadata": {"name": name},
                "spec": {
                    "limitJoules": joules,
                    "window": {"period": "Month", "timeZone": "Europe/Rome"},
                    "action": action,
                    **spec,
                },
            }
        )

        def seen(body: dict[str, Any]) -> bool:
            generation = body["metadata"]["generation"]
            return bool(body.get("status", {}).get("observedGeneration") == generation)

        return namespace.wait("energybudget", name, seen)

    return make


@pytest.fixture
def need(namespace: Namespace, budget: Callable[..., Any]) -> int:
    """Joules of one Job, as an empty budget books it; that budget is gone again."""
    budget(HUGE, name="probe")
    namespace.apply(job("probe"))
    made = namespace.get("job", "probe")
    reserved = namespace.wait("energyreservation", made["metadata"]["uid"], bool)
    cluster: Cluster = namespace.cluster
    cluster.kubectl("delete", "energybudget", "probe", "-n", namespace.name)
    cluster.kubectl("delete", "job", "probe", "-n", namespace.name)
    joules = int(reserved["spec"]["energyJoules"])
    assert joules > 1000
    time.sleep(0.5)  # for the watches
    return joules


def balance(namespace: Namespace, name: str = "monthly") -> dict[str, Any]:
    found: dict[str, Any] = namespace.get("energybudget", name).get("status", {})
    return found


def booked(namespace: Namespace, count: int) -> dict[str, Any]:
    """Wait until the leader has booked every promise."""

    def done(body: dict[str, Any]) -> bool:
        status = body.get("status", {})
        return not status.get("provisional") and status.get("activeReservations") == count

    found: dict[str, Any] = namespace.wait("energybudget", "monthly", done, timeout_s=40)
    return found["status"]


def test_many_at_once_get_exactly_what_there_is(
    namespace: Namespace, budget: Callable[..., Any], need: int
) -> None:
    room = 5
    budget(room * need + need // 2)
    bodies = [job(f"crowd-{number}", completions=1) for number in range(40)]
    answers = Crowd(namespace.cluster, namespace.name).create(bodies)
    created = [said for status, said in answers if status == 201]
    refused = [said for status, said in answers if status == 403]
    assert (len(created), len(refused)) == (room, 40 - room), [one[0] for one in answers]
    assert f"energy budget {namespace.name}/monthly: needs" in refused[0]
    assert "remain until 20" in refused[0]
    status = balance(namespace)
    assert status["limitHuman"]
    uids = {json.loads(said)["metadata"]["uid"] for said in created}

    def all_reserved() -> bool:
        found = {one["metadata"]["name"] for one in namespace.items("energyreservations")}
        return found >= uids

    deadline = time.monotonic() + 20
    while not all_reserved():
        assert time.monotonic() < deadline, balance(namespace)
        time.sleep(0.2)
