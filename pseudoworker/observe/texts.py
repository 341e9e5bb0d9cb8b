"""Numbers for people: spans of time, sizes, progress. One place, for the status table and the status page."""

from __future__ import annotations

from pseudoworker.observe.snapshot import SlotSnapshot


def duration(seconds: float) -> str:
    """`42s`, `3m05s`, `2h07m`, `3d04h`; a time that lies in the future is `0s`."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def size(count: int) -> str:
    """`0 B`, `999 B`, `1.5 kB`, `20 MB`: decimal units."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 1000 or unit == "TB":
            break
    return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def progress(slot: SlotSnapshot) -> str:
    """`boot 3/17`: the running module and how far that is; empty before the modules are known."""
    if not slot.module_count:
        return ""
    return f"{slot.module} {slot.module_index}/{slot.module_count}".strip()


def attention(slot: SlotSnapshot) -> str:
    """What somebody should know about the slot: why it is not well, else its last error."""
    return slot.reason or slot.last_error
