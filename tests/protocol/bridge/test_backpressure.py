"""A small slave and many slots, between two fakes: it gets no more than it may have, and all is done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.pair import FakePair, pseudoworker, until

WORKERS = 2
JOBS = 20
QUICK = json.dumps({"modules": 1, "screens": 0, "texts": 1, "seconds": 0.3})


@pytest.mark.parametrize("allowance", [0, 3])
async def test_the_slave_never_has_more_than_it_may(tmp_path: Path, allowance: int) -> None:
    async with FakePair(slave={"workers": {"qemu_x86_64": WORKERS}}) as pair:
        toml = f"\n[limits]\nqueue_allowance = {allowance}\n"
        config = pair.write_config(tmp_path, instances=8, toml=toml)
        jobs = [pair.master.post(TEST=f"job{number}", FAKE_SCRIPT=QUICK) for number in range(JOBS)]
        most = 0

        def look() -> bool:
            nonlocal most
            unfinished = sum(not job.final for job in pair.slave.db.jobs.values())
            most = max(most, unfinished)
            return all(job.state == "done" for job in jobs)

        async with pseudoworker(config, "run", "--instance", "1-8"):
            await until(look, 60, lambda: pair.story(*jobs), pause=0.005)
        assert {job.result for job in jobs} == {"passed"}
        assert len(pair.slave.db.jobs) == JOBS
        assert min(WORKERS + 1, WORKERS + allowance) <= most <= WORKERS + allowance
        assert pair.violations() == []
