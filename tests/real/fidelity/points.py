"""Counting what was compared, and keeping what differs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_SHOWN = 300
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Difference:
    """One point in which two sides are not equal."""

    point: str
    left: str
    right: str


@dataclass
class Points:
    """A comparison of two sides, point by point."""

    left: str
    right: str
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)

    def compare(self, point: str, left: object, right: object) -> None:
        """Count a point; keep it if both values are not equal."""
        self.compared += 1
        if left != right:
            self.differences.append(Difference(point, *_apart(left, right)))

    def compare_all(self, point: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> None:
        """Compare every key that one of both sides has; a missing one differs from every value."""
        for key in sorted({*left, *right}):
            self.compare(f"{point} {key}".strip(), left.get(key, MISSING), right.get(key, MISSING))

    def __str__(self) -> str:
        lines = [f"{self.compared} points compared, {len(self.differences)} differ"]
        for found in self.differences:
            lines.append(f"  {found.point}")
            lines.append(f"    {self.left}: {found.left}")
            lines.append(f"    {self.right}: {found.right}")
        return "\n".join(lines)


class _Missing:
    def __repr__(self) -> str:
        return "(missing)"


MISSING = _Missing()


def _apart(left: object, right: object) -> tuple[str, str]:
    """Both values as text, long ones from where they part."""
    if isinstance(left, bytes) and isinstance(right, bytes):
        begin = max(_common(left, right) - 20, 0)
        return _bytes(left, begin), _bytes(right, begin)
    one, other = repr(left), repr(right)
    begin = max(_common(one, other) - 20, 0) if max(len(one), len(other)) > _SHOWN else 0
    return one[begin : begin + _SHOWN], other[begin : begin + _SHOWN]


def _common(left: str | bytes, right: str | bytes) -> int:
    """How many characters or bytes at the beginning are the same."""
    shorter = min(len(left), len(right))
    return next((place for place in range(shorter) if left[place] != right[place]), shorter)


def _bytes(content: bytes, begin: int) -> str:
    digest = hashlib.sha256(content).hexdigest()[:12]
    return f"{len(content)} bytes, sha256 {digest}…, from {begin}: {content[begin : begin + 80]!r}"
