"""Chunk images, read back by a reader of their own."""

from __future__ import annotations

import base64
import hashlib

from hypothesis import example, given
from hypothesis import strategies as st

from pseudoworker.openqa.chunks import pack, unpadded
from tests.fakes.storable import thaw


@example(content=b"x" * 128, name="n" * 256, start=0)
@given(st.binary(max_size=600), st.text(max_size=300), st.integers(min_value=0, max_value=2**40))
def test_an_image_holds_what_was_packed(content: bytes, name: str, start: int) -> None:
    chunk = thaw(pack(content, name=name, index=3, total=9, start=start, total_cksum="sum"))
    assert bytes.fromhex(chunk["content"].decode()) == content
    assert chunk["file"].decode() == name
    assert (chunk["index"], chunk["total"], chunk["total_cksum"]) == (b"3", b"9", b"sum")
    assert (int(chunk["start"]), int(chunk["end"])) == (start, start + len(content))
    assert chunk["cksum"] + b"=" == base64.b64encode(hashlib.sha1(content).digest())


def test_a_known_image() -> None:
    image = pack(b"hi", name="a.iso", index=1, total=1, start=0, total_cksum="")
    assert image.startswith(b"\x05\x0b\x03\x00\x00\x00\x08\x0a\x05a.iso\x00\x00\x00\x04file")
    assert image.endswith(b"\x0a\x046869\x00\x00\x00\x07content")


def test_unpadded() -> None:
    assert unpadded(b"a") == "YQ"
    assert len(unpadded(hashlib.sha256(b"").digest())) == 43
