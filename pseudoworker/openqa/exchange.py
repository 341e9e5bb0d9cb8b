"""One call: signed, redirects followed where that is safe, the answer's body read. Blocking; for worker
threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urljoin

import requests

from pseudoworker.openqa import bodies, failures
from pseudoworker.openqa.deadlines import Call
from pseudoworker.openqa.download import Download
from pseudoworker.openqa.errors import Garbage, OpenQAError
from pseudoworker.openqa.signing import hashed_paths, signed_headers
from pseudoworker.openqa.transport import Body, Transport
from pseudoworker.openqa.urls import path_and_query, same_origin

JSON_LIMIT = 64 * 1024 * 1024
"""Bytes that a JSON answer may have, unpacked."""
REDIRECTS = 5
"""Redirects that are followed in a row."""
_ERROR_LIMIT = 256 * 1024  # openQA's 404 page has 65 kB
_SKEW_EVERY = 30.0
_USER_AGENT = "pseudoworker"


@dataclass(frozen=True)
class Request:
    """What is asked of an instance."""

    method: str
    url: str
    kind: str
    """The kind of call, for the observer: the name of its policy."""
    timeout: float
    accept: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Callable[[Call], Iterator[bytes]] | None = None
    """Bytes, or what yields `length` of them, once."""
    length: int = 0
    content_type: str = ""
    limit: int = JSON_LIMIT
    """Bytes that the answer may have, unpacked."""


@dataclass(frozen=True)
class Answer:
    """A 2xx answer."""

    headers: Mapping[str, str]
    body: bytes
    received: int
    """Bytes of the body on the wire."""


class Exchange:
    """Makes calls to one instance with one pair of key and secret."""

    def __init__(
        self, transport: Transport, prefix: str, key: str, secret: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._transport = transport
        self._prefix = prefix
        self._key = key
        self._secret = secret
        self._clock = clock
        self._hashing = 0
        self._skew_at = float("-inf")
        self.skew: float | None = None
        """Seconds that the server's clock is ahead of ours, by the Date of its answers; None until known."""

    def answer(self, request: Request, call: Call) -> Answer:
        """Make the call and read its whole answer; raises OpenQAErrors."""
        with self._responding(request, call) as response:
            body, received = self._read(request, response, call, request.limit)
            return Answer(response.headers, body, received)

    @contextmanager
    def open(self, request: Request, call: Call) -> Iterator[Download]:
        """Make the call and leave its answer's body to be read; raises OpenQAErrors."""
        with self._responding(request, call) as response:

            def failed(error: Exception) -> OpenQAError:
                return self._failure(error, request, call)

            call.pause()
            yield Download(response, response.url, call, failed)

    @contextmanager
    def _responding(self, request: Request, call: Call) -> Iterator[requests.Response]:
        response = self._follow(request, call)
        try:
            yield response
        finally:
            response.close()

    def _follow(self, request: Request, call: Call) -> requests.Response:
        url = request.url
        for _ in range(REDIRECTS + 1):
            response = self._send_signed(request, url, call)
            status = response.status_code
            if 200 <= status < 300:
                return response
            try:
                target = self._target(request, url, response)
                body = self._error_page(request, response, call)
            finally:
                response.close()
            if target is None:
                raise failures.bad_status(request.method, url, status, response.headers, body, self.skew)
            url = target
        raise Garbage(
            f"redirects more than {REDIRECTS} times, last to {failures.shown_url(url)}",
            method=request.method,
            url=failures.shown_url(request.url),
        )

    def _send_signed(self, request: Request, url: str, call: Call) -> requests.Response:
        """Send it; behind a path prefix also with the other path that the server may hash, until one is
        right."""
        own = url == request.url or same_origin(request.url, url)
        sent = path_and_query(url)
        paths: tuple[str, ...] = (sent,)
        if own and self._prefix and sent.startswith(f"{self._prefix}/"):
            paths = hashed_paths(self._prefix, sent.removeprefix(self._prefix))
        first = min(self._hashing, len(paths) - 1)
        for index in [first, *(other for other in range(len(paths)) if other != first)]:
            response = self._send(request, url, paths[index] if own else None, call)
            if response.status_code != 403 or len(paths) == 1 or callable(request.body):
                break
            try:
                body = self._error_page(request, response, call)
            finally:
                response.close()
            error = failures.bad_status(request.method, url, 403, response.headers, body, self.skew)
            if "wrong secret" not in error.text:
                raise error
        else:
            raise error
        if len(paths) > 1 and response.status_code < 400:
            self._hashing = index
        return response

    def _send(self, request: Request, url: str, hashed: str | None, call: Call) -> requests.Response:
        headers = {"Accept": request.accept, "User-Agent": _USER_AGENT, "Accept-Encoding": "gzip"}
        if hashed is not None:
            headers |= signed_headers(hashed, self._key, self._secret, self._clock())
        body: Body = None
        if callable(request.body):
            body = request.body(call)
            headers["Content-Length"] = str(request.length)
        elif request.body is not None:
            body = request.body
            if len(body) > bodies.PIECE:
                body = bodies.in_pieces(body, call)
            headers["Content-Length"] = str(len(request.body))
        if request.content_type:
            headers["Content-Type"] = request.content_type
        headers |= request.headers
        before = self._clock()
        try:
            response = self._transport.exchange(request.method, url, headers, body, request.timeout)
        except failures.FOREIGN as error:
            raise self._failure(error, request, call) from error
        try:
            call.check()
        except TimeoutError as error:
            response.close()
            raise self._failure(error, request, call) from error
        self._measure_skew(response, before)
        return response

    def _target(self, request: Request, url: str, response: requests.Response) -> str | None:
        """Where the answer redirects to and may be followed to; None when it is no such redirect."""
        location = response.headers.get("Location", "")
        if response.status_code not in failures.REDIRECTING or request.method != "GET" or not location:
            return None
        try:
            target = urljoin(url, location)
            same_origin(target, url)  # parses both
        except ValueError:
            target = ""
        if not target.startswith(("http://", "https://")):
            raise Garbage(
                f"redirects to {location[:100]!a}",
                method=request.method,
                url=failures.shown_url(url),
                status=response.status_code,
            )
        return target.partition("#")[0]

    def _read(
        self, request: Request, response: requests.Response, call: Call, limit: int
    ) -> tuple[bytes, int]:
        try:
            return bodies.whole(response, call, limit)
        except failures.FOREIGN as error:
            raise self._failure(error, request, call) from error

    def _error_page(self, request: Request, response: requests.Response, call: Call) -> bytes:
        try:
            return self._read(request, response, call, _ERROR_LIMIT)[0]
        except Garbage:
            return b""  # a page that is too large, or packed badly, is told by its status alone

    def _failure(self, error: Exception, request: Request, call: Call) -> OpenQAError:
        ended = "ended by us" if call.aborted else ""
        if call.expired:
            ended = f"no whole answer within {request.timeout:g} s"
        return failures.no_answer(error, request.method, request.url, ended=ended)

    def _measure_skew(self, response: requests.Response, before: float) -> None:
        now = self._clock()
        date = response.headers.get("Date")
        if date is None or (now - self._skew_at < _SKEW_EVERY and response.status_code != 403):
            return
        moment = failures.http_date(date)
        if moment is not None:
            # Date has whole seconds, cut off: on average it is half a second late
            self.skew = moment + 0.5 - (before + now) / 2
            self._skew_at = now
