"""A live log on its way to the master: bounded pieces of it, with offsets, in order, none twice.

The stock worker sends with each status post at most 100,000 bytes of each log as `{"offset", "data"}`, while
someone watches (Worker/Job.pm, _log_snippet); the master appends the data to the file that its viewers are
shown and does not look at the offset (Schema/Result/Jobs.pm, append_log).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pseudoworker.openqa.json import Json

SNIPPET = 100_000
"""Bytes of one log that go into one status post (Worker/Job.pm, _log_snippet)."""


class Snippets:
    """The part of one live log that the master has not got yet.

    Text is bytes, one character each (code points below 256), as openQA passes its logs on. A flood is cut:
    when more than twice `limit` waits, the newest `limit` bytes are kept, and a line in the log says how much
    was skipped. Offsets count what was posted, such lines included.
    """

    def __init__(self, name: str, limit: int = SNIPPET) -> None:
        self._name = name
        self._limit = limit
        self._waiting: deque[str] = deque()
        self._length = 0
        self._skipped = 0
        self._offset = 0
        self._taken: _Taken | None = None
        self._at_line_start = True
        """Whether the log, as posted, ends with a whole line: a notice must be a line of its own."""

    def __bool__(self) -> bool:
        """Whether there is something to take."""
        return bool(self._length or self._skipped)

    def append(self, text: str) -> None:
        """Add what the slave's log goes on with."""
        if text:
            self._waiting.append(text)
            self._length += len(text)
            self._bound()

    def append_notice(self, notice: str) -> None:
        """Add a line that is ours, not the slave's."""
        starts_line = self._waiting[-1].endswith("\n") if self._waiting else self._at_line_start
        self.append(_notice_line(notice, starts_line))

    def take(self) -> dict[str, Json] | None:
        """The next snippet for a status post; what was taken before counts as delivered."""
        if self._taken is not None:
            self._offset += len(self._taken.notice) + len(self._taken.text)
            self._taken = None
        if not self:
            return None
        notice = ""
        if self._skipped:
            skipped = f"{self._skipped} bytes of {self._name} skipped, more came than is relayed"
            notice = _notice_line(skipped, self._at_line_start)
        text = self._pop(self._limit - len(notice))
        self._taken = _Taken(notice, text, self._skipped, self._at_line_start)
        self._skipped = 0
        self._at_line_start = (notice + text).endswith("\n")
        return {"offset": self._offset, "data": notice + text}

    def put_back(self) -> None:
        """The post failed: what was last taken comes first in the next one."""
        taken, self._taken = self._taken, None
        if taken is None:
            return
        self._at_line_start = taken.at_line_start
        if self._skipped:  # a hole has come behind it since then: it becomes part of the hole
            self._skipped += taken.skipped + len(taken.text)
            return
        self._skipped = taken.skipped
        if taken.text:
            self._waiting.appendleft(taken.text)
            self._length += len(taken.text)
            self._bound()

    def _bound(self) -> None:
        if self._length <= 2 * self._limit:
            return
        dropped = len(self._pop(self._length - self._limit))
        first = self._waiting[0]
        line = first.find("\n") + 1
        if 0 < line < len(first):  # go on with a whole line
            dropped += len(self._pop(line))
        self._skipped += dropped

    def _pop(self, limit: int) -> str:
        parts: list[str] = []
        while self._waiting and limit:
            part = self._waiting.popleft()
            if len(part) > limit:
                self._waiting.appendleft(part[limit:])
                part = part[:limit]
            parts.append(part)
            limit -= len(part)
        text = "".join(parts)
        self._length -= len(text)
        return text


@dataclass(frozen=True)
class _Taken:
    """What is under way, and what must be known to undo it."""

    notice: str
    text: str
    skipped: int
    at_line_start: bool


def _notice_line(notice: str, starts_line: bool) -> str:
    return f"{'' if starts_line else chr(10)}[pseudoworker: {notice}]\n"
