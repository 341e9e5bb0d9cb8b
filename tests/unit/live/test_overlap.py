"""A reopened text stream neither repeats nor silently loses anything."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pseudoworker.slave.live_overlap import REPLAY, Overlap


def replay_of(log: str) -> str:
    """What openQA sends first of a log file: its last 10 KB without the partial line (Running.pm,
    streamtext)."""
    if len(log) <= REPLAY:
        return log
    last = log[-REPLAY:]
    return last[last.find("\n") + 1 :] if "\n" in last else ""


def numbered_lines(first: int, last: int) -> str:
    return "".join(f"line {number} of the log\n" for number in range(first, last))


def test_first_connection_passes_everything_on() -> None:
    overlap = Overlap()
    overlap.opened()
    assert overlap.feed("a\nb").text == "a\nb"
    assert overlap.feed("c\n").text == "c\n"
    assert not overlap.undecided


def test_a_reopened_stream_goes_on_where_it_was() -> None:
    log = numbered_lines(0, 2000)
    overlap = Overlap()
    overlap.opened()
    overlap.feed(log)
    overlap.opened()
    longer = log + numbered_lines(2000, 2010)
    seen = "".join(overlap.feed(line + "\n").text for line in replay_of(longer).splitlines())
    piece = overlap.settle()
    assert not piece.gap
    assert seen + piece.text == numbered_lines(2000, 2010)


def test_a_reopened_stream_without_news_repeats_nothing() -> None:
    log = numbered_lines(0, 20)
    overlap = Overlap()
    overlap.opened()
    overlap.feed(log)
    for _ in range(3):
        overlap.opened()
        assert overlap.feed(replay_of(log)).text + overlap.settle().text == ""
    assert overlap.feed("new\n").text + overlap.settle().text == "new\n"


def test_a_gap_is_told() -> None:
    overlap = Overlap()
    overlap.opened()
    overlap.feed(numbered_lines(0, 1000))
    overlap.opened()
    replay = replay_of(numbered_lines(0, 5000))
    pieces = [overlap.feed(replay), overlap.settle()]
    assert [piece.gap for piece in pieces if piece.text] == [True]
    assert "".join(piece.text for piece in pieces) == replay


def test_the_end_of_a_line_that_was_cut_by_the_break_is_not_lost() -> None:
    overlap = Overlap()
    overlap.opened()
    overlap.feed("one\ntw")
    overlap.opened()
    assert overlap.feed("one\ntwo\n").text + overlap.settle().text == "o\n"


def test_a_replay_that_breaks_in_the_middle_is_begun_anew() -> None:
    log = numbered_lines(0, 100)
    overlap = Overlap()
    overlap.opened()
    overlap.feed(log)
    overlap.opened()
    assert overlap.feed(log[:100]).text == ""
    assert overlap.undecided
    overlap.opened()
    assert not overlap.undecided
    assert overlap.feed(log + "new\n").text + overlap.settle().text == "new\n"


def test_a_slow_replay_is_waited_for() -> None:
    log = numbered_lines(0, 100)
    overlap = Overlap()
    overlap.opened()
    overlap.feed(log)
    overlap.opened()
    assert overlap.feed(log[:50]).text + overlap.settle().text == ""
    assert overlap.feed(log[50:] + "new\n").text == "new\n"


def test_what_is_held_back_is_bounded() -> None:
    overlap = Overlap()
    overlap.opened()
    overlap.feed("x" * 1_000_000)
    overlap.opened()
    released = sum(len(overlap.feed("y" * 1000).text) for _ in range(100))
    assert released >= 100_000 - REPLAY - 1000


@settings(max_examples=300, deadline=None)
@given(lengths=st.lists(st.integers(0, 400), max_size=200), data=st.data())
def test_every_cut_of_every_log_comes_out_once_and_whole(lengths: list[int], data: st.DataObject) -> None:
    """Numbered lines make the overlap unambiguous; the cuts, pieces and times of reopening are arbitrary."""
    log = "".join(f"{number}:{'.' * length}\n" for number, length in enumerate(lengths))
    overlap = Overlap()
    seen, written = "", 0
    while written < len(log):
        overlap.opened()
        start = data.draw(st.integers(written, len(log)), label="size of the file when opened")
        if start - written > REPLAY - 500:
            start = written + REPLAY - 500  # never so far that a gap is unavoidable
        replay = replay_of(log[:start])
        for line in replay.splitlines(keepends=True):
            seen += overlap.feed(line).text
        piece = overlap.settle()
        assert not piece.gap
        seen += piece.text
        end = data.draw(st.integers(start, len(log)), label="size of the file when the connection broke")
        if start < end:
            piece = overlap.feed(log[start:end])
            assert not piece.gap
            seen += piece.text
        written = max(written, end)
    assert seen == log
