"""openQA's REST API as seen by a client: signed, bounded, retried by policy, every failure one of
`errors`."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from pseudoworker.openqa import bodies, failures
from pseudoworker.openqa.deadlines import Call, Deadlines
from pseudoworker.openqa.download import Download
from pseudoworker.openqa.errors import Garbage, Unreachable
from pseudoworker.openqa.exchange import Exchange, Request
from pseudoworker.openqa.json import Json, NotJson, decode, encode
from pseudoworker.openqa.names import safe_name
from pseudoworker.openqa.retry import OnRetry, Policy, retrying
from pseudoworker.openqa.transport import Transport
from pseudoworker.openqa.urls import Base, Fields, encoded

__all__ = ["Client", "Download", "Observer"]

T = TypeVar("T")

KEPT = 0.5
"""Seconds that a connection is kept for the next request. A burst shares its connections, but no process of
a web UI waits for us in vain: without a reverse proxy each of them serves one connection at a time
(openqa-webui-daemon, `prefork -c 1`)."""


_ANY_FILE = "application/json, */*"
"""With this openQA says in 20 bytes that a file is missing, and in a page of 65 kB with `*/*` alone."""


_SECRET = secrets.token_hex(8)
_NUMBERS = itertools.count()


def _boundary() -> str:
    """What no content holds: nobody has seen it before."""
    return f"{_SECRET}{next(_NUMBERS)}"


class Observer(Protocol):
    """Told of every request that was made, also from the blocking calls; called in worker threads."""

    def request(
        self, method: str, kind: str, seconds: float, sent: int, received: int, error: str | None
    ) -> None:
        """One request: its policy's name, its duration, bytes of both bodies on the wire, class of the
        error."""
        ...


class Client:
    """Speaks to one openQA instance with one pair of key and secret.

    `url` is the base URL (`https://openqa.example.com`, or with the path prefix of a proxy). `ca_file`
    replaces the system's certificate authorities. The async methods run blocking calls in `executor`, at most
    `in_flight` at a time and first come, first served; whoever awaits may be cancelled, which ends the call
    at once. Proxies, netrc and CA settings of the environment are not looked at, cookies are not kept.

    Paths are plain text from the root (`/api/v1/jobs`, `/tests/1/file/a b.txt`) and are encoded here;
    parameters likewise. All methods raise `OpenQAError`s, and `RuntimeError` after `close`.
    """

    def __init__(
        self,
        url: str,
        key: str,
        secret: str,
        *,
        ca_file: Path | str | None = None,
        executor: ThreadPoolExecutor,
        in_flight: int,
        observer: Observer | None = None,
        on_retry: OnRetry | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base = Base.parse(url)
        self._executor = executor
        self._permits = asyncio.Semaphore(in_flight)
        self._observer = observer
        self._on_retry = on_retry
        self._deadlines = Deadlines()
        self._transport = Transport(ca_file, pool_size=max(64, in_flight))
        self._exchange = Exchange(self._transport, self._base.prefix, key, secret, clock)
        self._tidying: asyncio.TimerHandle | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end, the path prefix of a proxy included."""
        return self._base.url

    @property
    def skew(self) -> float | None:
        """Seconds that the server's clock is ahead of ours, by the Date of its answers; None until known."""
        return self._exchange.skew

    def url_of(self, path: str, *, port_delta: int = 0) -> str:
        """The whole URL of a path, for messages and links."""
        return self._base.join(path, (), port_delta)

    async def get_json(self, path: str, *, policy: Policy, params: Fields = (), port_delta: int = 0) -> Json:
        """GET a JSON document of at most JSON_LIMIT bytes."""
        request = Request("GET", self._base.join(path, params, port_delta), policy.name, policy.timeout)
        return await self._retried(policy, request, self._json)

    async def post_form(self, path: str, fields: Fields = (), *, policy: Policy, port_delta: int = 0) -> Json:
        """POST form fields; the answer is JSON, or text (`OK`), which comes as a str."""
        request = Request(
            "POST",
            self._base.join(path, (), port_delta),
            policy.name,
            policy.timeout,
            body=encoded(fields).encode(),
            content_type="application/x-www-form-urlencoded",
        )
        return await self._retried(policy, request, self._json)

    async def post_json(self, path: str, document: Json, *, policy: Policy, port_delta: int = 0) -> Json:
        """POST a JSON document; the answer is as in `post_form`. Raises Garbage when it cannot be written."""
        url = self._base.join(path, (), port_delta)
        try:
            body = encode(document)
        except NotJson as error:
            raise Garbage(f"document cannot be sent: {error}", method="POST", url=url) from error
        request = Request(
            "POST", url, policy.name, policy.timeout, body=body, content_type="application/json"
        )
        return await self._retried(policy, request, self._json)

    async def delete(self, path: str, *, policy: Policy) -> Json:
        """DELETE something; the answer is as in `post_form`."""
        request = Request("DELETE", self._base.join(path, (), 0), policy.name, policy.timeout)
        return await self._retried(policy, request, self._json)

    async def read(
        self,
        path: str,
        *,
        policy: Policy,
        limit: int,
        params: Fields = (),
        headers: Mapping[str, str] | None = None,
        port_delta: int = 0,
    ) -> bytes:
        """GET any file; raises Garbage when it has more than `limit` bytes."""
        request = Request(
            "GET",
            self._base.join(path, params, port_delta),
            policy.name,
            policy.timeout,
            accept=_ANY_FILE,
            headers=headers or {},
            limit=limit,
        )
        return await self._retried(policy, request, self._bytes)

    async def upload(
        self, path: str, params: Fields, filename: str, content: bytes, *, policy: Policy
    ) -> Json:
        """POST `content` as the multipart field `file`; the answer is as in `post_form`."""
        boundary = _boundary()
        head, tail = bodies.file_part(boundary, safe_name(filename))
        request = Request(
            "POST",
            self._base.join(path, params, 0),
            policy.name,
            policy.timeout,
            body=b"".join((head, content, tail)),
            content_type=f"multipart/form-data; boundary={boundary}",
        )
        return await self._retried(policy, request, self._json)

    @contextmanager
    def open(
        self,
        path: str,
        *,
        params: Fields = (),
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
        port_delta: int = 0,
        kind: str = "download",
    ) -> Iterator[Download]:
        """GET any file or stream without a limit. BLOCKING: for threads of transfers, not bound by
        `in_flight`.

        `timeout` bounds the time to the answer's head, and each wait for more of its body.
        """
        request = Request(
            "GET",
            self._base.join(path, params, port_delta),
            kind,
            timeout,
            accept=_ANY_FILE,
            headers={"Accept-Encoding": "identity", **(headers or {})},
        )
        call = self._deadlines.call(timeout)
        with self._observed(request, call) as transfer, self._exchange.open(request, call) as download:
            try:
                yield download
            finally:
                transfer.received = download.received

    def upload_stream(
        self,
        path: str,
        params: Fields,
        filename: str,
        length: int,
        chunks: Iterator[bytes],
        timeout: float,
        *,
        kind: str = "chunk",
    ) -> Json:
        """POST `length` bytes from `chunks` as the multipart field `file`. BLOCKING, not repeated.

        Raises bodies.WrongLength when `chunks` hold more or fewer bytes; an error that `chunks` raise comes
        through. Time in which `chunks` are waited for does not count.
        """
        boundary = _boundary()
        head, tail = bodies.file_part(boundary, safe_name(filename))
        request = Request(
            "POST",
            self._base.join(path, params, 0),
            kind,
            timeout,
            body=lambda call: bodies.streamed(head, chunks, length, tail, call),
            length=len(head) + length + len(tail),
            content_type=f"multipart/form-data; boundary={boundary}",
        )
        return self._json(request, self._deadlines.call(timeout))

    def close(self) -> None:
        """End all running calls and drop the connections."""
        if self._tidying is not None:
            self._tidying.cancel()
        self._deadlines.close()
        self._transport.close()

    async def _retried(self, policy: Policy, request: Request, work: Callable[[Request, Call], T]) -> T:
        loop = asyncio.get_running_loop()
        patience = loop.time() + policy.limit

        async def once() -> T:
            return await self._in_thread(request, work, patience)

        return await retrying(policy, once, on_retry=self._on_retry)

    async def _in_thread(self, request: Request, work: Callable[[Request, Call], T], patience: float) -> T:
        """Run `work` in a thread once a permit is free; when cancelled, end it there too."""
        await self._take_turn(request, patience)
        loop = asyncio.get_running_loop()
        call = self._deadlines.call(request.timeout)
        ended: asyncio.Future[None] = loop.create_future()

        def tell(_job: Future[T]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._thread_done, ended)

        try:
            job = self._executor.submit(work, request, call)
        except BaseException:
            self._permits.release()
            raise
        job.add_done_callback(tell)
        try:
            await ended
        except asyncio.CancelledError:
            job.cancel()
            call.abort()
            raise
        return job.result()

    async def _take_turn(self, request: Request, patience: float) -> None:
        """Wait for a permit; a call that has waited through its policy's limit gets one more time-out."""
        if not self._permits.locked():
            await self._permits.acquire()  # comes at once, and needs no timer
            return
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(max(patience, loop.time() + request.timeout)):
                await self._permits.acquire()
        except TimeoutError:
            raise Unreachable(
                "no turn among the requests in flight",
                method=request.method,
                url=failures.shown_url(request.url),
            ) from None

    def _thread_done(self, ended: asyncio.Future[None]) -> None:
        self._permits.release()  # it belongs to the thread, not to the one who waits for it
        if not ended.done():
            ended.set_result(None)
        if self._tidying is None:
            self._tidying = ended.get_loop().call_later(KEPT, self._tidy)

    def _tidy(self) -> None:
        self._tidying = None
        if self._transport.close_idle(KEPT):
            self._tidying = asyncio.get_running_loop().call_later(KEPT, self._tidy)

    def _json(self, request: Request, call: Call) -> Json:
        body, headers = self._answer(request, call)
        if not body and "Content-Length" not in headers:
            # openQA tells the length of all that it renders: the connection ended within the head
            raise Unreachable(
                "answer ended in its head", method=request.method, url=failures.shown_url(request.url)
            )
        try:
            return decode(body)
        except NotJson as error:
            html = failures.looks_like_html(body)
            if request.method == "POST" and not html and "json" not in headers.get("Content-Type", ""):
                try:
                    return body.decode()
                except UnicodeDecodeError:
                    pass  # no text either: told below
            what = f"HTML: {failures.said(200, body)}" if html else f"no JSON: {error}"
            raise Garbage(
                f"answer is {what}",
                method=request.method,
                url=failures.shown_url(request.url),
                status=200,
                advice="check that the URL is openQA's and no proxy answers for it" if html else "",
            ) from error

    def _bytes(self, request: Request, call: Call) -> bytes:
        return self._answer(request, call)[0]

    def _answer(self, request: Request, call: Call) -> tuple[bytes, Mapping[str, str]]:
        with self._observed(request, call) as transfer:
            answer = self._exchange.answer(request, call)
            transfer.received = answer.received
            return answer.body, answer.headers

    @contextmanager
    def _observed(self, request: Request, call: Call) -> Iterator[_Transfer]:
        """Begins the call, works on it in this thread, ends it, and tells the observer."""
        started = time.monotonic()
        transfer = _Transfer()
        failure: str | None = None
        self._deadlines.begin(call)
        try:
            with self._deadlines.working_on(call):
                yield transfer
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self._deadlines.end(call)
            if self._observer is not None:
                sent = len(request.body) if isinstance(request.body, bytes) else request.length
                seconds = time.monotonic() - started
                self._observer.request(
                    request.method, request.kind, seconds, sent, transfer.received, failure
                )


class _Transfer:
    received = 0
