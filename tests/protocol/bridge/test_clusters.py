"""Jobs that belong together, between two fakes: one request creates them, and all agree on the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fakes.model import Job
from tests.fakes.pair import FakePair, pseudoworker, until

PAIR = {"TEST:a": "server", "TEST:b": "client", "_PARALLEL:b": "a"}
HOLD = json.dumps({"hold": ["login"]})


async def both_run(pair: FakePair, jobs: Mapping[str, Job]) -> dict[str, Job]:
    """Wait until all run on the master; their slave jobs."""
    await until(
        lambda: all(job.state == "running" for job in jobs.values()), 20, lambda: pair.story(*jobs.values())
    )
    return {key: pair.slave.job_for(job.id) for key, job in jobs.items()}


@asynccontextmanager
async def running_pair(
    pair: FakePair, tmp_path: Path
) -> AsyncIterator[tuple[dict[str, Job], dict[str, Job]]]:
    """Two parallel jobs of the master by their keys, and their slave jobs, all held while they run."""
    jobs = pair.master.post_many(**PAIR, FAKE_SCRIPT=HOLD)
    async with pseudoworker(pair.write_config(tmp_path)):
        yield jobs, await both_run(pair, jobs)


def results(jobs: Mapping[str, Job]) -> dict[str, tuple[str, str | None]]:
    return {key: (job.result, job.reason) for key, job in jobs.items()}


async def test_a_cluster_cancelled_on_the_master(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with running_pair(pair, tmp_path) as (jobs, slave_jobs):
            pair.master.db.cancel(jobs["b"])
            await pair.done(*jobs.values())
        assert results(jobs) == {"a": ("parallel_failed", None), "b": ("user_cancelled", None)}
        assert {key: job.result for key, job in slave_jobs.items()} == {
            "a": "parallel_failed",
            "b": "user_cancelled",
        }
        assert pair.violations() == []


async def test_a_cluster_cancelled_on_the_slave(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with running_pair(pair, tmp_path) as (jobs, slave_jobs):
            pair.slave.db.cancel(slave_jobs["a"])
            await pair.done(*jobs.values())
        url = f"{pair.slave.url}/tests/{slave_jobs['a'].id}"
        assert results(jobs) == {
            "a": ("user_cancelled", f"user_cancelled on the slave: {url}"),
            "b": ("parallel_failed", None),
        }
        assert pair.violations() == []


async def test_a_cluster_restarted_on_the_slave(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with running_pair(pair, tmp_path) as (jobs, slave_jobs):
            pair.slave.db.restart(slave_jobs["b"])
            clones = [pair.slave.db.jobs[job.clone_id or 0] for job in slave_jobs.values()]
            await until(
                lambda: all(job.state == "running" for job in clones), 20, lambda: pair.story(*jobs.values())
            )
            for clone in clones:
                pair.slave.run_of(clone).open("login")
            await pair.done(*jobs.values())
        assert results(jobs) == dict.fromkeys("ab", ("passed", None))
        assert [pair.differences(job) for job in jobs.values()] == [[], []]
        assert pair.violations() == []


async def test_a_cluster_restarted_on_the_master(tmp_path: Path) -> None:
    async with FakePair() as pair:
        async with running_pair(pair, tmp_path) as (jobs, slave_jobs):
            pair.master.db.restart(jobs["a"])
            clones = {key: pair.master.db.jobs[job.clone_id or 0] for key, job in jobs.items()}
            await pair.done(*jobs.values())
            for slave_job in (await both_run(pair, clones)).values():
                pair.slave.run_of(slave_job).open("login")
            await pair.done(*clones.values())
        assert [job.state for job in slave_jobs.values()] == ["done", "done"]
        assert results(clones) == dict.fromkeys("ab", ("passed", None))
        assert pair.slave.traffic.counts["create"] == 2
        assert [pair.differences(job) for job in clones.values()] == [[], []]


async def test_a_member_that_is_handed_out_late(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        jobs = pair.master.post_many(
            **{
                "TEST:a": "first",
                "TEST:b": "server",
                "TEST:c": "client",
                "_START_DIRECTLY_AFTER:b": "a",
                "_PARALLEL:c": "b",
                "FAKE_SCRIPT:a": HOLD,
            }
        )
        async with pseudoworker(config):
            await until(lambda: jobs["a"].state == "running", 20, lambda: pair.story(*jobs.values()))
            slave_jobs = {key: pair.slave.job_for(job.id) for key, job in jobs.items()}
            assert jobs["c"].state == "scheduled"
            pair.slave.run_of(slave_jobs["a"]).open("login")
            await pair.done(*jobs.values())
        assert results(jobs) == dict.fromkeys("abc", ("passed", None))
        assert pair.slave.traffic.counts["create"] == 1
        assert [pair.differences(job) for job in jobs.values()] == [[], [], []]
        assert pair.violations() == []


@pytest.mark.parametrize("killed_after", ["first", "whole"])
async def test_a_late_member_of_a_bridge_that_was_killed(tmp_path: Path, killed_after: str) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path)
        jobs = pair.master.post_many(
            **{
                "TEST:a": "first",
                "TEST:b": "server",
                "TEST:c": "client",
                "_START_DIRECTLY_AFTER:b": "a",
                "_PARALLEL:c": "b",
                "FAKE_SCRIPT:a": HOLD,
            }
        )
        async with pseudoworker(config) as process:
            await until(lambda: jobs["a"].state == "running", 20, lambda: pair.story(*jobs.values()))
            slave_jobs = {key: pair.slave.job_for(job.id) for key, job in jobs.items()}
            process.kill()
            await process.wait()
        pair.slave.run_of(slave_jobs["a"]).open("login")
        wanted = [slave_jobs["a"]] if killed_after == "first" else list(slave_jobs.values())
        await until(lambda: all(job.state == "done" for job in wanted), 20)
        async with pseudoworker(config):
            await pair.done(*jobs.values())
        assert results(jobs) == dict.fromkeys("abc", ("passed", None))
        assert pair.slave.traffic.counts["create"] == 1
        assert pair.violations() == []


def second_process(pair: FakePair, directory: Path, *, classes: str, toml: str = "") -> Path:
    """The configuration of another process, with a host name of its own."""
    config = pair.write_config(directory, instances=1, classes=classes, toml=toml)
    file = config / "pseudoworker.toml"
    file.write_text(f'host = "another"\n{file.read_text()}')
    return config


async def test_a_member_of_a_class_that_only_another_process_serves(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path / "one")
        elsewhere = second_process(
            pair, tmp_path / "two", classes=":other:x", toml='\n[classes]\n":other:x" = "qemu_x86_64"\n'
        )
        jobs = pair.master.post_many(
            **PAIR, **{"WORKER_CLASS:a": ":lab:qemu_x86_64", "WORKER_CLASS:b": ":other:x"}
        )
        async with pseudoworker(config), pseudoworker(elsewhere, "run", "--instance", "1"):
            await pair.done(*jobs.values())
        reasons = {key: job.reason or "" for key, job in jobs.items() if job.result == "incomplete"}
        told = {
            "a": f"job {jobs['b'].id} can not run here: worker class ':other:x' stands for no class",
            "b": f"job {jobs['a'].id} needs a worker of class :lab:qemu_x86_64, which no slot of this",
        }
        assert reasons
        for key, reason in reasons.items():
            assert reason.startswith(f"setup failure: cluster can not be complete: {told[key]}"), reason
        assert {job.result for job in jobs.values()} <= {"incomplete", "parallel_failed"}
        assert pair.slave.db.jobs == {}
        assert pair.violations() == []


async def test_two_processes_with_too_few_slots(tmp_path: Path) -> None:
    async with FakePair() as pair:
        config = pair.write_config(tmp_path / "one", instances=1)
        another = second_process(pair, tmp_path / "two", classes=":lab:qemu_x86_64")
        jobs = pair.master.post_many(**PAIR)
        async with (
            pseudoworker(config, "run", "--instance", "1"),
            pseudoworker(another, "run", "--instance", "1"),
        ):
            await pair.done(*jobs.values())
        reasons = {job.id: job.reason or "" for job in jobs.values() if job.result == "incomplete"}
        assert reasons
        for job_id, reason in reasons.items():
            (other,) = {job.id for job in jobs.values()} - {job_id}
            assert f"job {other} has no slot: the cluster needs 2, and this pseudoworker has 1" in reason
        assert {job.result for job in jobs.values()} <= {"incomplete", "parallel_failed"}
        assert pair.slave.db.jobs == {}
