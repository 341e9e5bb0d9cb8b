"""A chunk of an asset as the stock worker of newer releases writes it (Storable's nfreeze)."""

from __future__ import annotations

import base64
import hashlib
import struct


def chunk(name: str, content: bytes, start: int, end: int, index: int, total: int) -> bytes:
    """One chunk of `content`, all values plain strings in network order."""
    piece = content[start:end]
    pairs = {
        "file": name,
        "start": str(start),
        "end": str(end),
        "index": str(index),
        "total": str(total),
        "cksum": _unpadded(hashlib.sha1(piece, usedforsecurity=False).digest()),
        "total_cksum": _unpadded(hashlib.sha256(content).digest()),
        "content": piece.hex(),
    }
    image = b"\x05\x0b\x03" + struct.pack(">I", len(pairs))
    for key, value in pairs.items():
        raw = value.encode()
        image += (
            b"\x0a" + bytes([len(raw)]) if len(raw) < 256 else b"\x01" + struct.pack(">I", len(raw))
        ) + raw
        image += struct.pack(">I", len(key)) + key.encode()
    return image


def _unpadded(digest: bytes) -> str:
    return base64.b64encode(digest).decode().rstrip("=")
