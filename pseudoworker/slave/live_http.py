"""An HTTP answer that never ends, read without a thread and closed at once.

A watched job keeps three such answers open for hours. asyncio's streams hold each in one coroutine and close
it the moment that is cancelled, which the pooled connections of `requests` cannot do.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

from pseudoworker.openqa.errors import Garbage, Unauthorized, Unreachable
from pseudoworker.openqa.failures import bad_status, no_answer, shown_url
from pseudoworker.openqa.values import positive_int

CHUNK = 64 * 1024
"""Bytes that are read at a time, and that one line of the answer's head may have."""

HEADERS = 100
"""Header lines that an answer may have."""

REDIRECTS = 3
"""Redirects that are followed."""


@asynccontextmanager
async def open_stream(
    url: str, *, tls: ssl.SSLContext, timeout: float, accept: str = "text/event-stream"
) -> AsyncIterator[Stream]:
    """Ask for `url` without credentials and hold the answer open; leaving the context closes the connection.

    `timeout` (seconds) holds for each connection to be made. The answer may take any time: openQA sends not
    even its head before there is something to stream. Redirects are followed while they lead to the same path
    elsewhere (http to https, another host name); one to another page is a login.

    Raises:
        Unreachable: no answer.
        Unauthorized: 401, 403, or a redirect to another page.
        NotFound: 404.
        Busy, ServerFailed, Refused: other statuses.
        Garbage: no HTTP, or an answer of another type than `accept`.
    """
    for _ in range(REDIRECTS + 1):
        async with _connection(url, tls, timeout) as (reader, writer):
            head = await _ask(reader, writer, url, accept)
            location = head.headers.get("Location")
            if 300 <= head.status < 400 and location:
                url = _redirected(url, location, head.status)
                continue
            _check(head, url, accept)
            yield Stream(url, reader, head.is_chunked)
            return
    raise Garbage("redirected in circles", method="GET", url=url)


class Stream:
    """The body of one answer, as it comes."""

    def __init__(self, url: str, reader: asyncio.StreamReader, chunked: bool) -> None:
        self.url = url
        """Where it was found in the end, redirects followed."""
        self._reader = reader
        self._chunked = chunked
        self._left = 0

    async def read(self) -> bytes:
        """What has come since, at least one byte and at most `CHUNK`; empty when the server ended the answer.

        Raises Unreachable or Garbage when it ends in the middle.
        """
        with _read_errors(self.url):
            if not self._chunked:
                return await self._reader.read(CHUNK)
            if not self._left:
                self._left = _chunk_size(await _line(self._reader), self.url)
                if not self._left:
                    return b""
            data = await self._reader.read(min(self._left, CHUNK))
            if not data:
                raise Unreachable("the connection was lost", method="GET", url=self.url)
            self._left -= len(data)
            if not self._left:
                await _line(self._reader)
            return data


@dataclass(frozen=True)
class _Head:
    status: int
    headers: Mapping[str, str]

    @property
    def is_chunked(self) -> bool:
        return "chunked" in self.headers.get("Transfer-Encoding", "").lower()


@asynccontextmanager
async def _connection(
    url: str, tls: ssl.SSLContext, timeout: float
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(url)
    context = tls if parts.scheme == "https" else None
    port = parts.port or (443 if context else 80)
    try:
        async with asyncio.timeout(timeout):
            opening = asyncio.open_connection(parts.hostname, port, ssl=context, limit=CHUNK)
            reader, writer = await opening
    except TimeoutError as error:
        raise Unreachable(f"no connection within {timeout:g} s", method="GET", url=url) from error
    except OSError as error:
        raise no_answer(error, "GET", url) from error
    # The other side may say nothing for a quarter of an hour: without this a lost peer would never be
    # noticed.
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # not close: a peer that does not read must not keep us


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, accept: str) -> _Head:
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path or '/'}{'?' if parts.query else ''}{parts.query} HTTP/1.1",
        f"Host: {_host(parts)}",
        f"Accept: {accept}",
        "Accept-Encoding: identity",
        "Cache-Control: no-cache",
        "Connection: close",
        "User-Agent: pseudoworker",
    ]
    with _read_errors(url):
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        await writer.drain()
        status_line = (await _line(reader)).split(" ", 2)
        status = positive_int(status_line[1]) if len(status_line) > 1 else None
        if status is None or not status_line[0].startswith("HTTP/1."):
            raise Garbage("the answer is no HTTP", method="GET", url=url)
        headers: dict[str, str] = {}
        for _ in range(HEADERS):
            line = await _line(reader)
            if not line:
                return _Head(status, headers)
            name, _, value = line.partition(":")
            headers[name.strip().title()] = value.strip()
        raise Garbage("the answer has too many headers", method="GET", url=url)


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{parts.port}" if parts.port else host


async def _line(reader: asyncio.StreamReader) -> str:
    line = await reader.readuntil(b"\n")
    return line.rstrip(b"\r\n").decode("latin-1")


def _redirected(url: str, location: str, status: int) -> str:
    target = urljoin(url, location)
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or parts.path != urlsplit(url).path:
        login = f"redirected to {shown_url(target)}, which looks like a login"
        raise Unauthorized(login, method="GET", url=url, status=status)
    return target


def _check(head: _Head, url: str, accept: str) -> None:
    if head.status != 200:
        raise bad_status("GET", url, head.status, head.headers, b"")
    kind = head.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind != accept:
        raise Garbage(f"answered {kind or 'no type'} instead of {accept}", method="GET", url=url)


def _chunk_size(line: str, url: str) -> int:
    digits = line.partition(";")[0].strip()
    if digits.isalnum() and len(digits) <= 8:
        try:
            return int(digits, 16)
        except ValueError:
            pass  # told below, like a length that nobody would send
    raise Garbage("the answer is not chunked as it says", method="GET", url=url)


@contextmanager
def _read_errors(url: str) -> Iterator[None]:
    try:
        yield
    except asyncio.LimitOverrunError as error:
        raise Garbage("a line of the answer never ends", method="GET", url=url) from error
    except asyncio.IncompleteReadError as error:
        raise Unreachable("the connection was lost", method="GET", url=url) from error
    except OSError as error:
        raise no_answer(error, "GET", url) from error
