"""The server from which a slave downloads what it can not get from the master."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pseudoworker.bridge.assets import serve
from pseudoworker.bridge.assets.names import Asset
from pseudoworker.bridge.assets.serve import AssetServer, CanNotServe, Offer
from pseudoworker.bridge.assets.site import Site
from tests.protocol.assets.world import World, content_of, world

ISO = content_of(3_000_000)


@dataclass
class Served:
    """An offered asset and what speaks to the server."""

    world: World
    server: AssetServer
    offer: Offer
    now: float = 0.0

    @property
    def path(self) -> str:
        return "/" + self.offer.url.split("/", 3)[3]

    async def ask(self, request: str) -> tuple[str, dict[str, str], bytes]:
        """Status line, headers and body of the answer to these bytes; empty when there is none."""
        address = self.offer.url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(address[0], int(address[1]))
        writer.write(request.encode())
        await writer.drain()
        answer = await reader.read()
        writer.close()
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        return lines[0], headers, body

    async def get(self, *headers: str, method: str = "GET") -> tuple[str, dict[str, str], bytes]:
        lines = [f"{method} {self.path} HTTP/1.1", "Host: here", *headers]
        return await self.ask("\r\n".join(lines) + "\r\n\r\n")


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[Served]:
    async with world(tmp_path) as w:
        w.put(w.master, "iso", "a b.iso", ISO, age=60)
        with ThreadPoolExecutor(4) as threads:
            site = Site(w.master_client, threads)
            file = await site.look(Asset("iso", "a b.iso"))
            assert file is not None
            served = Served.__new__(Served)
            served.now = 0.0
            server = AssetServer(site, "127.0.0.1:0", clock=lambda: served.now)
            await server.start()
            served.world, served.server, served.offer = w, server, server.offer(file, "a b.iso", 60)
            try:
                yield served
            finally:
                await server.close()


async def test_a_whole_file(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        status, headers, body = await s.get()
        assert status == "HTTP/1.1 200 OK"
        assert headers["Content-Length"] == str(len(ISO))
        assert headers["Connection"] == "close"
        assert body == ISO
        assert s.offer.sent == len(ISO)


async def test_head_sends_no_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        status, headers, body = await s.get(method="HEAD")
        assert (status, headers["Content-Length"], body) == ("HTTP/1.1 200 OK", str(len(ISO)), b"")
        assert s.offer.sent == 0


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("0-0", 0, 1), ("100-", 100, len(ISO)), ("-5", len(ISO) - 5, len(ISO)), ("10-99999999", 10, len(ISO))],
)
async def test_ranges(tmp_path: Path, asked: str, start: int, end: int) -> None:
    async with serving(tmp_path) as s:
        status, headers, body = await s.get(f"Range: bytes={asked}")
        assert status == "HTTP/1.1 206 Partial Content"
        assert headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(ISO)}"
        assert body == ISO[start:end]


@pytest.mark.parametrize("asked", ["5-4", "99999999-", "a-b", "-", "0-1,3-4", "-0"])
async def test_ranges_that_can_not_be_given(tmp_path: Path, asked: str) -> None:
    async with serving(tmp_path) as s:
        status, _, body = await s.get(f"Range: bytes={asked}")
        assert (status, body) == ("HTTP/1.1 416 Range Not Satisfiable", b"")


async def test_a_range_of_another_version_brings_the_whole(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        _, headers, _ = await s.get("Range: bytes=0-1")
        status, _, _ = await s.get("Range: bytes=0-1", f"If-Range: {headers['ETag']}")
        assert status == "HTTP/1.1 206 Partial Content"
        status, _, body = await s.get("Range: bytes=0-1", 'If-Range: "other"')
        assert (status, len(body)) == ("HTTP/1.1 200 OK", len(ISO))


async def test_what_was_not_offered_is_not_there(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        for path in (
            "/",
            "/a",
            f"/{'x' * 43}/a.iso",
            s.path + "/x",
            "/assets/iso/a%20b.iso",
            "/../etc/passwd",
        ):
            status, _, body = await s.ask(f"GET {path} HTTP/1.1\r\n\r\n")
            assert (status, body) == ("HTTP/1.1 404 Not Found", b"")


async def test_offers_expire_and_can_be_withdrawn(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        s.now = 61
        assert (await s.get())[0] == "HTTP/1.1 404 Not Found"
    async with serving(tmp_path) as s:
        s.server.withdraw(s.offer)
        assert (await s.get())[0] == "HTTP/1.1 404 Not Found"


async def test_urls_can_not_be_guessed(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        other = s.server.offer(s.offer.file, "a b.iso", 60)
        assert other.url != s.offer.url
        assert len(other.token) == 43
        assert other.url.endswith("/a%20b.iso")
        assert other.token not in repr(other).replace(other.url, "")


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("POST {path} HTTP/1.1", 405),
        ("DELETE {path} HTTP/1.1", 405),
        ("GET {path}", 400),
        ("GET {path} HTTP/2.0", 400),
        ("nonsense", 400),
        ("\0\1\2", 400),
    ],
)
async def test_anything_else_is_refused(tmp_path: Path, request_line: str, status: int) -> None:
    async with serving(tmp_path) as s:
        line, _, body = await s.ask(request_line.format(path=s.path) + "\r\n\r\n")
        assert line.startswith(f"HTTP/1.1 {status} ")
        assert body == b""


async def test_an_endless_head_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        line, _, _ = await s.ask(f"GET {s.path} HTTP/1.1\r\nX: {'x' * 70_000}\r\n\r\n")
        assert line == "HTTP/1.1 431 Request Header Fields Too Large"


async def test_a_client_that_says_nothing_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "HEAD_TIMEOUT", 0.05)
    async with serving(tmp_path) as s:
        assert await s.ask("GET") == ("", {}, b"")


async def test_a_file_that_changes_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        s.world.put(s.world.master, "iso", "a b.iso", content_of(len(ISO), 5), age=10)
        try:
            _, _, body = await s.get()
        except ConnectionError:
            body = b""
        assert len(body) < len(ISO)


async def test_too_many_connections_are_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "MOST_CONNECTIONS", 0)
    async with serving(tmp_path) as s:
        status, headers, _ = await s.get()
        assert (status, headers["Retry-After"]) == ("HTTP/1.1 503 Service Unavailable", "30")


async def test_an_address_in_use_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as s:
        taken = s.offer.url.split("/")[2]
        other = AssetServer(Site(s.world.master_client, ThreadPoolExecutor(1)), taken)
        with pytest.raises(CanNotServe, match=f"serve_address {taken}"):
            await other.start()
