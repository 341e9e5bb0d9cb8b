"""Whether the slave's file is the master's asset, judged by what both say about theirs. Pure.

openQA knows no checksums of assets (`assets.checksum` is never filled), so size, ETag and modification time
have to do, together with what we remember of our own transfers and, where that leaves a doubt, a look at some
blocks.
"""

from __future__ import annotations

import enum
import hashlib
from dataclasses import dataclass

from pseudoworker.openqa.served import Served

PROBES = 8
PROBE_SIZE = 16_384


@dataclass(frozen=True)
class Known:
    """What we remember: that these two files were the same when we moved or compared them."""

    master_size: int
    master_version: str
    slave_size: int
    slave_version: str


class Verdict(enum.Enum):
    """What to do about the slave's file."""

    ABSENT = "absent"
    SAME = "same"
    OTHER = "other"
    DOUBTFUL = "doubtful"
    """Same size and not older: compare some blocks (`probe_offsets`) to be sure enough."""


def judge(master: Served, slave: Served | None, known: Known | None = None) -> Verdict:
    """Whether the slave's file, if there is one, is the master's asset.

    A file of the same size that is older than the master's is a stale one: openQA's users know tests that ran
    on last week's image. Moving it once more costs less than that.
    """
    if slave is None:
        return Verdict.ABSENT
    if slave.size != master.size:
        return Verdict.OTHER
    if known and (known.slave_size, known.slave_version) == (slave.size, slave.version):
        unchanged = (known.master_size, known.master_version) == (master.size, master.version)
        return Verdict.SAME if unchanged else Verdict.OTHER
    if master.version and master.version == slave.version:
        return Verdict.SAME
    if master.modified is not None and slave.modified is not None:
        if slave.modified == master.modified:
            return Verdict.SAME
        if slave.modified < master.modified:
            return Verdict.OTHER
    return Verdict.DOUBTFUL


def probe_offsets(size: int) -> tuple[tuple[int, int], ...]:
    """Start and end (exclusive) of the blocks to compare: both ends and some between."""
    if size <= PROBES * PROBE_SIZE:
        return ((0, size),) if size else ()
    starts = ((size - PROBE_SIZE) * index // (PROBES - 1) for index in range(PROBES))
    return tuple((start, start + PROBE_SIZE) for start in starts)


def digest(url: str, file: Served) -> str:
    """Twelve hex digits that name one version of one file of one instance."""
    text = "\n".join((url, file.path, str(file.size), file.version))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
