"""The real process between two fakes, over real sockets: every end that a job can take."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.fakes.exchange import Exchange
from tests.fakes.flavour import BW, SID, TX, Flavour
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, pseudoworker, until


def script(**told: object) -> str:
    return json.dumps(told)


def of_slave(pair: FakePair, job: Job) -> Job:
    return pair.slave.job_for(job.id)


async def started(pair: FakePair, job: Job) -> Job:
    """Wait until the slave runs the job, and the master shows it."""
    await until(lambda: job.state == "running", 20, lambda: pair.story(job))
    return of_slave(pair, job)


@asynccontextmanager
async def holding(pair: FakePair, directory: Path) -> AsyncIterator[tuple[Job, Job]]:
    """The process with a job that runs and waits in its module `login`: the job of the master, and the
    slave's."""
    config = pair.write_config(directory)
    job = pair.master.post(TEST="long", FAKE_SCRIPT=script(hold=["login"]))
    async with pseudoworker(config):
        yield job, await started(pair, job)


async def boot_text(pair: FakePair, job: Job, slave_job: Job) -> str:
    """Wait until a text of the first module is on the master; its name."""

    def relayed() -> list[str]:
        return [name for name in slave_job.files if name.startswith("boot-") and name in job.files]

    await until(lambda: bool(relayed()), 20, lambda: pair.story(job))
    return relayed()[0]


@pytest.mark.parametrize("flavour", [BW, TX, SID], ids=lambda flavour: flavour.name)
async def test_a_plain_job_comes_back_whole(tmp_path: Path, flavour: Flavour) -> None:
    async with FakePair(flavour=flavour) as pair:
        config = pair.write_config(tmp_path)
        job = pair.master.post(TEST="plain")
        async with pseudoworker(config):
            await pair.done(job)
        assert pair.differences(job) == []
        assert pair.violations() == []
        assert (job.state, job.result, job.reason) == ("done", "passed", None)


@pytest.mark.parametrize(
    ("told", "result", "reason"),
    [
        ({"fail": "login"}, "failed", None),
        ({"modules": [{"dents": 1}]}, "softfailed", None),
        ({"result": "incomplete"}, "incomplete", "backend died: qemu crashed"),
        ({"modules": 0, "result": "incomplete"}, "incomplete", "tests died: no main.pm"),
        ({"result": "timeout_exceeded"}, "timeout_exceeded", "timeout: test execution exceeded MAX_JOB_TIME"),
        ({"result": "obsoleted"}, "obsoleted", "obsoleted on the slave: {url}"),
        ({"result": "skipped"}, "skipped", "skipped on the slave: {url}"),
    ],
)
async def test_every_end_is_passed_on(
    tmp_path: Path, told: dict[str, object], result: str, reason: str | None
) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        if reason and "{url}" not in reason:
            told = {**told, "reason": reason}
        job = pair.master.post(TEST="plain", FAKE_SCRIPT=script(**told))
        async with pseudoworker(config):
            await pair.done(job)
        assert pair.differences(job) == []
        assert pair.violations() == []
        url = f"{pair.slave.url}/tests/{of_slave(pair, job).id}"
        assert (job.result, job.reason) == (result, reason.format(url=url) if reason else None)


async def test_a_slave_job_cancelled_by_its_user(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, slave_job):
            pair.slave.db.cancel(slave_job)
            await pair.done(job)
        assert job.result == "user_cancelled"
        assert job.reason == f"user_cancelled on the slave: {pair.slave.url}/tests/{slave_job.id}"
        assert pair.violations() == []


async def test_a_text_that_was_read_half_written_is_mended(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, slave_job):
            name = await boot_text(pair, job, slave_job)
            slave_job.files[name] += b"and its second half"
            pair.slave.run_of(slave_job).open("login")
            await pair.done(job)
        assert pair.differences(job) == []
        assert pair.violations() == []


async def test_a_restart_on_the_slave_brings_new_texts_under_old_names(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, old):
            name = await boot_text(pair, job, old)
            job.files[name] = b"of the first run"
            pair.slave.db.restart(old)
            await until(lambda: old.clone_id is not None, 10)
            clone = pair.slave.db.jobs[old.clone_id or 0]
            await until(lambda: clone.state == "running", 20, lambda: pair.story(job))
            pair.slave.run_of(clone).open("login")
            await pair.done(job)
        assert pair.differences(job) == []


def assert_ended_as_deleted(pair: FakePair, job: Job, slave_job: Job) -> None:
    assert job.result == "incomplete"
    assert job.reason is not None
    assert f"{pair.slave.url}/tests/{slave_job.id} was deleted" in job.reason


async def test_a_slave_job_deleted_under_our_feet(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, slave_job):
            pair.slave.db.delete(slave_job)
            await pair.done(job)
        assert_ended_as_deleted(pair, job, slave_job)


async def test_a_slave_job_that_is_not_found_once_is_still_there(tmp_path: Path) -> None:
    async with FakePair() as pair:
        pair.slave.traffic.add("details", "status", status=404, times=1)
        async with holding(pair, tmp_path) as (job, slave_job):
            await until(lambda: pair.slave.traffic.struck["details:status"] == 1, 20, lambda: pair.story(job))
            pair.slave.run_of(slave_job).open("login")
            await pair.done(job)
        assert job.result == "passed"
        assert pair.differences(job) == []


async def test_a_slave_job_deleted_while_its_results_are_read(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, slave_job):
            pair.slave.traffic.add("get_file", "delay", times=0, seconds=2.0)
            pair.slave.run_of(slave_job).open("login")
            await until(lambda: job.state == "uploading", 30, lambda: pair.story(job))
            pair.slave.db.delete(slave_job)
            await pair.done(job)
        assert_ended_as_deleted(pair, job, slave_job)


@pytest.mark.parametrize("result", ["user_cancelled", "obsoleted"])
async def test_cancelling_on_the_master_while_it_runs(tmp_path: Path, result: str) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, slave_job):
            pair.master.db.cancel(job, result)
            await pair.done(job)
        assert (job.result, slave_job.state, slave_job.result) == (result, "done", "user_cancelled")
        assert "autoinst-log.txt" in job.files
        assert "worker-log.txt" in job.files


async def test_cancelling_on_the_master_while_the_slave_queues(tmp_path: Path) -> None:
    async with FakePair(slave={"workers": {"qemu_x86_64": 1}}) as pair:
        config = pair.write_config(tmp_path, toml="\n[limits]\nqueue_allowance = 4\n")
        first = pair.master.post(TEST="long", FAKE_SCRIPT=script(hold=["login"]))
        async with pseudoworker(config):
            await started(pair, first)
            queued = pair.master.post(TEST="queued")
            await until(lambda: queued.id in _reports(pair), 20, lambda: pair.story(first, queued))
            assert queued.state == "setup"
            pair.master.db.cancel(queued)
            await pair.done(queued)
            assert of_slave(pair, queued).state == "cancelled"
            assert first.state == "running"
        assert queued.result == "user_cancelled"


async def test_a_restart_on_the_slave_is_followed(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, old):
            pair.slave.db.restart(old)
            await until(lambda: old.clone_id is not None, 10)
            clone = pair.slave.db.jobs[old.clone_id or 0]
            await until(lambda: clone.state == "running", 20, lambda: pair.story(job))
            pair.slave.run_of(clone).open("login")
            await pair.done(job)
        assert job.result == "passed"
        assert pair.differences(job) == []
        assert pair.violations() == []


async def test_a_killed_process_goes_on_where_it_was(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        job = pair.master.post(TEST="long", FAKE_SCRIPT=script(hold=["login"]))
        async with pseudoworker(config) as process:
            slave_job = await started(pair, job)
            worker = job.assigned
            process.kill()
            await process.wait()
        pair.slave.run_of(slave_job).open("login")
        await until(lambda: slave_job.state == "done", 10)
        async with pseudoworker(config):
            await pair.done(job)
        assert (job.result, job.assigned) == ("passed", worker)
        assert pair.differences(job) == []
        assert pair.violations() == []
        assert len(pair.slave.db.jobs) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_signals(tmp_path: Path, number: signal.Signals) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        job = pair.master.post(TEST="long", FAKE_SCRIPT=script(hold=["login"]))
        async with pseudoworker(config) as process:
            slave_job = await started(pair, job)
            process.send_signal(number)
            if number == signal.SIGHUP:
                log = tmp_path / "pseudoworker.log"
                await until(lambda: "taking no new ones" in log.read_text(), 10)
                late = pair.master.post(TEST="late")
                pair.slave.run_of(slave_job).open("login")
                await pair.done(job)
                assert job.result == "passed"
            await until(lambda: process.returncode is not None, 10)
            assert process.returncode == 0
            if number == signal.SIGHUP:
                await until(lambda: late.state == "scheduled", 10)
            if number == signal.SIGTERM:
                assert (job.state, slave_job.state) == ("running", "running")
            if number == signal.SIGINT:
                assert (job.result, slave_job.result) == ("incomplete", "user_cancelled")
                assert job.reason == "quit: worker has been stopped or restarted"
                assert job.clone_id is not None


@pytest.mark.parametrize("result", ["running", "ok"])
async def test_a_status_on_its_way_when_the_slave_job_ends_is_followed_by_the_rest(
    tmp_path: Path, result: str
) -> None:
    """A busy master takes the status late. If it was cut off, the report in it would be made again, and the
    module that was running in it would be so after its end."""
    busy = 0
    overtaken = asyncio.Event()

    async def be_busy(when: str, exchange: Exchange) -> None:
        nonlocal busy
        if exchange.kind != "status":
            return
        results = json.loads(exchange.body)["status"].get("result", {})
        if "boot" not in results and results.get("login", {}).get("result") == result and when == "before":
            busy += 1
            await until(lambda: of_slave(pair, job).state == "done", 20)
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    await overtaken.wait()
        elif "console" in results and when == "after":
            overtaken.set()

    async with FakePair() as pair:
        config = pair.write_config(tmp_path, toml="\n[limits]\npoll_interval = 0.2\n")
        pair.master.hooks.append(be_busy)
        job = pair.master.post(TEST="long", FAKE_SCRIPT=script(hold=["login", "upload"]))
        async with pseudoworker(config):
            run = pair.slave.run_of(await started(pair, job))
            if result == "ok":
                run.open("login")
            await until(lambda: busy > 0, 20, lambda: pair.story(job))
            run.open("*")
            await pair.done(job)
        assert busy == 1
        assert pair.differences(job) == []
        assert pair.violations() == []


async def test_no_status_comes_after_the_end(tmp_path: Path) -> None:
    """A status is due ten seconds after the last one, which is when the end is on its way here."""

    async def linger(when: str, exchange: Exchange) -> None:
        if when == "after" and exchange.kind == "set_done":
            await asyncio.sleep(3)  # the time of the status passes before the answer comes

    async with FakePair() as pair:
        config = pair.write_config(tmp_path, toml="\n[limits]\npoll_interval = 0.2\n")
        pair.master.hooks.append(linger)
        job = pair.master.post(TEST="long", FAKE_SCRIPT=script(hold=["login"]))
        async with pseudoworker(config):
            slave_job = await started(pair, job)
            await until(lambda: time.monotonic() - job.report.status_times[-1] > 8.5, 30)
            pair.slave.run_of(slave_job).open("*")
            await pair.done(job)
            await until(lambda: pair.master.worker(1).job is None, 10)
            worker = job.assigned
            assert worker is not None
            await until(lambda: worker.statuses[-1][1].get("status") == "free", 10)
        assert (job.result, job.report.late) == ("passed", [])
        assert pair.violations() == []


async def test_a_job_given_away_is_let_go(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with holding(pair, tmp_path) as (job, slave_job):
            pair.master.db.done(job, "incomplete", "abandoned: worker died")
            await until(lambda: slave_job.state == "done", 30, lambda: pair.story(job))
        assert slave_job.result == "user_cancelled"
        assert job.reason == "abandoned: worker died"


async def test_a_parallel_cluster_runs_together(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        jobs = pair.master.post_many(**{"TEST:a": "server", "TEST:b": "client", "_PARALLEL:b": "a"})
        async with pseudoworker(config):
            await pair.done(*jobs.values())
        assert [job.result for job in jobs.values()] == ["passed", "passed"]
        assert pair.slave.traffic.counts["create"] == 1
        for job in jobs.values():
            assert pair.differences(job) == []
        assert pair.violations() == []


async def test_directly_chained_jobs_run_in_order(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        jobs = pair.master.post_many(
            **{
                "TEST:a": "install",
                "TEST:b": "use",
                "TEST:c": "again",
                "_START_DIRECTLY_AFTER:b": "a",
                "_START_DIRECTLY_AFTER:c": "b",
                "FAKE_SCRIPT:b": script(fail="login"),
            }
        )
        async with pseudoworker(config):
            await pair.done(*jobs.values())
        assert [jobs[key].result for key in "abc"] == ["passed", "failed", "skipped"]
        assert pair.slave.traffic.counts["create"] == 1
        assert pair.violations() == []


def _reports(pair: FakePair) -> set[int]:
    reports = (job.settings.get("FEDERATED_REPORT", "") for job in pair.slave.db.jobs.values())
    return {int(report.rpartition("/")[2]) for report in reports if report}
