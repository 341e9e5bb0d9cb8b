import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

import pytest

from pseudoworker.openqa.errors import Busy, Garbage, NotFound, OpenQAError, Unauthorized, Unreachable
from pseudoworker.openqa.retry import READ, Policy
from pseudoworker.openqa.views import JobView, ModuleView
from pseudoworker.slave.watch import Gone, Observation, Outage, Unreadable, Watcher


class FakeJobs:
    """A slave of some jobs; whatever stands in `trouble` is raised."""

    def __init__(self, *jobs: JobView) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.unlisted: set[int] = set()
        self.trouble: OpenQAError | None = None
        self.trouble_with: dict[int, OpenQAError] = {}
        self.lists: list[list[int]] = []
        self.singles: list[int] = []
        self.times: list[float] = []

    async def view(self, job_id: int, *, policy: Policy = READ) -> JobView:
        self.singles.append(job_id)
        if job_id in self.trouble_with:
            raise self.trouble_with[job_id]
        if job_id not in self.jobs:
            raise NotFound("gone", status=404)
        return self.jobs[job_id]

    async def views(self, job_ids: Iterable[int], *, policy: Policy = READ) -> dict[int, JobView]:
        self.lists.append(sorted(job_ids))
        self.times.append(time.monotonic())
        await asyncio.sleep(0)
        if self.trouble is not None:
            raise self.trouble
        shown = set(self.lists[-1]) & self.jobs.keys() - self.unlisted - self.trouble_with.keys()
        return {job_id: self.jobs[job_id] for job_id in shown}


def job(number: int, state: str = "running", **more: object) -> JobView:
    shown = JobView(number, f"job-{number}", state, "none")
    for name, value in more.items():
        object.__setattr__(shown, name, value)
    return shown


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait for a condition; fails when it does not come."""
    started = time.monotonic()
    while time.monotonic() < started + seconds:
        if condition():
            return
        await asyncio.sleep(0.002)
    pytest.fail("the condition did not come")


@asynccontextmanager
async def running(
    jobs: FakeJobs, interval: float = 0.01, *, longest_pause: float = 60.0, least_pause: float = 0.5
) -> AsyncIterator[Watcher]:
    watcher = Watcher(jobs, interval, longest_pause=longest_pause, least_pause=least_pause)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def tick(watcher: Watcher) -> None:
    await watcher.tick()
    await asyncio.sleep(0)  # callbacks run in the next turn of the loop


async def test_one_request_for_all() -> None:
    jobs = FakeJobs(*(job(number) for number in range(1, 501)))
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    for number in range(1, 501):
        watcher.watch(number, seen.append)
    await tick(watcher)
    assert jobs.lists == [list(range(1, 501))]
    assert not jobs.singles
    assert len(seen) == 500


async def test_only_changes_are_told() -> None:
    jobs = FakeJobs(job(1), job(2))
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    watcher.watch(1, seen.append)
    watcher.watch(2, seen.append)
    await tick(watcher)
    await tick(watcher)
    assert len(seen) == 2
    for change in (
        job(1, "done"),
        job(1, "done", result="passed"),
        job(1, "done", result="passed", reason="x"),
        job(1, "done", result="passed", reason="x", clone_id=7),
        job(1, "done", result="passed", reason="x", clone_id=7, modules=(ModuleView("m", "c", "none"),)),
        job(1, "done", result="passed", reason="x", clone_id=7, modules=(ModuleView("m", "c", "passed"),)),
    ):
        del seen[:]
        jobs.jobs[1] = change
        await tick(watcher)
        await tick(watcher)
        assert seen == [change]


async def test_without_jobs_nothing_is_asked() -> None:
    jobs = FakeJobs(job(1))
    async with running(jobs) as watcher:
        watcher.wake()
        await asyncio.sleep(0.05)
        assert not jobs.lists
        seen: list[Observation] = []
        watcher.watch(1, seen.append)
        await until(lambda: seen)
        watcher.unwatch(1)
        asked = len(jobs.lists)
        await asyncio.sleep(0.05)
        assert len(jobs.lists) <= asked + 1


async def test_a_job_is_gone_only_when_it_says_so_itself() -> None:
    jobs = FakeJobs(job(1), job(2))
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    watcher.watch(1, seen.append)
    watcher.watch(2, seen.append)
    await tick(watcher)
    del seen[:]
    jobs.unlisted.add(1)
    await tick(watcher)
    assert jobs.singles == [1]
    assert not seen
    del jobs.jobs[1]
    await tick(watcher)
    assert seen == [Gone(1)]
    await tick(watcher)
    assert seen == [Gone(1)]
    assert jobs.lists[-1] == [2]


async def test_a_job_that_makes_no_sense_is_told_once_and_hides_no_other() -> None:
    jobs = FakeJobs(job(1), job(2))
    jobs.trouble_with[1] = Garbage("job 1 has state []")
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    watcher.watch(1, seen.append)
    watcher.watch(2, seen.append)
    await tick(watcher)
    await tick(watcher)
    assert seen == [jobs.jobs[2], Unreadable(1, jobs.trouble_with[1])]
    del jobs.trouble_with[1], seen[:]
    await tick(watcher)
    assert seen == [jobs.jobs[1]]


async def test_an_outage_while_confirming_is_an_outage() -> None:
    jobs = FakeJobs()
    jobs.trouble_with[1] = Unreachable("reset")
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    watcher.watch(1, seen.append)
    with pytest.raises(Unreachable):
        await tick(watcher)
    assert not seen


async def test_many_missing_jobs_are_confirmed_in_several_ticks() -> None:
    jobs = FakeJobs()
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    for number in range(1, 46):
        watcher.watch(number, seen.append)
    counts = []
    for _ in range(4):
        await tick(watcher)
        counts.append(len(seen))
    assert counts == [20, 40, 45, 45]
    assert sorted(jobs.singles) == list(range(1, 46))


async def test_unreadable_jobs_do_not_take_the_place_of_others() -> None:
    jobs = FakeJobs()
    jobs.trouble_with = {number: Garbage("odd") for number in range(1, 31)}
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    for number in range(1, 32):
        watcher.watch(number, seen.append)
    for _ in range(3):
        await tick(watcher)
    assert Gone(31) in seen


async def test_after_unwatch_nothing_is_told_any_more() -> None:
    jobs = FakeJobs(job(1))
    watcher = Watcher(jobs)
    seen: list[Observation] = []
    watcher.watch(1, seen.append)
    await watcher.tick()  # the change is on its way
    watcher.unwatch(1)
    await asyncio.sleep(0)
    assert not seen
    assert not watcher.watched


async def test_a_job_may_have_several_owners() -> None:
    jobs = FakeJobs(job(1))
    watcher = Watcher(jobs)
    first: list[Observation] = []
    second: list[Observation] = []
    tell = first.append
    watcher.watch(1, tell)
    await tick(watcher)
    watcher.watch(1, second.append)
    await asyncio.sleep(0)
    assert first == second == [job(1)]
    watcher.unwatch(1, tell)
    jobs.jobs[1] = job(1, "done")
    await tick(watcher)
    assert len(first) == 1
    assert second == [job(1), job(1, "done")]


async def test_an_error_of_one_owner_is_not_the_others() -> None:
    jobs = FakeJobs(job(1), job(2))
    complaints: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context["exception"]))
    seen: list[Observation] = []

    def broken(observation: Observation) -> None:
        raise ValueError(observation)

    async with running(jobs) as watcher:
        watcher.watch(1, broken)
        watcher.watch(2, seen.append)
        await until(lambda: seen and complaints)
        jobs.jobs[2] = job(2, "done")
        await until(lambda: len(seen) == 2)
    assert [type(complaint) for complaint in complaints] == [ValueError]


async def test_outages_are_told_with_their_beginning_and_end() -> None:
    jobs = FakeJobs(job(1))
    now = iter(range(100, 1000))
    watcher = Watcher(jobs, 0.005, longest_pause=0.01, clock=lambda: float(next(now)))
    told: list[Outage | None] = []
    end = watcher.listen(told.append)
    seen: list[Observation] = []
    task = asyncio.create_task(watcher.run())
    try:
        watcher.watch(1, seen.append)
        await until(lambda: seen)
        assert watcher.outage is None
        assert not told
        jobs.trouble = Unreachable("refused")
        await until(lambda: len(told) >= 3)
        first, second, third = told[:3]
        assert first is not None
        assert second is not None
        assert third is not None
        assert first.since == second.since == third.since == 100.0
        assert [first.failures, second.failures, third.failures] == [1, 2, 3]
        assert first.error is jobs.trouble
        assert watcher.outage is not None
        jobs.trouble = None
        await until(lambda: told[-1] is None)
        assert watcher.outage is None
        end()
        count = len(told)
        jobs.trouble = Unreachable("refused")
        await until(lambda: watcher.outage)
        assert len(told) == count
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize(
    ("trouble", "least"),
    [
        (Unreachable("refused"), [0.02, 0.04, 0.08, 0.08]),
        (Busy("busy", retry_after=0.1), [0.1, 0.1, 0.1, 0.1]),
        (Unauthorized("no api key", status=403), [0.08, 0.08, 0.08, 0.08]),
    ],
)
async def test_pauses_grow_while_the_slave_does_not_answer(trouble: OpenQAError, least: list[float]) -> None:
    jobs = FakeJobs(job(1))
    jobs.trouble = trouble
    async with running(jobs, 0.02, longest_pause=0.08) as watcher:
        watcher.watch(1, lambda _: None)
        await until(lambda: len(jobs.times) == 5)
    pauses = [later - earlier for earlier, later in pairwise(jobs.times)]
    for pause, expected in zip(pauses, least, strict=True):
        assert pause >= expected * 0.9


async def test_wake_brings_the_next_tick_at_once_but_not_too_often() -> None:
    jobs = FakeJobs(job(1))
    async with running(jobs, 60.0, least_pause=0.03) as watcher:
        watcher.watch(1, lambda _: None)
        await until(lambda: len(jobs.times) == 1)
        for _ in range(3):
            count = len(jobs.times)
            started = time.monotonic()
            while len(jobs.times) == count:
                watcher.wake()
                await asyncio.sleep(0.001)
                assert time.monotonic() - started < 5
    pauses = [later - earlier for earlier, later in pairwise(jobs.times)]
    assert all(pause >= 0.027 for pause in pauses)


async def test_wake_does_not_hurry_a_slave_that_does_not_answer() -> None:
    jobs = FakeJobs(job(1))
    jobs.trouble = Unreachable("refused")
    async with running(jobs, 0.05, least_pause=0.001) as watcher:
        watcher.watch(1, lambda _: None)
        while len(jobs.times) < 4:
            watcher.wake()
            await asyncio.sleep(0.001)
    pauses = [later - earlier for earlier, later in pairwise(jobs.times)]
    assert all(pause >= 0.045 for pause in pauses)


async def test_a_job_that_is_about_to_end_is_watched_closely() -> None:
    jobs = FakeJobs(job(1))
    watcher = Watcher(jobs, 60.0, least_pause=0.005)
    seen: list[Observation] = []
    task = asyncio.create_task(watcher.run())
    try:
        watcher.watch(1, seen.append)
        await until(lambda: seen)
        jobs.jobs[1] = job(1, "uploading")
        watcher.wake()
        await until(lambda: len(seen) == 2)
        jobs.jobs[1] = job(1, "done")
        await until(lambda: len(seen) == 3)
    finally:
        task.cancel()
