"""The worker's websocket over real sockets: `websockets`' own server, raw bytes where that will not do."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from pseudoworker.openqa.errors import (
    Busy,
    ClockSkew,
    ConnectionLost,
    Garbage,
    NotFound,
    OpenQAError,
    Refused,
    Unauthorized,
    Unreachable,
)
from pseudoworker.openqa.json import NotJson
from pseudoworker.openqa.messages import GrabJob, Ignored, Info, Stop, free, working
from pseudoworker.openqa.urls import Base
from pseudoworker.openqa.websocket import LARGEST_MESSAGE, connect, redirected
from tests.protocol.openqa.conftest import Authority, connected, http_date
from tests.protocol.openqa.peer import until

logging.getLogger("websockets.server").setLevel(logging.CRITICAL)

OK = b"HTTP/1.1 200 OK\r\n"

Handler = Callable[[ServerConnection], Awaitable[None]]
Gatekeeper = Callable[[Request], tuple[int, dict[str, str], bytes] | None]


async def idle(connection: ServerConnection) -> None:
    """A server that only listens."""
    async for _ in connection:
        pass


@asynccontextmanager
async def websocket_server(
    handler: Handler = idle, *, gatekeeper: Gatekeeper = lambda _: None, **options: Any
) -> AsyncIterator[tuple[str, list[Request]]]:
    """A websocket server; what `gatekeeper` returns for a request is answered instead of an upgrade."""
    requests: list[Request] = []

    async def process(connection: ServerConnection, request: Request) -> Response | None:
        requests.append(request)
        refusal = gatekeeper(request)
        if refusal is None:
            return None
        status, headers, body = refusal
        return Response(
            status, HTTPStatus(status).phrase, Headers(headers | {"Content-Length": str(len(body))}), body
        )

    async def handle(connection: ServerConnection) -> None:
        try:
            await handler(connection)
        except ConnectionClosed:
            pass  # the client hung up

    async with serve(handle, "127.0.0.1", 0, process_request=process, compression=None, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"http://127.0.0.1:{port}", requests


def signature(request: Request, path: str) -> str:
    return hmac.new(b"SECRET", (path + request.headers["X-API-Microtime"]).encode(), hashlib.sha1).hexdigest()


async def test_messages_both_ways() -> None:
    said: list[Any] = []

    async def talk(connection: ServerConnection) -> None:
        said.append(json.loads(await connection.recv()))
        await connection.send('{"type":"info","seen":1}')
        await connection.send('{"type":"cancel","jobid":5}')
        await connection.send(b'{"type":"info"}')
        await connection.send("nonsense")
        said.append(json.loads(await connection.recv()))

    async with websocket_server(talk) as (url, requests), connected(url) as connection:
        assert connection.open
        assert connection.url == url.replace("http", "ws") + "/api/v1/ws/7"
        await connection.send(free())
        assert await connection.receive() == Info()
        assert await connection.receive() == Stop("cancel", 5)
        assert await connection.receive() == Info()
        assert isinstance(await connection.receive(), Ignored)
        await connection.send(working("master", {"id": 5}))
        with pytest.raises(ConnectionLost) as caught:
            await connection.receive()
    assert (caught.value.code, caught.value.reason) == (1000, "")
    assert said[0] == {"type": "worker_status", "status": "free"}
    assert said[1]["status"] == "working"
    request = requests[0]
    assert request.path == "/api/v1/ws/7"
    assert request.headers["X-API-Key"] == "KEY"
    assert request.headers["X-API-Hash"] == signature(request, "/api/v1/ws/7")
    assert abs(int(request.headers["X-API-Microtime"]) - time.time()) < 10


async def test_the_web_uis_redirect_is_followed_and_signed_anew() -> None:
    async with websocket_server() as (target, requests):
        port = target.rpartition(":")[2]

        def redirect(request: Request) -> tuple[int, dict[str, str], bytes]:
            return 302, {"Location": f"http://localhost:{port}/ws/7"}, b""

        async with websocket_server(gatekeeper=redirect) as (url, first), connected(url) as connection:
            assert connection.url == f"ws://127.0.0.1:{port}/ws/7"
    assert first[0].path == "/api/v1/ws/7"
    assert first[0].headers["X-API-Hash"] == signature(first[0], "/api/v1/ws/7")
    assert requests[0].path == "/ws/7"
    assert requests[0].headers["X-API-Hash"] == signature(requests[0], "/ws/7")
    assert requests[0].headers["Host"] == f"127.0.0.1:{port}"


async def test_redirects_in_circles() -> None:
    async with websocket_server(gatekeeper=lambda _: (302, {"Location": "/api/v1/ws/7"}, b"")) as (
        url,
        requests,
    ):
        with pytest.raises(Garbage, match="redirects more than 3 times"):
            await connect(url, 7, "KEY", "SECRET")
    assert len(requests) == 4


@pytest.mark.parametrize(
    ("base", "url", "location", "target"),
    [
        ("http://m:80", "ws://m:80/api/v1/ws/7", "http://localhost:81/ws/7", "ws://m:81/ws/7"),
        ("http://m:80", "ws://m:80/api/v1/ws/7", "http://127.0.0.1:81/ws/7", "ws://m:81/ws/7"),
        ("http://m:80", "ws://m:80/api/v1/ws/7", "http://[::1]:81/ws/7", "ws://m:81/ws/7"),
        (
            "http://[fe80::1]:80",
            "ws://[fe80::1]:80/api/v1/ws/7",
            "ws://localhost:81/ws/7",
            "ws://[fe80::1]:81/ws/7",
        ),
        ("http://m", "ws://m/api/v1/ws/7", "https://m/api/v1/ws/7", "wss://m/api/v1/ws/7"),
        ("https://m", "wss://m/api/v1/ws/7", "wss://m:8443/ws/7", "wss://m:8443/ws/7"),
        ("http://m", "ws://m/api/v1/ws/7", "/other/7?a=b", "ws://m/other/7?a=b"),
        ("https://m", "wss://m/api/v1/ws/7", "/other/7", "wss://m/other/7"),
        ("http://m", "ws://m/api/v1/ws/7", "http://m:81", "ws://m:81/"),
    ],
)
def test_redirects_that_are_followed(base: str, url: str, location: str, target: str) -> None:
    assert redirected(Base.parse(base), url, location) == target


@pytest.mark.parametrize(
    ("base", "location", "kind", "text"),
    [
        ("http://m", "http://evil.example.com/ws/7", Refused, "another host"),
        ("http://m", "http://m.evil.example.com/ws/7", Refused, "another host"),
        ("http://m", "http://u:p@evil/ws/7", Refused, "to another host, http://evil/ws/7"),
        ("http://m", "http://10.0.0.1/ws/7", Refused, "another host"),
        ("https://m", "http://localhost:9527/ws/7", Refused, "from TLS to http://localhost"),
        ("https://m", "ws://m/ws/7", Refused, "from TLS"),
        ("http://m", "", Garbage, "redirects to ''"),
        ("http://m", "file:///etc/passwd", Garbage, "redirects to 'file"),
        ("http://m", "http://[", Garbage, "redirects to"),
        ("http://m", "http://m:x/", Garbage, "redirects to"),
    ],
)
def test_redirects_that_are_not(base: str, location: str, kind: type[OpenQAError], text: str) -> None:
    with pytest.raises(kind) as caught:
        redirected(Base.parse(base), base.replace("http", "ws") + "/api/v1/ws/7", location)
    assert text in str(caught.value)


@given(st.text(max_size=30) | st.builds("http://{}".format, st.text(max_size=20)))
def test_any_location_is_followed_or_refused(location: str) -> None:
    try:
        target = redirected(Base.parse("https://m"), "wss://m/api/v1/ws/7", location)
    except (Refused, Garbage):
        return
    assert target.startswith(("wss://m/", "wss://m:"))


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "text"),
    [
        (400, {}, b"Unknown worker", Refused, "400 Unknown worker"),
        (426, {}, b'{"error":"incompatible"}', Refused, "426 incompatible"),
        (404, {}, b"<title>openQA: Page not found</title>", NotFound, "must pass websocket upgrades"),
        (429, {"Retry-After": "900"}, b"Limit of worker connections exceeded", Busy, "Limit of worker"),
        (503, {}, b"", Busy, "503 Service Unavailable"),
        (403, {}, b'{"error":"Not authorized"}', Unauthorized, "403 Not authorized"),
        (200, {}, b"OK", Garbage, "200"),
    ],
)
async def test_refusals(
    status: int, headers: dict[str, str], body: bytes, kind: type[OpenQAError], text: str
) -> None:
    async with websocket_server(gatekeeper=lambda _: (status, headers, body)) as (url, requests):
        with pytest.raises(kind) as caught:
            await connect(url, 7, "KEY", "SECRET")
    assert type(caught.value) is kind
    assert text in str(caught.value)
    assert caught.value.status == status
    if isinstance(caught.value, Busy):
        assert caught.value.retry_after == (900 if headers else None)
    assert len(requests) == (2 if status == 403 else 1)


async def test_clock_skew_shows_in_the_date() -> None:
    def refuse(_: Request) -> tuple[int, dict[str, str], bytes]:
        return 403, {"Date": http_date(time.time() + 1000)}, b'{"error":"Not authorized"}'

    async with websocket_server(gatekeeper=refuse) as (url, _):
        with pytest.raises(ClockSkew, match="clock is \\+1000 s off ours") as caught:
            await connect(url, 7, "KEY", "SECRET")
    assert caught.value.skew is not None
    assert 995 < caught.value.skew < 1005


@pytest.mark.parametrize("hashed", ["/openqa/api/v1/ws/7", "/api/v1/ws/7", "openqa/api/v1/ws/7", "/ws/7"])
async def test_behind_a_path_prefix(hashed: str) -> None:
    def check(request: Request) -> tuple[int, dict[str, str], bytes] | None:
        return None if request.headers["X-API-Hash"] == signature(request, hashed) else (403, {}, b"")

    async with (
        websocket_server(gatekeeper=check) as (url, requests),
        connected(url + "/openqa") as connection,
    ):
        assert connection.open
    assert {request.path for request in requests} == {"/openqa/api/v1/ws/7"}


async def test_tls(authority: Authority) -> None:
    async with websocket_server(ssl=authority.server) as (url, _):
        secure = url.replace("http", "https")
        async with connected(secure, ca_file=authority.ca_file) as connection:
            assert connection.url.startswith("wss://")
            await connection.send(free())
        with pytest.raises(Unreachable, match="TLS certificate is not trusted"):
            await connect(secure, 7, "KEY", "SECRET")
        with pytest.raises((Unreachable, Garbage)):
            await connect(url, 7, "KEY", "SECRET")
    async with websocket_server(ssl=authority.stranger) as (url, _):
        with pytest.raises(Unreachable, match="TLS certificate is not trusted"):
            await connect(url.replace("http", "https"), 7, "KEY", "SECRET", authority.ca_file)


async def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        await connect("http://127.0.0.1:9", 7, "KEY", "SECRET")
    for host in ("no-such-host.invalid", "x" * 64 + ".invalid", "ü" * 64):
        with pytest.raises(Unreachable, match="cannot be resolved"):
            await connect(f"http://{host}", 7, "KEY", "SECRET")


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, ""), (1001, "going away"), (1008, "thought dead"), (1011, "x")]
)
async def test_the_server_closes(code: int, reason: str) -> None:
    async def close(connection: ServerConnection) -> None:
        await connection.send('{"type":"info"}')
        await connection.close(code, reason)

    async with websocket_server(close) as (url, _), connected(url) as connection:
        await until(lambda: not connection.open)
        assert await connection.receive() == Info(), "what came before the end is not lost"
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                await connection.receive()
            assert (caught.value.code, caught.value.reason) == (code, reason)
        with pytest.raises(ConnectionLost):
            await connection.send(free())
        assert not connection.open


async def test_the_connection_breaks() -> None:
    async def vanish(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with websocket_server(vanish) as (url, _), connected(url) as connection:
        with pytest.raises(ConnectionLost) as caught:
            await connection.receive()
        assert caught.value.code == 1006


async def test_closing() -> None:
    closed: list[tuple[int | None, str | None]] = []

    async def listen(connection: ServerConnection) -> None:
        try:
            await connection.recv()
        finally:
            await connection.wait_closed()
            closed.append((connection.close_code, connection.close_reason))

    async with websocket_server(listen) as (url, _):
        connection = await connect(url, 7, "KEY", "SECRET")
        waiting = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        await connection.close(1001, "bye")
        with pytest.raises(ConnectionLost):
            await waiting
        await connection.close()
        assert not connection.open
        await until(lambda: closed == [(1001, "bye")])


async def test_one_task_receives_at_a_time_and_may_be_cancelled() -> None:
    async with websocket_server() as (url, _), connected(url) as connection:
        first = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await connection.receive()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.ensure_future(connection.receive())
        await asyncio.sleep(0)
        assert not second.done()
        second.cancel()


async def test_over_tls_too(authority: Authority) -> None:
    async def flood(connection: ServerConnection) -> None:
        for _ in range(200):
            await connection.send(b'{"type":"info","x":"' + b"y" * 50_000 + b'"}')
        await connection.close(1008, "thought dead")

    async with websocket_server(flood, ssl=authority.server) as (url, _):
        secure = url.replace("http", "https")
        async with connected(secure, ca_file=authority.ca_file) as connection:
            for _ in range(200):
                assert await connection.receive() == Info()
            with pytest.raises(ConnectionLost, match="1008: thought dead"):
                await connection.receive()


async def test_our_own_messages_are_bounded_too() -> None:
    async with websocket_server() as (url, _), connected(url) as connection:
        with pytest.raises(Garbage, match="too large to be sent"):
            await connection.send({"type": "x" * LARGEST_MESSAGE})
        with pytest.raises(NotJson):
            await connection.send({"type": float("nan")})
        await connection.send(free())


async def test_a_quiet_server_that_answers_pings_stays() -> None:
    async with websocket_server() as (url, _):
        async with connected(url, ping_interval=0.1, ping_timeout=1.0) as connection:
            waiting = asyncio.ensure_future(connection.receive())
            await asyncio.sleep(1.3)
            assert connection.open
            assert not waiting.done()
        with pytest.raises(ConnectionLost):
            await waiting


async def test_grab_job_over_the_wire() -> None:
    async def grab(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"type": "grab_job", "job": {"id": 5, "settings": {"A": 1}}}))
        await connection.wait_closed()

    async with websocket_server(grab) as (url, _), connected(url) as connection:
        message = await connection.receive()
    assert isinstance(message, GrabJob)
    assert message.job.settings == {"A": "1"}
