"""The live view of a real process between two fakes: what it costs, with nobody, one and twenty watching."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.flavour import BW, TX, Flavour
from tests.fakes.pair import FakePair, pseudoworker, until

JOBS = 20
SECONDS = 10.0
SCRIPT = json.dumps({"modules": [{"seconds": 300}], "log_every": 1})


@pytest.mark.parametrize("flavour", [BW, TX], ids=lambda flavour: flavour.name)
async def test_what_the_slave_shows_is_shown_on_the_master_while_somebody_watches(
    tmp_path: Path, flavour: Flavour
) -> None:
    async with FakePair(flavour=flavour) as pair:
        config = pair.write_config(tmp_path)
        job = pair.master.post(TEST="live", FAKE_SCRIPT=SCRIPT)
        async with pseudoworker(config):
            await until(lambda: job.state == "running", 20, lambda: pair.story(job))
            assert not job.live.log
            pair.master.live.watch(job)
            await until(lambda: bool(job.live.log and job.live.screen), 20, lambda: pair.story(job))
            assert pair.slave.live.open == 3
            source = pair.slave.job_for(job.id)
            before = job.live.log
            await until(lambda: len(job.live.log) > len(before), 20)
            assert source.live.log.endswith(job.live.log[-200:]) or job.live.log[:-200] in source.live.log
            pair.master.live.unwatch(job)
            await until(lambda: pair.slave.live.open == 0, 5)


@pytest.mark.timeout(180)
async def test_requests_per_second_with_0_1_and_20_watched_jobs(tmp_path: Path) -> None:
    async with FakePair(slave={"workers": {"qemu_x86_64": JOBS}}) as pair:
        config = pair.write_config(tmp_path, instances=JOBS)
        jobs = [pair.master.post(TEST=f"live{number}", FAKE_SCRIPT=SCRIPT) for number in range(JOBS)]
        async with pseudoworker(config, "run", "--instance", f"1-{JOBS}"):
            await until(lambda: all(job.state == "running" for job in jobs), 90)
            figures: dict[int, tuple[float, float]] = {}
            await _calm(pair)
            for begin, count in ((0, 0), (0, 1), (1, JOBS)):
                for job in jobs[begin:count]:
                    pair.master.live.watch(job)
                await until(partial(_streams_are, pair, 3 * count), 30)
                figures[count] = await _rates(pair)
            for job in jobs:
                pair.master.live.unwatch(job)
            left = time.monotonic()
            await until(lambda: pair.slave.live.open == 0, 5)
            closed = time.monotonic() - left
    for count, (master, slave) in figures.items():
        print(f"{count:3} of {JOBS} watched: {master:5.1f}/s to the master, {slave:4.1f}/s to the slave")
    print(f"{3 * JOBS} streams closed {closed:.2f} s after the last viewer left")
    assert figures[0][0] < 5
    assert figures[1][0] < figures[0][0] + 4
    assert figures[JOBS][0] < figures[0][0] + JOBS * 1.5
    assert figures[JOBS][1] < figures[0][1] + 3, "streams are held open, not asked for again and again"


def _streams_are(pair: FakePair, count: int) -> bool:
    return pair.slave.live.open == count


async def _calm(pair: FakePair) -> None:
    """Wait until what is asked once for each new job has been asked."""
    async with asyncio.timeout(60):
        while (await _rates(pair, 3.0))[1] > 1:
            pass


async def _rates(pair: FakePair, seconds: float = SECONDS) -> tuple[float, float]:
    """Requests per second to the master and to the slave."""
    before = _counts(pair)
    await asyncio.sleep(seconds)  # the time that is measured over, not one that is hoped to be enough
    after = _counts(pair)
    return (after[0] - before[0]) / seconds, (after[1] - before[1]) / seconds


def _counts(pair: FakePair) -> tuple[int, int]:
    return pair.master.traffic.counts.total(), pair.slave.traffic.counts.total()
