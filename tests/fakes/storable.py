"""Reads the chunk image that a worker uploads: a Perl Storable hash of plain strings in network order.

Written from the format's description, apart from the bridge's encoder, so that an error there is seen here.
"""

from __future__ import annotations

_LONG_STRING, _BYTE, _NETWORK_INTEGER, _STRING, _UTF8, _LONG_UTF8 = 1, 8, 9, 10, 23, 24


class NotStorable(ValueError):
    """The bytes are no Storable hash that this reader knows."""


def thaw(image: bytes) -> dict[str, bytes]:
    """The pairs of a hash frozen by `nfreeze`, numbers as their digits; raises `NotStorable`."""
    if image[:2] != b"\x05\x0b" or len(image) < 7 or image[2] != 3:
        raise NotStorable(f"no network-order hash: starts with {image[:8].hex()}")
    count, at = int.from_bytes(image[3:7], "big"), 7
    pairs: dict[str, bytes] = {}
    for _ in range(count):
        value, at = _value(image, at)
        key, at = _sized(image, at, 4)
        pairs[key.decode()] = value
    if at != len(image):
        raise NotStorable(f"{len(image) - at} bytes too many")
    return pairs


def _value(image: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(image):
        raise NotStorable("ends before a value")
    tag = image[at]
    if tag in (_STRING, _UTF8):
        return _sized(image, at + 1, 1)
    if tag in (_LONG_STRING, _LONG_UTF8):
        return _sized(image, at + 1, 4)
    if tag == _BYTE:
        return str(image[at + 1] - 128).encode(), at + 2
    if tag == _NETWORK_INTEGER:
        return str(int.from_bytes(image[at + 1 : at + 5], "big", signed=True)).encode(), at + 5
    raise NotStorable(f"unknown type {tag} at byte {at}")


def _sized(image: bytes, at: int, width: int) -> tuple[bytes, int]:
    size = int.from_bytes(image[at : at + width], "big")
    start, end = at + width, at + width + size
    if end > len(image):
        raise NotStorable(f"a string of {size} bytes at byte {at} is cut off")
    return image[start:end], end
