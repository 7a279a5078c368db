"""How long the webhook takes to answer, beside the same server with nothing to judge.

The server is a process of its own, behind TLS, with three kinds of GPU in its cluster; reviews of
pods come at a steady rate over connections that stay open, as the API server keeps them. Prints
median, 99th percentile and the worst in milliseconds, over time since each review was due, and how
many answers are bounds because an estimate came too late.
"""

import asyncio
import json
import multiprocessing
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import numpy as np
import uvloop

import reviewing
from energaizer_operator import certificates, kinds
from energaizer_operator.estimation.process import EstimatorProcess
from energaizer_operator.garbage import keep_what_is_loaded
from energaizer_operator.names import Reason
from energaizer_operator.webhook import mutate, review, validate
from energaizer_operator.webhook.app import Route, Server
from energaizer_operator.webhook.judge import Judge
from energaizer_operator.webhook.process import tidy_up

PER_SECOND, SECONDS = 200, 10
CONNECTIONS = 200
NEW_EACH = 5


def serve(told: Connection) -> None:
    """Serve until the process is ended."""
    uvloop.run(_serve(told))


async def _serve(told: Connection) -> None:
    material = certificates.make(("localhost",), datetime.now(UTC))
    elsewhere = EstimatorProcess("text", "info")
    keeping = asyncio.create_task(elsewhere.run())
    held = reviewing.judging((kinds.JOBS, reviewing.job()), elsewhere=elsewhere)
    async with held as (judge, _):
        judge.estimator.deadline_s = 0.25
        judge.estimator.warm()
        await elsewhere.ready()
        keep_what_is_loaded()

        bounded, last_review = 0, 0.0
        tidy = asyncio.create_task(tidy_up(lambda: last_review))

        async def nothing(_: review.Request) -> review.Answer:
            return review.allow()

        async def late(_: review.Request) -> review.Answer:
            nonlocal bounded
            so_far, bounded = bounded, 0
            return review.allow([str(so_far)])

        def counted(
            handler: Callable[[Judge, review.Request], Awaitable[review.Answer]],
        ) -> Callable[[review.Request], Awaitable[review.Answer]]:
            async def answer(request: review.Request) -> review.Answer:
                nonlocal bounded, last_review
                found = await handler(judge, request)
                last_review = time.monotonic()
                bounded += found.cause == Reason.ESTIMATOR_TIMEOUT
                return found

            return answer

        handlers: dict[str, Callable[[review.Request], Awaitable[review.Answer]]] = {
            "nothing": nothing,
            "late": late,
            "mutate": counted(mutate.mutate_pod),
            "validate": counted(validate.validate_pod),
        }
        routes = [Route(name, each, validate.refuse, 1.5) for name, each in handlers.items()]
        server = Server(routes, material.leaf)
        port = await server.start("127.0.0.1", 0)
        told.send((port, material.trusted))
        await asyncio.wait([tidy, keeping], return_when=asyncio.FIRST_COMPLETED)


def pods(number: int, *, fresh: bool) -> bytes:
    """Return the review of a pod; a fresh one asks what nobody asked before."""
    pod: dict[str, Any] = reviewing.pod()
    if fresh:
        pod["metadata"]["annotations"]["energaizer.io/input-tokens"] = str(1000 + number)
    return reviewing.body(reviewing.review(pod))


async def measure(session: aiohttp.ClientSession, url: str, bodies: list[bytes]) -> np.ndarray:
    """Return the time from when each review was due to its answer, ms."""
    started = time.perf_counter() + 0.1
    bounds = 0

    async def one(number: int, body: bytes) -> float:
        nonlocal bounds
        due = started + number / PER_SECOND
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        async with session.post(url, data=body) as response:
            answer = json.loads(await response.read())
        if not answer["response"]["allowed"]:
            raise RuntimeError(f"refused: {answer}")
        return (time.perf_counter() - due) * 1e3

    return np.array(await asyncio.gather(*(one(n, body) for n, body in enumerate(bodies))))


async def main() -> None:
    """Print the table."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    port, trusted = ours.recv()
    count = PER_SECOND * SECONDS
    known, fresh = [pods(0, fresh=False)] * count, [pods(n, fresh=True) for n in range(3 * count)]
    mixed = [fresh[2 * count + n] if n % NEW_EACH == 0 else known[n] for n in range(count)]
    cases = (
        ("reference: nothing to judge", "nothing", known),
        ("validate, answers known", "validate", known),
        ("mutate, answers known", "mutate", known),
        ("validate, one estimate in five new", "validate", mixed),
        ("validate, every estimate new", "validate", fresh[:count]),
        ("mutate, every estimate new", "mutate", fresh[count : 2 * count]),
    )
    tls = ssl.create_default_context(cadata=trusted.decode())
    connector = aiohttp.TCPConnector(ssl=tls, limit=CONNECTIONS)
    what = f"{PER_SECOND} reviews a second for {SECONDS} s"
    print(f"{what:<36} {'p50':>9} {'p99':>9} {'worst':>9}  ms {'too late':>9}")  # noqa: T201
    async with aiohttp.ClientSession(connector=connector) as session:
        await measure(session, f"https://localhost:{port}/mutate", known[:50])

        async def too_late() -> str:
            async with session.post(f"https://localhost:{port}/late", data=known[0]) as response:
                warned: list[str] = (await response.json())["response"]["warnings"]
                return warned[0]

        for name, path, bodies in cases:
            took = await measure(session, f"https://localhost:{port}/{path}", bodies)
            p50, p99 = np.percentile(took, [50, 99])
            late = await too_late()
            print(f"{name:<36} {p50:9.2f} {p99:9.2f} {took.max():9.2f}     {late:>9}")  # noqa: T201
    process.terminate()


if __name__ == "__main__":
    asyncio.run(main())
