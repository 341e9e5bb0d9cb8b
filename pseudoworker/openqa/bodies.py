"""Bodies of requests and answers: bounded, checked against the length that was announced, unpacked,
multipart."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import requests

from pseudoworker.errors import PseudoworkerError
from pseudoworker.openqa.deadlines import Call

PIECE = 64 * 1024
"""Bytes that are read or written at a time."""


class TooLarge(Exception):
    """A body is larger than it may be."""


class CutShort(Exception):
    """A body ended before the length that was announced, or before its compressed form was complete."""


class BadEncoding(Exception):
    """A body is compressed in a way that we did not ask for, or not really."""


class WrongLength(PseudoworkerError):
    """Content that is to be sent has not the length that was announced for it."""


def announced_length(response: requests.Response) -> int | None:
    """Bytes that the answer's body has by its Content-Length; None when it has none that makes sense."""
    digits = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits) if len(digits) < 19 else None


def pieces(response: requests.Response, call: Call, size: int, *, arriving: bool = False) -> Iterator[bytes]:
    """The body as it comes over the wire, in pieces of `size` (the last one may be shorter).

    With `arriving` a piece is whatever has come, 1 to `size` bytes, and each wait may take the whole
    time-out. Raises CutShort, and whatever urllib3 raises.
    """
    length = announced_length(response)
    raw: Any = response.raw
    received = 0
    while True:
        data: bytes
        if not arriving:
            data = raw.read(size, decode_content=False)
        elif hasattr(raw, "read1"):
            data = raw.read1(size, decode_content=False)
        else:  # urllib3 before 2: ask the answer of http.client below it
            data = raw._fp.read1(size)
        if not data:
            break
        received += len(data)
        call.progress(len(data))
        yield data
    call.check()
    if length is not None and received < length:
        raise CutShort(f"ended after {received} of {length} bytes")


def whole(response: requests.Response, call: Call, limit: int) -> tuple[bytes, int]:
    """The unpacked body and the bytes it took on the wire; raises TooLarge, CutShort or BadEncoding."""
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", ""):
        raise BadEncoding(f"is encoded as {encoding[:40]!a}")
    unpack = zlib.decompressobj(wbits=31) if "gzip" in encoding else None
    parts: list[bytes] = []
    size = received = 0
    for packed in pieces(response, call, PIECE):
        received += len(packed)
        try:
            data = packed if unpack is None else unpack.decompress(packed, limit + 1 - size)
        except zlib.error as error:
            raise BadEncoding(f"is no gzip ({error})") from error
        size += len(data)
        if size > limit:
            raise TooLarge(f"is larger than {limit} bytes")
        parts.append(data)
    if unpack is not None and not unpack.eof and received:
        raise CutShort(f"ended within its compressed form after {received} bytes")
    return b"".join(parts), received


def in_pieces(content: bytes, call: Call) -> Iterator[bytes]:
    """`content` in pieces, telling the call what went out: a slow line is no stalled one."""
    view = memoryview(content)
    for start in range(0, len(content), PIECE):
        piece = bytes(view[start : start + PIECE])
        yield piece
        call.progress(len(piece))


def file_part(boundary: str, filename: str) -> tuple[bytes, bytes]:
    """What stands before and after the content of the one field `file` in a multipart body.

    Mojo::Message reads the file name up to the next quote that no backslash precedes and unescapes nothing,
    so both are written as Mojo::UserAgent::Transactor writes a quote.
    """
    name = filename.replace('"', "%22")
    if name.endswith("\\"):
        name = f"{name[:-1]}%5C"
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def streamed(head: bytes, chunks: Iterator[bytes], length: int, tail: bytes, call: Call) -> Iterator[bytes]:
    """A body whose middle comes from `chunks`, which must hold `length` bytes, else WrongLength.

    Time in which `chunks` are waited for does not count against the call.
    """
    yield head
    left = length
    while True:
        call.pause()
        chunk = next(chunks, b"")
        call.resume()
        left -= len(chunk)
        if left < 0 or (left > 0 and not chunk):
            raise WrongLength(f"content of {length} bytes was announced, {length - left} came")
        if not chunk:
            break
        yield from in_pieces(chunk, call)
    yield tail
