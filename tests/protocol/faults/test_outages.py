"""Outages that last, slaves that do not begin or do not end, and the heartbeat through all of it."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

from tests.fakes.faultproxy import FaultProxy
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, pseudoworker, until

HOLD = json.dumps({"hold": ["login"]})
LIMIT = 90.0


def limits(**keys: float) -> str:
    lines = [f"{name} = {value}" for name, value in ({"poll_interval": 0.2} | keys).items()]
    return "\n".join(["", "[limits]", *lines, ""])


async def running(pair: FakePair, job: Job) -> Job:
    await until(lambda: job.state == "running", LIMIT, lambda: pair.story(job))
    return pair.slave.job_for(job.id)


async def test_a_master_that_is_away_longer_than_its_own_patience(tmp_path: Path) -> None:
    """It has given the job up when it is back: so is the slave's, and the job runs anew as its clone."""
    async with (
        FakePair(master={"worker_timeout": 4.0}) as pair,
        FaultProxy(pair.master.port, count=3) as proxy,
    ):
        pair.master.public_port = proxy.port
        config = pair.write_config(tmp_path, instances=1, toml=limits(), master_url=proxy.url)
        workers = config / "workers.ini"
        # a real master has half an hour of patience, and statuses come each minute at least
        workers.write_text(
            workers.read_text().replace(
                "[global]\n", "[global]\nSTATUS_MIN_INTERVAL = 1\nSTATUS_MAX_INTERVAL = 1\n"
            )
        )
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1"):
            slave_job = await running(pair, job)
            await proxy.deafen()
            proxy.break_all()
            await pair.done(job, limit=LIMIT)
            assert job.reason is not None
            assert job.reason.startswith("abandoned: ")
            statuses = len(job.report.statuses)
            assert slave_job.state == "running"
            await proxy.listen()
            await until(lambda: slave_job.state == "done", LIMIT, lambda: pair.story(job))
            await until(lambda: job.clone_id is not None, LIMIT)
            clone = pair.master.db.jobs[job.clone_id or 0]
            await running(pair, clone)
            pair.slave.run_of(pair.slave.job_for(clone.id)).open("*")
            await pair.done(clone, limit=LIMIT)
        assert slave_job.result == "user_cancelled"
        assert len(job.report.statuses) == statuses
        assert [end["reason"] for end in job.report.ends if end.get("reason")] in ([], [job.reason])
        assert (clone.result, len(pair.slave.db.jobs)) == ("passed", 2)


async def test_a_slave_that_is_away_for_too_long(tmp_path: Path) -> None:
    """Its job ends as what it is, and is cancelled there as soon as the slave is back."""
    async with FakePair() as pair, FaultProxy(pair.slave.port, count=3) as proxy:
        pair.slave.public_port = proxy.port
        config = pair.write_config(
            tmp_path, instances=1, toml=limits(slave_outage=10, start_rate=100), slave_url=proxy.url
        )
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1"):
            slave_job = await running(pair, job)
            await proxy.deafen()
            proxy.break_all()
            await pair.done(job, limit=LIMIT)
            url = f"{proxy.url}/tests/{slave_job.id}"
            assert job.result == "incomplete"
            assert job.reason is not None
            assert job.reason.startswith("api failure: slave could not be reached for too long")
            worker = pair.master.worker(1)
            await until(lambda: worker.error is not None, LIMIT)
            assert slave_job.state == "running", url
            await proxy.listen()
            await until(lambda: slave_job.state == "done", LIMIT, lambda: pair.story(job))
            assert slave_job.result == "user_cancelled"
            later = pair.master.post(TEST="later")
            await pair.done(later, limit=LIMIT)
        assert later.result == "passed"


async def test_a_key_that_the_slave_refuses_breaks_the_slots_until_it_is_mended(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=2, toml=limits())
        async with pseudoworker(config, "run", "--instance", "1-2"):
            await until(lambda: len(pair.master.db.workers) == 2, LIMIT)
            workers = list(pair.master.db.workers.values())
            await until(lambda: all(worker.error is None for worker in workers), LIMIT)
            pair.slave.keys.refused = "no such key"
            job = pair.master.post(TEST="first", WORKER_CLASS=":lab:qemu_x86_64")
            await until(
                lambda: any("403" in (worker.error or "") for worker in workers),  # the other one has the job
                LIMIT,
                lambda: f"{[worker.error for worker in workers]} {pair.story(job)}",
            )
            later = pair.master.post(TEST="later")
            await asyncio.sleep(1)  # the fake's scheduler hands out within hundredths of a second
            assert later.state == "scheduled"
            pair.slave.keys.refused = ""
            await pair.done(job, later, limit=LIMIT)
        assert [job.result, later.result] == ["passed", "passed"]


async def test_a_slave_that_never_begins(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=limits(queue_timeout=10))
        pair.slave.scheduler.paused = True
        job = pair.master.post(TEST="plain")
        async with pseudoworker(config, "run", "--instance", "1"):
            await pair.done(job, limit=LIMIT)
            slave_job = pair.slave.job_for(job.id)
            await until(lambda: slave_job.state in ("done", "cancelled"), LIMIT)
        assert job.result == "incomplete"
        assert job.reason is not None
        assert job.reason.startswith("timeout: slave job was not started within queue_timeout")
        assert "worker-log.txt" in job.files
        assert len(job.report.ends) == 1


async def test_a_slave_job_that_never_ends(tmp_path: Path) -> None:
    """Its own limits are the slave's affair; beyond them and a margin it is given up, and its logs come."""
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=limits(run_margin=10))
        job = pair.master.post(TEST="long", FAKE_SCRIPT=HOLD, MAX_JOB_TIME="1", MAX_SETUP_TIME="1")
        async with pseudoworker(config, "run", "--instance", "1"):
            slave_job = await running(pair, job)
            await pair.done(job, limit=LIMIT)
        assert job.result == "timeout_exceeded"
        assert job.reason is not None
        assert job.reason.startswith("timeout: slave job exceeded its time")
        assert slave_job.result == "user_cancelled"
        assert "autoinst-log.txt" in job.files


async def test_the_heartbeat_waits_for_nobody(tmp_path: Path) -> None:
    """All requests of all jobs hang, so that no thread and no turn is left; every slot still says that it is
    there, as often as before."""
    slots = 12
    async with FakePair(slave={"workers": {"qemu_x86_64": slots}}) as pair:
        config = pair.write_config(tmp_path, instances=slots, toml=limits(threads=2, requests_in_flight=2))
        workers_ini = config / "workers.ini"
        workers_ini.write_text(
            workers_ini.read_text().replace(
                "[global]\n", "[global]\nSTATUS_MIN_INTERVAL = 1\nSTATUS_MAX_INTERVAL = 2\n"
            )
        )
        jobs = [pair.master.post(TEST="long", FAKE_SCRIPT=HOLD) for _ in range(slots)]
        async with pseudoworker(config, "run", "--instance", f"1-{slots}"):
            await until(lambda: all(job.state == "running" for job in jobs), LIMIT, lambda: pair.story(*jobs))
            hung = [
                server.traffic.add("*", "hang", times=0, seconds=30.0) for server in (pair.master, pair.slave)
            ]
            workers = list(pair.master.db.workers.values())
            await until(lambda: all(fault.struck >= 2 for fault in hung), LIMIT)
            began = time.monotonic()
            await until(
                lambda: all(sum(at > began for at, _ in worker.statuses) >= 4 for worker in workers), LIMIT
            )
            took = time.monotonic() - began
            assert took < 4 * 2 * 4, f"{took:.1f} s for four statuses of each slot"
            assert not any(job.state == "done" for job in jobs)
            for server in (pair.master, pair.slave):
                server.traffic.clear()
            for job in jobs:
                pair.slave.run_of(pair.slave.job_for(job.id)).open("*")
            await pair.done(*jobs, limit=LIMIT)
        assert {job.result for job in jobs} == {"passed"}
