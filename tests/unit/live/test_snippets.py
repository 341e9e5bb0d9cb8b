"""Pieces of a live log reach the master in order, once, and bounded."""

from __future__ import annotations

import re

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pseudoworker.bridge.snippets import SNIPPET, Snippets


def take(snippets: Snippets) -> tuple[int, str] | None:
    snippet = snippets.take()
    if snippet is None:
        return None
    offset, data = snippet["offset"], snippet["data"]
    assert isinstance(offset, int)
    assert isinstance(data, str)
    return offset, data


def test_nothing_new_is_nothing_to_post() -> None:
    snippets = Snippets("the live log")
    assert not snippets
    assert snippets.take() is None
    snippets.append("")
    assert snippets.take() is None


def test_offsets_go_on_where_the_last_snippet_ended() -> None:
    snippets = Snippets("the live log")
    snippets.append("one\n")
    assert take(snippets) == (0, "one\n")
    snippets.append("two\n")
    assert take(snippets) == (4, "two\n")
    assert take(snippets) is None
    snippets.append("three\n")
    assert take(snippets) == (8, "three\n")


def test_a_snippet_is_as_large_as_the_stock_workers_at_most() -> None:
    snippets = Snippets("the live log")
    snippets.append("x" * (SNIPPET + 5))
    assert take(snippets) == (0, "x" * SNIPPET)
    assert take(snippets) == (SNIPPET, "x" * 5)


def test_what_could_not_be_posted_comes_first_in_the_next_post() -> None:
    snippets = Snippets("the live log")
    snippets.append("one\n")
    assert take(snippets) == (0, "one\n")
    snippets.append("two\n")
    snippets.put_back()
    assert take(snippets) == (0, "one\ntwo\n")
    snippets.put_back()
    snippets.put_back()
    assert take(snippets) == (0, "one\ntwo\n")
    assert take(snippets) is None


def test_a_flood_is_cut_at_a_line_and_says_so() -> None:
    snippets = Snippets("the live log")
    lines = [f"{number:09}\n" for number in range(SNIPPET // 3)]
    for line in lines:
        snippets.append(line)
    data = "".join(piece[1] for piece in iter(lambda: take(snippets), None))
    notice, _, rest = data.partition("\n")
    match = re.fullmatch(
        r"\[pseudoworker: (\d+) bytes of the live log skipped, more came than is relayed\]", notice
    )
    assert match is not None
    assert rest == "".join(lines)[int(match[1]) :]
    assert len(rest) <= 2 * SNIPPET


def test_a_notice_is_a_line_of_its_own() -> None:
    snippets = Snippets("the live log")
    snippets.append("half a line")
    snippets.append_notice("lines are missing")
    assert take(snippets) == (0, "half a line\n[pseudoworker: lines are missing]\n")
    snippets.append("another half")
    take(snippets)
    snippets.append_notice("again")
    snippet = take(snippets)
    assert snippet is not None
    assert snippet[1] == "\n[pseudoworker: again]\n"


LIMIT = 500


class Relay(RuleBasedStateMachine):
    """Appends, takes and failed posts in any order: what arrived is what was sent, less what the log says was
    skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.snippets = Snippets("the live log", LIMIT)
        self.sent = ""
        self.posted: list[tuple[int, str]] = []

    @rule(size=st.integers(0, 3 * LIMIT), line=st.integers(1, 200))
    def append(self, size: int, line: int) -> None:
        text = "".join(f"{len(self.sent) + start:0{line}}\n" for start in range(0, size, line + 1))[:size]
        self.sent += text
        self.snippets.append(text)

    @rule()
    def post(self) -> None:
        snippet = take(self.snippets)
        if snippet is not None:
            self.posted.append(snippet)
            assert len(snippet[1]) <= LIMIT

    @rule()
    def fail(self) -> None:
        snippet = take(self.snippets)
        if snippet is not None:
            self.snippets.put_back()

    @invariant()
    def offsets_are_contiguous(self) -> None:
        position = 0
        for offset, data in self.posted:
            assert offset == position
            position += len(data)

    def teardown(self) -> None:
        while (snippet := take(self.snippets)) is not None:
            self.posted.append(snippet)
        self.offsets_are_contiguous()
        arrived = "".join(data for _, data in self.posted)
        positions = {0}
        parts = re.split(r"\[pseudoworker: (\d+) bytes of the live log skipped[^\n]*\]\n", arrived)
        for index, part in enumerate(parts):
            if index % 2:
                positions = {position + int(part) for position in positions}
                continue
            # The line break before a notice is the log's own, or was added because a line had been cut there.
            ways = {part, part[:-1]} if index < len(parts) - 1 and part.endswith("\n") else {part}
            positions = {
                position + len(way)
                for position in positions
                for way in ways
                if self.sent.startswith(way, position)
            }
        assert len(self.sent) in positions


Relay.TestCase.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)
TestRelay = Relay.TestCase
