"""A few GET requests to the API server while it starts: no client library, no kubectl."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any, Self

import yaml


class Api:
    """Reads with one token.

    Args:
        server: URL of the API server.
        authority: Certificate of its authority, PEM.
        token: Bearer token.
    """

    def __init__(self, server: str, authority: str, token: str) -> None:
        """Trust the authority alone, and pass by the proxies of the environment."""
        self._server = server
        self._token = token
        handler = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=authority))
        no_proxy = urllib.request.ProxyHandler({})  # a proxy of the environment is not for this
        self._opener = urllib.request.build_opener(no_proxy, handler)

    @classmethod
    def of(cls, kubeconfig: Path) -> Self:
        """Return a reader for a kubeconfig that `credentials` wrote."""
        content = yaml.safe_load(kubeconfig.read_text())
        cluster, user = content["clusters"][0]["cluster"], content["users"][0]["user"]
        authority = b64decode(cluster["certificate-authority-data"]).decode()
        return cls(cluster["server"], authority, user["token"])

    def text(self, path: str) -> str | None:
        """Return the body of an answer 200, or None: not listening, not ready, not there."""
        request = urllib.request.Request(  # noqa: S310 (our own URL)
            self._server + path, headers={"Authorization": f"Bearer {self._token}"}
        )
        try:
            with self._opener.open(request, timeout=3) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError, TimeoutError):
            return None

    def call(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> dict[str, Any]:
        """Return the answer of one request; for a patch, `kind` is its content type.

        Raises:
            urllib.error.HTTPError: The server refuses; 404 and 409 have their usual meaning.
            OSError: There is no answer.
        """
        request = urllib.request.Request(  # noqa: S310 (our own URL)
            self._server + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": kind},
        )
        with self._opener.open(request, timeout=60) as answer:
            found: dict[str, Any] = json.loads(answer.read())
            return found

    def ready(self) -> bool:
        """Say whether the API server calls itself ready, start-up hooks included."""
        return self.text("/readyz") == "ok"

    def exists(self, path: str) -> bool:
        """Say whether an object is there."""
        return self.text(path) is not None

    def nodes_not_ready(self, names: set[str]) -> set[str]:
        """Return those of `names` that are no Ready node yet."""
        body = self.text("/api/v1/nodes?resourceVersion=0")
        items: list[dict[str, Any]] = json.loads(body)["items"] if body else []
        return names - {item["metadata"]["name"] for item in items if _is_ready(item)}


def _is_ready(node: dict[str, Any]) -> bool:
    """Say whether a node has the condition Ready."""
    conditions = node["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
