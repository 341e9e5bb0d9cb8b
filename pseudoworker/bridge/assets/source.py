"""Reading an asset from an instance, piece by piece, over any number of broken connections."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from pseudoworker.bridge.assets.errors import AssetChanged, AssetFailure
from pseudoworker.bridge.assets.site import Site
from pseudoworker.openqa.download import Download
from pseudoworker.openqa.errors import Garbage, NotFound, Refused, Unreachable
from pseudoworker.openqa.retry import DOWNLOAD, retrying
from pseudoworker.openqa.served import Served, first_byte, served
from pseudoworker.openqa.threads import in_thread

BLOCK = 262_144
"""Bytes that are read from the socket at a time."""
MOST_BARREN = 8
"""Connections in a row that may end early without a single byte before the file counts as unreadable."""


class Source:
    """The bytes of one version of a file of an instance, from an offset on.

    One `read` at a time. Nothing is held but what the running `read` collects. A connection that breaks is
    opened again where it broke; a file that is not the same any more then is noticed by its size and version.
    """

    def __init__(self, site: Site, file: Served, *, start: int = 0) -> None:
        self._site = site
        self._file = file
        self.position = start
        """Offset of the next byte that `read` brings."""
        self._pieces: list[bytes] = []
        self._collected = 0
        self._connection: ExitStack | None = None
        self._download: Download | None = None
        self._blocks: Iterator[bytes] = iter(())
        self._left = b""
        self._barren = 0
        self._lock = threading.Lock()
        self._closed = False

    @property
    def url(self) -> str:
        """What is read, for texts."""
        return self._site.url + self._file.path

    async def read(self, count: int) -> bytes:
        """The next `count` bytes, fewer only at the end of the file, none at its end.

        Raises AssetChanged, AssetFailure when it vanished, and OpenQAError when the instance could not be
        read for a long time; reading can go on later from `position`.
        """
        want = min(count, self._file.size - self.position)
        if want <= 0:
            return b""
        try:
            await retrying(DOWNLOAD, lambda: in_thread(self._site.executor, partial(self._fill, want)))
        except NotFound as error:
            raise AssetFailure(f"{self.url} vanished while it was read") from error
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._collected = 0
        self.position += len(data)
        return data

    async def close(self) -> None:
        """Give the connection back. A read that is still running on its thread is ended, and not waited
        for."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._disconnect()
            finally:
                self._lock.release()
        elif self._download is not None:
            self._download.abort()

    def _fill(self, want: int) -> None:
        with self._lock:
            try:
                while self._collected < want and not self._closed:
                    block = self._next_block()
                    rest = want - self._collected
                    self._left = block[rest:]
                    self._pieces.append(block[:rest] if self._left else block)
                    self._collected += min(len(block), rest)
            except BaseException:
                self._disconnect()
                raise
            if self._closed:
                self._disconnect()

    def _next_block(self) -> bytes:
        if self._left:
            return self._left
        if self._connection is None:
            self._connect()
        offset = self.position + self._collected
        block = next(self._blocks, b"")
        if not block:
            raise Unreachable(f"ended after {offset} of {self._file.size} bytes", method="GET", url=self.url)
        if offset + len(block) > self._file.size:
            raise Garbage(f"more than the {self._file.size} bytes it announced", method="GET", url=self.url)
        self._barren = 0
        return block

    def _connect(self) -> None:
        offset = self.position + self._collected
        if self._barren >= MOST_BARREN:
            raise AssetFailure(
                f"{self.url} ended after {offset} of {self._file.size} bytes, {self._barren} times"
            )
        headers = {"Range": f"bytes={offset}-{self._file.size - 1}"} if offset else {}
        with ExitStack() as stack:
            try:
                download = stack.enter_context(self._site.client.open(self._file.path, headers=headers))
            except Refused as error:
                if error.status == 416:  # shorter by now than where we are
                    raise AssetChanged(f"{self.url} changed while it was read: {error.text}") from error
                raise
            now = served(download, self._file.path)
            if now is None:
                raise Garbage("served without a length", method="GET", url=self.url)
            if not now.same_version(self._file):
                raise AssetChanged(f"{self.url} changed while it was read ({_difference(self._file, now)})")
            begin = first_byte(download)
            if begin not in (0, offset):
                raise Garbage(f"answered for byte {begin} instead of {offset}", method="GET", url=self.url)
            self._blocks = _skipping(download.iter(BLOCK), offset - begin)
            self._barren += 1  # until a byte comes
            self._download = download
            self._connection = stack.pop_all()

    def _disconnect(self) -> None:
        self._left = b""
        self._blocks = iter(())
        self._download = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()


def _skipping(blocks: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The bytes after the first `count`, from a server that does not know ranges."""
    for block in blocks:
        if count >= len(block):
            count -= len(block)
            continue
        yield block[count:]
        count = 0


def _difference(before: Served, now: Served) -> str:
    if before.size != now.size:
        return f"{before.size} bytes before, {now.size} now"
    return f"version {before.version or 'unknown'} before, {now.version or 'unknown'} now"
