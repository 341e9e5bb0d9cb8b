"""Bodies, with answers of either urllib3: releases before 2 have no `read1` and do not check lengths."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
import requests

from pseudoworker.openqa.bodies import CutShort, announced_length, file_part, pieces
from pseudoworker.openqa.deadlines import Call, Deadlines


class OldRaw:
    """The `raw` of an answer as urllib3 1.26 has it."""

    class _Below(io.BytesIO):
        """http.client's answer: what has come in one go."""

        def read1(self, size: int | None = -1, /) -> bytes:
            return super().read(min(3, size or 0))

    def __init__(self, body: bytes) -> None:
        self._fp = self._Below(body)

    def read(self, size: int, decode_content: bool) -> bytes:
        assert not decode_content
        return self._fp.read(size)


def response(body: bytes, **headers: str) -> requests.Response:
    made = requests.Response()
    made.raw = OldRaw(body)
    made.headers.update({name.replace("_", "-"): value for name, value in headers.items()})
    return made


@pytest.fixture
def call() -> Iterator[Call]:
    deadlines = Deadlines()
    call = deadlines.call(10)
    deadlines.begin(call)
    yield call
    deadlines.close()


def test_full_pieces(call: Call) -> None:
    assert list(pieces(response(b"abcdefgh", Content_Length="8"), call, 5)) == [b"abcde", b"fgh"]


def test_arriving_pieces(call: Call) -> None:
    assert list(pieces(response(b"abcdefgh"), call, 5, arriving=True)) == [b"abc", b"def", b"gh"]


def test_a_body_that_ends_early(call: Call) -> None:
    with pytest.raises(CutShort, match="ended after 8 of 9 bytes"):
        list(pieces(response(b"abcdefgh", Content_Length="9"), call, 5))


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ({}, None),
        ({"Content_Length": "0"}, 0),
        ({"Content_Length": "12"}, 12),
        ({"Content_Length": "-1"}, None),
        ({"Content_Length": "1e3"}, None),
        ({"Content_Length": "²"}, None),
        ({"Content_Length": "9" * 30}, None),
        ({"Content_Length": "12", "Transfer_Encoding": "chunked"}, None),
    ],
)
def test_announced_lengths(headers: dict[str, str], length: int | None) -> None:
    assert announced_length(response(b"", **headers)) == length


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("a b.txt", b'filename="a b.txt"'),
        ("ü", 'filename="ü"'.encode()),
        ('a"b', b'filename="a%22b"'),
        ("a\\b", b'filename="a\\b"'),
        ("a\\", b'filename="a%5C"'),
    ],
)
def test_file_names(name: str, written: bytes) -> None:
    head, tail = file_part("xxx", name)
    assert written in head
    assert head.startswith(b"--xxx\r\n")
    assert tail == b"\r\n--xxx--\r\n"
