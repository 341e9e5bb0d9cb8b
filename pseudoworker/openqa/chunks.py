"""Chunks of an uploaded asset: a Perl Storable image in network order (OpenQA::File, OpenQA::Parser::Result).

The image is that of a hash whose values are all plain strings, which any release reads with `Storable::thaw`;
releases before 2024 write native order themselves. Of Storable's format nothing else is needed: the header
`05 0b` (major version 2 in network order, minor version 11), then a hash: `03`, the number of pairs, and for
each pair its value (`0a` and one byte of length, or `01` and four) and its key (four bytes of length).
"""

from __future__ import annotations

import base64
import hashlib
import struct

_HEADER = b"\x05\x0b"
_HASH = b"\x03"
_SHORT = b"\x0a"
_LONG = b"\x01"


def pack(content: bytes, *, name: str, index: int, total: int, start: int, total_cksum: str = "") -> bytes:
    """The body of the multipart field `file` for one chunk.

    Args: content: the bytes of this chunk. name: of the whole file; the server takes the field's file name,
    this is for its messages. index: number of this chunk, from 1. total: number of chunks. start: offset of
    this chunk in the file, in bytes. total_cksum: `unpadded` SHA-256 of the whole file; looked at with the
    last chunk only, and not for files of more than 250,000,000 bytes (OpenQA::Schema::Result::Jobs
    create_asset).
    """
    fields = {
        "file": name.encode(),
        "index": b"%d" % index,
        "total": b"%d" % total,
        "start": b"%d" % start,
        "end": b"%d" % (start + len(content)),
        "cksum": unpadded(hashlib.sha1(content, usedforsecurity=False).digest()).encode(),
        "total_cksum": total_cksum.encode(),
        "content": content.hex().encode(),
    }
    parts = [_HEADER, _HASH, struct.pack(">I", len(fields))]
    for key, value in fields.items():
        if len(value) < 256:
            parts += (_SHORT, bytes((len(value),)), value)
        else:
            parts += (_LONG, struct.pack(">I", len(value)), value)
        parts += (struct.pack(">I", len(key)), key.encode())
    return b"".join(parts)


def unpadded(digest: bytes) -> str:
    """A digest as Perl's Digest::SHA writes base64: without the padding."""
    return base64.b64encode(digest).decode().rstrip("=")
