from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.config.schema import (
    Absolute,
    Choice,
    Key,
    Range,
    Unfit,
    check,
    keys_of,
    parse,
    split_address,
)


@dataclass(frozen=True)
class Table:
    flag: bool = True
    count: Annotated[int, Range("", 0, 10)] = 1
    pause: Annotated[float, Range("s", 0.5, 2)] = 1.0
    word: Annotated[str, Choice(("one", "two"))] = "one"
    text: str = "x"
    path: Annotated[Path | None, Absolute()] = None
    names: tuple[str, ...] = ()


KEYS = {key.name: key for key in keys_of(Table)}


def test_the_keys_of_a_table() -> None:
    assert list(KEYS.values()) == [
        Key("flag", bool, True, None),
        Key("count", int, 1, Range("", 0, 10)),
        Key("pause", float, 1.0, Range("s", 0.5, 2)),
        Key("word", str, "one", Choice(("one", "two"))),
        Key("text", str, "x", None),
        Key("path", Path, None, Absolute()),
        Key("names", tuple, (), None),
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("flag", "0", False),
        ("flag", "1", True),
        ("flag", "", False),
        ("count", " 10 ", 10),
        ("pause", "0.5", 0.5),
        ("pause", "2", 2.0),
        ("word", "two", "two"),
        ("word", "", "one"),
        ("text", "", "x"),
        ("path", "/a", Path("/a")),
        ("path", "", None),
    ],
)
def test_texts_that_are_understood(name: str, text: str, value: object) -> None:
    assert parse(KEYS[name], text) == value


@pytest.mark.parametrize(
    ("name", "text", "what", "remedy"),
    [
        ("flag", "yes", "'yes' is neither 0 nor 1", "write 0 or 1"),
        ("count", "", "'' is no number", "give a whole number"),
        ("count", "1.0", "'1.0' is no number", "give a whole number"),
        ("count", "1_0", "'1_0' is no number", "give a whole number"),
        ("count", "٣", "'٣' is no number", "give a whole number"),
        ("count", "-1", "-1 is out of range", "give a number from 0 to 10"),
        ("pause", "nan", "'nan' is no number", "give a number"),
        ("pause", "3", "3.0 is out of range", "give a number from 0.5 to 2 s"),
        ("word", "three", "'three' is not known", "give one of one, two"),
        ("path", "a", "'a' is a relative path", "give an absolute one, beginning with /"),
        ("text", "a\x00", r"the text contains '\x00'", "take this character out"),
    ],
)
def test_texts_that_are_refused(name: str, text: str, what: str, remedy: str) -> None:
    with pytest.raises(Unfit) as caught:
        parse(KEYS[name], text)
    assert (caught.value.what, caught.value.remedy) == (what, remedy)


def test_addresses() -> None:
    assert split_address("127.0.0.1:80") == ("127.0.0.1", 80)
    assert split_address("[::1]:0") == ("::1", 0)
    for text in ("", "a", "a:", ":1", "::1:80", "a:65536", "a b:1", "a:1\n"):
        with pytest.raises(Unfit):
            split_address(text)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(list(KEYS.values())), anything)
def test_anything_is_fitted_or_refused(key: Key, value: object) -> None:
    try:
        fitted = check(key, value)
    except Unfit:
        return
    assert fitted is None or isinstance(fitted, key.type)


@given(st.sampled_from(list(KEYS.values())), st.text(max_size=10))
def test_any_text_is_fitted_or_refused(key: Key, text: str) -> None:
    try:
        fitted = parse(key, text)
    except Unfit:
        return
    assert fitted == key.default or isinstance(fitted, key.type)
