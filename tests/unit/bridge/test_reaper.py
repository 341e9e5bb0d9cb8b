"""Slave jobs that are to be cancelled are, sooner or later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pseudoworker.bridge import reaper as module
from pseudoworker.bridge.reaper import Reaper
from pseudoworker.openqa.errors import Unauthorized, Unreachable
from pseudoworker.openqa.retry import Policy
from tests.fakes.pair import until


class Journal:
    def __init__(self, *waiting: int) -> None:
        self.waiting = list(waiting)

    async def reap(self, slave_id: int) -> None:
        self.waiting.append(slave_id)

    async def reaped(self, slave_id: int) -> None:
        self.waiting.remove(slave_id)

    async def to_reap(self) -> list[int]:
        return list(self.waiting)


class Slave:
    """`fails` holds how often each job can not be cancelled yet; `missing` does not exist."""

    def __init__(self, **fails: int) -> None:
        self.fails = {int(name[1:]): count for name, count in fails.items()}
        self.missing: set[int] = set()
        self.cancelled: list[int] = []
        self.down: asyncio.Event | None = None

    async def cancel(self, job_id: int, *, policy: Policy) -> bool:
        assert policy.timeout <= 10, "nobody waits long for a slave that is down"
        if self.fails.get(job_id, 0) > 0:
            self.fails[job_id] -= 1
            raise Unreachable("down") if self.fails[job_id] % 2 else Unauthorized("key expired", status=403)
        if self.down is not None:
            await self.down.wait()
        self.cancelled.append(job_id)
        return job_id not in self.missing


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.0)


@asynccontextmanager
async def running(reaper: Reaper) -> AsyncIterator[None]:
    task = asyncio.create_task(reaper.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_job_is_cancelled_at_once() -> None:
    journal, slave = Journal(), Slave()
    await Reaper(journal, slave).cancel(7)
    assert (slave.cancelled, journal.waiting) == ([7], [])


async def test_a_job_that_is_gone_is_as_good_as_cancelled() -> None:
    journal, slave = Journal(), Slave()
    slave.missing.add(7)
    await Reaper(journal, slave).cancel(7)
    assert journal.waiting == []


async def test_what_can_not_be_cancelled_now_is_tried_again() -> None:
    journal, slave = Journal(), Slave(_7=4)
    reaper = Reaper(journal, slave)
    async with running(reaper):
        await reaper.cancel(7)
        assert slave.cancelled == []
        assert journal.waiting == [7]
        await until(lambda: slave.cancelled == [7])
        await until(lambda: journal.waiting == [])


async def test_what_an_earlier_process_left_is_cancelled() -> None:
    journal, slave = Journal(7, 8), Slave()
    async with running(Reaper(journal, slave)):
        await until(lambda: journal.waiting == [])
    assert slave.cancelled == [7, 8]


async def test_a_failure_during_a_round_is_not_forgotten() -> None:
    """One job fails while the round that cancels another is under way: the next round comes all the same."""
    journal, slave = Journal(7), Slave(_8=1)
    slave.down = asyncio.Event()
    reaper = Reaper(journal, slave)
    async with running(reaper):
        await asyncio.sleep(0.01)
        await reaper.cancel(8)
        slave.down.set()
        await until(lambda: journal.waiting == [])
    assert slave.cancelled == [7, 8]
