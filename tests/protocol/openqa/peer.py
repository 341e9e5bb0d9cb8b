"""A small HTTP server on loopback whose every byte the test decides."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """Number of the connection it came over, from 1."""


class Link:
    """One connection, from the server's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    @property
    def transport(self) -> asyncio.Transport:
        """Of both directions, so that reading from it can be stopped."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        return transport

    async def request(self) -> Received | None:
        """The next request, None when the client hung up."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        try:
            body = await self.reader.readexactly(int(headers.get("content-length", "0")))
        except asyncio.IncompleteReadError:
            return None
        return Received(method, target, headers, body, self.number)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, status: int = 200, body: bytes = b"{}", **headers: str) -> None:
        """Send a whole answer with its Content-Length."""
        await self.send(answer(status, body, **headers))

    def reset(self) -> None:
        """Drop the connection with a reset."""
        self.writer.transport.abort()


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> bytes:
    """A whole answer with its Content-Length; `_` in names stands for `-`."""
    lines = [f"HTTP/1.1 {status} Words", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


Script = Callable[[Link], Awaitable[None]]


@dataclass
class Peer:
    """A running server."""

    port: int
    scheme: str
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    ended: int = 0
    """Connections that the client has closed, or their script."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"


@asynccontextmanager
async def peer(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """Run `script` for each connection; it ends when the script ends."""
    links: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here.connections += 1
        task = asyncio.current_task()
        assert task is not None
        links[task] = writer
        try:
            await script(Link(reader, writer, here.connections))
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client hung up, or the test is over
        finally:
            here.ended += 1
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=2**20)
    here = Peer(server.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield here
    finally:
        server.close()
        for task, writer in links.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(
            *links, *(writer.wait_closed() for writer in links.values()), return_exceptions=True
        )


Respond = Callable[[Received], bytes]


@asynccontextmanager
async def answering(respond: Respond, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    """A server that keeps its connections and answers each request with the bytes of `respond`."""

    async def script(link: Link) -> None:
        while (request := await link.request()) is not None:
            here.received.append(request)
            await link.send(respond(request))

    async with peer(script, tls=tls) as here:
        yield here


async def until(condition: Callable[[], bool], limit: float = 10.0) -> None:
    """Wait for a condition, at most `limit` seconds."""
    async with asyncio.timeout(limit):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in threads and sockets
            await asyncio.sleep(0.005)
