"""A file or stream that is being read by a thread, piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import requests

from pseudoworker.openqa import bodies, failures
from pseudoworker.openqa.deadlines import Call
from pseudoworker.openqa.errors import OpenQAError


class Download:
    """The answer to `Client.open`: its head is there, its body is read by one of the iterators.

    Reading raises `OpenQAError`s: Unreachable when the connection breaks, stalls, or ends before `length`
    bytes.
    """

    def __init__(
        self,
        response: requests.Response,
        url: str,
        call: Call,
        failed: Callable[[Exception], OpenQAError],
    ) -> None:
        self._response = response
        self._call = call
        self._failed = failed
        self.url = url
        """Where the answer came from, after redirects."""
        self.status: int = response.status_code
        """200, or 206 for a part."""
        self.headers: Mapping[str, str] = response.headers
        """Names in any case."""
        self.length = bodies.announced_length(response)
        """Bytes of the body by Content-Length, None when it has none (a stream)."""
        self.received = 0
        """Bytes of the body that were read so far."""

    def iter(self, chunk_size: int) -> Iterator[bytes]:
        """The body in chunks of exactly `chunk_size` bytes; only the last one may be shorter, none is empty.

        It counts as stalled when for the time-out of the call fewer than `deadlines.SLOWEST` bytes a second
        come; time that the caller spends between chunks does not count.
        """
        return self._read(chunk_size, arriving=False)

    def arriving(self, largest: int = 65536) -> Iterator[bytes]:
        """The body as it comes, 1 to `largest` bytes at a time: for streams that pause.

        Each wait may take the whole time-out of the call.
        """
        return self._read(largest, arriving=True)

    def abort(self) -> None:
        """End it from another thread: the one that reads gets Unreachable."""
        self._call.abort()

    def _read(self, size: int, *, arriving: bool) -> Iterator[bytes]:
        pieces = bodies.pieces(self._response, self._call, size, arriving=arriving)
        while True:
            try:
                if arriving:
                    self._call.restart()
                else:
                    self._call.resume()
                data = next(pieces, None)
            except failures.FOREIGN as error:
                raise self._failed(error) from error
            self._call.pause()
            if data is None:
                return
            self.received += len(data)
            yield data
