"""A small HTTP server that hands single assets of the master to a slave that can not reach the master.

It serves what was offered, at URLs that can not be guessed and that expire, with ranges, and nothing else: no
listing, no keep-alive, no methods but GET and HEAD. Bytes are streamed from the master while they are asked
for.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import quote

from pseudoworker.bridge.assets.errors import AssetFailure
from pseudoworker.bridge.assets.site import Site
from pseudoworker.bridge.assets.source import Source
from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.served import Served

LONGEST_HEAD = 8192
HEAD_TIMEOUT = 10.0
"""Seconds in which a request must have come."""
STALLED_AFTER = 120.0
"""Seconds after which a client that takes nothing is given up."""
MOST_CONNECTIONS = 32
PIECE = 1_048_576
"""Bytes that are read from the master at a time."""

_PATH = re.compile(r"/([A-Za-z0-9_-]{43})/[^/?#]{1,1000}")
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")

log = logging.getLogger(__name__)


class CanNotServe(PseudoworkerError):
    """The address can not be listened on."""


@dataclass
class Offer:
    """One asset that may be downloaded for a while."""

    url: str
    token: str = field(repr=False)
    file: Served
    expires: float
    sent: int = 0
    """Bytes that were sent so far, over all requests."""


class AssetServer:
    """Serves files of `master`. `address` is `host:port` to listen on, `public` the URL at which the slave
    reaches it when that is another one."""

    def __init__(
        self, master: Site, address: str, *, public: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._master = master
        self._address = address
        self._public = public.rstrip("/")
        self._clock = clock
        self._offers: dict[str, Offer] = {}
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises CanNotServe; doing it again changes nothing."""
        async with self._starting:
            if self._server is not None:
                return
            host, _, port = self._address.rpartition(":")
            try:
                self._server = await asyncio.start_server(
                    self._connected, host.strip("[]"), int(port), limit=LONGEST_HEAD
                )
            except OSError as error:
                raise CanNotServe(f"can not listen on serve_address {self._address}: {error}") from error
            if not self._public:
                port = str(self._server.sockets[0].getsockname()[1])
                self._public = f"http://{host}:{port}"

    def offer(self, file: Served, name: str, lifetime: float) -> Offer:
        """Allow the download of a file of the master for `lifetime` seconds. The server must be started."""
        self._expire()
        token = secrets.token_urlsafe(32)
        url = f"{self._public}/{token}/{quote(name, safe='')}"
        self._offers[token] = Offer(url, token, file, self._clock() + lifetime)
        return self._offers[token]

    def withdraw(self, offer: Offer) -> None:
        """Allow no new request for it. Running ones go on."""
        self._offers.pop(offer.token, None)

    async def close(self) -> None:
        """Stop listening and end all connections."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        if self._server is not None:
            await self._server.wait_closed()
            self._server = None

    def _expire(self) -> None:
        now = self._clock()
        for token in [token for token, offer in self._offers.items() if offer.expires < now]:
            del self._offers[token]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= MOST_CONNECTIONS:
            writer.write(_head(503, {"Retry-After": "30"}))
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await self._request(reader)
            if isinstance(request, int):
                writer.write(_head(request, {}))
            else:
                await self._answer(writer, request)
            await asyncio.wait_for(writer.drain(), STALLED_AFTER)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            log.debug("Download from us broke: %s", error)
        except (OpenQAError, AssetFailure) as error:
            log.warning("Can not hand on what the slave downloads from us: %s", error)
            writer.transport.abort()  # not a clean end: the slave must not take it for the whole file
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), 5)

    async def _request(self, reader: asyncio.StreamReader) -> _Request | int:
        """What is asked for, or the status that says why it is not served."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HEAD_TIMEOUT)
        except asyncio.LimitOverrunError:
            return 431
        lines = head.decode("latin-1").split("\r\n")
        match lines[0].split(" "):
            case [("GET" | "HEAD") as method, path, ("HTTP/1.0" | "HTTP/1.1")]:
                return self._found(method, path, lines[1:])
            case [_, _, ("HTTP/1.0" | "HTTP/1.1")]:
                return 405
        return 400

    def _found(self, method: str, path: str, header_lines: list[str]) -> _Request | int:
        self._expire()
        match = _PATH.fullmatch(path)
        offer = self._offers.get(match[1]) if match else None
        if offer is None:
            return 404
        headers = dict(_header(line) for line in header_lines if ":" in line)
        start, end, status = 0, offer.file.size, 200
        if "range" in headers and headers.get("if-range", _etag(offer.file)) == _etag(offer.file):
            asked = _range(headers["range"], offer.file.size)
            if asked is None:
                return 416
            start, end = asked
            status = 206
        return _Request(offer, method, start, end, status)

    async def _answer(self, writer: asyncio.StreamWriter, request: _Request) -> None:
        file = request.offer.file
        headers = {
            "Accept-Ranges": "bytes",
            "Content-Length": str(request.end - request.start),
            "Content-Type": "application/octet-stream",
            "ETag": _etag(file),
        }
        if request.status == 206:
            headers["Content-Range"] = f"bytes {request.start}-{request.end - 1}/{file.size}"
        if file.modified is not None:
            headers["Last-Modified"] = formatdate(file.modified, usegmt=True)
        writer.write(_head(request.status, headers))
        if request.method == "HEAD":
            return
        source = Source(self._master, file, start=request.start)
        coming = asyncio.ensure_future(source.read(min(PIECE, request.end - request.start)))
        try:
            while piece := await coming:
                rest = request.end - source.position
                coming = asyncio.ensure_future(source.read(min(PIECE, rest)))
                writer.write(piece)
                await asyncio.wait_for(writer.drain(), STALLED_AFTER)
                request.offer.sent += len(piece)
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
            await source.close()


@dataclass(frozen=True)
class _Request:
    offer: Offer
    method: str
    start: int
    end: int
    status: int


_REASONS = {
    200: "OK",
    206: "Partial Content",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Range Not Satisfiable",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def _head(status: int, headers: dict[str, str]) -> bytes:
    fields = {"Connection": "close", "Date": formatdate(usegmt=True), **headers}
    if status >= 400:
        fields["Content-Length"] = "0"
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}", *(f"{key}: {value}" for key, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _header(line: str) -> tuple[str, str]:
    key, _, value = line.partition(":")
    return key.strip().lower(), value.strip()


def _etag(file: Served) -> str:
    version = re.sub(r"[^\x21\x23-\x7e]", "", file.version)
    return f'"{version}-{file.size}"'


def _range(text: str, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of the one range that is asked for, None when it can not be given."""
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or (not match[1] and not match[2]):
        return None
    if not match[1]:
        start, end = max(0, size - int(match[2])), size
    else:
        start, end = int(match[1]), min(int(match[2]) + 1 if match[2] else size, size)
    return (start, end) if start < end else None
