"""Strict and bounded JSON."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.json import Json, NotJson, decode, encode

DOCUMENTS: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(DOCUMENTS)
def test_what_is_encoded_is_decoded(document: Json) -> None:
    assert decode(encode(document)) == document


@given(st.binary() | st.text(st.characters(), max_size=40))
def test_anything_else_is_not_json(text: str | bytes) -> None:
    try:
        document = decode(text)
    except NotJson:
        return
    encode(document)


@given(st.text(st.sampled_from('[]{}":,\\ud8ABCf0019eE.-+ntrl \ud800'), max_size=30))
def test_what_is_decoded_can_be_encoded(text: str) -> None:
    try:
        document = decode(text)
    except NotJson:
        return
    assert isinstance(encode(document), bytes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe", "no UTF-8"),
        (b'"\xed\xa0\x80"', "no UTF-8"),
        ("NaN", "NaN is no JSON"),
        ("[Infinity]", "Infinity is no JSON"),
        ("-Infinity", "-Infinity is no JSON"),
        ("1e999", "too large"),
        ("[" * 100_000, "nested too deep"),
        ('{"a":' * 100_000, "nested too deep"),
        ("1" * 5000, "digits"),
        ("<html>", "Expecting value"),
    ],
)
def test_refused(text: str | bytes, why: str) -> None:
    with pytest.raises(NotJson, match=why):
        decode(text)


def test_of_equal_keys_the_last_counts() -> None:
    assert decode('{"a":1,"a":2}') == {"a": 2}


@pytest.mark.parametrize(
    ("text", "document"),
    [
        ('"\\ud83d\\ude00"', "\U0001f600"),
        ('"a\\ud800b"', "a\ufffdb"),
        ('{"\\uD800":["\\udfff",1,null]}', {"\ufffd": ["\ufffd", 1, None]}),
        ('"\ud800"', "\ufffd"),
    ],
)
def test_half_surrogates_are_replaced(text: str, document: Json) -> None:
    assert decode(text) == document


def test_deep_nesting_with_surrogates_is_refused() -> None:
    with pytest.raises(NotJson, match="nested too deep"):
        decode("[" * 990 + '"\\ud800"' + "]" * 990)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_not_sent(number: float) -> None:
    with pytest.raises(NotJson):
        encode([number])


def test_too_deep_a_document_is_not_sent() -> None:
    document: Json = []
    for _ in range(100_000):
        document = [document]
    with pytest.raises(NotJson, match="nested too deep"):
        encode(document)
    while isinstance(document, list) and document:  # taken apart by hand: freeing it recurses in C
        document = document[0]


def test_text_is_sent_as_ascii_without_blanks() -> None:
    assert encode({"a": ["ü", 1]}) == b'{"a":["\\u00fc",1]}'
