import asyncio
import gc
import io
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest

from energaizer_operator import certificates, garbage
from energaizer_operator.webhook import process, review
from energaizer_operator.webhook.app import Route, Server

NAMES = ("localhost",)
UID = "1"


def ask_body(kind: str = "Pod") -> bytes:
    request = {"uid": UID, "kind": {"version": "v1", "kind": kind}, "operation": "CREATE"}
    return json.dumps(
        {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    ).encode()


async def judge(request: review.Request) -> review.Answer:
    if request.kind.kind == "Slow":
        await asyncio.sleep(60)
    if request.kind.kind == "Bug":
        raise KeyError("spec")
    if request.kind.kind == "Odd":
        raise review.MalformedReviewError("spec is a list")
    return review.allow()


def fall_back(_request: review.Request, why: str) -> review.Answer:
    return review.allow([why])


@pytest.fixture
async def served() -> AsyncIterator[tuple[Server, int, bytes]]:
    material = certificates.make(NAMES, datetime.now(UTC))
    routes = [Route("pod", judge, fall_back, 60.0), Route("hasty", judge, fall_back, 0.2)]
    server = Server(routes, material.leaf)
    port = await server.start("127.0.0.1", 0)
    yield server, port, material.trusted
    await server.stop()


def trusting(*authorities: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=b"".join(authorities).decode())


async def post(
    session: aiohttp.ClientSession, port: int, body: bytes, path: str = "pod"
) -> tuple[int, dict[str, object], str | None]:
    url = f"https://localhost:{port}/{path}"
    async with session.post(url, data=io.BytesIO(body)) as response:
        return response.status, await response.json(), response.headers.get("Connection")


def session(authority: bytes) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(ssl=trusting(authority), family=socket.AF_INET)
    return aiohttp.ClientSession(connector=connector)


async def test_questions_are_answered_over_verified_tls(
    served: tuple[Server, int, bytes],
) -> None:
    _, port, authority = served
    async with session(authority) as client:
        status, answer, _ = await post(client, port, ask_body())
    assert status == 200
    assert answer["response"] == {"uid": UID, "allowed": True}


@pytest.mark.parametrize(
    ("kind", "path", "expected"),
    [
        ("Slow", "hasty", {"uid": UID, "allowed": True, "warnings": ["late"]}),
        ("Slow", "pod?timeout=1s", {"uid": UID, "allowed": True, "warnings": ["late"]}),
        ("Bug", "pod", {"uid": UID, "allowed": True, "warnings": ["error"]}),
    ],
)
async def test_lateness_and_bugs_become_the_fallback(
    served: tuple[Server, int, bytes], kind: str, path: str, expected: dict[str, object]
) -> None:
    _, port, authority = served
    async with session(authority) as client:
        status, answer, _ = await post(client, port, ask_body(kind), path)
    assert (status, answer["response"]) == (200, expected)


async def test_an_unreadable_object_is_invalid_and_an_unreadable_review_a_bad_request(
    served: tuple[Server, int, bytes],
) -> None:
    _, port, authority = served
    async with session(authority) as client:
        status, answer, _ = await post(client, port, ask_body("Odd"))
        assert status == 200
        assert "spec is a list" in str(answer["response"])
        status, answer, _ = await post(client, port, b"{")
        assert status == 400
        assert "not JSON" in str(answer["error"])


async def test_three_mebibytes_are_read_and_nine_are_too_much(
    served: tuple[Server, int, bytes],
) -> None:
    _, port, authority = served
    async with session(authority) as client:
        assert (await post(client, port, ask_body() + b" " * 3 * 2**20))[0] == 200
        url = f"https://localhost:{port}/pod"
        async with client.post(url, data=io.BytesIO(b" " * 9 * 2**20)) as response:
            assert response.status == 413


async def test_a_new_certificate_is_served_while_open_connections_go_on(
    served: tuple[Server, int, bytes],
) -> None:
    server, port, old_authority = served
    new = certificates.make(NAMES, datetime.now(UTC))
    async with session(old_authority) as old_client, session(new.trusted) as new_client:
        await post(old_client, port, ask_body())
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await post(new_client, port, ask_body())
        server.reload(new.leaf)
        assert (await post(old_client, port, ask_body()))[0] == 200  # the connection of before
        assert (await post(new_client, port, ask_body()))[0] == 200


async def test_draining_asks_callers_to_leave(served: tuple[Server, int, bytes]) -> None:
    server, port, authority = served
    async with session(authority) as client:
        assert (await post(client, port, ask_body()))[2] is None
        server.drain()
        assert (await post(client, port, ask_body()))[2] == "close"


@pytest.mark.parametrize(("ago_s", "collected"), [(60.0, True), (0.0, False)])
async def test_garbage_is_collected_while_nobody_asks(
    monkeypatch: pytest.MonkeyPatch, ago_s: float, collected: bool
) -> None:
    rounds: list[bool] = []
    monkeypatch.setattr(gc, "collect", lambda: rounds.append(gc.isenabled()))
    monkeypatch.setattr(garbage, "EVERY_S", -1.0)
    monkeypatch.setattr(garbage, "IDLE_S", 0.0)
    tidy = asyncio.create_task(process.tidy_up(lambda: time.monotonic() - ago_s))
    for _ in range(5):
        await asyncio.sleep(0)
    tidy.cancel()
    await asyncio.gather(tidy, return_exceptions=True)
    assert set(rounds) == ({False} if collected else set())
    assert gc.isenabled()
