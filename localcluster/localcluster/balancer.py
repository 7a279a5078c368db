"""Leads connections to a Service's address on to its ready pods, as kube-proxy would.

Only pods with loopback addresses are behind it: those that `kubelet` runs. A connection goes to
one of them by chance and stays there; a pod that does not accept it is not replaced by another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from random import SystemRandom
from typing import Any

_CHUNK = 65536
_RANDOM = SystemRandom()

Target = tuple[str, int]
"""Address and port of a pod."""


@dataclass(frozen=True)
class Frontend:
    """One port of a Service."""

    address: str
    port: int


class Balancer:
    """Listens where Services are and knows, at any moment, which pods are behind them."""

    def __init__(self) -> None:
        """Start the thread that carries connections; nothing listens yet."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="balancer", daemon=True)
        self._thread.start()
        self._targets: dict[Frontend, tuple[Target, ...]] = {}
        self._servers: dict[Frontend, asyncio.Server] = {}

    def update(self, targets: dict[Frontend, tuple[Target, ...]]) -> None:
        """Listen at exactly these ports, with these pods behind each."""
        self._targets = targets
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        self.update({})
        asyncio.run_coroutine_threadsafe(self._drop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> None:
        for frontend in set(self._servers) - set(self._targets):
            self._servers.pop(frontend).close()
        for frontend in set(self._targets) - set(self._servers):
            self._servers[frontend] = await asyncio.start_server(
                partial(self._carry, frontend),
                frontend.address,
                frontend.port,
            )

    async def _drop(self) -> None:
        """Cancel what carries a connection."""
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _carry(
        self, frontend: Frontend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        targets = self._targets.get(frontend, ())
        with suppress(OSError, asyncio.CancelledError):  # cancelled when all of it ends
            if targets:
                there = await asyncio.open_connection(*_RANDOM.choice(targets))
                await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one direction until it ends, then end the other side's."""
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def frontends(
    services: Iterable[dict[str, Any]], pods: Iterable[dict[str, Any]]
) -> dict[Frontend, tuple[Target, ...]]:
    """Return the ports of Services that select one of `pods`, and the ready ones behind each."""
    found: dict[Frontend, tuple[Target, ...]] = {}
    known = list(pods)
    for service in services:
        spec = service["spec"]
        selector = spec.get("selector") or {}
        chosen = [pod for pod in known if selector and _selects(service, selector, pod)]
        if not chosen or spec.get("clusterIP") in (None, "", "None"):
            continue
        for port in spec["ports"]:
            targets = [
                (pod["status"]["podIP"], number)
                for pod in chosen
                if is_ready(pod) and (number := _number(pod, port)) is not None
            ]
            found[Frontend(spec["clusterIP"], port["port"])] = tuple(targets)
    return found


def is_ready(pod: dict[str, Any]) -> bool:
    """Say whether a pod takes connections: Ready, and not on its way out."""
    conditions = pod["status"].get("conditions", [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _selects(service: dict[str, Any], selector: dict[str, str], pod: dict[str, Any]) -> bool:
    labels = pod["metadata"].get("labels", {})
    same = service["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and all(labels.get(key) == value for key, value in selector.items())


def _number(pod: dict[str, Any], port: dict[str, Any]) -> int | None:
    """Return the number of a Service's target port in a pod; a name is looked up."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    named = (
        one["containerPort"]
        for container in pod["spec"]["containers"]
        for one in container.get("ports", [])
        if one.get("name") == target
    )
    return next(named, None)
