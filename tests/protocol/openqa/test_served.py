"""What an instance says about a file, whether a key is good, and work in threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pseudoworker.openqa.access import ask_for_operator
from pseudoworker.openqa.client import Client
from pseudoworker.openqa.errors import Garbage, NotFound, Refused, Unauthorized
from pseudoworker.openqa.served import Served, first_byte, look, served
from pseudoworker.openqa.threads import in_thread, in_thread_to_end
from tests.protocol.openqa.conftest import ONCE, ClientMaker
from tests.protocol.openqa.peer import answer, answering

MODIFIED = "Thu, 26 Nov 2026 19:06:22 GMT"


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            answer(206, b"x", Content_Range="bytes 0-0/1234", ETag='W/"abc"', Last_Modified=MODIFIED),
            Served(1234, "/a.iso", '"abc"', 1795719982.0),
        ),
        (
            answer(206, b"x", Content_Range="bytes 0-0/1", Last_Modified=MODIFIED),
            Served(1, "/a.iso", MODIFIED, 1795719982.0),
        ),
        (answer(206, b"x", Content_Range="bytes 0-0/1", Last_Modified="soon"), Served(1, "/a.iso", "soon")),
        (answer(200, b"whole"), Served(5, "/a.iso")),
        (answer(416, b""), Served(0, "/a.iso")),
        (answer(404, b""), None),
    ],
)
async def test_looks(
    make_client: ClientMaker, executor: ThreadPoolExecutor, said: bytes, found: Served | None
) -> None:
    async with answering(lambda _: said) as there:
        assert await look(make_client(there.url), executor, "/a.iso", policy=ONCE) == found
    assert there.received[0].headers["range"] == "bytes=0-0"


@pytest.mark.parametrize(
    "said",
    [
        answer(206, b"x"),
        answer(206, b"x", Content_Range="bytes 0-0/*"),
        answer(206, b"x", Content_Range="bytes 0-0/" + "9" * 5000),
        answer(206, b"x", Content_Range="bytes \u00b2-0/5"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ],
)
async def test_a_size_that_is_none(
    make_client: ClientMaker, executor: ThreadPoolExecutor, said: bytes
) -> None:
    async with answering(lambda _: said) as there:
        client = make_client(there.url)
        with pytest.raises(Garbage, match="served without a length"):
            await look(client, executor, "/a.iso", policy=ONCE)


async def test_another_refusal_is_told(make_client: ClientMaker, executor: ThreadPoolExecutor) -> None:
    async with answering(lambda _: answer(403, b'{"error":"no api key"}')) as there:
        with pytest.raises(Unauthorized):
            await look(make_client(there.url), executor, "/a.iso", policy=ONCE)


async def test_where_a_download_begins(make_client: ClientMaker) -> None:
    answers = iter(
        [
            answer(200, b"whole"),
            answer(206, b"le", Content_Range="bytes 3-4/5"),
            answer(206, b"le", Content_Range="bytes */5"),
        ]
    )

    def begins(client: Client) -> tuple[int | None, Served | None]:
        with client.open("/x") as opened:
            return first_byte(opened), served(opened, "/x")

    async with answering(lambda _: next(answers)) as there:
        client = make_client(there.url)
        found = [await asyncio.to_thread(begins, client) for _ in range(3)]
    assert found == [(0, Served(5, "/x")), (3, Served(5, "/x")), (None, None)]


def test_versions() -> None:
    assert Served(5, "/a", "v").same_version(Served(5, "/b", "v", 1.0))
    assert not Served(5, "/a", "v").same_version(Served(5, "/a", "w"))
    assert not Served(5, "/a", "v").same_version(Served(6, "/a", "v"))


async def test_operator_rights(make_client: ClientMaker) -> None:
    answers = iter(
        [
            answer(400, b'{"error":"Erroneous parameters (cpu_arch missing)"}'),
            answer(403, b'{"error":"Administrator level required"}'),
            answer(404),
            answer(409),
            answer(200, b'{"id":1}'),
        ]
    )
    async with answering(lambda _: next(answers)) as there:
        client = make_client(there.url)
        await ask_for_operator(client, policy=ONCE)
        for kind in (Unauthorized, NotFound, Refused, Garbage):
            with pytest.raises(kind):
                await ask_for_operator(client, policy=ONCE)


async def test_work_in_threads(executor: ThreadPoolExecutor) -> None:
    def fail() -> None:
        raise KeyError("mine")

    assert await in_thread(executor, threading.get_ident) != threading.get_ident()
    assert await in_thread_to_end(executor, threading.get_ident) != threading.get_ident()
    for run in (in_thread, in_thread_to_end):
        with pytest.raises(KeyError):
            await run(executor, fail)


@pytest.mark.parametrize("fails", [False, True])
async def test_work_that_is_waited_for_when_cancelled(executor: ThreadPoolExecutor, fails: bool) -> None:
    begun, end = threading.Event(), threading.Event()
    done: list[bool] = []

    def work() -> None:
        begun.set()
        end.wait(10)
        done.append(True)
        if fails:
            raise KeyError("seen by nobody")

    task = asyncio.ensure_future(in_thread_to_end(executor, work))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == [True]


async def test_work_that_never_began_is_no_obstacle() -> None:
    end = threading.Event()
    with ThreadPoolExecutor(1) as busy:
        first = asyncio.ensure_future(in_thread(busy, lambda: end.wait(10)))
        second = asyncio.ensure_future(in_thread_to_end(busy, lambda: None))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        busy.shutdown(wait=False, cancel_futures=True)
        with pytest.raises(asyncio.CancelledError):
            await second
        end.set()
        await first
