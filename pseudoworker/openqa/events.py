"""Server-sent events, parsed as they come (the HTML standard, section 9.2), within bounds.

openQA sends nothing but `data:` lines (WebAPI/Controller/Running.pm, Shared/Controller/Running.pm); whatever
else stands between us and it may send comments and other fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pseudoworker.openqa.errors import Garbage

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Event:
    """One event."""

    data: str
    """What follows the `data:` fields, lines joined; bytes that are no UTF-8 become U+FFFD."""
    name: str = "message"
    """The `event:` field."""


class EventParser:
    """Cuts the bytes of one stream into events, each of at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rest = bytearray()
        self._started = False
        self._data: list[bytes] = []
        self._name = ""
        self._size = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events that are complete by now.

        Raises Garbage when one has more bytes than the limit; the parser is of no use afterwards.
        """
        ends = self._rest.endswith(b"\r") or b"\n" in data or b"\r" in data
        self._rest += data
        if not self._started:
            if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
                return []
            self._started = True
            if self._rest.startswith(_BOM):
                del self._rest[: len(_BOM)]
        events: list[Event] = []
        if ends:
            self._take_lines(events)
        if len(self._rest) + self._size > self._limit:
            raise Garbage(f"an event has more than {self._limit} bytes")
        return events

    def _take_lines(self, events: list[Event]) -> None:
        position = 0
        for end in _LINE_END.finditer(self._rest):
            if end[0] == b"\r" and end.end() == len(self._rest):
                break  # a line feed may follow, which belongs to it
            self._take_line(bytes(self._rest[position : end.start()]), events)
            position = end.end()
        del self._rest[:position]

    def _take_line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                data = b"\n".join(self._data).decode("utf-8", "replace")
                events.append(Event(data, self._name or "message"))
            self._data, self._name, self._size = [], "", 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        self._size += len(line)
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._name = value[:100].decode("utf-8", "replace")
        if self._size > self._limit:
            raise Garbage(f"an event has more than {self._limit} bytes")
