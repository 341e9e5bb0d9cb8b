"""The worker's websocket over real sockets: `websockets`' own server, raw bytes where that will not do."""

from __future__ import annotations

import asyncio
import base64
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
from pseudoworker.openqa.websocket import LARGEST_MESSAGE, Connection, connect, redirected
from tests.protocol.openqa.conftest import Authority, http_date
from tests.protocol.openqa.peer import Link, Peer, Script, answer, peer, until

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


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Connection]:
    connection = await connect(url, 7, "KEY", "SECRET", **options)
    try:
        yield connection
    finally:
        await connection.close()


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


async def test_nobody_there() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        await connect("http://127.0.0.1:9", 7, "KEY", "SECRET")
    with pytest.raises(Unreachable, match="cannot be resolved"):
        await connect("http://no-such-host.invalid", 7, "KEY", "SECRET")


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


@asynccontextmanager
async def upgraded(script: Script) -> AsyncIterator[Peer]:
    """A raw server that runs `script` once the upgrade is done."""

    async def upgrade(link: Link) -> None:
        request = await link.request()
        assert request is not None
        magic = request.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(magic.encode()).digest()).decode()
        await link.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            + f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        await script(link)

    async with peer(upgrade) as there:
        yield there


def frame(opcode: int, data: bytes, *, fin: bool = True) -> bytes:
    """A frame as a server sends it."""
    head = bytes(((0x80 if fin else 0) | opcode,))
    if len(data) < 126:
        return head + bytes((len(data),)) + data
    if len(data) < 65536:
        return head + b"\x7e" + len(data).to_bytes(2, "big") + data
    return head + b"\x7f" + len(data).to_bytes(8, "big") + data


async def test_fragments_and_pings_between_them() -> None:
    pongs: list[bytes] = []

    async def script(link: Link) -> None:
        await link.send(frame(1, b'{"type":', fin=False) + frame(9, b"ping") + frame(0, b'"in', fin=False))
        pongs.append(await link.reader.readexactly(2 + 4 + 4))
        await link.send(frame(0, b'fo"}'))
        await link.reader.read()

    async with upgraded(script) as there, connected(there.url) as connection:
        assert await connection.receive() == Info()
    assert pongs[0][0] == 0x8A


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff\xff", 1002),
        (frame(3, b"x"), 1002),
        (frame(0, b"x"), 1002),
        (frame(9, b"x" * 126), 1002),
        (frame(8, b"\x00"), 1002),
        (b"\x81\x84abcdefgh", 1002),
        (b"\x81\x7f" + (LARGEST_MESSAGE + 1).to_bytes(8, "big"), 1009),
        (b"\x81\x7f" + (2**63).to_bytes(8, "big"), 1009),
    ],
)
async def test_malformed_frames(data: bytes, code: int) -> None:
    async def script(link: Link) -> None:
        await link.send(frame(1, b'{"type":"info"}') + data)
        await link.reader.read()

    async with upgraded(script) as there, connected(there.url) as connection:
        assert await connection.receive() == Info()
        with pytest.raises(ConnectionLost) as caught:
            await connection.receive()
        assert caught.value.code == code
        await until(lambda: there.ended == 1)


async def test_a_message_may_be_large_but_not_larger() -> None:
    async def script(link: Link) -> None:
        text = b'{"type":"info","x":"' + b"y" * (LARGEST_MESSAGE - 22) + b'"}'
        assert len(text) == LARGEST_MESSAGE
        await link.send(frame(1, text))
        await link.send(frame(1, text[:-1], fin=False) + frame(0, b"}}"))
        await link.reader.read()

    async with upgraded(script) as there, connected(there.url) as connection:
        assert await connection.receive() == Info()
        with pytest.raises(ConnectionLost) as caught:
            await connection.receive()
        assert caught.value.code == 1009


async def test_our_own_messages_are_bounded_too() -> None:
    async with websocket_server() as (url, _), connected(url) as connection:
        with pytest.raises(Garbage, match="too large to be sent"):
            await connection.send({"type": "x" * LARGEST_MESSAGE})
        with pytest.raises(NotJson):
            await connection.send({"type": float("nan")})
        await connection.send(free())


async def test_a_flood_stops_at_the_socket() -> None:
    sent = 0

    async def script(link: Link) -> None:
        nonlocal sent
        data = frame(1, b'{"type":"info","x":"' + b"y" * 50_000 + b'"}')
        for _ in range(2000):
            await link.send(data)
            sent += 1
        await link.reader.read()

    async with (
        upgraded(script) as there,
        connected(there.url, ping_interval=0.2, ping_timeout=0.2) as connection,
    ):
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 1000, "reading stopped"
        assert connection.open, "and that is no silence of the other side"
        for _ in range(2000):
            assert await connection.receive() == Info()
        assert sent == 2000


async def test_a_flood_of_tiny_messages_stops_too() -> None:
    async def script(link: Link) -> None:
        for _ in range(100_000):
            await link.send(frame(1, b"{}"))
        await link.reader.read()

    async with upgraded(script) as there, connected(there.url) as connection:
        await asyncio.sleep(0.3)
        assert isinstance(await connection.receive(), Ignored)
        await connection.close()
        assert there.connections == 1


async def test_a_black_hole_is_noticed() -> None:
    async def script(link: Link) -> None:
        link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with upgraded(script) as there:
        started = time.monotonic()
        connection = await connect(there.url, 7, "KEY", "SECRET", ping_interval=0.1, ping_timeout=0.2)
        with pytest.raises(ConnectionLost, match="no sign of life") as caught:
            await connection.receive()
        assert 0.25 < time.monotonic() - started < 5
        assert caught.value.code == 1006


async def test_a_quiet_server_that_answers_pings_stays() -> None:
    async with websocket_server() as (url, _):
        async with connected(url, ping_interval=0.05, ping_timeout=0.2) as connection:
            waiting = asyncio.ensure_future(connection.receive())
            await asyncio.sleep(0.6)
            assert connection.open
            assert not waiting.done()
        with pytest.raises(ConnectionLost):
            await waiting


async def test_sending_waits_for_who_takes_nothing_and_ends_with_the_connection() -> None:
    async def script(link: Link) -> None:
        link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with upgraded(script) as there:
        connection = await connect(there.url, 7, "KEY", "SECRET", ping_interval=0.2, ping_timeout=0.2)

        async def send_much() -> None:
            for _ in range(10):
                await connection.send({"type": "x" * 5_000_000})

        with pytest.raises(ConnectionLost, match="no sign of life"):
            await send_much()


async def test_closing_waits_not_long_for_a_black_hole() -> None:
    async def script(link: Link) -> None:
        link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    async with upgraded(script) as there:
        connection = await connect(there.url, 7, "KEY", "SECRET")
        started = time.monotonic()
        await connection.close()
        assert 1.5 < time.monotonic() - started < 4


@pytest.mark.parametrize(
    ("data", "then", "kind", "text"),
    [
        (b"", "close", Unreachable, "no answer to the handshake"),
        (b"", "reset", Unreachable, "no answer to the handshake|reset"),
        (b"HTTP/1.1 101 Switching", "close", Unreachable, "no answer to the handshake"),
        (b"", "wait", Unreachable, r"no websocket within 0\.5 s"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
            "wait",
            Unreachable,
            r"no websocket within 0\.5 s",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "wait", Garbage, "no websocket: "),
        (
            b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n",
            "wait",
            Garbage,
            "no websocket: ",
        ),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "wait", Unreachable, "no answer to the handshake"),
        (b"\xff" * 100_000, "wait", Unreachable, "no answer to the handshake"),
        (OK + b"X: y\r\n" * 100_000, "wait", Unreachable, "handshake"),
        (b"HTTP/1.1 404 No\r\n\r\n" + b"x" * 1_000_000, "wait", Unreachable, "does not end"),
        (answer(301, b"", Location="http://evil.example.com/"), "wait", Refused, "another host"),
    ],
)
async def test_bad_handshakes(data: bytes, then: str, kind: type[OpenQAError], text: str) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(data)
        if then == "reset":
            link.reset()
        elif then == "wait":
            await link.reader.read()

    async with peer(script) as there:
        with pytest.raises(kind, match=text):
            await connect(there.url, 7, "KEY", "SECRET", open_timeout=0.5)
        await until(lambda: there.ended == there.connections)


async def test_connecting_may_be_cancelled() -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.reader.read()

    async with peer(script) as there:
        connecting = asyncio.ensure_future(connect(there.url, 7, "KEY", "SECRET"))
        await until(lambda: there.connections == 1)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await until(lambda: there.ended == 1)


async def test_a_time_out_around_it_is_the_callers() -> None:
    async def script(link: Link) -> None:
        await link.reader.read()

    async with peer(script) as there:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await connect(there.url, 7, "KEY", "SECRET")


async def test_grab_job_over_the_wire() -> None:
    async def grab(connection: ServerConnection) -> None:
        await connection.send(json.dumps({"type": "grab_job", "job": {"id": 5, "settings": {"A": 1}}}))
        await connection.wait_closed()

    async with websocket_server(grab) as (url, _), connected(url) as connection:
        message = await connection.receive()
    assert isinstance(message, GrabJob)
    assert message.job.settings == {"A": "1"}
