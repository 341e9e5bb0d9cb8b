"""The real process whose journal is damaged, lost, or on a full disk while jobs run."""

from __future__ import annotations

import json
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.model import Job
from tests.fakes.pair import FakePair, pseudoworker, until

HOLD = json.dumps({"hold": ["login"]})


async def at_login(pair: FakePair, *jobs: Job) -> list[Job]:
    """Wait until the slave holds in the second module of each job and the master has the first."""

    def reported(job: Job) -> bool:
        return "boot" in job.modules and job.modules["boot"].result == "passed"

    await until(lambda: all(map(reported, jobs)), 30, lambda: pair.story(*jobs))
    return [pair.slave.job_for(job.id) for job in jobs]


def lose(state: Path, how: str) -> None:
    journal = state / "journal.sqlite"
    for suffix in ("-wal", "-shm"):
        journal.with_name(journal.name + suffix).unlink(missing_ok=True)
    if how == "damaged":
        journal.write_bytes(b"not a database" * 1000)
    else:
        journal.unlink()


@pytest.mark.parametrize("how", ["damaged", "lost"])
async def test_jobs_of_a_journal_that_is_gone_are_found_again(tmp_path: Path, how: str) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        cluster = pair.master.post_many(
            **{"TEST:a": "server", "TEST:b": "client", "_PARALLEL:b": "a", "FAKE_SCRIPT": HOLD}
        )
        jobs = [pair.master.post(TEST="alone", FAKE_SCRIPT=HOLD), *cluster.values()]
        async with pseudoworker(config) as process:
            slave_jobs = await at_login(pair, *jobs)
            workers = [job.assigned for job in jobs]
            process.kill()
            await process.wait()
        lose(tmp_path / "state", how)
        async with pseudoworker(config):
            statuses = [len(job.report.statuses) for job in jobs]
            for slave_job in slave_jobs:
                pair.slave.run_of(slave_job).open("*")
            await pair.done(*jobs)
        assert [job.result for job in jobs] == ["passed"] * 3
        assert [job.assigned for job in jobs] == workers
        assert len(pair.slave.db.jobs) == 3
        for job, before in zip(jobs, statuses, strict=True):
            assert pair.differences(job) == []
            assert not any("boot" in status.get("result", ()) for status in job.report.statuses[before:])
        assert pair.violations() == []
    log = (tmp_path / "pseudoworker.log").read_text()
    assert log.count("was lost and is found again as slave job") == 3
    assert ("was damaged: it is set aside as" in log) == (how == "damaged")
    assert len(list((tmp_path / "state").glob("journal.sqlite.damaged-*"))) == (how == "damaged")


async def test_a_lost_job_that_does_not_run_is_left_to_the_master(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        job = pair.master.post(TEST="alone", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config) as process:
            (slave_job,) = await at_login(pair, job)
            process.kill()
            await process.wait()
        lose(tmp_path / "state", "lost")
        pair.slave.db.delete(slave_job)
        async with pseudoworker(config):
            await pair.done(job)
            await until(lambda: job.clone_id is not None)
            clone = pair.master.db.jobs[job.clone_id or 0]
            await until(lambda: clone.state == "running", 20, lambda: pair.story(job, clone))
        assert job.reason is not None
        assert job.reason.startswith("abandoned: ")
    assert "is left to the master: the journal has lost it" in (tmp_path / "pseudoworker.log").read_text()


async def test_a_full_disk_costs_no_job(tmp_path: Path) -> None:
    """Nothing can be written for a while: the running job waits, and no other is taken."""
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=2)
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1-2", log=Path("/dev/null")) as process:
            (slave_job,) = await at_login(pair, job)
            _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, most))
            late = pair.master.post(TEST="late")
            pair.slave.run_of(slave_job).open("*")
            await until(lambda: slave_job.state == "done", 20)
            problems = [worker for worker in pair.master.db.workers.values() if worker.job is not job]
            await until(
                lambda: all("the journal can not be written" in (one.error or "") for one in problems),
                30,
                lambda: f"{[one.error for one in problems]} {pair.story(job, late)}",
            )
            assert job.state in ("running", "uploading")
            assert late.state == "scheduled"
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
            await pair.done(job, late, limit=60)
        assert [job.result, late.result] == ["passed", "passed"]
        assert pair.differences(job) == []
        assert pair.violations() == []


async def test_damage_that_is_met_ends_the_process_and_no_job(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config) as process:
            (slave_job,) = await at_login(pair, job)
            spoil(tmp_path / "state" / "journal.sqlite")
            pair.slave.run_of(slave_job).open("*")
            await until(lambda: process.returncode is not None, 20, lambda: pair.story(job))
        assert process.returncode == 1
        assert job.state in ("running", "uploading")
        async with pseudoworker(config):
            await pair.done(job)
        assert job.result == "passed"
        assert pair.differences(job) == []
        assert len(pair.slave.db.jobs) == 1


def spoil(journal: Path) -> None:
    with closing(sqlite3.connect(journal, timeout=10)) as database:
        database.execute("DROP TABLE acknowledged")
