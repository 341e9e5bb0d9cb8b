"""When the slave's file counts as the master's asset."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pseudoworker.bridge.assets.identity import (
    PROBE_SIZE,
    PROBES,
    Known,
    Verdict,
    digest,
    judge,
    probe_offsets,
)
from pseudoworker.openqa.served import Served

MASTER = Served(1000, "/assets/hdd/disk", '"m1"', 500.0)
SLAVE = Served(1000, "/assets/hdd/disk", '"s1"', 600.0)
KNOWN = Known(1000, '"m1"', 1000, '"s1"')


@pytest.mark.parametrize(
    ("slave", "known", "verdict"),
    [
        (None, None, Verdict.ABSENT),
        (None, KNOWN, Verdict.ABSENT),
        (replace(SLAVE, size=999), None, Verdict.OTHER),
        (replace(SLAVE, size=999), KNOWN, Verdict.OTHER),
        (replace(SLAVE, version='"m1"'), None, Verdict.SAME),
        (replace(SLAVE, modified=500.0), None, Verdict.SAME),
        (replace(SLAVE, modified=400.0), None, Verdict.OTHER),
        (replace(SLAVE, modified=400.0), KNOWN, Verdict.SAME),
        (SLAVE, None, Verdict.DOUBTFUL),
        (SLAVE, KNOWN, Verdict.SAME),
        (SLAVE, replace(KNOWN, master_version='"m0"'), Verdict.OTHER),
        (SLAVE, replace(KNOWN, slave_version='"s0"'), Verdict.DOUBTFUL),
        (replace(SLAVE, modified=None, version=""), None, Verdict.DOUBTFUL),
    ],
)
def test_verdicts(slave: Served | None, known: Known | None, verdict: Verdict) -> None:
    assert judge(MASTER, slave, known) is verdict


def test_without_versions_two_files_are_never_surely_the_same() -> None:
    plain = Served(10, "/assets/iso/a")
    assert judge(plain, plain) is Verdict.DOUBTFUL


@given(st.integers(0, 10**13))
def test_probes_lie_within_the_file_and_touch_both_ends(size: int) -> None:
    blocks = probe_offsets(size)
    assert all(0 <= start < end <= size for start, end in blocks)
    assert sum(end - start for start, end in blocks) <= PROBES * PROBE_SIZE
    assert list(blocks) == sorted(blocks)
    if size:
        assert blocks[0][0] == 0
        assert blocks[-1][1] == size


def test_small_files_are_compared_whole() -> None:
    assert probe_offsets(100) == ((0, 100),)


def test_digests_tell_versions_sizes_and_instances_apart() -> None:
    others = [
        digest("http://b", MASTER),
        digest("http://a", replace(MASTER, version='"m2"')),
        digest("http://a", replace(MASTER, size=1)),
        digest("http://a", replace(MASTER, path="/assets/iso/disk")),
    ]
    assert digest("http://a", MASTER) not in others
    assert len(set(others)) == 4
