"""How the real process stops: in time, whatever hangs, and with the jobs left or ended as was asked for."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.fakes.faultproxy import FaultProxy
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, pseudoworker, until
from tests.fakes.views import grab_view

HOLD = json.dumps({"hold": ["login"]})
FAST = "\n[limits]\npoll_interval = 0.2\n"
LIMIT = 60.0
SLOTS = 20
EXIT_WITHIN = 10.0
QUIT = "quit: worker has been stopped or restarted"

Process = asyncio.subprocess.Process


@asynccontextmanager
async def behind_proxies(
    slots: int, directory: Path
) -> AsyncIterator[tuple[FakePair, list[FaultProxy], Path]]:
    """Both sides behind proxies of their own."""
    async with (
        FakePair(slave={"workers": {"qemu_x86_64": slots}}) as pair,
        FaultProxy(pair.master.port, count=3) as to_master,
        FaultProxy(pair.slave.port, count=3) as to_slave,
    ):
        pair.master.public_port, pair.slave.public_port = to_master.port, to_slave.port
        config = pair.write_config(
            directory, instances=slots, toml=FAST, master_url=to_master.url, slave_url=to_slave.url
        )
        yield pair, [to_master, to_slave], config


async def holding(pair: FakePair, *jobs: Job) -> list[Job]:
    """Wait until the slave holds in the second module of each job and the master has the first."""

    def reported(job: Job) -> bool:
        return "boot" in job.modules and job.modules["boot"].result == "passed"

    await until(lambda: all(map(reported, jobs)), LIMIT, lambda: pair.story(*jobs))
    return [pair.slave.job_for(job.id) for job in jobs]


def told(log: Path, what: str, count: int = 1) -> bool:
    return log.read_text().count(what) >= count


async def gone(process: Process, limit: float = EXIT_WITHIN) -> float:
    """Wait for its end; the seconds that it took."""
    began = time.monotonic()
    await asyncio.wait_for(process.wait(), limit)
    return time.monotonic() - began


async def test_twenty_jobs_between_two_sides_that_hang_are_let_go_in_time(tmp_path: Path) -> None:
    """Nothing passes on any connection, open or new; every thread waits for an answer."""
    async with behind_proxies(SLOTS, tmp_path) as (pair, proxies, config):
        jobs = [pair.master.post(TEST="long", FAKE_SCRIPT=HOLD) for _ in range(SLOTS)]
        async with pseudoworker(config, "run", "--instance", f"1-{SLOTS}") as process:
            slave_jobs = await holding(pair, *jobs)
            for proxy in proxies:
                proxy.freeze()
            for slave_job in slave_jobs:
                pair.slave.run_of(slave_job).open("*")
            await until(lambda: all(job.state == "done" for job in slave_jobs), LIMIT)
            await asyncio.sleep(2)  # long enough for each job to have begun a request
            process.send_signal(signal.SIGTERM)
            await gone(process)
            assert process.returncode == 0
        for proxy in proxies:
            proxy.thaw()
            proxy.break_all()
        async with pseudoworker(config, "run", "--instance", f"1-{SLOTS}"):
            await pair.done(*jobs, limit=LIMIT)
        assert {(job.result, job.reason, job.clone_id) for job in jobs} == {("passed", None, None)}
        assert [one for job in jobs for one in pair.differences(job)] == []
        assert len(pair.slave.db.jobs) == SLOTS


async def test_a_second_sigterm_gives_the_jobs_up_though_they_were_let_go(tmp_path: Path) -> None:
    async with behind_proxies(2, tmp_path) as (pair, proxies, config):
        jobs = [pair.master.post(TEST="long", FAKE_SCRIPT=HOLD) for _ in range(2)]
        async with pseudoworker(config, "run", "--instance", "1-2") as process:
            slave_jobs = await holding(pair, *jobs)
            log = tmp_path / "pseudoworker.log"
            for proxy in proxies:
                proxy.freeze()  # so that letting go takes a while
            for count in (1, 2):
                process.send_signal(signal.SIGTERM)
                await until(partial(told, log, "Received signal TERM", count), LIMIT)
            for proxy in proxies:
                proxy.thaw()
            await pair.done(*jobs, limit=LIMIT)
            await gone(process)
        assert {(job.result, job.reason) for job in jobs} == {("incomplete", QUIT)}
        assert all(job.clone_id is not None for job in jobs)
        assert {job.result for job in slave_jobs} == {"user_cancelled"}
        assert all(len(job.report.ends) == 1 for job in jobs)


@pytest.mark.parametrize("how", ["option", "file"])
async def test_on_stop_abort_makes_sigterm_give_the_jobs_up(tmp_path: Path, how: str) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        toml = config / "pseudoworker.toml"
        options = ("--on-stop", "abort") if how == "option" else ()
        if how == "file":
            toml.write_text('on_stop = "abort"\n' + toml.read_text())
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1", *options) as process:
            (slave_job,) = await holding(pair, job)
            process.send_signal(signal.SIGTERM)
            await gone(process, LIMIT)
            assert process.returncode == 0
        assert (job.result, job.reason) == ("incomplete", QUIT)
        assert job.clone_id is not None
        assert slave_job.result == "user_cancelled"


async def test_who_gives_up_twice_leaves_the_rest_to_the_next_process(tmp_path: Path) -> None:
    """The master hangs: its jobs can not be ended now, and nobody wants to wait."""
    async with behind_proxies(1, tmp_path) as (pair, proxies, config):
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1") as process:
            (slave_job,) = await holding(pair, job)
            proxies[0].freeze()
            process.send_signal(signal.SIGINT)
            await until(lambda: slave_job.state == "done", LIMIT)
            process.send_signal(signal.SIGINT)
            await gone(process)
        assert job.state != "done"
        proxies[0].thaw()
        proxies[0].break_all()
        async with pseudoworker(config, "run", "--instance", "1"):
            await pair.done(job, limit=LIMIT)
        assert (job.result, job.reason) == ("incomplete", QUIT)
        assert job.clone_id is not None
        assert len(job.report.ends) == 1


async def test_a_slot_that_finishes_rejects_what_it_is_given(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1") as process:
            (slave_job,) = await holding(pair, job)
            process.send_signal(signal.SIGHUP)
            log = tmp_path / "pseudoworker.log"
            await until(lambda: "taking no new ones" in log.read_text(), LIMIT)
            worker = pair.master.worker(1)
            late = pair.master.post(TEST="late")
            view = grab_view(late, None, {}, alone=True)
            pair.master.workers.send_raw(worker, json.dumps({"type": "grab_job", "job": view}).encode())

            def rejected() -> list[object]:
                return [message["job_ids"] for _, message in worker.statuses if message["type"] == "rejected"]

            await until(lambda: rejected() == [[late.id]], LIMIT, lambda: f"{worker.statuses}")
            pair.slave.run_of(slave_job).open("*")
            await gone(process, LIMIT)
            assert process.returncode == 0
        assert (job.result, late.state) == ("passed", "scheduled")
