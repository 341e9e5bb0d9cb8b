"""`--instance auto`: as many slots as the slave has workers for the classes, also when that changes."""

from __future__ import annotations

import json
from pathlib import Path

from pseudoworker.bridge.status import look
from tests.fakes.flavour import TX
from tests.fakes.pair import BUSY, FakePair, pseudoworker, until

LIMIT = 30 * BUSY
AUTO = ("run", "--instance", "auto")


def connected(pair: FakePair) -> list[int]:
    """Instances that are connected to the master."""
    return sorted(worker.instance for worker in pair.master.db.workers.values() if worker.channel is not None)


async def test_as_many_slots_as_the_slave_has_workers_for_the_classes(tmp_path: Path) -> None:
    workers = {"qemu_x86_64": 2, "qemu_x86_64,s390x": 1, "s390x": 3}
    async with FakePair(flavour=TX, slave={"workers": workers}) as pair:
        config = pair.write_config(tmp_path)
        async with pseudoworker(config, *AUTO):
            await until(lambda: connected(pair) == [1, 2, 3], LIMIT, lambda: str(connected(pair)))
            job = pair.master.post(TEST="plain")
            await pair.done(job)
            assert job.result == "passed"
            # one more worker is one more slot, one that dies is one less
            scripted = pair.slave.hire("qemu_x86_64")
            await until(lambda: connected(pair) == [1, 2, 3, 4], LIMIT, lambda: str(connected(pair)))
            scripted.worker.t_seen = 0
            await until(lambda: connected(pair) == [1, 2, 3], LIMIT, lambda: str(connected(pair)))
            assert connected(pair) == [1, 2, 3]
        assert pair.violations() == []


async def test_a_slot_too_many_keeps_its_job_to_the_end(tmp_path: Path) -> None:
    async with FakePair(flavour=TX, slave={"workers": {"qemu_x86_64": 2}}) as pair:
        config = pair.write_config(tmp_path)
        async with pseudoworker(config, *AUTO):
            await until(lambda: connected(pair) == [1, 2], LIMIT)
            jobs = [pair.master.post(TEST="plain", FAKE_SCRIPT=json.dumps({"hold": ["login"]})) for _ in "ab"]
            await until(lambda: all(job.state == "running" for job in jobs), LIMIT)
            (first,) = (job for job in jobs if job.assigned and job.assigned.instance == 1)
            (second,) = (job for job in jobs if job is not first)
            pair.slave.run_of(pair.slave.job_for(first.id)).open("*")
            await pair.done(first)
            (idle,) = (scripted for scripted in pair.slave.crew if scripted.run is None)
            idle.worker.t_seen = 0
            seen = pair.slave.traffic.counts["workers"]
            await until(lambda: pair.slave.traffic.counts["workers"] > seen + 1, LIMIT)
            assert connected(pair) == [1, 2]
            pair.slave.run_of(pair.slave.job_for(second.id)).open("*")
            await pair.done(second)
            assert second.result == "passed"
            await until(lambda: connected(pair) == [1], LIMIT, lambda: str(connected(pair)))
        assert pair.violations() == []


async def test_no_more_than_the_limit(tmp_path: Path) -> None:
    async with FakePair(flavour=TX, slave={"workers": {"qemu_x86_64": 5}}) as pair:
        config = pair.write_config(tmp_path, toml="\n[limits]\nauto_slots = 2\n")
        async with pseudoworker(config, *AUTO):
            await until(lambda: connected(pair) == [1, 2], LIMIT)
            await until(lambda: "2 free" in look([config / "state"]).summary, LIMIT, pause=0.2)
            assert connected(pair) == [1, 2]
