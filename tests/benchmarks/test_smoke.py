"""A small run of the benchmarks against the fakes. It fails when a goal is missed by more than twice, so it
tells nothing of a busy machine, but of a collapse."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scale import Pace, scale
from benchmarks.start import start
from benchmarks.table import Part, markdown
from benchmarks.traffic import traffic

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]

TWICE = 2.0


def judge(part: Part) -> None:
    """Fail with the whole table when a figure is more than twice as much as it may be."""
    bad = [figure.name for figure in part.figures if figure.missed > TWICE]
    assert not bad, f"{', '.join(bad)}\n{markdown([part])}"
    assert not part.problems, f"{part.problems}\n{markdown([part])}"


async def test_many_slots_with_running_jobs(tmp_path: Path) -> None:
    part = await scale(12, tmp_path, Pace(seconds=12, module=4, beat=4))
    judge(part)
    assert part["changes that were relayed"] > 12


async def test_the_start_of_many_slots_and_an_outage(tmp_path: Path) -> None:
    part = await start(40, tmp_path, outage=3)
    judge(part)
    assert part["start: registrations"] == part["return after an outage: registrations"] == 40


async def test_no_byte_twice(tmp_path: Path) -> None:
    judge(await traffic(2, tmp_path))
