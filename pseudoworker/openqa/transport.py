"""One HTTP request and its answer's head, through the connection pools of requests' adapter: no environment,
no cookies, no repetition.

`requests.Session` is left out on purpose. It would follow redirects with our headers, read proxies, netrc and
certificate settings from the environment, keep cookies (openQA takes a key beside a session for a CSRF
attack) and cost more than the request itself. The adapter alone keeps the connections; its `send` looks for
proxies and cookies once more, which took a fifth of all processor time with hundreds of slots, so its pools
are asked directly.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

from pseudoworker.openqa.deadlines import Call, current_call

if TYPE_CHECKING:  # urllib3 before 2 has none
    from urllib3.response import BaseHTTPResponse

Body = bytes | Iterator[bytes] | None


def tls_context(ca_file: Path | str | None) -> ssl.SSLContext:
    """Trust the certificate authorities of `ca_file`, or the system's when it is None.

    One context serves all connections until the file changes: hundreds would each hold all certificates.
    Raises OSError when the file cannot be read or holds none.
    """
    return _context("", 0) if ca_file is None else _context(str(ca_file), os.stat(ca_file).st_mtime_ns)


@functools.lru_cache(maxsize=8)
def _context(ca_file: str, _modified: int) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file or None)


class Transport(HTTPAdapter):
    """Sends requests over kept connections, each watched by the `Call` its thread works on.

    `ca_file` is that of `tls_context`. `pool_size` is how many idle connections an origin keeps; more are
    opened when needed and closed after use.
    """

    def __init__(self, ca_file: Path | str | None, pool_size: int) -> None:
        self._context = tls_context(ca_file)
        if metadata.version("urllib3").startswith("1."):
            # It compares host names by itself, and tells the context none where the host is an address.
            self._context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
            self._context.check_hostname = False
        self._pools: dict[tuple[str, str], HTTPConnectionPool] = {}
        super().__init__(pool_connections=8, pool_maxsize=pool_size)

    def exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: Body, timeout: float
    ) -> requests.Response:
        """Send one request and wait for the head of its answer; the body is still to be read from `.raw`.

        `timeout` bounds connecting; from then on the `Call` of this thread has the only limit, since a limit
        of the socket's own costs another system call each time it is used. Raises whatever urllib3 and the
        socket raise (see `failures.no_answer`). `headers` must hold Content-Length when `body` is an
        iterator.
        """
        parts = urlsplit(url)
        content: Any = body  # declared as bytes or str, yet urllib3 takes any iterable of bytes
        raw = self._pool(parts.scheme, parts.netloc, url).urlopen(
            method,
            urlunsplit(("", "", parts.path or "/", parts.query, "")),
            body=content,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=Timeout(connect=timeout, read=None),
            preload_content=False,
            decode_content=False,
        )
        return _Response(raw, url)

    def _pool(self, scheme: str, netloc: str, url: str) -> HTTPConnectionPool:
        """The connections to one origin. Looking them up by URL costs as much as the request."""
        pool = self._pools.get((scheme, netloc))
        if pool is None or pool.pool is None:  # the manager closes one when there are too many
            pool = self.poolmanager.connection_from_url(url)
            kept = {origin: one for origin, one in list(self._pools.items()) if one.pool is not None}
            self._pools = {**kept, (scheme, netloc): pool}
        return pool

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Of HTTPAdapter: make the pools use our TLS context and our connections."""
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def close(self) -> None:
        """Of HTTPAdapter: drop all connections."""
        self._pools.clear()
        super().close()

    def close_idle(self, seconds: float) -> bool:
        """Close the connections that nobody has used for so long; whether others are still kept. Any
        thread."""
        limit = time.monotonic() - seconds
        kept = [_close_idle(pool, limit) for pool in list(self._pools.values())]
        return any(kept)


class _Response(requests.Response):
    """An answer whose body is still to be read from `raw`; without what requests adds for people."""

    def __init__(self, raw: BaseHTTPResponse, url: str) -> None:
        headers: Any = raw.headers  # any mapping whose keys have no case will do
        self.raw = raw
        self.url = url
        self.status_code = raw.status
        self.headers = headers
        self._content_consumed = False


class _Connection(HTTPConnection):
    """Tells the call of this thread which socket it is about to use, and no earlier call any more; sends the
    head of a request together with the first piece of its body."""

    _call: Call | None = None
    _held: bytes | None = None
    """The head, empty until it is made, None from the first piece of the body on."""
    used = 0.0
    """When the last request was begun, by the monotonic clock."""

    def request(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self.timeout = None  # see `Transport.exchange`
            self._hand_over(self.sock)
        self._held = b""
        try:
            super().request(*args, **kwargs)
            if self._held:
                super().send(self._held)
        finally:
            self._held = None

    def send(self, data: Any) -> None:
        if self._held is None:
            super().send(data)
        elif not self._held:
            self._held = data
        else:
            whole, self._held = self._held + data, None
            super().send(whole)

    def _hand_over(self, connection: socket.socket) -> None:
        self.used = time.monotonic()
        if self._call is not None:
            self._call.detach()
        self._call = current_call()
        if self._call is not None:
            self._call.attach(connection)


class _HTTPConnection(_Connection):
    def _new_conn(self) -> socket.socket:
        connection = super()._new_conn()
        try:
            self._hand_over(connection)
        except TimeoutError:
            connection.close()  # the call was ended while it connected
            raise
        return connection


class _HTTPSConnection(_Connection, HTTPSConnection):
    """It is connected before a request: the pool has looked at its certificate."""


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def _close_idle(pool: HTTPConnectionPool, limit: float) -> bool:
    """Close what lies in the pool since before `limit`; whether anything open is left."""
    queue = pool.pool
    taken: list[_HTTPConnection | _HTTPSConnection | None] = []
    while queue is not None:
        try:
            taken.append(queue.get(block=False))
        except Empty:
            break
    kept = False
    for connection in reversed(taken):
        if connection is not None and connection.used < limit:
            connection.close()
        kept = kept or (connection is not None and connection.sock is not None)
        pool._put_conn(connection)
    return kept
