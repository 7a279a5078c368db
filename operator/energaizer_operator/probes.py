"""Answers of `/livez`, `/readyz` and `/metrics`: judged by progress, not by being alive.

A process whose watches are silent or whose event loop hangs answers 500 with the reason, so that
the kubelet restarts it and a person knows why.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from energaizer_operator.metrics import CONTENT_TYPE, Metrics

LAG_MOST_S = 5.0
SILENCE_MOST_S = 150.0
_BEAT_S = 1.0

Check = Callable[[], str | None]
"""Returns why a check fails, or None if it passes."""


@dataclass
class Heart:
    """Measures how late the event loop is."""

    beat: float = field(default_factory=time.monotonic)
    clock: Callable[[], float] = time.monotonic

    async def run(self) -> None:
        """Beat for ever."""
        while True:
            self.beat = self.clock()
            await asyncio.sleep(_BEAT_S)

    def check(self) -> str | None:
        """Fail if the loop has not come round for too long."""
        lag = self.clock() - self.beat - _BEAT_S
        return f"event loop is {lag:.0f} s late" if lag > LAG_MOST_S else None


def silence_check(name: str, last_event: Callable[[], float]) -> Check:
    """Return a check that a watch has heard something lately; before its first list it passes."""

    def check() -> str | None:
        last = last_event()
        silent = time.time() - last
        return (
            f"watch of {name} silent for {silent:.0f} s"
            if last > 0 and silent > SILENCE_MOST_S
            else None
        )

    return check


@dataclass
class Probes:
    """The two small servers of a process."""

    metrics: Metrics
    live: dict[str, Check] = field(default_factory=dict)
    ready: dict[str, Check] = field(default_factory=dict)
    stopping: bool = False
    _runners: list[web.AppRunner] = field(default_factory=list)

    async def serve(self, address: str, probe_port: int, metrics_port: int) -> tuple[int, int]:
        """Listen; return the ports of probes and of metrics.

        Raises:
            OSError: A port is taken.
        """
        probes = [web.get("/livez", self._livez), web.get("/readyz", self._readyz)]
        first = await self._listen(address, probe_port, probes)
        second = await self._listen(address, metrics_port, [web.get("/metrics", self._metrics)])
        return first, second

    async def close(self) -> None:
        """Stop listening."""
        for runner in self._runners:
            await runner.cleanup()

    async def _listen(self, address: str, port: int, routes: list[web.RouteDef]) -> int:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, address or None, port)
        await site.start()
        return int(runner.addresses[0][1])

    async def _livez(self, _: web.Request) -> web.Response:
        return _answer(self.live)

    async def _readyz(self, _: web.Request) -> web.Response:
        checks: dict[str, Check] = {"stopping": lambda: "stopping" if self.stopping else None}
        return _answer(checks | self.ready)

    async def _metrics(self, _: web.Request) -> web.Response:
        parts = []
        for part in self.metrics.parts():
            parts.append(part)
            await asyncio.sleep(0)  # thousands of workloads take half a second in all
        return web.Response(body=b"".join(parts), headers={"Content-Type": CONTENT_TYPE})


def _answer(checks: dict[str, Check]) -> web.Response:
    failures = {name: why for name, check in checks.items() if (why := check()) is not None}
    if not failures:
        return web.Response(text="ok\n")
    text = "".join(f"{name}: {why}\n" for name, why in failures.items())
    return web.Response(status=500, text=text)
