"""A small soak; `python -m tests.soak` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak.run import Plan, soak


@pytest.mark.timeout(300)
async def test_no_job_is_lost_and_none_doubled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = await soak(Plan(jobs=60, slots=6, pause=3.0), tmp_path)
    with capsys.disabled():
        print("", *report.lines(), sep="\n  ")
    assert report.problems == []
    assert sum(report.results.values()) == 60
    assert report.kills > 0
    assert sum(report.faults.values()) > 0
