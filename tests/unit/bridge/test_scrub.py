"""Secrets in what passes through."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.bridge.scrub import Scrubber

SECRET = "0123456789abcdef"


def cut(content: bytes, places: list[int]) -> list[bytes]:
    borders = sorted({place % (len(content) + 1) for place in places} | {0, len(content)})
    return [content[start:end] for start, end in itertools.pairwise(borders)]


@given(st.lists(st.binary(max_size=40), max_size=6), st.lists(st.integers(min_value=0), max_size=12))
def test_a_stream_is_scrubbed_wherever_it_is_cut(parts: list[bytes], places: list[int]) -> None:
    content = SECRET.encode().join(parts)
    scrubber = Scrubber([SECRET], "fedcba9876543210")
    whole = scrubber.whole(content)
    assert SECRET.encode() not in whole
    assert len(whole) == len(content)
    assert b"".join(scrubber.chunks(cut(content, places))) == whole


def test_a_replacement_is_made_to_fit() -> None:
    assert Scrubber([SECRET], "ab").whole(SECRET.encode()) == b"ab" * 8
    assert Scrubber([SECRET], "").whole(SECRET.encode()) == b"x" * 16
    assert Scrubber(["abc"], SECRET).whole(b"abcd") == b"012d"


def test_several_secrets_and_none() -> None:
    scrubber = Scrubber([SECRET, "", "other-secret"], "-")
    assert scrubber.whole(b"a other-secret b") == b"a ------------ b"
    assert b"".join(Scrubber([], "x").chunks([b"a", b"", b"b"])) == b"ab"
