"""Reading a slave's live streams over real sockets."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
from collections.abc import Callable

import pytest

from pseudoworker.openqa.errors import Busy, Garbage, NotFound, ServerFailed, Unauthorized, Unreachable
from pseudoworker.openqa.transport import tls_context
from pseudoworker.slave.live import LiveSource
from tests.protocol.live.streams import Handler, LiveServer, Viewer, live_server, png

LOG = "/tests/7/livelog"


def source(live: LiveServer, *, port_delta: int = 2, timeout: float = 5.0, prefix: str = "") -> LiveSource:
    return LiveSource(live.url + prefix, tls=tls_context(None), port_delta=port_delta, timeout=timeout)


def ignore(_: str = "") -> None:
    return None


async def read_log(live: LiveServer, timeout: float = 5.0) -> list[str]:
    texts: list[str] = []
    await source(live, timeout=timeout).read_text(7, "livelog", ignore, texts.append)
    return texts


async def test_texts_come_as_they_are_sent() -> None:
    async def log(viewer: Viewer) -> None:
        assert viewer.headers["accept"] == "text/event-stream"
        assert "x-api-key" not in viewer.headers
        await viewer.head()
        await viewer.text("one\n", "two\n")
        await viewer.send(b'data: ["thr"]\r\n\r\n: a comment\n\ndata:["ee\\u00c3\\u00bc"]\n\n')

    async with live_server({LOG: log}) as live:
        assert await read_log(live) == ["one\n", "two\n", "thr", "ee\u00c3\u00bc"]


async def test_characters_that_are_no_bytes_are_made_bytes() -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.head()
        await viewer.text("\u20ac\n")

    async with live_server({LOG: log}) as live:
        assert await read_log(live) == ["\u00e2\u0082\u00ac\n"]


async def test_a_chunked_answer_is_put_together() -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.head(200, "text/event-stream; charset=utf-8", "Transfer-Encoding: chunked")
        await viewer.send('4\r\ndata\r\n9;x=y\r\n: ["one"]\r\n2\r\n\n\n\r\n0\r\n\r\n')

    async with live_server({LOG: log}) as live:
        assert await read_log(live) == ["one"]


@pytest.mark.parametrize("body", ["4\r\nda", "zz\r\ndata\r\n", "-4\r\ndata\r\n", "fffffffff\r\n", ""])
async def test_a_broken_chunked_answer_is_an_error(body: str) -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.head(200, "text/event-stream", "Transfer-Encoding: chunked")
        await viewer.send(body)

    async with live_server({LOG: log}) as live:
        with pytest.raises((Unreachable, Garbage)):
            await read_log(live)


@pytest.mark.parametrize(
    ("status", "more", "error"),
    [
        (404, (), NotFound),
        (403, (), Unauthorized),
        (401, (), Unauthorized),
        (302, ("Location: /login?return_page=x",), Unauthorized),
        (302, ("Location: ftp://127.0.0.1/tests/7/livelog",), Unauthorized),
        (302, ("Location: /tests/7/livelog",), Garbage),
        (503, (), Busy),
        (500, (), ServerFailed),
        (200, (), Garbage),
    ],
)
async def test_a_refusal_is_told_for_what_it_is(
    status: int, more: tuple[str, ...], error: type[Exception]
) -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.head(status, "text/html", *more)
        await viewer.send("<html>no</html>")

    async with live_server({LOG: log}) as live:
        with pytest.raises(error, match=r"127\.0\.0\.1"):
            await read_log(live)


async def test_a_redirect_to_the_same_path_is_followed() -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.head()
        await viewer.text("one")

    async with live_server({LOG: log}) as other:

        async def moved(viewer: Viewer) -> None:
            await viewer.head(302, "text/html", f"Location: {other.url}{LOG}")

        async with live_server({LOG: moved}) as live:
            assert await read_log(live) == ["one"]
            assert live.open == []


@pytest.mark.parametrize(
    "head",
    [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 two hundred\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + "X: y\r\n" * 200,
        "HTTP/1.1 200 " + "x" * 100_000,
        "HTTP/1.1 200 OK\r\nX: " + "x" * 1_000_000,
    ],
)
async def test_an_answer_that_is_no_http_is_garbage(head: str) -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.send(head)
        await viewer.wait()

    async with live_server({LOG: log}) as live:
        with pytest.raises(Garbage):
            await read_log(live)


async def test_a_slave_without_anything_to_show_is_waited_for() -> None:
    """openQA sends not even the head of its answer before there is something to stream."""
    say = asyncio.Event()

    async def log(viewer: Viewer) -> None:
        await say.wait()
        await viewer.head()
        await viewer.text("at last")

    async with live_server({LOG: log}) as live:
        reading = asyncio.create_task(read_log(live, timeout=0.2))
        await live.until(lambda: live.open == [LOG])
        await asyncio.wait([reading], timeout=0.5)
        assert not reading.done()
        say.set()
        assert await reading == ["at last"]


async def test_a_connection_that_does_not_come_about_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        with contextlib.ExitStack() as stack:
            for _ in range(3):  # fill the queue of a server that accepts nobody
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(address)
            lost = LiveSource(f"http://127.0.0.1:{address[1]}", tls=tls_context(None), timeout=0.2)
            with pytest.raises(Unreachable, match=r"no connection within 0\.2 s"):
                await lost.read_text(7, "livelog", ignore, ignore)


async def test_nobody_there() -> None:
    async with live_server() as live:
        pass
    with pytest.raises(Unreachable, match="refused"):
        await read_log(live)


@pytest.mark.parametrize("event", ["no json", "{}", '"text"', "[1]", '[["x"]]', "[" * 5000])
async def test_an_event_that_is_no_list_of_texts_is_garbage(event: str) -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.head()
        await viewer.send(f"data: {event}\n\n")
        await viewer.wait()

    async with live_server({LOG: log}) as live:
        with pytest.raises(Garbage):
            await read_log(live)


async def flood(viewer: Viewer) -> None:
    """A line that never ends."""
    await viewer.head()
    await viewer.send('data: ["')
    while True:
        await viewer.send("x" * 65536)


async def test_a_text_that_never_ends_is_garbage() -> None:
    async with live_server({LOG: flood}) as live:
        with pytest.raises(Garbage):
            await read_log(live)


async def test_a_picture_that_never_ends_is_garbage() -> None:
    async with live_server({"/tests/7/streaming": flood}) as live:
        with pytest.raises(Garbage):
            await source(live).read_screen(7, ignore, ignore)


def screen_at(numbers: list[int]) -> Handler:
    async def screen(viewer: Viewer) -> None:
        await viewer.head()
        for number in numbers:
            await viewer.screen(number)

    return screen


async def read_screen(source: LiveSource) -> list[str]:
    screens: list[str] = []
    await source.read_screen(7, ignore, screens.append)
    return screens


async def test_the_screen_of_a_release_of_2023_is_at_the_web_ui() -> None:
    async with live_server({"/tests/7/streaming": screen_at([1, 2])}) as live:
        assert await read_screen(source(live)) == [png(1), png(2)]


async def test_the_screen_behind_a_reverse_proxy_is_at_the_live_handlers_path() -> None:
    path = "/prefix/liveviewhandler/tests/7/streaming"
    async with live_server({path: screen_at([1])}) as live:
        reader = source(live, prefix="/prefix")
        assert await read_screen(reader) == [png(1)]
        assert live.seen == ["/prefix/tests/7/streaming", path]
        assert await read_screen(reader) == [png(1)]
        assert live.seen[2:] == [path], "the place is remembered"


async def test_the_screen_without_a_proxy_is_at_the_live_handlers_port() -> None:
    path = "/liveviewhandler/tests/7/streaming"
    async with live_server() as live, live_server({path: screen_at([1])}) as handler:
        reader = source(live, port_delta=handler.port - live.port)
        assert await read_screen(reader) == [png(1)]
        assert await read_screen(reader) == [png(1)]
        assert live.seen == ["/tests/7/streaming", path]
        assert handler.seen == [path, path]


async def test_a_place_that_moved_is_found_again() -> None:
    async with live_server({"/tests/7/streaming": screen_at([1])}) as live:
        reader = source(live)
        assert await read_screen(reader) == [png(1)]
        live.routes = {"/liveviewhandler/tests/7/streaming": screen_at([2])}
        assert await read_screen(reader) == [png(2)]


async def test_no_screen_anywhere_is_not_found() -> None:
    async with live_server() as live:
        with pytest.raises(NotFound):
            await read_screen(source(live, port_delta=0))


async def test_a_live_handler_that_is_down_is_told_rather_than_the_404_of_the_web_ui() -> None:
    async with live_server() as gone:
        pass
    async with live_server() as live:
        with pytest.raises(Unreachable, match=str(gone.port)):
            await read_screen(source(live, port_delta=gone.port - live.port))


@pytest.mark.parametrize(
    "event",
    [
        "Unable to read image: Can't open file",
        "data:image/png;base64,",
        "data:image/png;base64,%%%",
        "data:image/png;base64," + base64.b64encode(b"<html>").decode(),
        "data:image/jpeg;base64,/9j/",
    ],
)
async def test_what_is_no_picture_is_not_passed_on(event: str) -> None:
    async def screen(viewer: Viewer) -> None:
        await viewer.head()
        await viewer.send(f"data: {event}\n\n")
        await viewer.wait()

    async with live_server({"/tests/7/streaming": screen}) as live:
        with pytest.raises(Garbage, match="no picture"):
            await read_screen(source(live))


async def test_cancelling_closes_the_connection_whatever_the_server_does() -> None:
    async def log(viewer: Viewer) -> None:
        await viewer.head()
        await viewer.wait()

    async with live_server({LOG: log}) as live:
        opened = asyncio.Event()
        on_open: Callable[[], None] = opened.set
        task = asyncio.create_task(source(live).read_text(7, "livelog", on_open, ignore))
        await opened.wait()
        assert live.open == [LOG]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await live.until(lambda: not live.open)
