"""The fault proxy does to a connection what it says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.fakes.faultproxy import FaultProxy
from tests.fakes.pair import until
from tests.fakes.ports import free_ports

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    port = free_ports()
    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield port
    finally:
        server.close()


async def connect(proxy: FaultProxy) -> Streams:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def test_bytes_pass_both_ways_and_are_counted() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"x" * 100_000)
        assert await reader.readexactly(100_000) == b"x" * 100_000
        writer.close()
        await until(lambda: proxy.counts.open == 0)
        assert (proxy.counts.connections, proxy.counts.up, proxy.counts.down) == (1, 100_000, 100_000)


async def test_latency_delays_each_way_but_does_not_narrow() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        proxy.shape(0.1, None)
        reader, writer = await connect(proxy)
        began = time.monotonic()
        writer.write(b"x" * 1_000_000)
        await reader.readexactly(1_000_000)
        assert 0.2 <= time.monotonic() - began < 1.5
        writer.close()


async def test_bandwidth_is_shared_by_all_connections() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        proxy.shape(0.0, 1_000_000)
        began = time.monotonic()

        async def through() -> None:
            reader, writer = await connect(proxy)
            writer.write(b"x" * 200_000)
            await reader.readexactly(200_000)
            writer.close()

        await asyncio.gather(through(), through())
        assert 0.35 <= time.monotonic() - began < 2.0


@pytest.mark.parametrize("mode", ["refuse", "reset"])
async def test_connections_are_refused(mode: str) -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        proxy.mode = "reset" if mode == "reset" else "refuse"
        reader, writer = await connect(proxy)
        if mode == "refuse":
            assert await reader.read() == b""
        else:
            with pytest.raises(ConnectionResetError):
                await reader.read()
        writer.close()


async def test_a_black_hole_answers_nothing() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        proxy.mode = "blackhole"
        reader, writer = await connect(proxy)
        writer.write(b"hello")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        assert proxy.counts.up == 5
        writer.close()


async def test_a_connection_is_cut_after_so_many_bytes_and_the_next_is_not() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        proxy.cut_after(1000)
        reader, writer = await connect(proxy)
        writer.write(b"x" * 5000)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await reader.readexactly(5000)
        assert proxy.counts.down == 1000
        writer.close()
        reader, writer = await connect(proxy)
        writer.write(b"y" * 5000)
        assert await reader.readexactly(5000) == b"y" * 5000
        writer.close()


async def test_one_direction_is_closed_and_the_other_stays() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        proxy.half_close_after(10)
        reader, writer = await connect(proxy)
        writer.write(b"x" * 50)
        assert await reader.read() == b"x" * 10
        writer.write(b"z" * 70)
        await until(lambda: proxy.counts.up == 120)
        writer.close()


async def test_open_connections_are_broken_and_frozen() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        reader, writer = await connect(proxy)
        proxy.freeze()
        writer.write(b"late")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(4), 0.2)
        proxy.thaw()
        assert await reader.readexactly(4) == b"late"
        assert proxy.break_all() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_a_deaf_proxy_refuses_and_listens_again() -> None:
    async with echo() as port, FaultProxy(port) as proxy:
        await proxy.deafen()
        with pytest.raises(ConnectionRefusedError):
            await connect(proxy)
        await proxy.listen()
        _, writer = await connect(proxy)
        writer.close()
