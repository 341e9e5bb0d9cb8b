"""Creating slave jobs: never twice, whatever the slave answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from pseudoworker.bridge import creation as module
from pseudoworker.bridge.cluster import Cluster, Edge
from pseudoworker.bridge.creation import CreateRefused, Creation
from pseudoworker.openqa.errors import (
    Busy,
    Garbage,
    OpenQAError,
    Refused,
    ServerFailed,
    Unauthorized,
    Unreachable,
)
from pseudoworker.openqa.views import JobView
from pseudoworker.slave.jobs import NewJob, SearchTooWide
from pseudoworker.slave.posting import UnpostableJob
from tests.fakes.pair import until

Settings = dict[str, str]


class Slave:
    """Creates what is posted. `answers` are what it says to one request after the other: an error, or None
    for the ids; `created` holds the ids by report."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.created: dict[str, list[int]] = {}
        self.posts: list[Sequence[NewJob]] = []
        self.groups: list[tuple[str, int | None]] = []
        self.searches = 0
        self.search_error: Exception | None = None
        self.takes_though_it_fails = False
        self._next = 100

    async def create(
        self, jobs: Sequence[NewJob], *, group: str = "", group_id: int | None = None
    ) -> dict[str, int]:
        self.posts.append(jobs)
        self.groups.append((group, group_id))
        answer = self.answers.pop(0) if self.answers else None
        ids = self.make(jobs) if answer is None or self.takes_though_it_fails else {}
        if answer is not None:
            raise answer
        return ids

    def make(self, jobs: Sequence[NewJob]) -> dict[str, int]:
        ids = {}
        for job in jobs:
            self._next += 1
            self.created.setdefault(job.settings["FEDERATED_REPORT"], []).append(self._next)
            ids[job.key] = self._next
        return ids

    async def find(self, report_url: str, settings: Mapping[str, str]) -> JobView | None:
        self.searches += 1
        if self.search_error is not None:
            raise self.search_error
        ids = self.created.get(report_url, [])
        return JobView(max(ids), "x", "scheduled", "none") if ids else None

    async def posted(self, report_url: str, settings: Mapping[str, str]) -> frozenset[int]:
        self.searches += 1
        if self.search_error is not None:
            raise self.search_error
        return frozenset(self.created.get(report_url, []))


def settings(*master_ids: int) -> dict[int, Settings]:
    return {
        number: {"TEST": f"t{number}", "FEDERATED_REPORT": f"http://m/tests/{number}"}
        for number in master_ids
    }


def alone(master_id: int = 7) -> Cluster:
    return Cluster(frozenset({master_id}))


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SETTLE", 0.0)
    monkeypatch.setattr(module, "TWIN_SEARCHES", (0.0, 0.0))


@asynccontextmanager
async def creating(
    slave: Slave, *, group: str | None = None, limit: float = 60.0
) -> AsyncIterator[tuple[Creation, list[int]]]:
    cancelled: list[int] = []

    async def cancel(slave_id: int) -> None:
        cancelled.append(slave_id)

    creation = Creation(slave, group=group, limit=limit, cancel=cancel)
    try:
        yield creation, cancelled
    finally:
        await creation.close()


async def test_a_job_is_posted_once() -> None:
    slave = Slave()
    async with creating(slave) as (creation, _):
        assert await creation.create_all(alone(), settings(7)) == {7: 101}
    assert (len(slave.posts), slave.searches) == (1, 0)


@pytest.mark.parametrize(
    ("group", "sent"),
    [(None, ("", None)), ("", ("", None)), ("federated", ("federated", None)), ("12", ("", 12))],
)
async def test_the_group_is_an_id_or_a_name(group: str | None, sent: tuple[str, int | None]) -> None:
    slave = Slave()
    async with creating(slave, group=group) as (creation, _):
        await creation.create_all(alone(), settings(7))
    assert slave.groups == [sent]


async def test_a_cluster_is_posted_with_its_edges() -> None:
    slave = Slave()
    edges = frozenset({Edge("_PARALLEL", 8, 7), Edge("_START_DIRECTLY_AFTER", 9, 7)})
    async with creating(slave) as (creation, _):
        await creation.create_all(Cluster(frozenset({7, 8, 9}), edges), settings(9, 7, 8))
    (jobs,) = slave.posts
    assert [(job.key, job.parallel, job.start_directly_after) for job in jobs] == [
        ("7", (), ()),
        ("8", ("7",), ()),
        ("9", (), ("7",)),
    ]


DOUBTS: list[Callable[[], OpenQAError]] = [
    lambda: Unreachable("time-out"),
    lambda: ServerFailed("oops", status=500),
    lambda: Garbage("HTML", status=200),
    lambda: Busy("bad gateway", status=502),
    lambda: Busy("gateway time-out", status=504),
    lambda: Busy("network read time-out", status=598),
]
TURNED_AWAY: list[Callable[[], OpenQAError]] = [
    lambda: Busy("slow down", status=429, retry_after=0.0),
    lambda: Busy("nobody home", status=503),
    lambda: Unauthorized("key expired", status=403),
]


@pytest.mark.parametrize("doubt", DOUBTS)
async def test_after_a_doubt_the_job_is_looked_for(doubt: Callable[[], OpenQAError]) -> None:
    slave = Slave(doubt())
    slave.takes_though_it_fails = True
    async with creating(slave) as (creation, cancelled):
        assert await creation.create_all(alone(), settings(7)) == {7: 101}
    assert (len(slave.posts), cancelled) == (1, [])


@pytest.mark.parametrize("doubt", DOUBTS)
async def test_after_a_doubt_it_is_posted_again_if_it_is_not_there(doubt: Callable[[], OpenQAError]) -> None:
    slave = Slave(doubt())
    async with creating(slave) as (creation, _):
        assert await creation.create_all(alone(), settings(7)) == {7: 101}
    assert (len(slave.posts), slave.searches >= 1) == (2, True)


@pytest.mark.parametrize("refusal", TURNED_AWAY)
async def test_what_was_turned_away_at_the_door_needs_no_search(refusal: Callable[[], OpenQAError]) -> None:
    slave = Slave(refusal(), refusal())
    async with creating(slave) as (creation, _):
        assert await creation.create_all(alone(), settings(7)) == {7: 101}
    assert (len(slave.posts), slave.searches) == (3, 0)


async def test_a_doubt_stays_one_until_it_is_settled() -> None:
    slave = Slave(Unreachable("reset"), Busy("slow down", status=429))
    slave.search_error = Unreachable("still down")
    async with creating(slave) as (creation, _):
        creating_it = asyncio.create_task(creation.create_all(alone(), settings(7)))
        await until(lambda: slave.searches > 3)
        assert len(slave.posts) == 1
        slave.search_error = None
        assert await creating_it == {7: 101}
    assert len(slave.posts) == 3


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Refused("no such machine", status=400), "setup failure: the slave refused the job: no such machine"),
        (UnpostableJob("job 7 has no setting TEST"), "setup failure: job 7 has no setting TEST"),
    ],
)
async def test_a_refusal_is_final(error: Exception, reason: str) -> None:
    slave = Slave(error)
    async with creating(slave) as (creation, _):
        with pytest.raises(CreateRefused, match=reason):
            await creation.create_all(alone(), settings(7))
    assert len(slave.posts) == 1


async def test_an_outage_that_lasts_too_long_is_told() -> None:
    slave = Slave(Unreachable("down"), Unreachable("down again"))
    async with creating(slave, limit=-1.0) as (creation, _):
        with pytest.raises(Unreachable, match="down"):
            await creation.create_all(alone(), settings(7))


async def test_part_of_a_cluster_that_was_deleted_takes_the_rest_with_it() -> None:
    slave = Slave(Unreachable("reset"))
    slave.make([NewJob("7", settings(7)[7])])
    async with creating(slave) as (creation, cancelled):
        with pytest.raises(CreateRefused, match="slave jobs for 8 were deleted right after"):
            await creation.create_all(Cluster(frozenset({7, 8})), settings(7, 8))
    assert cancelled == [101]


async def test_a_search_that_can_not_be_finished_ends_the_job() -> None:
    slave = Slave(Unreachable("reset"))
    slave.search_error = SearchTooWide("more than 10000 jobs")
    async with creating(slave) as (creation, _):
        with pytest.raises(CreateRefused, match="whether the job was created is not known: more than"):
            await creation.create_all(alone(), settings(7))


async def test_what_an_earlier_process_posted_is_found() -> None:
    slave = Slave()
    async with creating(slave) as (creation, _):
        assert await creation.earlier(settings(7)[7]) is None
        slave.make([NewJob("7", settings(7)[7])])
        assert await creation.earlier(settings(7)[7]) == 101


async def test_a_twin_of_a_request_that_was_given_up_is_cancelled() -> None:
    slave = Slave(Unreachable("time-out"))
    async with creating(slave) as (creation, cancelled):
        assert await creation.create_all(alone(), settings(7)) == {7: 101}
        slave.make([NewJob("7", settings(7)[7])])  # the first request, at last
        await until(lambda: cancelled != [])
        assert set(cancelled) == {102}


async def test_a_twin_of_an_earlier_process_is_cancelled_though_one_search_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "TWIN_SEARCHES", (0.01,) * 1000)
    slave = Slave()
    async with creating(slave) as (creation, cancelled):
        await creation.earlier(settings(7)[7])
        before = slave.searches
        slave.search_error = Unreachable("down")
        await creation.create_all(alone(), settings(7))
        await until(lambda: slave.searches > before)
        slave.search_error = None
        slave.make([NewJob("7", settings(7)[7])])
        await until(lambda: cancelled != [])
    assert set(cancelled) == {102}


async def test_a_doubt_that_was_settled_is_none_any_more() -> None:
    slave = Slave()
    async with creating(slave) as (creation, _):
        await creation.earlier(settings(7)[7])
        await creation.create_all(alone(), settings(7))
        await until(lambda: slave.searches == 3)
        await creation.create_all(alone(), settings(7))
        await asyncio.sleep(0.01)
    assert slave.searches == 3


async def test_searches_end_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TWIN_SEARCHES", (3600.0,))
    slave = Slave(Unreachable("time-out"))
    async with creating(slave) as (creation, _):
        await creation.create_all(alone(), settings(7))
        async with asyncio.timeout(5):
            await creation.close()
