"""A TCP proxy that makes a network bad: slow, narrow, torn, deaf. It counts bytes and connections.

In a test: `async with FaultProxy(port) as proxy:` and talk to `proxy.port`. On its own:
`python -m tests.fakes.faultproxy --listen 8000 --to 127.0.0.1:80 --latency 0.05 --bandwidth 2500000`
prints a line of JSON with its counts when it gets SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Final, Literal, Self

from tests.fakes.ports import free_ports

Mode = Literal["pass", "refuse", "reset", "blackhole"]
_PIECE: Final = 16_384
_IN_FLIGHT: Final = 1024
"""Pieces under way in one direction of one connection: enough for 16 MiB of bandwidth times latency."""


@dataclass
class Counts:
    """What went through."""

    connections: int = 0
    open: int = 0
    most_open: int = 0
    up: int = 0
    """Bytes from clients to the target."""
    down: int = 0
    broken: int = 0
    """Connections that the proxy broke."""


@dataclass
class Direction:
    """One direction of the link that all connections share."""

    latency: float = 0.0
    """Seconds that each byte takes."""
    bandwidth: float | None = None
    """Bytes per second; None for no limit."""
    free_at: float = 0.0
    """When the link has sent what it was given."""

    def departure(self, size: int, now: float) -> float:
        """When the last byte of a piece has left; the piece takes its place on the link."""
        if self.bandwidth is None:
            return now
        self.free_at = max(self.free_at, now) + size / self.bandwidth
        return self.free_at


@dataclass
class Cut:
    """Break the next connections once so many bytes went through in one direction."""

    after: int
    direction: Literal["up", "down"] = "down"
    times: int = 1
    how: Literal["reset", "half_close"] = "reset"


@dataclass(eq=False)
class FaultProxy:
    """Listens on `count` ports in a row and passes each on to the port as far behind `target`.

    All attributes may be changed while it runs; they apply to what comes after.
    """

    target: int
    host: str = "127.0.0.1"
    port: int = 0
    count: int = 1
    mode: Mode = "pass"
    """For new connections: `refuse` closes at once, `reset` with RST, `blackhole` swallows everything."""
    up: Direction = field(default_factory=Direction)
    down: Direction = field(default_factory=Direction)
    cuts: list[Cut] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _links: set[_Link] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Base URL of what is behind the first port."""
        return f"http://127.0.0.1:{self.port}"

    def shape(self, latency: float, bandwidth: float | None) -> None:
        """The same latency (seconds, one way) and bandwidth (bytes per second) in both directions."""
        for direction in (self.up, self.down):
            direction.latency, direction.bandwidth = latency, bandwidth

    def cut_after(self, size: int, direction: Literal["up", "down"] = "down", times: int = 1) -> None:
        """Reset the next `times` connections after so many bytes."""
        self.cuts.append(Cut(size, direction, times))

    def half_close_after(self, size: int, direction: Literal["up", "down"] = "down", times: int = 1) -> None:
        """End one direction of the next connections after so many bytes, and leave the other open."""
        self.cuts.append(Cut(size, direction, times, "half_close"))

    def freeze(self) -> None:
        """Let nothing pass, on open connections either, until `thaw`; it is delivered then."""
        self.flowing.clear()

    def thaw(self) -> None:
        """Let everything pass again."""
        self.flowing.set()

    def break_all(self) -> int:
        """Reset every open connection; how many there were."""
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    async def start(self) -> Self:
        """Listen."""
        self.flowing.set()
        self.port = self.port or free_ports(self.count)
        await self.listen()
        return self

    async def listen(self) -> None:
        """Accept connections (again)."""
        for offset in range(self.count):
            for address in ("127.0.0.1", "::1"):
                with contextlib.suppress(OSError) if address == "::1" else contextlib.nullcontext():
                    server = await asyncio.start_server(
                        partial(self._accept, offset),
                        address,
                        self.port + offset,
                        limit=_PIECE,
                        backlog=1024,
                    )
                    self._servers.append(server)

    async def deafen(self) -> None:
        """Stop listening and break what is open: connections are refused by the system."""
        for server in self._servers:
            server.close()
        self.break_all()
        self._servers.clear()

    async def stop(self) -> None:
        """End everything."""
        await self.deafen()
        await asyncio.gather(*(link.ended.wait() for link in self._links))

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def _accept(self, offset: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counts.connections += 1
        if self.mode in ("refuse", "reset"):
            self.counts.broken += 1
            _close(writer, reset=self.mode == "reset")
            return
        link = _Link(self, reader, writer)
        self._links.add(link)
        self.counts.open += 1
        self.counts.most_open = max(self.counts.most_open, self.counts.open)
        try:
            await (link.swallow() if self.mode == "blackhole" else link.carry(self.target + offset))
        finally:
            self.counts.open -= 1
            self._links.discard(link)
            link.ended.set()

    def take_cut(self) -> Cut | None:
        """The cut that a new connection gets."""
        while self.cuts:
            cut = self.cuts[0]
            if cut.times > 0:
                cut.times -= 1
                return cut
            self.cuts.pop(0)
        return None


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.client = (reader, writer)
        self.server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.cut = proxy.take_cut()
        self.ended = asyncio.Event()
        self._task = asyncio.current_task()

    def reset(self) -> None:
        """Break both sides with RST."""
        self.proxy.counts.broken += 1
        for end in (self.client, self.server):
            if end is not None:
                _close(end[1], reset=True)
        if self._task is not None:
            self._task.cancel()

    async def swallow(self) -> None:
        """Read and forget, until the client has enough."""
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while piece := await self.client[0].read(_PIECE):
                self.proxy.counts.up += len(piece)
        _close(self.client[1])

    async def carry(self, port: int) -> None:
        """Pass on both ways until both have ended."""
        proxy = self.proxy
        try:
            self.server = await asyncio.open_connection(proxy.host, port, limit=_PIECE)
        except OSError:
            _close(self.client[1], reset=True)
            return
        ways = (
            asyncio.create_task(self._pump(self.client[0], self.server[1], proxy.up, "up")),
            asyncio.create_task(self._pump(self.server[0], self.client[1], proxy.down, "down")),
        )
        try:
            await asyncio.gather(*ways)
        except (OSError, asyncio.CancelledError):
            # One side broke, or a test did: nothing more will pass, and nobody waits for this task.
            pass
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            _close(self.server[1])
            _close(self.client[1])

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        way: Literal["up", "down"],
    ) -> None:
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        delivery = asyncio.create_task(self._deliver(queue, writer, way))
        try:
            while piece := await reader.read(_PIECE):
                departure = direction.departure(len(piece), loop.time())
                await queue.put((departure + direction.latency, piece))
                if departure > loop.time():
                    await asyncio.sleep(departure - loop.time())
                if delivery.done():
                    break
            await queue.put((loop.time() + direction.latency, b""))
            await delivery
        finally:
            delivery.cancel()

    async def _deliver(
        self,
        queue: asyncio.Queue[tuple[float, bytes]],
        writer: asyncio.StreamWriter,
        way: Literal["up", "down"],
    ) -> None:
        loop = asyncio.get_running_loop()
        passed, cut = 0, self.cut if self.cut is not None and self.cut.direction == way else None
        while True:
            due, piece = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self.proxy.flowing.wait()
            if not piece:
                break
            if cut is not None and passed + len(piece) >= cut.after:
                await self._write(writer, piece[: cut.after - passed], way)
                if cut.how == "reset":
                    self.reset()
                    return
                self.proxy.counts.broken += 1
                break
            await self._write(writer, piece, way)
            passed += len(piece)
        if writer.can_write_eof():
            writer.write_eof()

    async def _write(self, writer: asyncio.StreamWriter, piece: bytes, way: Literal["up", "down"]) -> None:
        writer.write(piece)
        await writer.drain()
        counts = self.proxy.counts
        if way == "up":
            counts.up += len(piece)
        else:
            counts.down += len(piece)


def _close(writer: asyncio.StreamWriter, *, reset: bool = False) -> None:
    if reset:
        raw = writer.get_extra_info("socket")
        if raw is not None and raw.fileno() >= 0:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


async def _serve(proxy: FaultProxy) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with proxy:
        print(proxy.port, flush=True)
        await ended.wait()
        print(json.dumps(asdict(proxy.counts)), flush=True)


def main(argv: Sequence[str] | None = None) -> None:
    """Run one until a signal ends it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--listen", type=int, default=0, help="first port")
    parser.add_argument("--to", required=True, metavar="HOST:PORT")
    parser.add_argument("--count", type=int, default=1, help="ports in a row")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds, one way")
    parser.add_argument("--bandwidth", type=float, help="bytes per second, each way")
    options = parser.parse_args(argv)
    host, _, port = options.to.rpartition(":")
    proxy = FaultProxy(int(port), host, options.listen, options.count)
    proxy.shape(options.latency, options.bandwidth)
    asyncio.run(_serve(proxy))


if __name__ == "__main__":
    main()
