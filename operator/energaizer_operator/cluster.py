"""The only room that speaks to the API server: short calls, plain objects, errors with a meaning.

Objects travel as dictionaries, just as the server sent them: a list of ten thousand pods becomes
memory only in the form that the caller's projection gives it. The library's typed models are not
used, since they cost ten times as much to build and lose fields that they do not know.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client import ApiClient, ApiException

from energaizer_operator.access import Connection, configuration
from energaizer_operator.failures import (
    ClusterError,
    Conflict,
    Expired,
    Missing,
    Refused,
    Unreachable,
    failure,
)
from energaizer_operator.kinds import ApiResource
from energaizer_operator.names import FIELD_MANAGER
from energaizer_operator.settings import Settings

__all__ = [
    "Change",
    "Cluster",
    "ClusterError",
    "Conflict",
    "Connection",
    "Expired",
    "Missing",
    "Object",
    "Page",
    "Refused",
    "Unreachable",
]

Object = dict[str, Any]
"""A Kubernetes object as the API server writes it."""

_METADATA_ONLY = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1,application/json"
_CONNECT_S = 10.0
_USER_AGENT = "energaizer-operator"
_PLAIN = {"Accept": "application/json", "Accept-Encoding": "identity"}
"""Uncompressed, as controllers of Kubernetes take lists: bytes are cheaper there than time."""


class _Client(ApiClient):
    """The library's client for objects that are plain JSON already: it need not walk over them."""

    def sanitize_for_serialization(self, obj: Any) -> Any:
        """Return an object as it is."""
        return obj


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, and the resource version at which the whole list was taken."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a watch: `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, and its object."""

    type: str
    object: Object


class Cluster:
    """A connection to one API server; made by `connect`, ended by `close`."""

    def __init__(self, client: ApiClient, settings: Settings, namespace: str) -> None:
        """Wrap a configured client; use `connect` outside tests."""
        self._client = client
        self._settings = settings
        self.namespace = namespace
        """That of the context, or of the pod's own account: for whoever names none."""

    @classmethod
    async def connect(cls, settings: Settings) -> Self:
        """Return a connection that has answered once.

        Raises:
            ClusterError: There is no usable kubeconfig, or no API server behind it.
        """
        known, namespace = await configuration(settings)
        try:
            client = _Client(known)
        except OSError as error:
            raise ClusterError(f"no cluster: a certificate cannot be read: {error}") from error
        client.user_agent = _USER_AGENT
        cluster = cls(client, settings, namespace)
        try:
            await cluster.server_version()
        except ClusterError:
            await cluster.close()
            raise
        return cluster

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()  # type: ignore[no-untyped-call]
        await asyncio.sleep(0)  # lets the event loop finish closing TLS before it ends itself

    def connection(self) -> Connection:
        """Return the parameters of this connection, with a fresh token; from any thread."""
        return Connection.of(self._client.configuration)

    async def server_version(self) -> str:
        """Return the server's version, such as `v1.37.2`."""
        return str((await self._call("GET", "/version"))["gitVersion"])

    async def get(self, resource: ApiResource, name: str, namespace: str | None = None) -> Object:
        """Return one object.

        Raises:
            Missing: It does not exist.
        """
        return await self._call("GET", resource.path(namespace, name))

    async def find(
        self, resource: ApiResource, name: str, namespace: str | None = None
    ) -> Object | None:
        """Return one object, or None if it does not exist."""
        try:
            return await self.get(resource, name, namespace)
        except Missing:
            return None

    async def pages(
        self,
        resource: ApiResource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Page]:
        """Yield a list page by page; at least one page, perhaps empty.

        Raises:
            Expired: The list took longer than the server keeps its snapshot; begin again.
        """
        query = {"limit": str(self._settings.page_size), **_selectors(labels, fields)}
        accept = _accept("List") if metadata_only else {}
        while True:
            answer = await self._call("GET", resource.path(namespace), query=query, headers=accept)
            metadata = answer.get("metadata", {})
            items = answer.get("items") or []  # null where a list of metadata is empty
            for item in items:
                item.setdefault("apiVersion", resource.api_version)
                item.setdefault("kind", resource.kind)
            yield Page(items, str(metadata.get("resourceVersion", "")))
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def watch(
        self,
        resource: ApiResource,
        resource_version: str,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Change]:
        """Yield what happened after `resource_version`, until the server ends the watch.

        Raises:
            Expired: The version is too old: list again.
            Unreachable: The connection broke, or was silent for longer than bookmarks allow.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(self._settings.watch_timeout_s),
            **_selectors(labels, fields),
        }
        timeout = aiohttp.ClientTimeout(
            total=None,
            sock_connect=_CONNECT_S,
            sock_read=self._settings.watch_silence_s,
        )
        accept = _accept() if metadata_only else {}
        path = resource.path()
        response = await self._open("GET", path, query, accept, None, timeout)
        try:
            while line := await response.content.readline():
                change = json.loads(line)
                if change["type"] == "ERROR":
                    raise failure("GET", path, int(change["object"].get("code", 0)), line)
                yield Change(change["type"], change["object"])
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unreachable(f"watch of {resource.plural} broke: {_text(error)}") from error
        finally:
            response.close()

    async def create(
        self, resource: ApiResource, body: Object, *, manager: str = FIELD_MANAGER, **more: str
    ) -> Object:
        """Create an object; `more` are further parameters of the API, such as `dryRun="All"`.

        Raises:
            Conflict: It exists already.
        """
        namespace = body["metadata"].get("namespace")
        query = {"fieldManager": manager, **more}
        return await self._call("POST", resource.path(namespace), query=query, body=body)

    async def replace(self, resource: ApiResource, body: Object, *, sub: str = "") -> Object:
        """Replace an object or its subresource, guarded by the resource version in `body`.

        Raises:
            Conflict: Somebody wrote since that version.
        """
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], sub)
        return await self._call("PUT", path, body=body)

    async def apply(
        self,
        resource: ApiResource,
        body: Object,
        *,
        sub: str = "",
        manager: str = FIELD_MANAGER,
        force: bool = True,
        metadata_only: bool = False,
    ) -> Object:
        """Apply the fields in `body` and no others, as their owner; return all or the metadata."""
        metadata = body["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], sub)
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        headers |= _accept() if metadata_only else {}
        return await self._call("PATCH", path, query=query, headers=headers, body=body)

    async def apply_status(
        self,
        resource: ApiResource,
        name: str,
        namespace: str | None,
        status: Object,
        *,
        metadata_only: bool = False,
    ) -> Object:
        """Apply the status of an object, as the controller; return it, or its metadata alone."""
        metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": metadata,
            "status": status,
        }
        return await self.apply(resource, body, sub="status", metadata_only=metadata_only)

    async def apply_metadata(
        self,
        resource: ApiResource,
        name: str,
        namespace: str | None,
        *,
        uid: str,
        force: bool = True,
        **metadata: Mapping[str, str],
    ) -> None:
        """Apply labels or annotations of an object, as the controller: those given and no others.

        Raises:
            Conflict: It was made anew under its name, or without `force` another owns a field.
            Missing: It does not exist; with its uid the server does not create it.
        """
        place = {"name": name, "uid": uid} | ({"namespace": namespace} if namespace else {})
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "metadata": {**place, **metadata},
        }
        await self.apply(resource, body, force=force, metadata_only=True)

    async def patch(
        self,
        resource: ApiResource,
        name: str,
        namespace: str | None,
        operations: Sequence[Mapping[str, Any]],
        *,
        sub: str = "",
    ) -> Object:
        """Change an object by a JSON Patch."""
        headers = {"Content-Type": "application/json-patch+json"}
        path = resource.path(namespace, name, sub)
        return await self._call("PATCH", path, headers=headers, body=list(operations))

    async def delete(self, resource: ApiResource, name: str, namespace: str | None = None) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            await self._call("DELETE", resource.path(namespace, name))
        except Missing:
            return

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Object:
        """Return the answer of one request as an object."""
        timeout = aiohttp.ClientTimeout(total=self._settings.request_timeout_s)
        response = await self._open(method, path, query, headers, body, timeout)
        try:
            answer: Object = json.loads(await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unreachable(f"{method} {path}: {_text(error)}") from error
        return answer

    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        body: Any,
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        """Return the open response of a request that succeeded."""
        path_and_query = path + (f"?{urlencode(query)}" if query else "")
        request = await self._client.param_serialize(
            method=method,
            resource_path=path_and_query,
            header_params={**_PLAIN, **(headers or {})},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            answer = await self._client.call_api(*request, _request_timeout=timeout)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise Unreachable(
                f"no answer from {self._client.configuration.host}: {_text(error)}"
            ) from error
        except ApiException as error:
            raise ClusterError(str(error), error.status or 0) from error
        response: aiohttp.ClientResponse = answer.response
        if response.status >= HTTPStatus.BAD_REQUEST:
            try:
                content = await response.read()
            except (aiohttp.ClientError, TimeoutError):
                content = b""
            raise failure(method, path, response.status, content)
        return response


def _selectors(labels: str, fields: str) -> dict[str, str]:
    chosen = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in chosen.items() if value}


def _accept(suffix: str = "") -> dict[str, str]:
    """Return the header that asks for metadata alone, of an object or, with `List`, of a page."""
    return {"Accept": _METADATA_ONLY.format(suffix)}


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
