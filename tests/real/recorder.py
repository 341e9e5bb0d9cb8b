"""A TCP proxy in a thread that notes which requests go through, and which of them are still being
answered."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import Counter
from functools import partial
from types import TracebackType

from tests.fakes.ports import free_ports

LIVE_HANDLER = 2
"""How far the live handler's port is from the web UI's (OpenQA::Utils, service_port)."""

_REQUEST = re.compile(rb"(GET|POST|PUT|DELETE|HEAD) (\S+) HTTP/1\.1\r\n")
_NUMBER = re.compile(r"\d+")


class Recorder:
    """Stands before a web UI of this machine, and before its live handler, whose port is two further."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._connections: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self.port = free_ports(LIVE_HANDLER + 1)
        self.requests: list[tuple[float, str]] = []
        """When, and method and path with the numbers taken out."""
        self.streams: list[str] = []
        """Paths of the live streams that are open, whichever of the two serves them."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def counted(self, seconds: float) -> Counter[str]:
        """The requests of the last so many seconds."""
        since = time.monotonic() - seconds
        return Counter(request for when, request in list(self.requests) if when >= since)

    def __enter__(self) -> Recorder:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        for delta in (0, LIVE_HANDLER):
            accept = partial(self._accept, self._target + delta)
            self._servers.append(await asyncio.start_server(accept, "127.0.0.1", self.port + delta))

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(target, reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _carry(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        streams: list[str] = []
        server_writer: asyncio.StreamWriter | None = None
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
            up = asyncio.ensure_future(self._up(reader, server_writer, streams))
            down = asyncio.ensure_future(_pump(server_reader, writer))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        except OSError:
            pass  # nobody there: the client sees its connection end
        finally:
            for stream in streams:
                self.streams.remove(stream)
            for end in (writer, server_writer):
                if end is not None:
                    end.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, streams: list[str]
    ) -> None:
        while data := await reader.read(65536):
            if match := _REQUEST.match(data):
                path = match[2].decode()
                plain = _NUMBER.sub("N", path.partition("?")[0])
                self.requests.append((time.monotonic(), f"{match[1].decode()} {plain}"))
                if path.endswith(("/streaming", "/livelog", "/liveterminal")):
                    stream = path.removeprefix("/liveviewhandler")
                    streams.append(stream)
                    self.streams.append(stream)
            writer.write(data)
            await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
