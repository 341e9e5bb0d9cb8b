"""A small HTTP/1.1 server for a few read-only pages on a loopback address. Strict: what is odd is refused."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from pseudoworker.observe.addresses import is_loopback, listening_socket

_log = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds for one whole exchange."""
_LARGEST_HEAD = 16384
"""Bytes of a request line and headers."""
_AT_A_TIME = 32
"""Connections served at a time; further ones are closed at once."""

_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    505: "HTTP Version Not Supported",
}

_HEADERS = (
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Referrer-Policy: no-referrer",
    "Connection: close",
)


@dataclass(frozen=True)
class Answer:
    """What one page answers."""

    body: str
    content_type: str
    headers: tuple[str, ...] = ()
    """Further header lines."""


Pages = Mapping[str, Callable[[], Answer]]
"""Path without query, and who makes the page; called on the event loop, so it must be quick."""


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@contextlib.asynccontextmanager
async def serve_pages(host: str, port: int, pages: Pages) -> AsyncIterator[int]:
    """Serve `pages` for as long as the context lasts; gives the port (useful when 0 was asked for).

    Only GET and HEAD are answered, and only to requests whose Host is this machine: a web site that has its
    name point to 127.0.0.1 must not read the pages through somebody's browser.
    Raises AddressError when the address cannot be listened on.
    """
    listener = listening_socket(host, port)
    open_connections = 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        open_connections += 1
        try:
            if open_connections <= _AT_A_TIME:
                async with asyncio.timeout(_PATIENCE):
                    await _exchange(reader, writer, pages)
        except (TimeoutError, OSError) as error:
            _log.debug("A request for the status page was given up: %s", error or "time is over")
        finally:
            open_connections -= 1
            writer.close()

    server = await asyncio.start_server(connected, sock=listener, limit=_LARGEST_HEAD)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.close()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pages: Pages) -> None:
    with_body = True
    try:
        method, path, host = _parse(await _head(reader))
        with_body = method != "HEAD"
        answer, status = _page(method, path, host, pages), 200
    except _Refused as refused:
        answer, status = Answer(f"{refused}\n", "text/plain; charset=utf-8"), refused.status
    except asyncio.IncompleteReadError:
        return  # whoever it was has gone
    body = answer.body.encode("utf-8", "replace")
    lines = (
        f"HTTP/1.1 {status} {_REASONS[status]}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(body)}",
        *(("Allow: GET, HEAD",) if status == 405 else ()),
        *_HEADERS,
        *answer.headers,
    )
    writer.write("\r\n".join((*lines, "", "")).encode("latin-1") + (body if with_body else b""))
    await writer.drain()


async def _head(reader: asyncio.StreamReader) -> str:
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise _Refused(431, f"more than {_LARGEST_HEAD} bytes of headers") from None


def _parse(head: str) -> tuple[str, str, str]:
    request, *headers = head.split("\r\n")[:-2]
    words = request.split(" ")
    if len(words) != 3 or not words[1].startswith("/"):
        raise _Refused(400, "no request line")
    if words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _Refused(505, "HTTP/1.1 is spoken here")
    hosts = [line.partition(":")[2].strip() for line in headers if line.lower().startswith("host:")]
    if len(hosts) != 1:
        raise _Refused(400, "one Host header is wanted")
    return words[0], words[1].partition("?")[0], hosts[0]


def _page(method: str, path: str, host: str, pages: Pages) -> Answer:
    if not _names_this_machine(host):
        raise _Refused(421, "ask for 127.0.0.1, [::1] or localhost")
    if method not in ("GET", "HEAD"):
        raise _Refused(405, "this can only be read")
    make = pages.get(path)
    if make is None:
        raise _Refused(404, f"there is no such page; try {' '.join(pages)}")
    return make()


def _names_this_machine(host: str) -> bool:
    if host.startswith("["):
        return is_loopback(host[1:].partition("]")[0])
    return is_loopback(host.partition(":")[0])
