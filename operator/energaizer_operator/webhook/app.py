"""The HTTPS server that the API server calls: TLS, routes, deadlines, and a way to stop politely.

It knows nothing of energy. A `Route` brings a handler and what to say when the handler is late or
fails, so that each question gets an answer of ours before the API server stops waiting. A dead or
confused webhook must never be an HTTP error: under `failurePolicy: Fail` that would refuse work
without a reason that anybody can read.
"""

import asyncio
import contextlib
import json
import logging
import re
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aiohttp import web

from energaizer_operator import logs
from energaizer_operator.certificates import KeyPair
from energaizer_operator.webhook import review

MAX_BODY = 8 * 2**20  # an object is at most 1.5 MiB in etcd and 3 MiB on the wire; a review has two
KEEP_ALIVE_S = 75.0
MARGIN = 0.8  # of the time that the caller waits, if that is less than our own deadline

_SECONDS = re.compile(r"([1-9]\d{0,3})s", re.ASCII)

log = logging.getLogger(__name__)

Handler = Callable[[review.Request], Awaitable[review.Answer]]
Fallback = Callable[[review.Request, str], review.Answer]
Observer = Callable[[str, review.Request, review.Answer, float], None]


@dataclass(frozen=True)
class Route:
    """One webhook: its path, who judges, for how long, and what to say if that fails."""

    name: str
    """Path without the slash, and the first part of the webhook's name."""
    handler: Handler
    fallback: Fallback
    """Called with a reason, `late` or `error`; must not fail."""
    deadline_s: float


def ignore(_name: str, _request: review.Request, _answer: review.Answer, _took_s: float) -> None:
    """Observe nothing."""


class Server:
    """Serves some routes over TLS, reloads its certificate in place, drains before it stops."""

    def __init__(self, routes: Iterable[Route], pair: KeyPair, observe: Observer = ignore) -> None:
        """Prepare to serve `routes` with the certificate `pair`."""
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._observe = observe
        self._draining = False
        self._runner: web.AppRunner | None = None
        self._app = web.Application(client_max_size=MAX_BODY)
        for route in routes:
            self._app.router.add_post(f"/{route.name}", self._endpoint(route))
        self.reload(pair)

    def reload(self, pair: KeyPair) -> None:
        """Serve new connections with another certificate; open ones go on with the old."""
        with TemporaryDirectory(prefix="energaizer-") as folder:  # ssl reads files only
            path = Path(folder) / "pair.pem"
            path.touch(mode=0o600)
            path.write_bytes(pair.certificate + pair.key)
            self._context.load_cert_chain(path)

    async def start(self, host: str, port: int, *, share: bool = False) -> int:
        """Listen; returns the port, which differs from `port` only if that is 0.

        Args:
            host: Address; empty is every one.
            port: Port; 0 takes a free one.
            share: Whether other processes may listen there too.
        """
        self._runner = web.AppRunner(
            self._app, access_log=None, keepalive_timeout=KEEP_ALIVE_S, shutdown_timeout=10.0
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner,
            host or None,
            port,
            ssl_context=self._context,
            backlog=1024,
            reuse_port=share or None,
        )
        await site.start()
        address = self._runner.addresses[0]
        return int(address[1])

    def drain(self) -> None:
        """Ask callers to close their connections with the next answer; still serve them."""
        self._draining = True

    async def stop(self) -> None:
        """Stop listening, finish what is being answered, close."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def respond(self, route: Route, body: bytes, deadline_s: float) -> tuple[int, object]:
        """Return status and document for one body, whatever it holds; never raises."""
        try:
            request = review.parse(body)
        except review.MalformedReviewError as error:
            return 400, {"error": f"{route.name}: {error}"}
        started = time.perf_counter()
        with logs.about(uid=request.uid):
            answer = await self._answer(route, request, deadline_s)
            took_s = time.perf_counter() - started
            with contextlib.suppress(Exception):  # a counter never decides about a pod
                self._observe(route.name, request, answer, took_s)
        return 200, review.encode(answer, request.uid)

    def _endpoint(self, route: Route) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def endpoint(http: web.Request) -> web.StreamResponse:
            status, document = await self.respond(
                route, await http.read(), _patience(http, route.deadline_s)
            )
            response = web.Response(
                body=json.dumps(document, separators=(",", ":")).encode(),
                status=status,
                content_type="application/json",
            )
            if self._draining:
                response.force_close()
            return response

        return endpoint

    async def _answer(
        self, route: Route, request: review.Request, deadline_s: float
    ) -> review.Answer:
        try:
            async with asyncio.timeout(deadline_s):
                return await route.handler(request)
        except TimeoutError:
            log.warning(
                "%s: no answer within %.2f s for %s", route.name, deadline_s, _what(request)
            )
            return route.fallback(request, "late")
        except review.MalformedReviewError as error:
            return review.invalid(f"energaizer cannot read this {request.kind.kind}: {error}")
        except Exception:
            log.exception("%s: cannot judge %s", route.name, _what(request))
            return route.fallback(request, "error")


def _patience(http: web.Request, deadline_s: float) -> float:
    """Return how long to work: our deadline, or less if the caller waits less (`?timeout=3s`)."""
    told = _SECONDS.fullmatch(http.query.get("timeout", ""))
    return min(deadline_s, MARGIN * int(told[1])) if told else deadline_s


def _what(request: review.Request) -> str:
    name = f"{request.namespace}/{request.name or '(new)'}"
    return review.clean(f"{request.operation} {request.kind.kind} {name}", 200)
