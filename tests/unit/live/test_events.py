"""Event streams are cut into events whatever the pieces they come in."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pseudoworker.openqa.errors import Garbage
from pseudoworker.openqa.events import Event, EventParser


def parse(data: bytes, limit: int = 1000) -> list[Event]:
    return EventParser(limit).feed(data)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: one\n\n", [Event("one")]),
        (b"data:one\n\ndata:  two\n\n", [Event("one"), Event(" two")]),
        (b"data: one\r\ndata: two\r\n\r\n", [Event("one\ntwo")]),
        (b"data: one\r\rdata: two\n\n", [Event("one"), Event("two")]),
        (b"\xef\xbb\xbfdata: one\n\n", [Event("one")]),
        (b": comment\n\n\n\nid: 7\nretry: 10\nevent: progress\ndata\n\n", [Event("", "progress")]),
        (b"event: forgotten\n\ndata: one\n\n", [Event("one")]),
        (b"data: \xff\n\n", [Event("\ufffd")]),
        (b"data: not complete\n", []),
        (b"<html>\n\n</html>\n\n", []),
        (b"", []),
    ],
)
def test_a_stream_has_these_events(stream: bytes, events: list[Event]) -> None:
    assert parse(stream) == events


@given(
    data=st.lists(
        st.sampled_from([b"data: x", b"data:", b":", b"event: y", b"\n", b"\r", b"\r\n", b"\xef\xbb\xbf"])
    ),
    cuts=st.lists(st.integers(0, 60), max_size=10),
)
@example(data=[b"data:", b"\n", b"\r"], cuts=[7])
def test_the_pieces_make_no_difference(data: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(data) + b"end"  # a carriage return at the very end waits for what follows
    parser = EventParser(1000)
    events: list[Event] = []
    positions = [0, *sorted(cuts), len(stream)]
    for start, end in pairwise(positions):
        events += parser.feed(stream[start:end])
    assert events == parse(stream)


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 1000, b"data: x\n" * 200, b"data: " + b"x" * 1000 + b"\n\n"]
)
def test_an_event_that_is_too_large_is_garbage(stream: bytes) -> None:
    with pytest.raises(Garbage):
        parse(stream)


@given(st.binary())
def test_any_bytes_are_events_or_garbage(data: bytes) -> None:
    try:
        events = parse(data, limit=50)
    except Garbage:
        return
    assert all(len(event.data) <= 50 for event in events)
