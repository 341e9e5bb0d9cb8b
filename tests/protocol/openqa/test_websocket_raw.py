"""The worker's websocket against a server whose every byte is chosen."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pseudoworker.openqa.errors import ConnectionLost, Garbage, OpenQAError, Refused, Unreachable
from pseudoworker.openqa.messages import Ignored, Info
from pseudoworker.openqa.websocket import LARGEST_MESSAGE, connect
from tests.protocol.openqa.conftest import connected
from tests.protocol.openqa.peer import Link, Peer, Script, answer, peer, until

OK = b"HTTP/1.1 200 OK\r\n"


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
        link.transport.pause_reading()
        await asyncio.Event().wait()

    async with upgraded(script) as there:
        started = time.monotonic()
        connection = await connect(there.url, 7, "KEY", "SECRET", ping_interval=0.1, ping_timeout=0.2)
        with pytest.raises(ConnectionLost, match="no sign of life") as caught:
            await connection.receive()
        assert 0.25 < time.monotonic() - started < 5
        assert caught.value.code == 1006


async def test_sending_waits_for_who_takes_nothing_and_ends_with_the_connection() -> None:
    async def script(link: Link) -> None:
        link.transport.pause_reading()
        await asyncio.Event().wait()

    async with upgraded(script) as there:
        connection = await connect(there.url, 7, "KEY", "SECRET", ping_interval=0.2, ping_timeout=0.2)

        async def send_much() -> None:
            for _ in range(10):
                await connection.send({"type": "x" * 5_000_000})

        with pytest.raises(ConnectionLost, match="no sign of life"):
            await send_much()


async def test_sending_goes_on_when_it_is_taken_again() -> None:
    size = 9_000_000
    resume = asyncio.Event()

    async def script(link: Link) -> None:
        link.transport.pause_reading()
        await resume.wait()
        link.transport.resume_reading()
        await link.reader.readexactly(size)
        await link.reader.read()

    async with upgraded(script) as there, connected(there.url) as connection:
        sending = asyncio.ensure_future(connection.send({"type": "x" * size}))
        done, _ = await asyncio.wait([sending], timeout=0.2)
        assert not done
        resume.set()
        await sending
        assert connection.open


async def test_closing_waits_not_long_for_a_black_hole() -> None:
    async def script(link: Link) -> None:
        link.transport.pause_reading()
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
        (b"", "wait", Unreachable, r"no websocket within 1 s"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
            "wait",
            Unreachable,
            r"no websocket within 1 s",
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
            await connect(there.url, 7, "KEY", "SECRET", open_timeout=1.0)
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


async def test_frames_that_come_with_the_handshake() -> None:
    async def script(link: Link) -> None:
        await link.send(frame(1, b'{"type":"info"}') + frame(8, (1008).to_bytes(2, "big") + b"thought dead"))
        await link.reader.read()

    async with upgraded(script) as there:
        for _ in range(5):
            async with connected(there.url) as connection:
                assert await connection.receive() == Info()
                with pytest.raises(ConnectionLost, match="1008: thought dead"):
                    await connection.receive()


async def test_a_goodbye_that_nobody_takes_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pseudoworker.openqa.wire._LINGER", 0.2)

    async def script(link: Link) -> None:
        link.transport.pause_reading()
        await closing.wait()
        await link.send(frame(8, (1001).to_bytes(2, "big")))
        await asyncio.Event().wait()

    closing = asyncio.Event()
    async with upgraded(script) as there:
        connection = await connect(there.url, 7, "KEY", "SECRET")
        sending = asyncio.ensure_future(connection.send({"type": "x" * 9_000_000}))
        done, _ = await asyncio.wait([sending], timeout=0.2)
        assert not done
        transport = connection._wire._transport
        closing.set()
        with pytest.raises(ConnectionLost):
            await sending
        await until(lambda: transport.get_extra_info("socket").fileno() == -1)
