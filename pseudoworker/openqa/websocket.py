"""The websocket between a worker and a web UI (OpenQA::Worker::WebUIConnection
_setup_websocket_connection)."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from websockets.client import ClientProtocol
from websockets.http11 import Response
from websockets.uri import parse_uri

from pseudoworker.openqa import failures
from pseudoworker.openqa.errors import ClockSkew, ConnectionLost, Garbage, OpenQAError, Refused, Unreachable
from pseudoworker.openqa.json import Json, encode
from pseudoworker.openqa.messages import ServerMessage, parse
from pseudoworker.openqa.signing import hashed_paths, signed_headers
from pseudoworker.openqa.transport import tls_context
from pseudoworker.openqa.urls import Base, authority, path_and_query
from pseudoworker.openqa.wire import Wire

LARGEST_MESSAGE = 10 * 1024 * 1024
"""Bytes of a message, in either direction (OpenQA::Constants MAX_WEBSOCKET_SIZE)."""
REDIRECTS = 3
_TOLERANCE = 300.0  # seconds of clock skew that openQA allows by default
_SECURE = {"http": False, "ws": False, "https": True, "wss": True}


class Connection:
    """An open websocket. Made by `connect`."""

    def __init__(self, wire: Wire, url: str) -> None:
        self._wire = wire
        self.url = url
        """Where the websocket server really is, after a redirect."""

    @property
    def open(self) -> bool:
        """Whether messages can be sent. False is final."""
        return self._wire.open

    async def send(self, message: Mapping[str, Json]) -> None:
        """Send one message (see `messages` for what there is).

        Raises ConnectionLost, and NotJson or Garbage for what cannot be sent.
        """
        text = encode(message)
        if len(text) > LARGEST_MESSAGE:
            raise Garbage(f"message of {len(text)} bytes is too large to be sent", url=self.url)
        await self._wire.send(text)

    async def receive(self) -> ServerMessage:
        """Wait for the next message. Raises ConnectionLost, with the code and reason of the server if it gave
        any."""
        return parse(await self._wire.receive())

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it; returns within two seconds. Harmless when it is closed already."""
        await self._wire.close(code, reason)


async def connect(
    client_url: str,
    worker_id: int,
    key: str,
    secret: str,
    ca_file: Path | str | None = None,
    *,
    open_timeout: float = 20.0,
    ping_interval: float = 20.0,
    ping_timeout: float = 20.0,
    clock: Callable[[], float] = time.time,
) -> Connection:
    """Open the websocket of a registered worker.

    `client_url` is the web UI's base URL. A web UI without a proxy before it redirects to
    `http://localhost:<its port + 1>/ws/<id>`, whatever its name (OpenQA::WebAPI): that is followed on the
    host of `client_url`, signed for the new path. Redirects to other hosts, or from TLS to none, are refused.

    Raises: Busy: 429 (the web UI has too many workers, see `retry_after`), 503 and the like. Refused: another
    4xx (400: the worker id is unknown, register again), or a redirect to elsewhere. Unauthorized, ClockSkew:
    403. NotFound: 404, also from a proxy that does not pass on upgrades. Unreachable: no answer within
    `open_timeout` seconds. Garbage: an answer that is none.
    """
    base = Base.parse(client_url)
    route = f"/api/v1/ws/{worker_id}"
    url = ("wss" if base.scheme == "https" else "ws") + base.join(route)[len(base.scheme) :]
    try:
        async with asyncio.timeout(open_timeout):
            hashed = (*hashed_paths(base.prefix, route), f"/ws/{worker_id}")
            for _ in range(REDIRECTS + 1):
                wire, response, skew = await _ask(
                    url, hashed, key, secret, ca_file, clock, (ping_interval, ping_timeout)
                )
                if response is None:
                    return Connection(wire, url)
                if response.status_code not in failures.REDIRECTING:
                    raise _refusal(url, response, skew)
                url = redirected(base, url, response.headers.get("Location", ""))
                hashed = (path_and_query(url),)
            raise Garbage(f"redirects more than {REDIRECTS} times", method="GET", url=url)
    except TimeoutError:
        raise Unreachable(f"no websocket within {open_timeout:g} s", method="GET", url=url) from None


def redirected(base: Base, url: str, location: str) -> str:
    """Where a redirect of the websocket at `url` leads; raises Refused or Garbage when it must not be
    followed."""
    try:
        parts = urlsplit(urljoin(url.replace("ws", "http", 1), location))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        parts = None
    if not location or parts is None or parts.scheme not in _SECURE or not host:
        raise Garbage(f"websocket redirects to {location[:100]!a}", method="GET", url=url)
    secure = _SECURE[parts.scheme]
    if host != base.host and not _loopback(host):
        raise Refused(
            f"websocket redirects to another host, {failures.shown_url(location)}",
            method="GET",
            url=url,
            advice="configure the URL of that host if it is the right one",
        )
    if base.scheme == "https" and not secure:
        raise Refused(
            f"websocket redirects from TLS to {failures.shown_url(location)}",
            method="GET",
            url=url,
            advice="the proxy must pass /api/v1/ws/ on to openQA's websocket server",
        )
    # A web UI calls its own host localhost, wherever we are.
    path = parts.path or "/"
    query = f"?{parts.query}" if parts.query else ""
    return f"{'wss' if secure else 'ws'}://{authority(base.host, port)}{path}{query}"


async def _ask(
    url: str,
    hashed: tuple[str, ...],
    key: str,
    secret: str,
    ca_file: Path | str | None,
    clock: Callable[[], float],
    ping: tuple[float, float],
) -> tuple[Wire, Response | None, float | None]:
    """Try one URL, signed for each path that the server may hash, until it is not refused; None means it is
    open."""
    for path in dict.fromkeys(hashed):
        wire = await _wire(url, ca_file, ping)
        try:
            response = await _handshake(wire, url, signed_headers(path, key, secret, clock()))
        except BaseException:
            wire.abort()
            raise
        if response is None:
            return wire, None, None
        wire.abort()
        skew = _skew(response, clock())
        if response.status_code != 403:
            break
    return wire, response, skew


async def _handshake(wire: Wire, url: str, headers: dict[str, str]) -> Response | None:
    try:
        response = await wire.handshake(headers)
    except ConnectionLost as error:
        raise Unreachable(error.reason, method="GET", url=url) from error
    if wire.handshake_error is None:
        return None  # open, or closed again already: whoever receives will see
    if response.status_code == 101:
        raise Garbage(f"no websocket: {wire.handshake_error}", method="GET", url=url, status=101)
    return response


async def _wire(url: str, ca_file: Path | str | None, ping: tuple[float, float]) -> Wire:
    try:
        uri = parse_uri(url)
        context = tls_context(ca_file) if uri.secure else None

        def wire() -> Wire:
            protocol = ClientProtocol(uri, max_size=LARGEST_MESSAGE)
            return Wire(protocol, url=url, ping_interval=ping[0], ping_timeout=ping[1])

        _, made = await asyncio.get_running_loop().create_connection(wire, uri.host, uri.port, ssl=context)
    except (OSError, ValueError) as error:
        raise failures.no_answer(error, "GET", url) from error
    return made


def _refusal(url: str, response: Response, skew: float | None) -> OpenQAError:
    body = bytes(response.body or b"")
    error = failures.bad_status("GET", url, response.status_code, response.headers, body, skew)
    if response.status_code == 403 and skew is not None and abs(skew) > _TOLERANCE:
        # the websocket server says no more than "Not authorized" (OpenQA::Shared::Controller::Auth check)
        return ClockSkew(
            f"{error.text} (server's clock is {skew:+.0f} s off ours)",
            method="GET",
            url=url,
            status=403,
            advice="synchronise the clocks of both hosts",
            skew=skew,
        )
    if response.status_code == 404 and not error.advice:
        error.advice = "a proxy before openQA must pass websocket upgrades of /api/v1/ws/ on"
    return error


def _skew(response: Response, now: float) -> float | None:
    date = response.headers.get("Date")
    moment = None if date is None else failures.http_date(date)
    return None if moment is None else moment + 0.5 - now


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
