"""Which slots may take a job, and why the others may not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudoworker.bridge import availability as module
from pseudoworker.bridge.availability import Availability, Load, Obstacles, Slot, why_not
from pseudoworker.openqa.errors import Unauthorized, Unreachable
from pseudoworker.openqa.views import WorkerView
from pseudoworker.slave.capacity import Capacity
from tests.fakes.pair import until

QEMU = frozenset({"qemu"})
ANY = frozenset({"qemu", "arm"})


def slot(instance: int, classes: frozenset[str] = QEMU, *, busy: bool = False, offered: bool = False) -> Slot:
    return Slot(instance, classes, busy, offered)


def workers(idle: int, running: int = 0, classes: frozenset[str] = QEMU) -> list[WorkerView]:
    told = ["idle"] * idle + ["running"] * running
    return [
        WorkerView(number, "slave", number, status, classes, 9 if status == "running" else None)
        for number, status in enumerate(told, 1)
    ]


def judged(
    slots: Sequence[Slot], found: Sequence[WorkerView], loads: Sequence[Load] = (), *, allowance: int = 0
) -> Mapping[int, str | None]:
    return why_not(slots, Capacity(tuple(found)), loads, taken=100.0, allowance=allowance)


def test_a_slot_for_each_idle_worker_those_offered_before_first() -> None:
    slots = [slot(1), slot(2, offered=True), slot(3)]
    full = "no idle worker of class qemu on the slave (2 in all)"
    assert judged(slots, workers(2)) == {2: None, 1: None, 3: full}
    assert judged(slots, workers(1, 1)) == {2: None, 1: full, 3: full}


def test_busy_slots_are_not_judged() -> None:
    assert judged([slot(1, busy=True), slot(2)], workers(1)) == {2: None}


def test_no_worker_of_a_class_at_all() -> None:
    assert judged([slot(1)], workers(2, classes=frozenset({"arm"}))) == {
        1: "the slave has no worker of class qemu"
    }


def test_a_slot_of_two_classes_needs_one_of_them() -> None:
    arm = workers(1, classes=frozenset({"arm"}))
    assert judged([slot(1, ANY), slot(2, ANY)], arm) == {
        1: None,
        2: "no idle worker of class arm on the slave (1 in all); the slave has no worker of class qemu",
    }


def test_jobs_of_ours_reserve_workers_that_still_look_idle() -> None:
    waiting = Load(QEMU, None)
    new, old = Load(QEMU, 100.5), Load(QEMU, 99.5)
    full = "no idle worker of class qemu on the slave (1 in all)"
    assert judged([slot(1)], workers(1), [waiting]) == {1: full}
    assert judged([slot(1)], workers(1), [new]) == {1: full}
    assert judged([slot(1)], workers(1), [old]) == {1: None}
    assert judged([slot(1)], workers(1), [Load(frozenset({"arm"}), None)]) == {1: None}


def test_the_slave_may_queue_as_many_as_allowed() -> None:
    slots = [slot(number) for number in range(1, 5)]
    verdicts = judged(slots, workers(1, 1), allowance=2)
    assert [number for number, reason in verdicts.items() if reason is None] == [1, 2, 3]


@settings(deadline=None)
@given(idle=st.integers(0, 5), running=st.integers(0, 5), count=st.integers(0, 12), waiting=st.integers(0, 5))
def test_never_more_than_the_slave_can_start(idle: int, running: int, count: int, waiting: int) -> None:
    verdicts = judged(
        [slot(number) for number in range(count)], workers(idle, running), [Load(QEMU, None)] * waiting
    )
    assert len(verdicts) == count
    assert sum(reason is None for reason in verdicts.values()) == min(count, max(0, idle - waiting))


@dataclass
class Site:
    """What a slave says, and what is told of it."""

    capacity: Capacity = field(default_factory=lambda: Capacity(()))
    error: Exception | None = None
    problem: str | None = None
    slots: list[Slot] = field(default_factory=lambda: [slot(1), slot(2, busy=True)])
    told: list[Mapping[int, str | None]] = field(default_factory=list)
    looks: int = 0
    overdue: int = 0

    async def fetch(self) -> Capacity:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.capacity

    async def obstacle(self) -> str | None:
        return self.problem


@asynccontextmanager
async def looking(site: Site, *, interval: float = 3600.0) -> AsyncIterator[Availability]:
    availability = Availability(
        fetch=site.fetch,
        obstacle=site.obstacle,
        slots=lambda: site.slots,
        loads=list,
        changed=site.told.append,
        allowance=0,
        interval=interval,
        overdue=lambda: site.overdue,
    )
    task = asyncio.create_task(availability.run())
    try:
        yield availability
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CLOSEST", 0.0)


async def test_nothing_is_offered_before_the_first_look() -> None:
    site = Site()
    availability = Availability(
        fetch=site.fetch,
        obstacle=site.obstacle,
        slots=lambda: site.slots,
        loads=list,
        changed=site.told.append,
        allowance=0,
        interval=1.0,
    )
    availability.decide()
    assert site.told == [{1: "the slave was not asked yet"}]


async def test_each_look_is_told_and_kept() -> None:
    site = Site(Capacity(tuple(workers(1))))
    async with looking(site) as availability:
        await availability.looked()
        assert site.told[-1] == {1: None}
        assert availability.capacity == site.capacity
        assert availability.problem is None
        site.slots = [slot(1), slot(2)]
        availability.decide()
        assert site.told[-1] == {1: None, 2: "no idle worker of class qemu on the slave (1 in all)"}
        assert site.looks == 1


async def test_a_job_that_others_wait_for_is_let_in_whatever_the_load() -> None:
    site = Site(Capacity(tuple(workers(1))), slots=[slot(1), slot(2)])
    async with looking(site) as availability:
        await availability.looked()
        assert site.told[-1] == {1: None, 2: "no idle worker of class qemu on the slave (1 in all)"}
        site.overdue = 1
        availability.decide()
        assert site.told[-1] == {1: None, 2: None}


async def test_a_look_comes_when_woken_and_when_the_time_is_over() -> None:
    site = Site()
    async with looking(site) as availability:
        await until(lambda: site.looks == 1)
        availability.wake()
        await until(lambda: site.looks == 2)
    async with looking(site, interval=0.01):
        await until(lambda: site.looks > 4)


async def test_an_outage_breaks_all_slots_until_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, module.__name__)
    site = Site(Capacity(tuple(workers(1))), error=Unreachable("connection refused"))
    async with looking(site) as availability:
        for _ in range(2):
            looked = asyncio.create_task(availability.looked())
            availability.wake()
            await looked
            assert site.told[-1] == {1: "slave: connection refused"}
        site.error, site.problem = None, "no room for assets"
        availability.wake()
        await availability.looked()
        assert availability.problem == "no room for assets"
        site.problem = None
        availability.wake()
        await availability.looked()
        assert site.told[-1] == {1: None}
    assert [record.getMessage() for record in caplog.records] == [
        "No slot takes jobs: slave: connection refused",
        "No slot takes jobs: no room for assets",
        "The slave can take jobs",
    ]


class Door:
    """A slave that lets us in or not; `now` is the time."""

    def __init__(self) -> None:
        self.asked = 0
        self.now = 0.0
        self.refuses = False

    async def ask(self) -> None:
        self.asked += 1
        if self.refuses:
            raise Unauthorized("key expired", status=403)

    async def problem(self) -> str | None:
        return "a full disk" if self.now > 1000 else None


async def test_the_key_is_tried_now_and_then_and_after_a_refusal_each_time() -> None:
    door = Door()
    obstacles = Obstacles(door.ask, door.problem, again=60.0, clock=lambda: door.now)
    for now, asked in ((0.0, 1), (59.0, 1), (61.0, 2)):
        door.now = now
        assert await obstacles() is None
        assert door.asked == asked
    door.now, door.refuses = 130.0, True
    for asked in (3, 4):
        with pytest.raises(Unauthorized):
            await obstacles()
        assert door.asked == asked
    door.refuses = False
    assert await obstacles() is None
    door.now = 2000.0
    assert await obstacles() == "a full disk"
