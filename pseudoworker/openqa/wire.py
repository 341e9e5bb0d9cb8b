"""One websocket over asyncio: the protocol is `websockets`' own, sans-I/O, only the bytes are moved here.

The sans-I/O layer is the same in `websockets` 12 and 17, unlike the asyncio clients; it leaves redirects to
us, which have to be signed anew; and an idle connection costs one transport and one timer, no task.
"""

from __future__ import annotations

import asyncio
from collections import deque

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from pseudoworker.openqa.errors import ConnectionLost

_MOST_MESSAGES = 64
_MOST_BYTES = 1024 * 1024
_HANDSHAKE_LIMIT = 256 * 1024  # openQA's 404 page has 65 kB
_ABNORMAL = 1006
_LINGER = 5.0


class Wire(asyncio.Protocol):
    """A websocket client connection: `handshake`, then `send` and `receive` until ConnectionLost.

    `ping_interval` seconds without a byte from the other side lead to a ping, `ping_timeout` more without one
    to the end of the connection. Messages that nobody receives stop the reading, so memory stays bounded.
    """

    def __init__(
        self, protocol: ClientProtocol, *, url: str, ping_interval: float, ping_timeout: float
    ) -> None:
        self._protocol = protocol
        self._url = url
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._response: asyncio.Future[Response] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._messages: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._parts: list[bytes] = []
        self._changed: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._reading = True
        self._heard = self._loop.time()
        self._handshake_bytes = 0
        self._pinged = False
        self._timer: asyncio.TimerHandle
        self._lost: ConnectionLost | None = None

    async def handshake(self, headers: dict[str, str]) -> Response:
        """Ask for the upgrade and return the answer, which may be a refusal; `handshake_error` tells.

        Raises ConnectionLost when there is none, or none that is HTTP.
        """
        request: Request = self._protocol.connect()
        for name, value in headers.items():
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()
        return await self._response

    @property
    def open(self) -> bool:
        """Whether the handshake succeeded and neither side has ended the connection."""
        return self._lost is None and self._protocol.state.name == "OPEN"

    @property
    def handshake_error(self) -> Exception | None:
        """Why the answer was no upgrade, None when it was."""
        return self._protocol.handshake_exc

    async def send(self, message: bytes) -> None:
        """Send one text message; waits while the other side takes nothing. Raises ConnectionLost."""
        if self._lost is not None or self._protocol.state.name != "OPEN":
            raise self._why_lost()
        self._protocol.send_text(message)
        self._flush()
        await self._writable.wait()
        if self._lost is not None:
            raise self._lost

    async def receive(self) -> bytes:
        """The next message. Raises ConnectionLost once all that came before the end have been received."""
        while not self._messages:
            if self._lost is not None:
                raise self._lost
            if self._changed is not None:
                raise RuntimeError("another task receives already")
            self._changed = self._loop.create_future()
            try:
                await self._changed
            finally:
                self._changed = None
        message = self._messages.popleft()
        self._waiting_bytes -= len(message)
        if not self._reading and self._waiting_bytes <= _MOST_BYTES and len(self._messages) < _MOST_MESSAGES:
            self._reading = True
            self._heard = self._loop.time()
            self._transport.resume_reading()
        return message

    async def close(self, code: int = 1000, reason: str = "", *, timeout: float = 2.0) -> None:
        """Say goodbye, wait at most `timeout` seconds for the other side to do so, and drop the
        connection."""
        if self._lost is None and self._protocol.state.name == "OPEN":
            self._protocol.send_close(code, reason)
            self._flush()
            if not self._reading:
                self._reading = True
                self._transport.resume_reading()
            await asyncio.wait([self._ended], timeout=timeout)
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._lose(ConnectionLost(_ABNORMAL, "closed by us", url=self._url))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio.Protocol."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._timer = self._loop.call_later(self._ping_interval, self._check_alive)

    def data_received(self, data: bytes) -> None:
        """Of asyncio.Protocol."""
        self._heard = self._loop.time()
        self._pinged = False
        if not self._response.done():
            self._handshake_bytes += len(data)
            if self._handshake_bytes > _HANDSHAKE_LIMIT:
                self._lose(ConnectionLost(_ABNORMAL, "answer to the handshake does not end", url=self._url))
                return
        self._protocol.receive_data(data)
        self._process()

    def eof_received(self) -> None:
        """Of asyncio.Protocol."""
        self._protocol.receive_eof()
        self._process()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio.Protocol."""
        if self._lost is None:
            self._protocol.receive_eof()
            self._process()
            self._lose(self._why_lost(str(exc)))
        self._ended.set_result(None)

    def pause_writing(self) -> None:
        """Of asyncio.Protocol."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Of asyncio.Protocol."""
        self._writable.set()

    def _process(self) -> None:
        self._flush()
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take(event)
            else:
                assert isinstance(event, Response)
                self._response.set_result(event)
        error = self._protocol.handshake_exc
        if error is not None and not self._response.done():
            self._lose(ConnectionLost(_ABNORMAL, f"no answer to the handshake: {error}", url=self._url))
        elif self._response.done() and self._protocol.close_expected():
            self._lose(self._why_lost())

    def _take(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return  # ping, pong and close are answered by the protocol
        self._parts.append(bytes(frame.data))
        if not frame.fin:
            return
        message = b"".join(self._parts)
        self._parts.clear()
        self._messages.append(message)
        self._waiting_bytes += len(message)
        if self._reading and (self._waiting_bytes > _MOST_BYTES or len(self._messages) >= _MOST_MESSAGES):
            self._reading = False
            self._transport.pause_reading()
        self._wake()

    def _flush(self) -> None:
        for data in self._protocol.data_to_send():
            # no data stands for the end of our side, which `_lose` makes
            if data and not self._transport.is_closing():
                self._transport.write(data)

    def _check_alive(self) -> None:
        now = self._loop.time()
        quiet = now - self._heard
        if not self._reading or quiet < self._ping_interval:
            wait = self._ping_interval - (quiet if self._reading else 0)
        elif not self._pinged:
            if self._protocol.state.name == "OPEN":
                self._protocol.send_ping(b"alive?")
                self._flush()
            self._pinged = True
            wait = self._ping_timeout
        else:
            self._lose(ConnectionLost(_ABNORMAL, f"no sign of life for {quiet:.0f} s", url=self._url))
            return
        self._timer = self._loop.call_later(wait, self._check_alive)

    def _why_lost(self, otherwise: str = "") -> ConnectionLost:
        if self._lost is not None:
            return self._lost
        protocol = self._protocol
        if protocol.close_rcvd is not None:
            return ConnectionLost(protocol.close_rcvd.code, protocol.close_rcvd.reason, url=self._url)
        if protocol.close_sent is not None:
            # we ended it, because of what came
            return ConnectionLost(protocol.close_sent.code, protocol.close_sent.reason, url=self._url)
        return ConnectionLost(_ABNORMAL, otherwise or "connection broke", url=self._url)

    def _lose(self, error: ConnectionLost) -> None:
        if self._lost is None:
            self._lost = error
        self._timer.cancel()
        if error.code == _ABNORMAL:
            self._transport.abort()
        else:
            # What is still to be written, a close frame, goes out first, if somebody takes it.
            self._transport.close()
            self._loop.call_later(_LINGER, self._transport.abort)
        if not self._response.done():
            self._response.set_exception(self._lost)
            self._response.exception()  # seen: there may be nobody who waits for it any more
        self._writable.set()
        self._wake()

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
