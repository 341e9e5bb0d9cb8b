"""Jobs that belong together are created together, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from pseudoworker.bridge import cluster as module
from pseudoworker.bridge.cluster import Cluster, ClusterFailed, Clusters, Edge, Settings, find_cluster
from pseudoworker.openqa.errors import Unreachable
from pseudoworker.openqa.views import Dependencies, JobView
from tests.fakes.pair import until

PARALLEL, DIRECTLY = "_PARALLEL", "_START_DIRECTLY_AFTER"


class Master:
    """Jobs by id, made of edges."""

    def __init__(
        self, *edges: Edge, done: frozenset[int] = frozenset(), blocked: Mapping[int, int] | None = None
    ) -> None:
        self.edges = edges
        self.done = done
        self.blocked = blocked or {}
        self.asked: list[int] = []

    async def view(self, job_id: int) -> JobView:
        self.asked.append(job_id)
        state = "done" if job_id in self.done else "scheduled" if job_id in self.blocked else "assigned"
        parents = {kind: self.ends(kind, "parent", child=job_id) for kind in (PARALLEL, DIRECTLY)}
        children = {kind: self.ends(kind, "child", parent=job_id) for kind in (PARALLEL, DIRECTLY)}
        return JobView(
            job_id,
            "x",
            state,
            "none",
            parents=Dependencies((), parents[DIRECTLY], parents[PARALLEL]),
            children=Dependencies((), children[DIRECTLY], children[PARALLEL]),
            blocked_by_id=self.blocked.get(job_id),
        )

    def ends(self, kind: str, end: str, **one: int) -> tuple[int, ...]:
        ((name, number),) = one.items()
        return tuple(
            getattr(edge, end) for edge in self.edges if edge.kind == kind and getattr(edge, name) == number
        )


class Slave:
    def __init__(self) -> None:
        self.posts: list[tuple[Cluster, dict[int, Settings]]] = []
        self.errors: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def create_all(self, cluster: Cluster, settings: Mapping[int, Settings]) -> Mapping[int, int]:
        self.posts.append((cluster, dict(settings)))
        await self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return {master_id: 100 + master_id for master_id in settings}


def clusters(
    slave: Slave,
    *,
    refused: int = 0,
    slots: int = 8,
    posted: frozenset[int] = frozenset(),
    timeout: float = 5.0,
    ready: float = 5.0,
) -> Clusters:
    async def is_posted(job_id: int) -> bool:
        return job_id in posted

    return Clusters(
        slots=slots,
        is_posted=is_posted,
        why_not=lambda view: "has a class that nobody serves" if view.id == refused else None,
        gather_timeout=timeout,
        ready_timeout=ready,
        create_all=slave.create_all,
    )


async def whole(these: Clusters, master: Master, job_id: int) -> int:
    """The way of one job from its claim to its slave job."""
    found = await these.gather(job_id, master.view)
    await these.ready(job_id, found)
    return await these.create(job_id, found, {"TEST": str(job_id)})


PAIR = (Edge(PARALLEL, 2, 1),)
CHAIN = (Edge(DIRECTLY, 2, 1), Edge(DIRECTLY, 3, 2), Edge(DIRECTLY, 4, 1))


async def test_a_job_alone_is_its_own_cluster() -> None:
    found, views = await find_cluster(7, Master().view)
    assert (found, set(views)) == (Cluster(frozenset({7})), {7})


@pytest.mark.parametrize("start", [1, 2, 3, 4])
async def test_a_cluster_is_found_from_each_of_its_jobs(start: int) -> None:
    edges = (*CHAIN[:2], Edge(PARALLEL, 4, 3))
    found, _ = await find_cluster(start, Master(*edges).view)
    assert found == Cluster(frozenset({1, 2, 3, 4}), frozenset(edges))


async def test_jobs_that_have_ended_do_not_count() -> None:
    found, _ = await find_cluster(2, Master(*CHAIN, done=frozenset({1})).view)
    assert found == Cluster(frozenset({2, 3}), frozenset({CHAIN[1]}))


async def test_a_cluster_beyond_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 3)
    with pytest.raises(ClusterFailed, match="more than 3 jobs"):
        await find_cluster(1, Master(*CHAIN).view)


def test_what_runs_before_a_job_on_the_same_worker() -> None:
    chain = Cluster(frozenset({1, 2, 3, 4, 5}), frozenset({*CHAIN, Edge(PARALLEL, 5, 3)}))
    assert chain.directly_before(3) == {1, 2}
    assert chain.directly_before(1) == frozenset()
    assert chain.directly_before(5) == frozenset()


async def test_a_cluster_is_posted_once_when_all_are_there() -> None:
    slave, master = Slave(), Master(*PAIR)
    these = clusters(slave)
    first = asyncio.create_task(whole(these, master, 1))
    await asyncio.sleep(0.01)
    assert slave.posts == []
    assert [await whole(these, master, 2), await first] == [102, 101]
    ((cluster, settings),) = slave.posts
    assert cluster == Cluster(frozenset({1, 2}), frozenset(PAIR))
    assert settings == {1: {"TEST": "1"}, 2: {"TEST": "2"}}


async def test_two_clusters_do_not_mix() -> None:
    slave = Slave()
    master = Master(*PAIR, Edge(PARALLEL, 4, 3))
    these = clusters(slave)
    ids = await asyncio.gather(*(whole(these, master, number) for number in (1, 3, 2, 4)))
    assert ids == [101, 103, 102, 104]
    assert [set(settings) for _, settings in slave.posts] == [{1, 2}, {3, 4}]


async def test_a_member_that_can_not_come_is_named_at_once() -> None:
    told = "setup failure: cluster can not be complete: job 2 has a class that nobody serves"
    with pytest.raises(ClusterFailed, match=told):
        await clusters(Slave(), refused=2).gather(1, Master(*PAIR).view)
    await clusters(Slave(), refused=1).gather(1, Master().view)


async def test_a_member_that_does_not_come_is_named() -> None:
    slave = Slave()
    told = r"cluster can not be complete: job 2 was not assigned to this pseudoworker within 0\.01 s"
    with pytest.raises(ClusterFailed, match=told):
        await clusters(slave, timeout=0.01).gather(1, Master(*PAIR).view)


@pytest.mark.parametrize(
    ("edges", "start", "slots", "told"),
    [
        (PAIR, 1, 1, "job 2 has no slot: the cluster needs 2, and this pseudoworker has 1"),
        (PAIR, 2, 1, "job 1 has no slot: the cluster needs 2, and this pseudoworker has 1"),
        (
            (*PAIR, Edge(PARALLEL, 3, 1), Edge(PARALLEL, 4, 1)),
            1,
            2,
            "job 3, 4 has no slot: the cluster needs 4, and this pseudoworker has 2",
        ),
        (
            (*PAIR, Edge(DIRECTLY, 3, 1)),
            3,
            1,
            "job 2 has no slot: the cluster needs 2, and this pseudoworker has 1",
        ),
    ],
)
async def test_too_few_slots_are_told_at_once(
    edges: tuple[Edge, ...], start: int, slots: int, told: str
) -> None:
    with pytest.raises(ClusterFailed, match=f"setup failure: cluster can not be complete: {told}"):
        await clusters(Slave(), slots=slots).gather(start, Master(*edges).view)


async def test_jobs_that_follow_each_other_directly_share_a_slot() -> None:
    these, master = clusters(Slave(), slots=1), Master(*CHAIN)
    await asyncio.gather(*(these.gather(number, master.view) for number in (1, 2, 3, 4)))


LATE = (Edge(DIRECTLY, 2, 1), Edge(PARALLEL, 3, 2))
"""1 runs, then 2 on the same worker; 3 runs in parallel with 2, and is not handed out before."""


async def test_a_late_member_is_posted_with_the_rest() -> None:
    slave, master = Slave(), Master(*LATE, blocked={3: 1})
    these = clusters(slave, slots=1)

    async def lending(job_id: int) -> int:
        found = await these.gather(job_id, master.view)
        assert (set(found.late), set(found.prompt), set(found.heads)) == ({3}, {1, 2}, {1})
        if job_id == 1:
            these.lend(3, found, {"TEST": "3"})
        await these.ready(job_id, found)
        return await these.create(job_id, found, {"TEST": str(job_id)})

    assert list(await asyncio.gather(lending(1), lending(2))) == [101, 102]
    ((cluster, settings),) = slave.posts
    assert cluster.edges == frozenset(LATE)
    assert settings == {number: {"TEST": str(number)} for number in (1, 2, 3)}


async def test_a_member_that_comes_when_all_is_posted_waits_for_nobody() -> None:
    these = clusters(Slave(), posted=frozenset({2}), timeout=0.01)
    found = await these.gather(3, Master(*LATE, done=frozenset({1})).view)
    assert found.posted
    assert found.members == {2, 3}


async def test_how_many_are_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    these, master = clusters(Slave()), Master(*PAIR)
    waiting = asyncio.create_task(these.gather(1, master.view))
    await until(lambda: len(master.asked) == 2)
    assert these.overdue() == 0  # it came just now
    monkeypatch.setattr(module, "OVERDUE", -1.0)
    assert these.overdue() == 1
    await these.gather(2, master.view)
    await waiting
    assert these.overdue() == 0


async def test_assets_that_do_not_come() -> None:
    these, master = clusters(Slave(), ready=0.01), Master(*PAIR)
    found, _ = await asyncio.gather(these.gather(1, master.view), these.gather(2, master.view))
    with pytest.raises(ClusterFailed, match="job 2 did not get its assets within"):
        await these.ready(1, found)


async def test_a_member_that_vanishes_before_the_post() -> None:
    these, master = clusters(Slave(), timeout=0.01), Master(*PAIR)
    found, _ = await asyncio.gather(these.gather(1, master.view), these.gather(2, master.view))
    with pytest.raises(ClusterFailed, match="job 2 is not there"):
        await these.create(1, found, {"TEST": "1"})


async def test_an_error_is_everybodys_and_the_next_call_tries_again() -> None:
    slave, master = Slave(), Master(*PAIR)
    slave.errors.append(Unreachable("down"))
    these = clusters(slave)
    outcomes = await asyncio.gather(whole(these, master, 1), whole(these, master, 2), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["down", "down"]
    found, _ = await find_cluster(1, master.view)
    assert await these.create(1, found, {"TEST": "1"}) == 101
    assert await these.create(2, found, {"TEST": "2"}) == 102
    assert len(slave.posts) == 2


async def test_a_member_that_is_cancelled_does_not_take_the_request_with_it() -> None:
    slave, master = Slave(), Master(*PAIR)
    slave.gate.clear()
    these = clusters(slave)
    runs = [asyncio.create_task(whole(these, master, number)) for number in (1, 2)]
    await until(lambda: slave.posts != [])
    runs[0].cancel()
    await asyncio.gather(runs[0], return_exceptions=True)
    slave.gate.set()
    assert await runs[1] == 102
    assert len(slave.posts) == 1


async def test_nothing_stays_of_a_cluster_that_all_have_left() -> None:
    slave = Slave()
    these, master = clusters(slave, timeout=0.05), Master(*PAIR)
    await asyncio.gather(whole(these, master, 1), whole(these, master, 2))
    await these.leave(1)
    found, _ = await find_cluster(1, master.view)
    assert await these.create(2, found, {"TEST": "2"}) == 102
    await these.leave(3)
    await these.leave(2)
    assert len(slave.posts) == 1
    with pytest.raises(ClusterFailed, match="job 2 is not there"):
        await these.create(1, found, {"TEST": "1"})


async def test_nothing_stays_of_a_cluster_whose_rest_never_came() -> None:
    these, master = clusters(Slave(), timeout=0.01), Master(*PAIR)
    with pytest.raises(ClusterFailed):
        await these.gather(1, master.view)
    await these.leave(1)
    with pytest.raises(ClusterFailed, match="job 1 was not assigned"):
        await these.gather(2, master.view)
