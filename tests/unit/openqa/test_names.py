"""File names from outside."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.openqa.errors import UnsafeName
from pseudoworker.openqa.names import safe_name


@pytest.mark.parametrize(
    "name", ["a", "autoinst-log.txt", "..a", ".hidden", "Gerät 1.png", "x" * 255, "a\\b", "-rf", "…"]
)
def test_plain_names_pass(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        (".", "is a directory"),
        ("..", "is a directory"),
        ("a/b", "holds a slash"),
        ("../../evil.txt", "holds a slash"),
        ("/etc/passwd", "holds a slash"),
        ("a\0b", "control characters"),
        ("a\nb", "control characters"),
        ("a\r\nX: y", "control characters"),
        ("a\x7f", "control characters"),
        ("a\u0085", "control characters"),
        ("a\ud800", "broken text"),
        ("x" * 256, "more than 255 bytes"),
        ("ü" * 128, "more than 255 bytes"),
    ],
)
def test_others_are_refused(name: str, why: str) -> None:
    with pytest.raises(UnsafeName, match=why):
        safe_name(name)


def test_the_message_is_short_and_printable() -> None:
    with pytest.raises(UnsafeName) as caught:
        safe_name("\x1b[31m" + "x" * 10_000)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isprintable()


@given(st.text(st.characters(), max_size=300))
def test_what_passes_stays_in_its_directory(name: str) -> None:
    try:
        safe_name(name)
    except UnsafeName:
        return
    assert PurePosixPath("/dir", name).parent == PurePosixPath("/dir")
    assert 0 < len(name.encode()) <= 255
    assert not set(name) & {chr(code) for code in range(32)}
