"""A small web server that answers like openQA's live routes, or as badly as a test wants."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

PNG = b"\x89PNG\r\n\x1a\n"

Handler = Callable[["Viewer"], Awaitable[None]]


def png(number: int) -> str:
    """A picture, as far as anybody looks, in base64."""
    return base64.b64encode(PNG + f"picture {number}".encode()).decode()


@dataclass
class Viewer:
    """One connection to the server."""

    path: str
    headers: dict[str, str]
    writer: asyncio.StreamWriter

    async def head(self, status: int = 200, kind: str = "text/event-stream", *more: str) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Type: {kind}", *more, "", ""]
        await self.send("\r\n".join(lines))

    async def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)
        await self.writer.drain()

    async def text(self, *parts: str) -> None:
        for part in parts:
            await self.send(f"data: {json.dumps([part])}\n\n")

    async def screen(self, number: int) -> None:
        await self.send(f"data: data:image/png;base64,{png(number)}\n\n")

    async def wait(self) -> None:
        """Stay until the test ends or the viewer goes."""
        await asyncio.Event().wait()


@dataclass
class LiveServer:
    """Answers by path; counts who is connected."""

    port: int = 0
    routes: dict[str, Handler] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    """Paths of the connections that are open now."""
    seen: list[str] = field(default_factory=list)
    """Paths of all requests, in order."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, condition: Callable[[], bool], limit: float = 10.0) -> None:
        """Wait until what the server sees fulfils a condition."""
        async with asyncio.timeout(limit):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        path = request[0].split(" ")[1]
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in request[1:])
        }
        viewer = Viewer(path, headers, writer)
        self.seen.append(path)
        self.open.append(path)
        self.changed.set()
        answer = asyncio.ensure_future(self.routes.get(path, not_found)(viewer))
        gone = asyncio.ensure_future(_gone(reader))
        try:
            await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            answer.cancel()
            gone.cancel()
            await asyncio.gather(answer, gone, return_exceptions=True)
            self.open.remove(path)
            self.changed.set()


async def _gone(reader: asyncio.StreamReader) -> None:
    try:
        while await reader.read(1024):
            pass
    except OSError:
        pass  # a reset is a way to go, too


async def not_found(viewer: Viewer) -> None:
    """What openQA answers when there is no such route, or no worker."""
    await viewer.head(404, "text/html")
    await viewer.send("<html>Page not found</html>")


@asynccontextmanager
async def live_server(routes: dict[str, Handler] | None = None, port: int = 0) -> AsyncIterator[LiveServer]:
    live = LiveServer(routes=dict(routes or {}))
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await live.serve(reader, writer)
        finally:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass  # the viewer reset the connection: closed all the same

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    live.port = server.sockets[0].getsockname()[1]
    try:
        yield live
    finally:
        server.close()
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
