"""Killed before and after every write to its journal, every request and every message, the process brings
each job to its end once: one slave job, one end, the same worker, no module twice, nothing missing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.crash.points import Scenario, enumerate_points, kind_of
from tests.fakes.model import Job
from tests.fakes.pair import FakePair, until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(3600)]

PARALLEL = (os.cpu_count() or 1) + 1
EACH = int(os.environ.get("CRASH_EACH", "2"))
"""How many of the points of one kind: most are the same request once more."""
LIFE = {"modules": 3, "screens": 1, "texts": 1, "seconds": 0.3}
HELD = json.dumps(LIFE | {"hold": ["login"]})


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: hundreds of journals are written, and no kill loses what the
    system has."""
    shared = Path("/dev/shm")
    if not (shared.is_dir() and os.access(shared, os.W_OK)):
        yield tmp_path
        return
    made = Path(tempfile.mkdtemp(prefix="crash-", dir=shared))
    yield made
    shutil.rmtree(made)


def one_job(pair: FakePair) -> Sequence[Job]:
    """Needs an asset that both sides have."""
    for side in (pair.master, pair.slave):
        side.db.register("iso", "tiny.iso", b"x" * 5000)
    return [pair.master.post(TEST="plain", ISO="tiny.iso")]


def two_jobs(pair: FakePair) -> Sequence[Job]:
    jobs = pair.master.post_many(**{"TEST:a": "server", "TEST:b": "client", "_PARALLEL:b": "a"})
    return list(jobs.values())


async def cancel(pair: FakePair, jobs: Sequence[Job]) -> None:
    """A user cancels the job on the master while it holds in its second module."""

    def holds() -> bool:
        return any(
            slave_job.modules["login"].result == "running"
            for slave_job in pair.slave.db.jobs.values()
            if "login" in slave_job.modules
        )

    await until(holds, 120)
    pair.master.db.cancel(jobs[0])


async def restart(pair: FakePair, jobs: Sequence[Job]) -> None:
    """A user restarts the slave job while it holds in its second module; the clone runs to its end."""

    def holding() -> list[Job]:
        return [
            slave_job
            for slave_job in pair.slave.db.jobs.values()
            if "login" in slave_job.modules and slave_job.modules["login"].result == "running"
        ]

    await until(lambda: bool(holding()), 120)
    (old,) = holding()
    pair.slave.db.restart(old)
    await until(lambda: any(job is not old for job in holding()), 120)
    (clone,) = (job for job in holding() if job is not old)
    pair.slave.run_of(clone).open("*")


SCENARIOS = {
    "plain": Scenario(
        one_job, ["passed"], script=json.dumps(LIFE | {"assets": {"disk.qcow2": {"size": 3000}}})
    ),
    "cancelled": Scenario(
        one_job,
        ["user_cancelled"],
        steer=cancel,
        script=HELD,
        since="after receiving Stop",
        compared=False,  # the release of 2023 takes no results of modules after a cancellation
        left=["autoinst-log.txt", "worker-log.txt"],
    ),
    "restarted": Scenario(
        one_job,
        ["passed"],
        steer=restart,
        script=HELD,
        since="before journal record queued #2",
        until="after journal record finishing",
        runs=2,
    ),
    "cluster": Scenario(
        two_jobs,
        ["passed", "passed"],
        instances=2,
        script=json.dumps(LIFE),
        since="before journal claim",
        until="after journal record queued",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_every_point(name: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def say(line: str) -> None:
        with capsys.disabled():
            print(f"  {name}: {line}", flush=True)

    outcomes = await enumerate_points(SCENARIOS[name], directory, parallel=PARALLEL, each=EACH, say=say)
    killed = [outcome for outcome in outcomes if outcome.killed]
    say(f"{len(outcomes)} points, {len(killed)} kills, {sum(not one.problems for one in killed)} well")
    assert [str(outcome) for outcome in outcomes if outcome.problems] == []
    unreached = {kind_of(one.point) for one in outcomes} - {kind_of(one.point) for one in killed}
    assert unreached == set(), "never killed at these"
