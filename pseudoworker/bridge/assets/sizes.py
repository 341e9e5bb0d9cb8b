"""Sizes for people."""

from __future__ import annotations


def shown_size(count: int) -> str:
    """`count` bytes as `12 B`, `3.4 MB`, …: decimal units, as disks are sold."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95 or unit == "TB":
            break
    return f"{value:.1f} {unit}"
