"""Many clients that create Jobs at once, and the budget that they meet."""

from __future__ import annotations

import http.client
import json
import ssl
import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
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

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        content = yaml.safe_load(cluster.kubeconfig.read_text())
        place = content["clusters"][0]["cluster"]
        authority = b64decode(place["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        self._host = urlsplit(place["server"]).netloc
        self._token = content["users"][0]["user"]["token"]
        self._path = f"/apis/batch/v1/namespaces/{namespace}/jobs"

    def create(self, bodies: list[dict[str, Any]], query: str = "") -> list[tuple[int, str]]:
        """Create objects; what the server tells to come again, or could not judge, does so."""
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
            if answer.status < 500 and answer.status != 429:
                return answer.status, said
            time.sleep(float(answer.headers.get("Retry-After") or 1))
        return answer.status, said
