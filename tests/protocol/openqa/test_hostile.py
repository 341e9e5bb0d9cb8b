"""Servers and networks that misbehave: every call ends in time, with the right error, and hurts no other."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pseudoworker.openqa import retry
from pseudoworker.openqa.errors import Garbage, OpenQAError, Refused, Unreachable
from pseudoworker.openqa.retry import Policy
from tests.protocol.openqa.conftest import ONCE, QUICK, ClientMaker, Log, impatient
from tests.protocol.openqa.peer import Link, Received, Script, answer, answering, peer, until

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


async def drip(link: Link, data: bytes) -> None:
    """One byte each 50 ms, over and over."""
    while True:
        for byte in data:
            await link.send(bytes((byte,)))
            await asyncio.sleep(0.05)


def says(data: bytes, *, then: str = "close") -> Script:
    """A script that sends `data` after the first request, then closes, resets or waits."""

    async def script(link: Link) -> None:
        if await link.request() is None:
            return
        await link.send(data)
        if then == "reset":
            link.reset()
        elif then == "wait":
            await link.reader.read()

    return script


@pytest.mark.parametrize(
    ("start", "dripped"),
    [
        (b"", b"HTTP/1.1 200 OK\r\n"),
        (OK, b"X-Header: 1\r\n"),
        (OK + b"X-Endless: ", b"x"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b" "),
        (OK + b"\r\n", b" "),
        (CHUNKED, b"1\r\n \r\n"),
        (CHUNKED + b"1;", b"x"),
        (CHUNKED + b"ffffff\r\n", b" "),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 100000\r\n\r\n", b" "),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 100000\r\n\r\n", b" "),
    ],
)
async def test_slow_drip_ends_in_time(make_client: ClientMaker, start: bytes, dripped: bytes) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(start)
        await drip(link, dripped)

    async with peer(script) as there:
        client = make_client(there.url)
        started = time.monotonic()
        with pytest.raises(Unreachable, match=r"no whole answer within 0\.5 s"):
            await client.get_json("/x", policy=impatient(0.5))
        assert time.monotonic() - started < 5
        await until(lambda: there.ended == 1)


async def test_black_hole(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        await link.reader.read(1)
        await asyncio.Event().wait()

    async with peer(script) as there:
        with pytest.raises(Unreachable, match=r"time-out|no whole answer"):
            await make_client(there.url).get_json("/x", policy=impatient(0.3))


@pytest.mark.parametrize(
    ("data", "then", "error", "text"),
    [
        (b"", "close", Unreachable, "connection broke"),
        (b"", "reset", Unreachable, "connection broke"),
        (OK, "close", Unreachable, "ended in its head"),
        (OK + b"Content-Length: 10\r\n\r\n{}", "close", Unreachable, "of 10 bytes|connection broke"),
        (OK + b"Content-Length: 10\r\n\r\n{}", "reset", Unreachable, "connection broke|of 10 bytes"),
        (OK + b"Content-Length: 10\r\n\r\n{}", "wait", Unreachable, "no whole answer|time-out"),
        (CHUNKED + b"2\r\n{}\r\n", "close", Unreachable, "connection broke"),
        (CHUNKED + b"2\r\n{}\r\n", "wait", Unreachable, "no whole answer|time-out"),
        (CHUNKED + b"zz\r\n{}\r\n", "wait", Unreachable, "connection broke"),
        (CHUNKED + b"-5\r\n{}\r\n", "wait", Garbage, "cannot be read"),
        (b"SSH-2.0-OpenSSH\r\n", "wait", Unreachable, "connection broke"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "wait", Unreachable, "connection broke"),
        (b"HTTP/1.1 200\r\n\r\n", "close", Unreachable, "ended in its head"),
        (b"HTTP/1.1 99999 OK\r\n\r\n", "wait", Unreachable, "connection broke"),
        (b"\x00\xff" * 1000, "close", Unreachable, "connection broke"),
        (OK + b"X: " + b"y" * 70_000 + b"\r\n\r\n", "wait", Unreachable, "connection broke"),
        (OK + b"X: y\r\n" * 200 + b"\r\n", "wait", Unreachable, "connection broke"),
        (OK + b"Content-Length: -5\r\n\r\n{", "close", Garbage, "no JSON"),
    ],
)
async def test_bad_answers(
    make_client: ClientMaker, data: bytes, then: str, error: type[OpenQAError], text: str
) -> None:
    async with peer(says(data, then=then)) as there:
        with pytest.raises(error, match=text) as caught:
            await make_client(there.url).get_json("/x", policy=impatient(1.5))
    assert there.url in caught.value.url


async def test_a_length_that_is_none_is_no_length(make_client: ClientMaker) -> None:
    async with peer(says(OK + b"Content-Length: x\r\n\r\n{}")) as there:
        assert await make_client(there.url).get_json("/x", policy=ONCE) == {}


async def test_good_chunks(make_client: ClientMaker) -> None:
    data = CHUNKED + b'1;ext=1\r\n{\r\n8\r\n"a": 1}\n\r\n0\r\nTrailer: x\r\n\r\n'
    async with peer(says(data, then="wait")) as there:
        assert await make_client(there.url).get_json("/x", policy=ONCE) == {"a": 1}


async def test_an_endless_body_is_cut_at_the_limit(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        await link.request()
        await link.send(OK + b"\r\n")
        while True:
            await link.send(b" " * 65536)

    async with peer(script) as there:
        with pytest.raises(Garbage, match="larger than 1000000 bytes"):
            await make_client(there.url).read("/x", policy=ONCE, limit=1_000_000)
        await until(lambda: there.ended == 1)


async def test_a_slow_line_is_no_stalled_one(make_client: ClientMaker) -> None:
    body = b" " * 600_000

    async def script(link: Link) -> None:
        await link.request()
        await link.send(OK + b"Content-Length: 600000\r\n\r\n")
        for start in range(0, len(body), 60_000):
            await link.send(body[start : start + 60_000])
            await asyncio.sleep(0.15)

    async with peer(script) as there:
        assert await make_client(there.url).read("/x", policy=impatient(1.2), limit=600_000) == body


async def test_a_request_may_go_out_slowly(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        transport = link.transport
        assert transport.get_extra_info("socket") is not None
        for _ in range(20):
            transport.pause_reading()
            await asyncio.sleep(0.02)
            transport.resume_reading()
        if (request := await link.request()) is not None:
            await link.answer(200, str(len(request.body)).encode())

    async with peer(script) as there:
        client = make_client(there.url)
        size = await client.upload("/x", {}, "a", b"x" * 8_000_000, policy=impatient(2))
    assert isinstance(size, int)
    assert size > 8_000_000


async def test_whoever_takes_nothing_is_given_up(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        link.transport.pause_reading()
        await asyncio.Event().wait()

    async with peer(script) as there:
        with pytest.raises(Unreachable, match=r"no whole answer|time-out"):
            await make_client(there.url).upload("/x", {}, "a", b"x" * 30_000_000, policy=impatient(0.5))


async def test_an_answer_before_the_whole_request(make_client: ClientMaker) -> None:
    async def script(link: Link) -> None:
        await link.reader.readuntil(b"\r\n\r\n")
        await link.answer(413, b'{"error":"too much"}')
        link.writer.write_eof()
        await link.reader.read(10_000)
        await asyncio.sleep(0.2)

    async with peer(script) as there:
        with pytest.raises((Refused, Unreachable)):
            await make_client(there.url).upload("/x", {}, "a", b"x" * 30_000_000, policy=ONCE)


async def test_a_connection_that_died_while_idle_costs_one_repetition_at_most(
    make_client: ClientMaker, log: Log
) -> None:
    async def script(link: Link) -> None:
        for _ in range(2):
            if await link.request() is not None:
                await link.answer()
        link.reset()

    async with peer(script) as there:
        client = make_client(there.url)
        for _ in range(6):
            assert await client.get_json("/x", policy=QUICK) == {}
        assert there.connections >= 3
    assert len(log.retries) <= 3


async def test_a_request_that_was_cut_is_repeated_by_policy(make_client: ClientMaker, log: Log) -> None:
    async def script(link: Link) -> None:
        await link.request()
        if link.number > 2:
            await link.answer()
        link.reset()

    async with peer(script) as there:
        assert await make_client(there.url).post_form("/x", policy=QUICK) == {}
        assert there.connections == 3
    assert [str(item.error.text).startswith("connection broke") for item in log.retries] == [True, True]


CUT = OK + b"Content-Length: 9\r\n\r\n{"


@pytest.mark.parametrize("answered", [b"", CUT, answer(503), answer(500)])
async def test_posting_a_job_is_never_repeated(make_client: ClientMaker, answered: bytes) -> None:
    seen: list[Received] = []

    async def script(link: Link) -> None:
        while (request := await link.request()) is not None:
            seen.append(request)
            if request.method == "GET":
                await link.answer()
            else:
                await link.send(answered)
                link.reset()

    async with peer(script) as there:
        client = make_client(there.url)
        await client.get_json("/x", policy=ONCE)  # so that the post goes over a kept connection
        with pytest.raises(OpenQAError):
            await client.post_form("/api/v1/jobs", {"TEST": "a"}, policy=retry.CREATE)
    assert [request.method for request in seen] == ["GET", "POST"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_and_signed_anew(make_client: ClientMaker, status: int) -> None:
    def respond(request: Received) -> bytes:
        if request.target == "/new?a=b":
            return answer(200, b"[]")
        return answer(status, b"moved", Location="/new?a=b#part")

    async with answering(respond) as there:
        assert await make_client(there.url).get_json("/old", policy=ONCE) == []
        assert there.connections == 1
    old, new = there.received
    assert old.headers["x-api-hash"] != new.headers["x-api-hash"]
    assert new.headers["x-api-key"] == "KEY"


async def test_credentials_stay_at_home(make_client: ClientMaker) -> None:
    async with (
        answering(lambda _: answer(200, b"[]")) as elsewhere,
        answering(lambda _: answer(302, b"", Location=f"{elsewhere.url}/mirror")) as there,
    ):
        assert await make_client(there.url).get_json("/x", policy=ONCE) == []
    assert "x-api-key" in there.received[0].headers
    assert not [name for name in elsewhere.received[0].headers if name.startswith("x-api")]


async def test_redirects_in_circles(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(302, b"", Location="/x")) as there:
        with pytest.raises(Garbage, match="redirects more than 5 times"):
            await make_client(there.url).get_json("/x", policy=QUICK)
    assert len(there.received) == 6


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "javascript:x", "http://[", "http://h:x/", "ws://h/"]
)
async def test_redirects_to_nonsense(make_client: ClientMaker, location: str) -> None:
    async with answering(lambda _: answer(302, b"", Location=location)) as there:
        with pytest.raises(Garbage, match="redirects to"):
            await make_client(there.url).get_json("/x", policy=QUICK)


async def test_a_post_follows_no_redirect(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(301, b"", Location="https://openqa.example.com/x")) as there:
        with pytest.raises(
            Refused, match=r"301 redirects to https://openqa\.example\.com/x; configure the URL"
        ):
            await make_client(there.url).post_form("/x", policy=QUICK)
    assert len(there.received) == 1


async def test_a_redirect_to_nowhere(make_client: ClientMaker) -> None:
    async with answering(lambda _: answer(304, b"")) as there:
        with pytest.raises(Refused, match="304 redirects to nowhere"):
            await make_client(there.url).get_json("/x", policy=QUICK)


class Gate:
    """A server that answers only when it is opened, and counts who waits."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.targets: list[str] = []
        self.waiting = 0
        self.most = 0

    async def script(self, link: Link) -> None:
        while (request := await link.request()) is not None:
            self.targets.append(request.target)
            self.waiting += 1
            self.most = max(self.most, self.waiting)
            try:
                await self.opened.wait()
            finally:
                self.waiting -= 1
            await link.answer()


async def test_no_more_than_so_many_at_a_time_and_first_come_first_served(make_client: ClientMaker) -> None:
    gate = Gate()
    async with peer(gate.script) as there:
        client = make_client(there.url, in_flight=1)
        calls = [asyncio.ensure_future(client.get_json(f"/{n}", policy=ONCE)) for n in range(8)]
        await until(lambda: gate.waiting == 1)
        gate.opened.set()
        await asyncio.gather(*calls)
        assert there.connections == 1
    assert gate.most == 1
    assert gate.targets == [f"/{n}" for n in range(8)]


async def test_a_cancelled_call_ends_at_once_and_gives_its_turn_away(make_client: ClientMaker) -> None:
    gate = Gate()
    async with peer(gate.script) as there:
        client = make_client(there.url, in_flight=2)
        first, second = (asyncio.ensure_future(client.get_json(f"/{n}", policy=ONCE)) for n in range(2))
        await until(lambda: gate.waiting == 2)
        third = asyncio.ensure_future(client.get_json("/2", policy=ONCE))
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await until(lambda: "/2" in gate.targets)
        gate.opened.set()
        assert [await second, await third] == [{}, {}]
        assert await client.get_json("/3", policy=ONCE) == {}


async def test_a_call_that_waits_for_its_turn_may_be_cancelled(make_client: ClientMaker) -> None:
    gate = Gate()
    async with peer(gate.script) as there:
        client = make_client(there.url, in_flight=1)
        first = asyncio.ensure_future(client.get_json("/0", policy=ONCE))
        await until(lambda: gate.waiting == 1)
        second = asyncio.ensure_future(client.get_json("/1", policy=ONCE))
        third = asyncio.ensure_future(client.get_json("/2", policy=ONCE))
        await asyncio.sleep(0)
        second.cancel()
        gate.opened.set()
        assert [await first, await third] == [{}, {}]
    assert gate.targets == ["/0", "/2"]


async def test_a_call_that_waits_for_a_thread_may_be_cancelled(make_client: ClientMaker) -> None:
    gate = Gate()
    with ThreadPoolExecutor(1) as executor:
        async with peer(gate.script) as there:
            client = make_client(there.url, in_flight=2, executor=executor)
            first = asyncio.ensure_future(client.get_json("/0", policy=ONCE))
            await until(lambda: gate.waiting == 1)
            second = asyncio.ensure_future(client.get_json("/1", policy=ONCE))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            gate.opened.set()
            assert await first == {}
            assert await client.get_json("/2", policy=ONCE) == {}
        client.close()
    assert gate.targets == ["/0", "/2"]


async def test_waiting_for_a_turn_has_an_end(make_client: ClientMaker) -> None:
    gate = Gate()
    async with peer(gate.script) as there:
        client = make_client(there.url, in_flight=1)
        first = asyncio.ensure_future(client.get_json("/0", policy=ONCE))
        await until(lambda: gate.waiting == 1)
        with pytest.raises(Unreachable, match="no turn among the requests in flight"):
            await client.get_json("/1", policy=Policy("short", (), 0.1, 0, 0, 0.2))
        gate.opened.set()
        assert await first == {}


async def test_a_closed_client_ends_its_calls_and_begins_none(make_client: ClientMaker) -> None:
    gate = Gate()
    async with peer(gate.script) as there:
        client = make_client(there.url)
        call = asyncio.ensure_future(client.get_json("/0", policy=QUICK))
        await until(lambda: gate.waiting == 1)
        await asyncio.to_thread(client.close)
        with pytest.raises((Unreachable, RuntimeError)):
            await call
        with pytest.raises(RuntimeError, match="client is closed"):
            await client.get_json("/1", policy=ONCE)
        with pytest.raises(RuntimeError, match="client is closed"), client.open("/1"):
            pass
    assert gate.targets == ["/0"]


async def test_without_threads_there_is_no_call(make_client: ClientMaker) -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    client = make_client("http://127.0.0.1:9", executor=executor, in_flight=1)
    for _ in range(2):  # twice: the turn is given back
        with pytest.raises(RuntimeError):
            await client.get_json("/x", policy=ONCE)


async def test_one_stalled_server_does_not_end_calls_to_others_early(make_client: ClientMaker) -> None:
    gate = Gate()
    async with peer(gate.script) as there:
        client = make_client(there.url)
        quick = asyncio.ensure_future(client.get_json("/0", policy=impatient(0.2)))
        patient = asyncio.ensure_future(client.get_json("/1", policy=impatient(20)))
        with pytest.raises(Unreachable):
            await quick
        gate.opened.set()
        assert await patient == {}
