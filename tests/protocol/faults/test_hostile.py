"""What a hostile or broken instance says is an error of that one job or connection, never of the process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.faults import DEEP
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, pseudoworker, until
from tests.fakes.websocket import Connection

FAST = "\n[limits]\npoll_interval = 0.2\n"
LIMIT = 90.0
HOLD = json.dumps({"hold": ["login"]})

MESSAGES: dict[str, bytes] = {
    "no JSON": b"{{{",
    "no object": b"[1, 2]",
    "deep": DEEP,
    "wrong types": b'{"type": {"a": 1}, "jobid": []}',
    "a job without an id": b'{"type": "grab_job", "job": {"settings": {}}}',
    "a job of wrong types": b'{"type": "grab_job", "job": {"id": "x", "settings": [1]}}',
    "a sequence in a circle": b'{"type": "grab_jobs", "job_info": {"data": {}, "sequence": [[[[1]]]]}}',
    "a cancel of nothing": b'{"type": "cancel", "jobid": -5}',
    "9 MiB": b'{"type": "info", "x": "' + b"x" * (9 * 2**20) + b'"}',
    "11 MiB": b'{"type": "info", "x": "' + b"x" * (11 * 2**20) + b'"}',
}


async def passes(pair: FakePair, job: Job) -> None:
    await pair.done(job, limit=LIMIT)
    assert (job.result, job.reason) == ("passed", None)
    assert pair.differences(job) == []


async def test_messages_of_a_hostile_master(tmp_path: Path) -> None:
    """All of them while a job runs: the slot may lose its connection, and comes back with its job."""
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        job = pair.master.post(TEST="plain", FAKE_SCRIPT=HOLD)
        async with pseudoworker(config, "run", "--instance", "1") as process:
            await until(lambda: job.state == "running", LIMIT, lambda: pair.story(job))
            worker = pair.master.worker(1)
            for message in MESSAGES.values():
                await until(lambda: isinstance(worker.channel, Connection), LIMIT, lambda: pair.story(job))
                pair.master.workers.send_raw(worker, message)
            pair.slave.run_of(pair.slave.job_for(job.id)).open("*")
            await passes(pair, job)
            assert process.returncode is None
        assert len(pair.slave.db.jobs) == 1


@pytest.mark.parametrize("kind", ["details", "get_file", "get_image", "jobs", "job", "src", "workers"])
@pytest.mark.parametrize("how", ["HTML", "deep", "wrong types", "short", "half"])
async def test_answers_of_a_hostile_slave(tmp_path: Path, kind: str, how: str) -> None:
    """One kind of answer makes no sense for a while: the job ends one way or the other, the next one well."""
    faults: dict[str, dict[str, Any]] = {
        "HTML": {"action": "html", "status": 200},
        "deep": {"action": "garbage", "status": 200},
        "wrong types": {"action": "garbage", "status": 200, "body": b'{"job": [], "jobs": {"id": "x"}}'},
        "short": {"action": "status", "status": 200, "body": b""},
        "half": {"action": "half"},
    }
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        times = 1 if kind == "workers" else 3  # ten seconds pass before workers are looked at again
        pair.slave.traffic.add(kind, times=times, nth=2, **faults[how])
        job = pair.master.post(TEST="plain")
        async with pseudoworker(config, "run", "--instance", "1") as process:
            await pair.done(job, limit=LIMIT)
            assert job.result in ("passed", "incomplete"), job.reason
            assert (job.result == "passed") == (job.reason is None), job.reason
            pair.slave.traffic.clear()
            later = pair.master.post(TEST="later")
            await passes(pair, later)
            assert process.returncode is None
        assert all(len(one.report.ends) == 1 for one in (job, later))


async def test_file_names_with_paths_reach_nobody(tmp_path: Path) -> None:
    evil = ("../../../etc/evil.txt", "..", "a/b.txt", "x\nEvil: 1", ".hidden/../up")
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)

        def spoil(slave_job: Job) -> None:
            slave_job.ulogs |= dict.fromkeys(evil, b"evil")
            slave_job.files |= dict.fromkeys(evil, b"evil")

        pair.slave.db.on_end.append(spoil)
        job = pair.master.post(TEST="plain")
        async with pseudoworker(config, "run", "--instance", "1"):
            await pair.done(job, limit=LIMIT)
        assert job.result == "passed"
        assert "autoinst-log.txt" in job.files
        assert not set(evil) & ({*job.files} | {*job.ulogs})
        assert [wrong for wrong in pair.violations() if wrong.startswith("master")] == []
        story = job.files["worker-log.txt"].decode()
        assert "evil.txt" in story
    assert not (tmp_path / "etc").exists()


async def test_a_worker_of_the_slave_that_tells_nonsense_of_itself(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path, instances=1, toml=FAST)
        for worker in pair.slave.db.workers.values():
            worker.properties |= {"ISOTOVIDEO_INTERFACE_VERSION": "9" * 5000, "CPU_ARCH": "\ud800"}
        job = pair.master.post(TEST="plain")
        async with pseudoworker(config, "run", "--instance", "1") as process:
            await passes(pair, job)
            assert process.returncode is None
