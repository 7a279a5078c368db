"""Many clients that create Jobs at once, and the budget that they meet."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import yaml

from energaizer_operator import names
from localcluster import Cluster

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

Send = Callable[[dict[str, Any], str], tuple[int, str]]


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


def energybudget(joules: int, action: str, name: str, **spec: Any) -> dict[str, Any]:
    window = {"period": "Month", "timeZone": "Europe/Rome"}
    return {
        "apiVersion": names.API_VERSION,
        "kind": "EnergyBudget",
        "metadata": {"name": name},
        "spec": {"limitJoules": joules, "window": window, "action": action, **spec},
    }


class Crowd:
    """Sends objects to the API server on many connections at once."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        group: str = "/apis/batch/v1",
        plural: str = "jobs",
        user: str = "",
    ) -> None:
        content = yaml.safe_load(cluster.kubeconfig.read_text())
        place = content["clusters"][0]["cluster"]
        authority = b64decode(place["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        self._host = urlsplit(place["server"]).netloc
        token = content["users"][0]["user"]["token"]
        self._path = f"{group}/namespaces/{namespace}/{plural}"
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
        }
        if user:
            self._headers["Impersonate-User"] = user

    @contextmanager
    def connection(self) -> Iterator[Send]:
        """Keep one connection open; what it yields sends an object once."""
        connection = http.client.HTTPSConnection(self._host, context=self._context)

        def send(body: dict[str, Any], query: str) -> tuple[int, str]:
            connection.request("POST", self._path + query, json.dumps(body), self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        try:
            yield send
        finally:
            connection.close()

    def create(
        self, bodies: list[dict[str, Any]], query: str = "", at_once: int = AT_ONCE
    ) -> list[tuple[int, str]]:
        """Create objects; what the server tells to come again, or could not judge, does so."""
        shares = [bodies[first::at_once] for first in range(at_once)]
        with ThreadPoolExecutor(at_once) as pool:
            found = list(pool.map(lambda share: self._create(share, query), shares))
        return [found[at % at_once][at // at_once] for at in range(len(bodies))]

    def _create(self, bodies: list[dict[str, Any]], query: str) -> list[tuple[int, str]]:
        with self.connection() as send:
            return [_insist(send, body, query) for body in bodies]


def _insist(send: Send, body: dict[str, Any], query: str) -> tuple[int, str]:
    for _ in range(30):
        status, said = send(body, query)
        if status < 500 and status != 429:
            break
        time.sleep(1)
    return status, said
