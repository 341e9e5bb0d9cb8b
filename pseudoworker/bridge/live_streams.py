"""One live stream of a slave job on its way to the master: kept open, cleaned of repetitions, bounded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from pseudoworker.bridge.snippets import Snippets
from pseudoworker.openqa.errors import OpenQAError
from pseudoworker.openqa.json import Json
from pseudoworker.slave.live import TextRoute
from pseudoworker.slave.live_overlap import Overlap, Piece

SETTLE = 0.5
"""Seconds of quiet after which a reopened text has repeated all that it repeats."""

FIRST_PAUSE = 1.0
"""Seconds before a stream that ended is opened again; doubled each time it has brought nothing."""

LONGEST_PAUSE = 15.0

LASTING = 12.0
"""Seconds that an attempt must have lasted to count as one that worked: longer than a connection may take to
fail."""

REFUSED_PAUSE = 60.0
"""Seconds before a stream that the slave refuses is tried again."""


class Source(Protocol):
    """Where the streams come from: `slave.live.LiveSource`."""

    async def read_text(
        self, job_id: int, route: TextRoute, opened: Callable[[], None], text: Callable[[str], None]
    ) -> None:
        """Read one text until it ends; raise OpenQAError."""

    async def read_screen(
        self, job_id: int, opened: Callable[[], None], screen: Callable[[str], None]
    ) -> None:
        """Read the screen until it ends; raise OpenQAError."""


class Stream(Protocol):
    """What there is of each kind of stream."""

    async def read(self, source: Source, slave_job: int, opened: Callable[[], None]) -> None:
        """Read the stream until it ends; raise OpenQAError."""

    def take(self) -> dict[str, Json] | None:
        """What is new for the master; what was taken before counts as delivered."""

    def put_back(self) -> None:
        """What was last taken did not arrive."""


class TextStream:
    """The live log, or the serial terminals, which the slave shows as one text."""

    def __init__(self, route: TextRoute, name: str, changed: Callable[[], None]) -> None:
        self._route = route
        self._name = name
        self._changed = changed
        self._overlap = Overlap()
        self._snippets = Snippets(name)

    async def read(self, source: Source, slave_job: int, opened: Callable[[], None]) -> None:
        """Read until the stream ends, leaving out what an earlier connection has brought already."""
        loop = asyncio.get_running_loop()
        settling: asyncio.TimerHandle | None = None

        def begin() -> None:
            self._overlap.opened()
            opened()

        def add(text: str) -> None:
            nonlocal settling
            if settling is not None:
                settling.cancel()
            self._add(self._overlap.feed(text))
            settling = loop.call_later(SETTLE, self._settle) if self._overlap.undecided else None

        try:
            await source.read_text(slave_job, self._route, begin, add)
        finally:
            if settling is not None:
                settling.cancel()

    def restarted(self, slave_job: int) -> None:
        """Another job of the slave goes on: its log begins anew."""
        self._overlap = Overlap()
        self._snippets.append_notice(f"{self._name} of slave job {slave_job} begins")

    def take(self) -> dict[str, Json] | None:
        """The next `{"offset", "data"}`."""
        return self._snippets.take()

    def put_back(self) -> None:
        """Take the last one again."""
        self._snippets.put_back()

    def _settle(self) -> None:
        self._add(self._overlap.settle())

    def _add(self, piece: Piece) -> None:
        if piece.gap:
            self._snippets.append_notice(f"a part of {self._name} is missing here")
        self._snippets.append(piece.text)
        if piece.text:
            self._changed()


class ScreenStream:
    """The screen: only the newest picture counts."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._newest: str | None = None
        self._fresh = False
        self._taken = False
        self._count = 0

    async def read(self, source: Source, slave_job: int, opened: Callable[[], None]) -> None:
        """Read until the stream ends; a picture that was there before it was reopened is not new."""
        await source.read_screen(slave_job, opened, self._add)

    def take(self) -> dict[str, Json] | None:
        """The newest picture as `{"name", "png"}`, None when it was taken before.

        The name differs from all before, those of an earlier process too: the master keeps the picture as a
        file of that name, then removes the file of the last name, and shows one only when the name has
        changed (Schema/Result/Jobs.pm save_screenshot, Running.pm streaming).
        """
        self._taken, self._fresh = self._fresh, False
        if not self._taken:
            return None
        self._count += 1
        return {"name": f"live-{int(time.time())}-{self._count}.png", "png": self._newest}

    def put_back(self) -> None:
        """The last one did not arrive: take the newest again, whether it is another by now or not."""
        self._fresh = self._fresh or self._taken
        self._taken = False

    def _add(self, png: str) -> None:
        if png != self._newest:
            self._newest = png
            self._fresh = True
            self._changed()


async def keep_open(
    read: Callable[[], Awaitable[None]],
    *,
    failed: Callable[[OpenQAError, int], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Read a stream for ever: open it again whenever it ends, after a pause that grows while it does not
    last.

    `failed` is told each error and how many there were in succession, and answers whether the slave has no
    such stream: it is then tried again only every `REFUSED_PAUSE`.
    """
    pause, failures = FIRST_PAUSE, 0
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        refused = False
        try:
            await read()
            failures = 0
        except OpenQAError as error:
            lasted = clock() - began > LASTING
            failures = 1 if lasted else failures + 1
            refused = failed(error, failures)
        if clock() - began > LASTING:
            pause = FIRST_PAUSE
        await sleep(REFUSED_PAUSE if refused else pause)
        pause = min(2 * pause, LONGEST_PAUSE)
