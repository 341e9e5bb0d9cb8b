"""Files and streams that threads move piece by piece."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from pseudoworker.openqa.bodies import WrongLength
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage, NotFound, Refused, Unauthorized, Unreachable
from pseudoworker.openqa.json import Json
from tests.protocol.openqa.conftest import ONCE, Authority, ClientMaker, Log
from tests.protocol.openqa.peer import Link, Received, answer, answering, peer, until

OK = b"HTTP/1.1 200 OK\r\n"
CONTENT = bytes(range(256)) * 2000


def download(client: Client, path: str = "/x", *, size: int = 100_000, timeout: float = 5.0) -> list[bytes]:
    with client.open(path, timeout=timeout) as opened:
        return list(opened.iter(size))


async def test_a_file_in_chunks_of_the_wanted_size(make_client: ClientMaker, log: Log) -> None:
    async with answering(lambda _: answer(200, CONTENT, ETag='"x"')) as there:
        client = make_client(there.url)

        def read() -> None:
            with client.open(
                "/assets/iso/a b.iso", params={"a": "b"}, headers={"Range": "bytes=0-"}
            ) as opened:
                assert (opened.status, opened.length, opened.received) == (200, len(CONTENT), 0)
                assert opened.headers["etag"] == '"x"'
                assert opened.url == f"{there.url}/assets/iso/a%20b.iso?a=b"
                chunks = list(opened.iter(100_000))
                assert [len(chunk) for chunk in chunks] == [100_000] * 5 + [12_000]
                assert b"".join(chunks) == CONTENT
                assert opened.received == len(CONTENT)

        await asyncio.to_thread(read)
        await asyncio.to_thread(read)
        assert there.connections == 1
    request = there.received[0]
    assert request.target == "/assets/iso/a%20b.iso?a=b"
    assert request.headers["range"] == "bytes=0-"
    assert request.headers["accept-encoding"] == "identity"
    assert log.requests == [("GET", "download", 0, len(CONTENT), None)] * 2


async def test_a_part_of_a_file(make_client: ClientMaker) -> None:
    part = answer(206, b"abc", Content_Range="bytes 5-7/10")
    async with answering(lambda _: part) as there:
        client = make_client(there.url)

        def read() -> tuple[int, list[bytes]]:
            with client.open("/x") as opened:
                return opened.status, list(opened.iter(2))

        assert await asyncio.to_thread(read) == (206, [b"ab", b"c"])


async def test_refusals_come_when_it_is_opened(make_client: ClientMaker, log: Log) -> None:
    statuses = iter([404, 416])
    async with answering(lambda _: answer(next(statuses))) as there:
        client = make_client(there.url)
        with pytest.raises(NotFound):
            await asyncio.to_thread(download, client)
        with pytest.raises(Refused) as caught:
            await asyncio.to_thread(download, client)
    assert caught.value.status == 416
    assert [entry[4] for entry in log.requests] == ["NotFound", "Refused"]


async def test_an_asset_on_a_mirror(make_client: ClientMaker) -> None:
    async with (
        answering(lambda _: answer(200, CONTENT)) as mirror,
        answering(lambda _: answer(302, b"", Location=f"{mirror.url}/a.iso")) as there,
    ):
        assert b"".join(await asyncio.to_thread(download, make_client(there.url))) == CONTENT
    assert "x-api-key" not in mirror.received[0].headers
    assert mirror.received[0].headers["accept-encoding"] == "identity"


async def test_the_connection_is_cut(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(OK + b"Content-Length: 10000\r\n\r\n" + b"x" * 5000)
        if link.number == 2:
            link.reset()

    async with peer(script) as there:
        client = make_client(there.url)
        for _ in range(2):
            with pytest.raises(Unreachable, match=r"ended after \d+ of 10000 bytes|connection broke"):
                await asyncio.to_thread(download, client, size=1000)


async def test_a_stalled_file(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(OK + b"Content-Length: 10000\r\n\r\n")
        while True:
            await link.send(b"x")
            await asyncio.sleep(0.02)

    async with peer(script) as there:
        started = time.monotonic()
        with pytest.raises(Unreachable, match=r"no whole answer within 0\.4 s"):
            await asyncio.to_thread(download, make_client(there.url), timeout=0.4)
        assert time.monotonic() - started < 5


async def test_time_that_the_reader_takes_does_not_count(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(200, CONTENT)) as there:
        client = make_client(there.url)

        def read() -> int:
            with client.open("/x", timeout=1.0) as opened:
                size = 0
                for chunk in opened.iter(400_000):
                    time.sleep(1.2)
                    size += len(chunk)
                return size

        assert await asyncio.to_thread(read) == len(CONTENT)


HEADS = {"plain": OK + b"\r\n", "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n"}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())
async def test_a_stream_as_it_comes(make_client: ClientMaker, head: bytes) -> None:
    seen: list[bytes] = []
    chunked = b"chunked" in head

    def arrived(number: int) -> bool:
        return len(seen) > number

    async def script(link: Link) -> None:
        await link.request()
        await link.send(head)
        for number in range(3):
            text = b"data: %d\n\n" % number
            await link.send(b"%x\r\n%s\r\n" % (len(text), text) if chunked else text)
            await until(partial(arrived, number))
            await asyncio.sleep(0.5)  # longer in all than the time-out, which each wait has for itself
        if chunked:
            await link.send(b"0\r\n\r\n")

    async with peer(script) as there:
        client = make_client(there.url)

        def read() -> None:
            with client.open("/x", timeout=1.2) as opened:
                assert opened.length is None
                seen.extend(opened.arriving())

        await asyncio.to_thread(read)
    assert b"".join(seen) == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert len(seen) == 3


async def test_a_stream_may_be_ended_from_outside(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(OK + b"\r\nfirst")
        await link.reader.read()

    async with peer(script) as there:
        client = make_client(there.url)
        opened_one: list[object] = []

        def read() -> None:
            with client.open("/x", timeout=30) as opened:
                pieces = opened.arriving()
                assert next(pieces) == b"first"
                opened_one.append(opened)
                threading.Timer(0.1, opened.abort).start()
                next(pieces)

        with pytest.raises(Unreachable, match="ended by us"):
            await asyncio.to_thread(read)
        await until(lambda: there.ended == 1)


async def test_leaving_early_closes_the_connection(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(OK + b"Content-Length: 100000000\r\n\r\n" + b"x" * 1000)
        await link.reader.read()

    async with peer(script) as there:
        client = make_client(there.url)

        def read() -> None:
            with client.open("/x") as opened:
                next(opened.iter(10))

        await asyncio.to_thread(read)
        await until(lambda: there.ended == 1)


async def test_errors_of_the_reader_come_through(make_client: ClientMaker, log: Log) -> None:
    async with answering(lambda _: answer(200, CONTENT)) as there:
        client = make_client(there.url)

        def read() -> None:
            with client.open("/x"):
                raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            await asyncio.to_thread(read)
    assert log.requests[0][4] == "KeyError"


def pieces_of(content: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def upload(
    client: Client, chunks: Iterator[bytes], length: int, *, timeout: float = 5.0, path: str = "/x"
) -> Json:
    return client.upload_stream(path, {"asset": "public"}, "a.iso", length, chunks, timeout)


async def test_an_upload_as_it_comes(make_client: ClientMaker, log: Log) -> None:
    async with answering(lambda _: answer(200, b'{"status":"ok"}')) as there:
        client = make_client(there.url)
        assert await asyncio.to_thread(upload, client, pieces_of(CONTENT, 70_001), len(CONTENT)) == {
            "status": "ok"
        }
        assert await asyncio.to_thread(upload, client, iter([]), 0) == {"status": "ok"}
        assert there.connections == 1
    request = there.received[0]
    assert request.target == "/x?asset=public"
    assert b'filename="a.iso"' in request.body
    assert b"\r\n\r\n" + CONTENT + b"\r\n--" in request.body
    assert request.headers["content-length"] == str(len(request.body))
    assert "transfer-encoding" not in request.headers
    assert log.requests[0] == ("POST", "chunk", len(request.body), 15, None)


@pytest.mark.parametrize("length", [5, 7])
async def test_an_upload_of_another_length(make_client: ClientMaker, length: int) -> None:
    async with answering(lambda _: answer()) as there:
        client = make_client(there.url)
        with pytest.raises(WrongLength, match=f"{length} bytes was announced, 6 came"):
            await asyncio.to_thread(upload, client, iter([b"abc", b"def"]), length)
        assert await client.get_json("/y", policy=ONCE) == {}
        assert there.connections == 2, "what was left half sent is not used again"


async def test_errors_of_the_source_come_through(make_client: ClientMaker) -> None:
    def broken() -> Iterator[bytes]:
        yield b"abc"
        raise Unreachable("the other side is gone", url="http://slave/x")

    async with answering(lambda _: answer()) as there:
        client = make_client(there.url)
        with pytest.raises(Unreachable) as caught:
            await asyncio.to_thread(upload, client, broken(), 6)
        await until(lambda: there.ended == 1)
        assert there.received == []
    assert caught.value.url == "http://slave/x"


async def test_time_that_the_source_takes_does_not_count(make_client: ClientMaker) -> None:
    def slow() -> Iterator[bytes]:
        for piece in (b"abc", b"def"):
            time.sleep(1.2)
            yield piece

    async with answering(lambda _: answer()) as there:
        assert await asyncio.to_thread(upload, make_client(there.url), slow(), 6, timeout=1.0) == {}


async def test_an_upload_that_nobody_takes(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        link.transport.pause_reading()
        await asyncio.Event().wait()

    async with peer(script) as there:
        client = make_client(there.url)
        with pytest.raises(Unreachable, match=r"no whole answer|time-out"):
            await asyncio.to_thread(
                upload, client, pieces_of(b"x" * 30_000_000, 1_000_000), 30_000_000, timeout=0.5
            )


async def test_an_upload_is_refused(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(403, b'{"error":"no api key"}')) as there:
        client = make_client(there.url + "/openqa")
        with pytest.raises(Unauthorized, match="no api key"):
            await asyncio.to_thread(upload, client, iter([b"abc"]), 3)
        assert len(there.received) == 1, "its content is gone, so no other path is tried"


async def test_nonsense_for_an_answer(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(200, b"<html>")) as there:
        with pytest.raises(Garbage, match="answer is HTML"):
            await asyncio.to_thread(upload, make_client(there.url), iter([b"abc"]), 3)


async def test_download_and_upload_overlap(make_client: ClientMaker) -> None:
    sent = 0

    async def source(link: Link) -> None:
        nonlocal sent
        await link.request()
        await link.send(OK + b"Content-Length: %d\r\n\r\n" % len(CONTENT))
        for start in range(0, len(CONTENT), 64_000):
            if start == 256_000:
                await until(lambda: taken > 100_000)
            piece = CONTENT[start : start + 64_000]
            await link.send(piece)
            sent += len(piece)

    taken = 0

    async def target(link: Link) -> None:
        nonlocal taken
        head = await link.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while taken < length:
            taken += len(await link.reader.read(50_000))
        await link.answer()

    async with peer(source) as slave, peer(target) as master:
        slave_client, master_client = make_client(slave.url), make_client(master.url)

        def relay() -> Json:
            with slave_client.open("/x") as opened:
                assert opened.length is not None
                return upload(master_client, opened.iter(64_000), opened.length)

        assert await asyncio.to_thread(relay) == {}
    assert sent == len(CONTENT)


async def test_transfers_over_tls(make_client: ClientMaker, authority: Authority) -> None:
    def respond(request: Received) -> bytes:
        return (
            answer(200, str(len(request.body)).encode()) if request.method == "POST" else answer(200, CONTENT)
        )

    async with answering(respond, tls=authority.server) as there:
        client = make_client(there.url, ca_file=authority.ca_file)
        assert b"".join(await asyncio.to_thread(download, client)) == CONTENT
        size = await asyncio.to_thread(upload, client, pieces_of(CONTENT, 100_000), len(CONTENT))
    assert isinstance(size, int)
    assert size > len(CONTENT)


async def test_a_stalled_call_over_tls(make_client: ClientMaker, authority: Authority) -> None:
    async def script(link: Link) -> None:
        await link.request()
        while True:
            await link.send(b"HTTP/1.1 200 OK\r\nX: y\r\n"[:1])
            await asyncio.sleep(0.05)

    async with peer(script, tls=authority.server) as there:
        client = make_client(there.url, ca_file=authority.ca_file)
        with pytest.raises(Unreachable, match=r"no whole answer within 0\.3 s"):
            await asyncio.to_thread(download, client, timeout=0.3)
