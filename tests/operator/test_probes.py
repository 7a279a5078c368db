import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from energaizer_operator.metrics import Metrics
from energaizer_operator.probes import Heart, Probes, silence_check


@pytest.fixture
async def probes() -> AsyncIterator[Probes]:
    served = Probes(Metrics("1"))
    yield served
    await served.close()


async def fetch(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as got,
    ):
        return got.status, await got.text()


async def test_answers_name_what_fails(probes: Probes) -> None:
    port, metrics_port = await probes.serve("127.0.0.1", 0, 0)
    assert await fetch(port, "/livez") == (200, "ok\n")
    probes.ready["caches"] = lambda: "not synced yet"
    assert await fetch(port, "/readyz") == (500, "caches: not synced yet\n")
    probes.ready.clear()
    probes.stopping = True
    assert await fetch(port, "/readyz") == (500, "stopping: stopping\n")
    status, page = await fetch(metrics_port, "/metrics")
    assert (status, "energaizer_build_info" in page) == (200, True)


def test_silent_watch_fails_after_150_seconds_and_one_that_never_listed_does_not() -> None:
    now = time.time()
    assert silence_check("pods", lambda: 0.0)() is None
    assert silence_check("pods", lambda: now - 140)() is None
    assert silence_check("pods", lambda: now - 160)() == "watch of pods silent for 160 s"


def test_late_loop_fails() -> None:
    now = [100.0]
    heart = Heart(beat=100.0, clock=lambda: now[0])
    now[0] = 105.9
    assert heart.check() is None
    now[0] = 107.0
    assert heart.check() == "event loop is 6 s late"
